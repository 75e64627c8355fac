// Random tokens to measure with.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace tandem {

// The same sequence of draws for the same seed.
class TokenSource {
 public:
  TokenSource(int64_t vocab, uint64_t seed);

  // `count` tokens, all different as long as the vocabulary lasts; each draw is another choice.
  // Equal tokens would let a model with experts read fewer of them than text does.
  std::vector<int32_t> Draw(int64_t count);

 private:
  std::mt19937_64 random_;
  std::vector<int32_t> tokens_;  // the vocabulary, in an order that changes
};

}  // namespace tandem
