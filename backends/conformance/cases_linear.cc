#include "backends/conformance/cases.h"
#include "backends/conformance/compare.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Sizes in blocks of the weight type where a row of weights has to be whole blocks.
struct Form {
  Rows rows;
  int64_t in_blocks, out;
  Layout layout;
  bool bias;
  double deviation;
};

// More than one output each: the terms of a lone sum may cancel, and then no error is small beside
// it.
constexpr Form kForms[] = {
    {{1, 1}, 2, 33, Layout::kPacked, false, 1.0},    {{1, 1}, 1, 6, Layout::kPacked, true, 1e4},
    {{5, 3}, 3, 70, Layout::kStrided, false, 1.0},   {{8, 8}, 1, 64, Layout::kPacked, false, 1e4},
    {{33, 33}, 2, 17, Layout::kStrided, true, 1e-2}, {{70, 41}, 1, 96, Layout::kPacked, true, 1.0},
    {{1, 1}, 9, 48, Layout::kPacked, true, 1.0},     {{20, 20}, 9, 48, Layout::kPacked, true, 1.0},
};

// Elements in the unit that sizes are counted in: a block, or an odd number of plain ones.
int64_t Unit(DType dtype) { return IsQuantized(dtype) ? GetDTypeInfo(dtype).block_size : 45; }

void NameCase(CaseBuilder& b, const LinearArgs& args, Rows rows) {
  b.Name(Text(DTypeName(args.w.dtype)), " ", args.x.shape.ToString(), " x ",
         args.w.shape.ToString());
  if (args.transposed) b.Name("transposed");
  if (args.bias.present()) b.Name("bias");
  if (rows.live != rows.total) b.Name(rows.live, " live");
  if (!IsContiguous(args.x)) b.Name("strided");
}

void Finish(CaseBuilder& b, LinearArgs& args, Rows rows, const CaseSink& sink) {
  NameCase(b, args, rows);
  args.live_rows = b.Live(rows);
  b.Call(args);
  b.Compare(args.out, rows.live, Tolerance(KernelId::kLinear, args.w.dtype));
  sink(b.Finish());
}

void PlainCase(uint32_t seed, DType dtype, const Form& form, const CaseSink& sink) {
  CaseBuilder b(KernelId::kLinear, seed);
  const int64_t in = form.in_blocks * Unit(dtype);
  LinearArgs args;
  args.x = b.Activations(form.rows, {in}, form.deviation, form.layout);
  args.w = b.Random(dtype, {form.out, in}, 0.1, form.layout);
  if (form.bias) args.bias = b.Random(DType::kF32, {form.out});
  args.out = b.Blank(DType::kF32, {form.rows.total, form.out}, form.layout);
  if (form.deviation != 1.0) b.Name("values of ", form.deviation);
  Finish(b, args, form.rows, sink);
}

void TransposedCase(uint32_t seed, DType dtype, const Form& form, const CaseSink& sink) {
  CaseBuilder b(KernelId::kLinear, seed);
  const int64_t out = form.in_blocks * Unit(dtype);
  LinearArgs args;
  args.x = b.Activations(form.rows, {form.out}, form.deviation, form.layout);
  args.w = b.Random(dtype, {form.out, out}, 0.1, form.layout);
  if (form.bias) args.bias = b.Random(DType::kF32, {out});
  args.out = b.Blank(DType::kF32, {form.rows.total, out}, form.layout);
  args.transposed = true;
  Finish(b, args, form.rows, sink);
}

void GroupedCase(uint32_t seed, DType dtype, const Form& form, const CaseSink& sink) {
  CaseBuilder b(KernelId::kLinear, seed);
  const bool transposed = seed % 2 == 0;
  const int64_t blocks = form.in_blocks * Unit(dtype);
  const int64_t in = transposed ? form.out : blocks;
  const int64_t out = transposed ? blocks : form.out;
  LinearArgs args;
  args.x = b.Activations(form.rows, {3, in}, form.deviation, form.layout);
  args.w = b.Random(dtype, {3, form.out, blocks}, 0.1, form.layout);
  args.out = b.Blank(DType::kF32, {form.rows.total, 3, out}, form.layout);
  args.transposed = transposed;
  Finish(b, args, form.rows, sink);
}

}  // namespace

std::vector<DType> WeightTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.dtype != DType::kI32) types.push_back(info.dtype);
  }
  return types;
}

void LinearCases(uint32_t seed, const CaseSink& sink) {
  for (const DType dtype : WeightTypes()) {
    for (const Form& form : kForms) PlainCase(++seed, dtype, form, sink);
    for (const Form& form : {kForms[0], kForms[2], kForms[4]}) {
      TransposedCase(++seed, dtype, form, sink);
      GroupedCase(++seed, dtype, form, sink);
    }
  }
  // A prompt through a layer of more usual sizes.
  const Form prompt = {{130, 130}, 8, 200, Layout::kPacked, false, 1.0};
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    PlainCase(++seed, dtype, prompt, sink);
  }
}

}  // namespace tandem
