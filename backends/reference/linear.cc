#include "backends/reference/reference_kernels.h"
#include "backends/reference/rows.h"

namespace tandem {
namespace {

// x [T, G, D] without its other groups: [T, D].
TensorView Group(const TensorView& x, int64_t g) {
  TensorView group = x;
  group.data = x.row(0, g);
  group.shape = {x.dim(0), x.dim(2)};
  group.strides = {x.strides[0], x.strides[2]};
  return group;
}

void Linear(const LinearArgs& args) {
  const bool grouped = args.x.shape.rank == 3;
  const TensorView x = WithHeads(args.x);
  const TensorView out = WithHeads(args.out);
  const int64_t rows = LiveRows(args.live_rows, x.dim(0));
  Vector bias = Vector::Zero(out.dim(2));
  if (args.bias.present()) ReadRow(args.bias, bias, 0);
  for (int64_t g = 0; g < x.dim(1); ++g) {
    const Matrix product =
        Multiply(ReadRows(Group(x, g), rows), grouped ? Part(args.w, g) : args.w, args.transposed);
    for (int64_t t = 0; t < rows; ++t) WriteRow(out, product.row(t) + bias, t, g);
  }
}

}  // namespace

void AddReferenceLinear(KernelTable& table) { AddReferenceKernel<LinearArgs>(table, &Linear); }

}  // namespace tandem
