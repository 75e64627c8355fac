#include "runtime/synthetic.h"

#include <algorithm>
#include <deque>
#include <span>
#include <utility>

#include "backends/device/layout.h"
#include "backends/device/status.h"
#include "runtime/config_to_gguf.h"
#include "runtime/gguf_file_type.h"
#include "runtime/gguf_writer.h"
#include "runtime/host_memory.h"
#include "runtime/quoted.h"
#include "runtime/run_on_threads.h"
#include "runtime/step_runner.h"
#include "runtime/synthetic_plan.h"

namespace tandem {
namespace {

constexpr int64_t kChunkBytes = int64_t{2} << 20;  // that a thread makes at a time
constexpr int64_t kSlabBytes = int64_t{64} << 20;  // written at a time
constexpr int64_t kTensorAlignment = 4096;

int64_t AlignUp(int64_t n) {
  return (n + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

// A part of a tensor and where it goes.
struct Chunk {
  const RandomBlocks* blocks;
  int64_t first;  // unit
  std::span<std::byte> out;
};

// Cuts `out`, which begins with the unit `first`.
void AppendChunks(const RandomBlocks& blocks, int64_t first, std::span<std::byte> out,
                  std::vector<Chunk>& chunks) {
  const int64_t units = kChunkBytes / blocks.unit_bytes();
  const auto bytes = static_cast<size_t>(units * blocks.unit_bytes());
  for (; !out.empty(); first += units) {
    const size_t count = std::min(bytes, out.size());
    chunks.push_back({&blocks, first, out.first(count)});
    out = out.subspan(count);
  }
}

void FillChunks(std::span<const Chunk> chunks, int threads) {
  RunOnThreads(ThreadCount(threads), static_cast<int64_t>(chunks.size()), [&](int64_t i) {
    const Chunk& chunk = chunks[static_cast<size_t>(i)];
    chunk.blocks->Fill(chunk.first, chunk.out);
  });
}

// The smallest engine that uses the weights in all ways.
EngineOptions OptionsFor(const SyntheticOptions& options) {
  return {.devices = {options.device}, .threads = options.threads, .context = 2, .micro_batch = 2};
}

// Part of a matrix, a multiple of panels.
struct PanelRange {
  const Weight* weight;
  int64_t row_bytes, rows;
  std::byte* data;
};

// Brings weights, which lie in rows, into the layout that they are marked with.
void Arrange(const WeightMap& weights, int threads) {
  std::vector<PanelRange> ranges;
  for (const auto& [name, weight] : weights.all()) {
    if (weight.layout == WeightLayout::kRows) continue;
    const int64_t row_bytes = RowBytes(weight.dtype, weight.shape.back());
    const int64_t step = std::max<int64_t>(kChunkBytes / (kPanelRows * row_bytes), 1) * kPanelRows;
    auto* data = const_cast<std::byte*>(weight.parts[0].data());
    for (int64_t row = 0; row < weight.shape.rows(); row += step) {
      const int64_t rows = std::min(step, weight.shape.rows() - row);
      ranges.push_back({&weight, row_bytes, rows, data + row * row_bytes});
    }
  }
  RunOnThreads(ThreadCount(threads), static_cast<int64_t>(ranges.size()), [&](int64_t i) {
    const PanelRange& range = ranges[static_cast<size_t>(i)];
    ArrangeInPlace(range.weight->layout, range.weight->dtype, range.row_bytes, range.rows,
                   range.data);
  });
}

// Marks each weight with the layout that the device wants.
absl::Status MarkLayouts(const SyntheticOptions& options, ModelParts& parts) {
  TANDEM_ASSIGN_OR_RETURN(auto model, Model::Assemble(parts));
  TANDEM_ASSIGN_OR_RETURN(const auto layouts,
                          StepRunner::PreferredLayouts(std::move(model), OptionsFor(options)));
  for (const auto& [name, layout] : layouts) {
    if (layout != WeightLayout::kRows) parts.weights.SetLayout(name, layout);
  }
  return absl::OkStatus();
}

// Writes the tensor in slabs that are made by all threads.
absl::Status WriteTensor(const SyntheticTensor& tensor, int threads, GgufWriter& writer) {
  const RandomBlocks blocks(tensor.numbers);
  const int64_t units = kSlabBytes / blocks.unit_bytes();
  const int64_t slab_bytes = units * blocks.unit_bytes();
  std::vector<std::byte> slab(static_cast<size_t>(std::min(slab_bytes, tensor.bytes())));
  int64_t first = 0;
  for (int64_t left = tensor.bytes(); left > 0; left -= slab_bytes, first += units) {
    const auto out = std::span(slab).first(static_cast<size_t>(std::min(left, slab_bytes)));
    std::vector<Chunk> chunks;
    AppendChunks(blocks, first, out, chunks);
    FillChunks(chunks, threads);
    TANDEM_RETURN_IF_ERROR(writer.WriteTensor(tensor.name, out));
  }
  return absl::OkStatus();
}

std::span<const int64_t> Dims(const Shape& shape) {
  return {shape.dims.data(), static_cast<size_t>(shape.rank)};
}

constexpr char kDivisors[] = "rope_freqs.weight";

absl::StatusOr<GgufHeader> MakeHeader(const SyntheticPlan& plan, const SyntheticOptions& options,
                                      std::span<const float> divisors) {
  GgufHeader header;
  TANDEM_RETURN_IF_ERROR(SetConfigKeys(plan.config, header, options.layout));
  header.SetString("general.name", plan.name);
  header.SetU32("general.file_type", GgufFileType(options.type));
  header.SetU32("general.quantization_version", kGgufQuantizationVersion);
  // With this value readers take as many tokens as <architecture>.vocab_size says.
  header.SetString("tokenizer.ggml.model", "none");
  if (!divisors.empty()) {
    header.AddTensor(kDivisors, DType::kF32, {{static_cast<int64_t>(divisors.size())}});
  }
  for (const SyntheticTensor& tensor : plan.tensors) {
    header.AddTensor(tensor.name, tensor.numbers.dtype, Dims(tensor.shape));
  }
  return header;
}

absl::StatusOr<SyntheticFile> WriteAll(SyntheticPlan plan, const SyntheticOptions& options,
                                       const TensorProgress& progress, GgufWriter& writer) {
  SyntheticFile file;
  file.warnings = std::move(plan.warnings);
  int64_t total = 0, done = 0;
  for (const SyntheticTensor& tensor : plan.tensors) total += tensor.bytes();
  for (const SyntheticTensor& tensor : plan.tensors) {
    TANDEM_RETURN_IF_ERROR(WriteTensor(tensor, options.threads, writer));
    const DType type = tensor.numbers.dtype;
    file.tensors.push_back({tensor.name, type, type, tensor.shape.elements(), tensor.bytes()});
    done += tensor.bytes();
    if (progress) {
      progress(file.tensors.back(), static_cast<double>(done) / static_cast<double>(total));
    }
  }
  TANDEM_RETURN_IF_ERROR(writer.Finish());
  return file;
}

}  // namespace

absl::StatusOr<SyntheticSpec> ParseSyntheticSpec(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is not of the form CONFIG.json:TYPE"));
  }
  const std::string_view name = text.substr(colon + 1);
  const auto type = DTypeFromName(name);
  if (!type.has_value() || *type == DType::kI32) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), ": ", Quoted(name), " is no type of weights"));
  }
  return SyntheticSpec{std::string(text.substr(0, colon)), *type};
}

absl::StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(std::string_view config_path,
                                                                const SyntheticOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(SyntheticPlan plan, PlanSyntheticModel(config_path, options));
  int64_t total = 0;
  for (const SyntheticTensor& tensor : plan.tensors) total += AlignUp(tensor.bytes());
  auto memory = HostMemory::Allocate(total);
  if (!memory.ok()) return Annotate(memory.status(), config_path);
  ModelParts parts;
  std::deque<RandomBlocks> blocks;  // which the chunks point to
  std::vector<Chunk> chunks;
  std::span<std::byte> rest = (*memory)->bytes();
  for (const SyntheticTensor& tensor : plan.tensors) {
    const auto data = rest.first(static_cast<size_t>(tensor.bytes()));
    rest = rest.subspan(static_cast<size_t>(AlignUp(tensor.bytes())));
    AppendChunks(blocks.emplace_back(tensor.numbers), 0, data, chunks);
    FileTensor entry;
    entry.name = tensor.name;
    entry.dtype = tensor.numbers.dtype;
    entry.shape.assign(tensor.shape.dims.begin(), tensor.shape.dims.begin() + tensor.shape.rank);
    entry.data = data;
    TANDEM_RETURN_IF_ERROR(parts.weights.Add(tensor.name, entry));
  }
  FillChunks(chunks, options.threads);
  parts.name = absl::StrCat(plan.name, " (synthetic, ", Text(DTypeName(options.type)), ")");
  parts.config = std::move(plan.config);
  parts.memory = *std::move(memory);
  parts.warnings = std::move(plan.warnings);
  if (!options.device.empty()) {
    TANDEM_RETURN_IF_ERROR(MarkLayouts(options, parts));
    Arrange(parts.weights, options.threads);
  }
  return Model::Assemble(std::move(parts));
}

absl::StatusOr<SyntheticFile> WriteSyntheticGguf(std::string_view config_path, std::string_view out,
                                                 const SyntheticOptions& options,
                                                 const TensorProgress& progress) {
  TANDEM_ASSIGN_OR_RETURN(SyntheticPlan plan, PlanSyntheticModel(config_path, options));
  const std::vector<float> divisors = RopeDivisors(plan.config.rope);
  auto header = MakeHeader(plan, options, divisors);
  if (!header.ok()) return Annotate(header.status(), config_path);
  TANDEM_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(out, *header));
  if (!divisors.empty()) {
    TANDEM_RETURN_IF_ERROR(writer.WriteTensor(kDivisors, std::as_bytes(std::span(divisors))));
  }
  return WriteAll(std::move(plan), options, progress, writer);
}

}  // namespace tandem
