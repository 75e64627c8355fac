#include "runtime/convert.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>
#include <vector>

#include "backends/device/quant.h"
#include "backends/device/status.h"
#include "runtime/config_to_gguf.h"
#include "runtime/gguf_file_type.h"
#include "runtime/gguf_writer.h"
#include "runtime/model.h"
#include "runtime/tokenizer_to_gguf.h"

namespace tandem {
namespace {

constexpr int64_t kChunkBytes = int64_t{4} << 20;  // written at a time

struct Output {
  std::string name;
  const Weight* weight;
  DType dtype;
  int64_t heads = 0;  // not 0: the rows are reordered within each of this many heads
};

// The layer in "blk.<layer>.<...>"; nothing for tensors outside the layers.
std::optional<int64_t> LayerOf(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  name.remove_prefix(4);
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc()) return std::nullopt;
  return layer;
}

// llama's files rotate neighbouring elements, Hugging Face's the two halves of a head.
int64_t HeadsToReorder(const ModelConfig& c, std::string_view name) {
  if (c.architecture != "llama") return 0;
  if (name.find(".attn_q.") != name.npos) return c.heads;
  if (name.find(".attn_k.") != name.npos) return c.kv_heads;
  return 0;
}

DType TargetType(const Weight& weight, std::string_view name, std::optional<DType> type) {
  if (weight.shape.rank == 1 || name.ends_with("ffn_gate_inp.weight")) return DType::kF32;
  return type.value_or(weight.dtype);
}

// What is written, in the order of use: embedding, layers, output.
// `divisors` holds the frequencies' divisors, or nothing.
absl::StatusOr<std::vector<Output>> ListOutputs(const Model& model, const WeightMap& divisors,
                                                std::optional<DType> type) {
  const ModelConfig& c = model.config();
  std::vector<Output> outputs;
  for (const auto& [name, weight] : divisors.all()) outputs.push_back({name, &weight, DType::kF32});
  for (const auto& [name, weight] : model.weights().all()) {
    // Made by the loader; and layers that predict further tokens, which the config does not count.
    if (name == "rope.inv_freq" || LayerOf(name).value_or(0) >= c.layers) continue;
    const int64_t heads = HeadsToReorder(c, name);
    if (heads > 0 && (weight.parts.size() != 1 || weight.shape[0] != heads * c.head_dim)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", name, " is ", weight.shape.ToString(), ", not ", heads * c.head_dim, " rows"));
    }
    outputs.push_back({name, &weight, TargetType(weight, name, type), heads});
  }
  const auto place = [](const Output& o) {
    const int64_t before_or_after = o.name.starts_with("output") ? int64_t{1} << 40 : -1;
    return std::make_pair(LayerOf(o.name).value_or(before_or_after), std::string_view(o.name));
  };
  std::ranges::sort(outputs, {}, place);
  return outputs;
}

// Source row of row `r`: of a head's D rows, row 2i+j comes from i + j*D/2.
int64_t SourceRow(const Output& out, int64_t r) {
  if (out.heads == 0) return r;
  const int64_t d = out.weight->shape[0] / out.heads;
  const int64_t in_head = r % d;
  return r - in_head + in_head / 2 + in_head % 2 * (d / 2);
}

// Streams one tensor.
class TensorConverter {
 public:
  TensorConverter(const Output& out, GgufWriter& writer)
      : out_(out),
        writer_(writer),
        // A vector that is reordered is reordered by elements.
        width_(out.weight->shape.rank == 1 && out.heads > 0 ? 1 : out.weight->shape.back()),
        source_bytes_(static_cast<size_t>(RowBytes(out.weight->dtype, width_))),
        target_bytes_(static_cast<size_t>(RowBytes(out.dtype, width_))),
        source_(source_bytes_),
        values_(static_cast<size_t>(width_)),
        written_(static_cast<size_t>(width_)) {}

  absl::StatusOr<double> Run() {
    for (const auto part : out_.weight->parts) TANDEM_RETURN_IF_ERROR(Part(part));
    TANDEM_RETURN_IF_ERROR(Flush());
    return squared_error_;
  }

 private:
  absl::Status Part(std::span<const std::byte> part) {
    const auto rows = static_cast<int64_t>(part.size() / source_bytes_);
    for (int64_t r = 0; r < rows; ++r) {
      const auto source =
          part.subspan(static_cast<size_t>(SourceRow(out_, r)) * source_bytes_, source_bytes_);
      TANDEM_RETURN_IF_ERROR(Row(source));
      if (static_cast<int64_t>(buffer_.size()) >= kChunkBytes) TANDEM_RETURN_IF_ERROR(Flush());
    }
    return absl::OkStatus();
  }

  absl::Status Row(std::span<const std::byte> source) {
    const size_t begin = buffer_.size();
    buffer_.resize(begin + target_bytes_);
    if (out_.dtype == out_.weight->dtype) {
      std::memcpy(buffer_.data() + begin, source.data(), source.size());
      return absl::OkStatus();
    }
    std::memcpy(source_.data(), source.data(), source.size());  // which need not be aligned
    DequantizeRow(out_.weight->dtype, source_.data(), values_.data(), width_);
    std::byte* const target = buffer_.data() + begin;
    TANDEM_RETURN_IF_ERROR(QuantizeRow(out_.dtype, values_.data(), target, width_, nullptr));
    DequantizeRow(out_.dtype, target, written_.data(), width_);
    for (size_t i = 0; i < values_.size(); ++i) {
      const double error = static_cast<double>(written_[i]) - static_cast<double>(values_[i]);
      squared_error_ += error * error;
    }
    return absl::OkStatus();
  }

  absl::Status Flush() {
    if (buffer_.empty()) return absl::OkStatus();
    TANDEM_RETURN_IF_ERROR(writer_.WriteTensor(out_.name, buffer_));
    buffer_.clear();
    return absl::OkStatus();
  }

  const Output& out_;
  GgufWriter& writer_;
  const int64_t width_;
  const size_t source_bytes_, target_bytes_;
  std::vector<std::byte> source_, buffer_;
  std::vector<float> values_, written_;
  double squared_error_ = 0.0;
};

// What most elements are written as.
DType MainType(std::span<const Output> outputs) {
  std::map<DType, int64_t> elements;
  for (const Output& out : outputs) elements[out.dtype] += out.weight->shape.elements();
  return std::ranges::max_element(elements, {}, [](const auto& e) { return e.second; })->first;
}

absl::StatusOr<GgufHeader> MakeHeader(const Model& model, const ConvertOptions& options,
                                      std::span<const Output> outputs) {
  GgufHeader header;
  TANDEM_RETURN_IF_ERROR(SetConfigKeys(model.config(), header));
  std::string name = options.name.empty() ? model.config().name : options.name;
  if (name.empty()) {
    const auto folder = std::filesystem::path(model.path()).lexically_normal();
    name = folder.has_filename() ? folder.filename() : folder.parent_path().filename();
  }
  header.SetString("general.name", name);
  header.SetU32("general.file_type", GgufFileType(MainType(outputs)));
  header.SetU32("general.quantization_version", kGgufQuantizationVersion);
  if (model.tokenizer() != nullptr) {
    TANDEM_ASSIGN_OR_RETURN(
        const GgufTokenizerFields fields,
        GgufFieldsOf(*model.tokenizer(), model.config().vocab, options.pre_tokenizer));
    SetTokenizerKeys(fields, header);
  }
  return header;
}

absl::Status CheckType(std::optional<DType> type) {
  if (!type.has_value()) return absl::OkStatus();
  if (*type == DType::kF32 || *type == DType::kF16 || *type == DType::kBF16) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("cannot convert to ", Text(DTypeName(*type)),
                                                 "; f32, f16 and bf16 are possible"));
}

absl::StatusOr<std::vector<TensorReport>> WriteAll(std::span<const Output> outputs,
                                                   GgufWriter& writer,
                                                   const TensorProgress& progress) {
  int64_t total = 0, done = 0;
  for (const Output& output : outputs) total += output.weight->shape.elements();
  std::vector<TensorReport> reports;
  for (const Output& output : outputs) {
    const auto error = TensorConverter(output, writer).Run();
    if (!error.ok()) return Annotate(error.status(), "tensor " + output.name);
    const Shape& shape = output.weight->shape;
    reports.push_back({output.name, output.weight->dtype, output.dtype, shape.elements(),
                       ContiguousBytes(output.dtype, shape), *error});
    done += shape.elements();
    if (progress) progress(reports.back(), static_cast<double>(done) / static_cast<double>(total));
  }
  return reports;
}

absl::StatusOr<std::vector<TensorReport>> ConvertModel(const Model& model, std::string_view out,
                                                       const ConvertOptions& options) {
  WeightMap owned;
  if (auto divisors = RopeDivisors(model.config().rope); !divisors.empty()) {
    const auto count = static_cast<int64_t>(divisors.size());
    owned.AddOwned("rope_freqs.weight", {count}, std::move(divisors));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto outputs, ListOutputs(model, owned, options.type));
  TANDEM_ASSIGN_OR_RETURN(GgufHeader header, MakeHeader(model, options, outputs));
  for (const Output& output : outputs) {
    const Shape& shape = output.weight->shape;
    header.AddTensor(output.name, output.dtype,
                     {shape.dims.data(), static_cast<size_t>(shape.rank)});
  }
  TANDEM_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(out, header));
  TANDEM_ASSIGN_OR_RETURN(auto reports, WriteAll(outputs, writer, options.progress));
  TANDEM_RETURN_IF_ERROR(writer.Finish());
  return reports;
}

}  // namespace

absl::StatusOr<std::vector<TensorReport>> ConvertToGguf(std::string_view folder,
                                                        std::string_view out,
                                                        const ConvertOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckType(options.type));
  std::error_code error;
  if (!std::filesystem::is_directory(std::string(folder), error)) {
    return absl::InvalidArgumentError(absl::StrCat(Text(folder), " is not a folder"));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto model, Model::Open(folder));
  auto reports = ConvertModel(*model, out, options);
  if (!reports.ok()) return Annotate(reports.status(), folder);
  return reports;
}

}  // namespace tandem
