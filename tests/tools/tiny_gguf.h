// A model of a few kilobytes with a vocabulary of bytes and a chat template.
#pragma once

#include <string>

namespace tandem {

// Writes it to `path`, a GGUF file. Its weights are random numbers, the same every time; so is the
// text it writes.
void WriteTinyGguf(const std::string& path);

// Its longest context, in tokens.
inline constexpr int kTinyContext = 100000;

}  // namespace tandem
