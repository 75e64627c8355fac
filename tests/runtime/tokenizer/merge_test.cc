#include "runtime/tokenizer/merge.h"

#include <map>
#include <random>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace tandem {
namespace {

// Symbols are the texts themselves here; ids number them.
struct Rules {
  std::map<std::string, int32_t> ids;
  std::vector<std::string> texts;
  std::map<std::pair<int32_t, int32_t>, MergeResult> merges;

  int32_t Id(const std::string& text) {
    const auto [entry, added] = ids.try_emplace(text, static_cast<int32_t>(texts.size()));
    if (added) texts.push_back(text);
    return entry->second;
  }
};

Rules RandomRules(std::mt19937& random) {
  Rules rules;
  for (const char* letter : {"a", "b", "c"}) rules.Id(letter);
  const int count = static_cast<int>(random() % 30);
  for (int i = 0; i < count; ++i) {
    const auto pick = [&] { return static_cast<int32_t>(random() % rules.texts.size()); };
    const int32_t left = pick(), right = pick();
    // Ranks repeat, as scores do.
    const MergeResult result{static_cast<uint32_t>(random() % 20),
                             rules.Id(rules.texts[left] + rules.texts[right])};
    rules.merges.try_emplace({left, right}, result);
  }
  return rules;
}

// The definition: of all neighbours the best, the leftmost of equals, until there are none.
std::vector<int32_t> MergeByDefinition(const Rules& rules, std::vector<int32_t> ids) {
  for (;;) {
    const MergeResult* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto merge = rules.merges.find({ids[i], ids[i + 1]});
      if (merge == rules.merges.end()) continue;
      if (best == nullptr || merge->second.rank < best->rank) {
        best = &merge->second;
        place = i;
      }
    }
    if (best == nullptr) return ids;
    ids[place] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(MergeTest, DoesWhatTheDefinitionSays) {
  std::mt19937 random(1);
  MergeScratch scratch;
  int merged = 0;
  for (int round = 0; round < 3000; ++round) {
    const Rules rules = RandomRules(random);
    std::vector<int32_t> word(random() % 40);
    for (int32_t& id : word) id = static_cast<int32_t>(random() % 3);
    scratch.symbols.clear();
    for (uint32_t i = 0; i < word.size(); ++i) scratch.Append(i, 1, word[i]);
    MergeSymbols(scratch, [&](const Symbol& left, const Symbol& right) {
      const auto merge = rules.merges.find({left.id, right.id});
      return merge == rules.merges.end() ? std::nullopt : std::optional(merge->second);
    });
    std::vector<int32_t> ids;
    for (const Symbol& symbol : scratch.symbols) {
      if (symbol.length > 0) ids.push_back(symbol.id);
    }
    EXPECT_EQ(ids, MergeByDefinition(rules, word)) << "round " << round;
    merged += ids.size() < word.size();
  }
  EXPECT_GT(merged, 1000);
}

}  // namespace
}  // namespace tandem
