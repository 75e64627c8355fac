// A backend of half of the kernels, as someone outside Tandem would begin one: a table of functions
// on host memory. It uses the device contract alone.
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "backends/device/check.h"
#include "backends/device/host_device.h"
#include "backends/device/plugin.h"
#include "backends/device/status.h"

namespace {

using tandem::DType;
using tandem::TensorView;

int64_t LiveRows(tandem::LiveCount live, int64_t rows) {
  return live == nullptr || *live > rows ? rows : *live;
}

// Elements of an f32 or bf16 row.
class Row {
 public:
  Row(const TensorView& view, const std::byte* row) : f32_(view.dtype == DType::kF32), row_(row) {}

  float operator[](int64_t i) const {
    float value = 0;
    if (f32_) {
      std::memcpy(&value, row_ + i * 4, 4);
    } else {  // bf16 is the upper half of an f32
      std::memcpy(reinterpret_cast<std::byte*>(&value) + 2, row_ + i * 2, 2);
    }
    return value;
  }

 private:
  bool f32_;
  const std::byte* row_;
};

absl::Status SupportsWeights(const TensorView& weights) {
  if (weights.dtype == DType::kF32 || weights.dtype == DType::kBF16) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("half_device has no weights of ",
                                               tandem::Text(tandem::DTypeName(weights.dtype))));
}

template <typename Args>
absl::Status SupportsAll(const Args& args) {
  return tandem::CheckArgs(args);
}

absl::Status SupportsEmbed(const tandem::EmbedArgs& args) {
  TANDEM_RETURN_IF_ERROR(tandem::CheckArgs(args));
  return SupportsWeights(args.table);
}

absl::Status SupportsLinear(const tandem::LinearArgs& args) {
  TANDEM_RETURN_IF_ERROR(tandem::CheckArgs(args));
  if (args.x.shape.rank != 2) return absl::UnimplementedError("half_device has no groups");
  if (args.transposed) return absl::UnimplementedError("half_device has no transposed weights");
  return SupportsWeights(args.w);
}

void CopyIndexed(const TensorView& source, const TensorView& index, const TensorView& out,
                 tandem::LiveCount live) {
  for (int64_t t = 0; t < LiveRows(live, out.dim(0)); ++t) {
    const int32_t i = index.row<int32_t>()[t];
    const bool known = i >= 0 && i < source.dim(0);
    const Row row(source, known ? source.row(i) : nullptr);
    for (int64_t e = 0; e < out.dim(1); ++e) out.row<float>(t)[e] = known ? row[e] : 0.0f;
  }
}

void Embed(const tandem::EmbedArgs& args) {
  CopyIndexed(args.table, args.ids, args.out, args.live_rows);
}

void GatherRows(const tandem::GatherRowsArgs& args) {
  CopyIndexed(args.x, args.rows, args.out, args.live_rows);
}

void RmsNorm(const tandem::RmsNormArgs& args) {
  const int64_t heads = args.x.shape.rank == 3 ? args.x.dim(1) : 1;
  const int64_t width = args.x.shape.back();
  for (int64_t i = 0; i < LiveRows(args.live_rows, args.x.dim(0)) * heads; ++i) {
    const float* x = args.x.row<float>(i / heads, i % heads);
    float* out = args.out.row<float>(i / heads, i % heads);
    double sum = 0;
    for (int64_t d = 0; d < width; ++d) sum += double{x[d]} * x[d];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(width) + args.eps);
    for (int64_t d = 0; d < width; ++d) {
      out[d] = static_cast<float>(x[d] * scale * args.weight.row<float>()[d]);
    }
  }
}

void Add(const tandem::AddArgs& args) {
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.a.dim(0)); ++t) {
    for (int64_t e = 0; e < args.a.dim(1); ++e) {
      args.out.row<float>(t)[e] = args.a.row<float>(t)[e] + args.b.row<float>(t)[e];
    }
  }
}

void SwiGlu(const tandem::SwiGluArgs& args) {
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.gate.dim(0)); ++t) {
    for (int64_t f = 0; f < args.gate.dim(1); ++f) {
      const float gate = args.gate.row<float>(t)[f];
      args.out.row<float>(t)[f] = gate / (1.0f + std::exp(-gate)) * args.up.row<float>(t)[f];
    }
  }
}

void Linear(const tandem::LinearArgs& args) {
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.x.dim(0)); ++t) {
    const float* x = args.x.row<float>(t);
    for (int64_t o = 0; o < args.out.dim(1); ++o) {
      const Row w(args.w, args.w.row(o));
      double sum = args.bias.present() ? args.bias.row<float>()[o] : 0.0;
      for (int64_t i = 0; i < args.x.dim(1); ++i) sum += double{x[i]} * w[i];
      args.out.row<float>(t)[o] = static_cast<float>(sum);
    }
  }
}

absl::StatusOr<std::unique_ptr<tandem::Device>> Open(const tandem::DeviceOptions& options) {
  if (options.index != 0) {
    return absl::NotFoundError(
        absl::StrCat("there is one half_device, not number ", options.index));
  }
  tandem::KernelTable table;
  table.Add<tandem::EmbedArgs>(SupportsEmbed, Embed);
  table.Add<tandem::RmsNormArgs>(SupportsAll<tandem::RmsNormArgs>, RmsNorm);
  table.Add<tandem::LinearArgs>(SupportsLinear, Linear);
  table.Add<tandem::AddArgs>(SupportsAll<tandem::AddArgs>, Add);
  table.Add<tandem::SwiGluArgs>(SupportsAll<tandem::SwiGluArgs>, SwiGlu);
  table.Add<tandem::GatherRowsArgs>(SupportsAll<tandem::GatherRowsArgs>, GatherRows);
  tandem::DeviceInfo info = {.name = "half_device", .description = "half of the kernels"};
  return std::make_unique<tandem::HostDevice>(std::move(info), std::move(table));
}

}  // namespace

TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
  static const std::string abi = tandem::AbiString();
  static const tandem::Plugin plugin = {abi.c_str(), "half_device", &Open};
  return &plugin;
}
