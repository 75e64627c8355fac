// Kernels that work on each row by itself.
#include <cmath>

#include "backends/reference/reference_kernels.h"
#include "backends/reference/rows.h"

namespace tandem {
namespace {

// out[r] = source[index[r]], zeros where the index is outside.
void CopyIndexed(const TensorView& source, const TensorView& index, const TensorView& out,
                 LiveCount live) {
  Vector row(out.dim(1));
  for (int64_t r = 0; r < LiveRows(live, out.dim(0)); ++r) {
    const int32_t i = index.row<int32_t>()[r];
    if (i >= 0 && i < source.dim(0)) {
      ReadRow(source, row, i);
    } else {
      row.setZero();
    }
    WriteRow(out, row, r);
  }
}

void Embed(const EmbedArgs& args) { CopyIndexed(args.table, args.ids, args.out, args.live_rows); }

void GatherRows(const GatherRowsArgs& args) {
  CopyIndexed(args.x, args.rows, args.out, args.live_rows);
}

void RmsNorm(const RmsNormArgs& args) {
  const TensorView x = WithHeads(args.x);
  const TensorView out = WithHeads(args.out);
  Vector row(x.dim(2)), weight(x.dim(2));
  ReadRow(args.weight, weight, 0);
  for (int64_t t = 0; t < LiveRows(args.live_rows, x.dim(0)); ++t) {
    for (int64_t h = 0; h < x.dim(1); ++h) {
      ReadRow(x, row, t, h);
      const double mean = row.squaredNorm() / static_cast<double>(row.size());
      WriteRow(out, row.cwiseProduct(weight) / std::sqrt(mean + args.eps), t, h);
    }
  }
}

// Turns the pair at elements `a` and `b` of a head.
void Rotate(Vector& head, std::pair<int64_t, int64_t> pair, double cosine, double sine) {
  double& a = head[pair.first];
  double& b = head[pair.second];
  const double turned = a * cosine - b * sine;
  b = a * sine + b * cosine;
  a = turned;
}

void Rope(const RopeArgs& args) {
  const int64_t pairs = args.inv_freq.dim(0);
  const bool halves = args.pairing == RopePairing::kHalves;
  Vector head(args.x.dim(2));
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.x.dim(0)); ++t) {
    const double position = args.positions.row<int32_t>()[t];
    for (int64_t h = 0; h < args.x.dim(1); ++h) {
      ReadRow(args.x, head, t, h);
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = position * static_cast<double>(args.inv_freq.row<float>()[i]);
        const int64_t a = args.begin + (halves ? i : 2 * i);
        const int64_t b = halves ? a + pairs : a + 1;
        Rotate(head, {a, b}, args.magnitude * std::cos(angle), args.magnitude * std::sin(angle));
      }
      WriteRow(args.out, head, t, h);
    }
  }
}

void Add(const AddArgs& args) {
  Vector a(args.a.dim(1)), b(args.a.dim(1));
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.a.dim(0)); ++t) {
    ReadRow(args.a, a, t);
    ReadRow(args.b, b, t);
    WriteRow(args.out, a + b, t);
  }
}

void SwiGlu(const SwiGluArgs& args) {
  Vector gate(args.gate.dim(1)), up(args.gate.dim(1));
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.gate.dim(0)); ++t) {
    ReadRow(args.gate, gate, t);
    ReadRow(args.up, up, t);
    WriteRow(args.out, (gate.array() / (1.0 + (-gate.array()).exp()) * up.array()).matrix(), t);
  }
}

void Concat(const ConcatArgs& args) {
  const TensorView a = WithHeads(args.a);
  const TensorView b = WithHeads(args.b);
  const TensorView out = WithHeads(args.out);
  Vector row(out.dim(2));
  for (int64_t t = 0; t < LiveRows(args.live_rows, a.dim(0)); ++t) {
    for (int64_t h = 0; h < a.dim(1); ++h) {
      ReadRow(a, row.head(a.dim(2)), t, h);
      ReadRow(b, row.tail(b.dim(2)), t, h);
      WriteRow(out, row, t, h);
    }
  }
}

}  // namespace

void AddReferenceRowwise(KernelTable& table) {
  AddReferenceKernel<EmbedArgs>(table, &Embed);
  AddReferenceKernel<RmsNormArgs>(table, &RmsNorm);
  AddReferenceKernel<RopeArgs>(table, &Rope);
  AddReferenceKernel<AddArgs>(table, &Add);
  AddReferenceKernel<SwiGluArgs>(table, &SwiGlu);
  AddReferenceKernel<ConcatArgs>(table, &Concat);
  AddReferenceKernel<GatherRowsArgs>(table, &GatherRows);
}

}  // namespace tandem
