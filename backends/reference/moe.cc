// Routing of tokens to experts, and the experts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "backends/reference/reference_kernels.h"
#include "backends/reference/rows.h"

namespace tandem {
namespace {

using Ids = std::vector<int64_t>;

// The exponentials here are of one kind for all elements, where Eigen's depend on the position, so
// that equal logits give equal scores.
Vector Softmax(const Vector& logits) {
  const double largest = logits.maxCoeff();
  const Vector e = logits.unaryExpr([largest](double x) { return std::exp(x - largest); });
  return e / e.sum();
}

Vector Gate(Gating gating, const Vector& logits) {
  switch (gating) {
    case Gating::kSoftmax:
      return Softmax(logits);
    case Gating::kSigmoid:
      return logits.unaryExpr([](double x) { return 1.0 / (1.0 + std::exp(-x)); });
    case Gating::kTopKSoftmax:
      return logits;
  }
  return logits;
}

double NeverIfNaN(double value) {
  return std::isnan(value) ? -std::numeric_limits<double>::infinity() : value;
}

// The `count` candidates with the largest values, falling; the lower id first among equals.
Ids Best(const Vector& values, Ids candidates, int64_t count) {
  std::ranges::stable_sort(candidates, [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  candidates.resize(count);
  return candidates;
}

Ids Range(int64_t begin, int64_t end) {
  Ids ids(end - begin);
  std::iota(ids.begin(), ids.end(), begin);
  return ids;
}

// The experts that may be chosen, in rising order.
Ids Candidates(const RouteArgs& args, const Vector& choice) {
  const int64_t size = choice.size() / args.groups;
  Vector scores(args.groups);
  for (int64_t g = 0; g < args.groups; ++g) {
    const bool top2 = args.groups > 1 && args.group_score == GroupScore::kTop2Sum;
    const Ids best = Best(choice, Range(g * size, (g + 1) * size), top2 ? 2 : 1);
    scores[g] = NeverIfNaN(choice[best[0]] + (top2 ? choice[best[1]] : 0.0));
  }
  Ids candidates;
  for (const int64_t g : Best(scores, Range(0, args.groups), args.groups_used)) {
    for (int64_t e = g * size; e < (g + 1) * size; ++e) candidates.push_back(e);
  }
  std::ranges::sort(candidates);
  return candidates;
}

void RouteRow(const RouteArgs& args, const Vector& bias, int64_t t) {
  Vector logits(args.logits.dim(1));
  ReadRow(args.logits, logits, t);
  const Vector score = Gate(args.gating, logits);
  const Vector choice = (score + bias).unaryExpr(&NeverIfNaN);
  const Ids chosen = Best(choice, Candidates(args, choice), args.ids.dim(1));
  Vector weights = score(chosen);
  if (args.gating == Gating::kTopKSoftmax) weights = Softmax(weights);
  if (args.normalize) weights /= weights.sum() + 1e-20;
  std::ranges::copy(chosen, args.ids.row<int32_t>(t));
  WriteRow(args.weights, weights * args.scale, t);
}

void Route(const RouteArgs& args) {
  Vector bias = Vector::Zero(args.logits.dim(1));
  if (args.bias.present()) ReadRow(args.bias, bias, 0);
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.logits.dim(0)); ++t) {
    RouteRow(args, bias, t);
  }
}

// One expert for the rows of x: down (silu(gate x) * (up x)).
Matrix RunExpert(const ExpertsArgs& args, int64_t expert, const Matrix& x) {
  const Matrix gate = Multiply(x, Part(args.gate, expert));
  const Matrix up = Multiply(x, Part(args.up, expert));
  const Matrix hidden = gate.array() / (1.0 + (-gate.array()).exp()) * up.array();
  return Multiply(hidden, Part(args.down, expert));
}

// Each expert is decoded once, for all tokens that chose it; its results wait in `parts` [T K, E]
// so that they can be added in the order of the choices.
void Experts(const ExpertsArgs& args) {
  const int64_t rows = LiveRows(args.live_rows, args.x.dim(0));
  const int64_t choices = args.ids.dim(1);
  const Matrix x = ReadRows(args.x, rows);
  Matrix parts = Matrix::Zero(rows * choices, x.cols());
  for (int64_t expert = 0; expert < args.gate.dim(0); ++expert) {
    Ids tokens, places;
    for (int64_t i = 0; i < rows * choices; ++i) {
      if (args.ids.row<int32_t>(i / choices)[i % choices] != expert) continue;
      tokens.push_back(i / choices);
      places.push_back(i);
    }
    if (!places.empty()) {
      parts(places, Eigen::all) = RunExpert(args, expert, x(tokens, Eigen::all));
    }
  }
  for (int64_t t = 0; t < rows; ++t) {
    Vector sum = Vector::Zero(x.cols());
    for (int64_t i = 0; i < choices; ++i) {
      const float weight = args.weights.row<float>(t)[i];
      const int32_t expert = args.ids.row<int32_t>(t)[i];
      if (expert >= 0 && expert < args.gate.dim(0)) sum += weight * parts.row(t * choices + i);
    }
    WriteRow(args.out, sum, t);
  }
}

}  // namespace

void AddReferenceMoe(KernelTable& table) {
  AddReferenceKernel<RouteArgs>(table, &Route);
  AddReferenceKernel<ExpertsArgs>(table, &Experts);
}

}  // namespace tandem
