#include "backends/cpu/route_token.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/simd.h"

namespace tandem::cpu {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kTaken = std::numeric_limits<float>::quiet_NaN();  // no choice is one

// Lists of one token in the workspace.
struct Lists {
  float* scores;        // [N]
  float* choices;       // [N]
  float* group_scores;  // [groups]
};

void SoftmaxInPlace(float* x, int64_t n) {
  const float largest = *std::max_element(x, x + n);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    simd::Store(x + i, simd::Exp(simd::Sub(simd::Load(x + i), simd::Set(largest))));
  }
  for (; i < n; ++i) x[i] = simd::Exp(x[i] - largest);
  float sum = 0.0f;
  for (i = 0; i < n; ++i) sum += x[i];
  for (i = 0; i < n; ++i) x[i] /= sum;
}

void ComputeScores(const RouteArgs& a, const float* logits, const Lists& lists) {
  const int64_t n = a.logits.dim(1);
  std::copy_n(logits, n, lists.scores);
  if (a.gating == Gating::kSoftmax) SoftmaxInPlace(lists.scores, n);
  if (a.gating == Gating::kSigmoid) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      simd::Store(lists.scores + i, simd::Sigmoid(simd::Load(logits + i)));
    }
    for (; i < n; ++i) lists.scores[i] = 1.0f / (1.0f + simd::Exp(-logits[i]));
  }
  for (int64_t i = 0; i < n; ++i) {
    const float bias = a.bias.present() ? static_cast<const float*>(a.bias.data)[i] : 0.0f;
    const float choice = lists.scores[i] + bias;
    lists.choices[i] = std::isnan(choice) ? kNever : choice;
  }
}

float ScoreOfGroup(const RouteArgs& a, const float* choices, int64_t size) {
  float best = kNever, second = kNever;
  for (int64_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(best, choices[i]));
    best = std::max(best, choices[i]);
  }
  if (a.group_score == GroupScore::kMax) return best;
  const float sum = best + second;
  return std::isnan(sum) ? kNever : sum;
}

// The first index of the largest element, NaNs left out; -1 if there are only those.
int64_t FindBest(const float* x, int64_t n) {
  simd::F32x8 among = simd::Set(kNever);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) among = simd::Max(simd::Load(x + i), among);
  float largest = simd::Largest(among);
  for (; i < n; ++i) largest = std::max(largest, x[i]);
  for (i = 0; i < n; ++i) {
    if (x[i] == largest) return i;
  }
  return -1;
}

// Leaves the choices of the best groups alone and marks those of the others by NaNs.
void ChooseGroups(const RouteArgs& a, const Lists& lists) {
  const int64_t size = a.logits.dim(1) / a.groups;
  float* scores = lists.group_scores;
  for (int64_t g = 0; g < a.groups; ++g) {
    scores[g] = ScoreOfGroup(a, lists.choices + g * size, size);
  }
  for (int64_t i = 0; i < a.groups_used; ++i) {
    const int64_t best = FindBest(scores, a.groups);
    if (best >= 0) scores[best] = kTaken;
  }
  for (int64_t g = 0; g < a.groups; ++g) {
    if (!std::isnan(scores[g])) std::fill_n(lists.choices + g * size, size, kTaken);
  }
}

void ChooseExperts(const RouteArgs& a, const Lists& lists, int32_t* ids) {
  const int64_t n = a.logits.dim(1), chosen = a.ids.dim(1);
  for (int64_t k = 0; k < chosen; ++k) {
    const int64_t best = FindBest(lists.choices, n);
    ids[k] = static_cast<int32_t>(best);
    lists.choices[best] = kTaken;
  }
}

}  // namespace

int64_t RouteFloats(const RouteArgs& a) { return 2 * a.logits.dim(1) + a.groups; }

void RouteToken(const RouteArgs& a, float* scratch, int64_t t) {
  const int64_t n = a.logits.dim(1), chosen = a.ids.dim(1);
  const Lists lists = {scratch, scratch + n, scratch + 2 * n};
  ComputeScores(a, a.logits.row<float>(t), lists);
  if (a.groups > 1) ChooseGroups(a, lists);
  int32_t* ids = a.ids.row<int32_t>(t);
  ChooseExperts(a, lists, ids);
  float* weights = a.weights.row<float>(t);
  for (int64_t k = 0; k < chosen; ++k) weights[k] = lists.scores[ids[k]];
  if (a.gating == Gating::kTopKSoftmax) SoftmaxInPlace(weights, chosen);
  float factor = a.scale;
  if (a.normalize) {
    float sum = 0.0f;
    for (int64_t k = 0; k < chosen; ++k) sum += weights[k];
    factor /= sum + 1e-20f;
  }
  for (int64_t k = 0; k < chosen; ++k) weights[k] *= factor;
}

}  // namespace tandem::cpu
