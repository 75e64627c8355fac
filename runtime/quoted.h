// Text from untrusted files, made safe to show in a message.
#pragma once

#include <string>
#include <string_view>

namespace tandem {

// `text` in single quotes: bytes that are not printable ASCII become hexadecimal escapes, and a
// long text is cut with its length said.
std::string Quoted(std::string_view text);

}  // namespace tandem
