#include "runtime/quantize.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "backends/device/quant.h"
#include "backends/device/status.h"
#include "runtime/gguf_file_type.h"
#include "runtime/gguf_model.h"
#include "runtime/gguf_writer.h"
#include "runtime/importance.h"
#include "runtime/run_on_threads.h"

namespace tandem {
namespace {

// Elements encoded between writes; bounds the memory.
constexpr int64_t kSlabElements = int64_t{32} << 20;
// Elements that a thread takes at a time.
constexpr int64_t kChunkElements = int64_t{64} << 10;

// One tensor on its way from the old file to the new one.
struct Job {
  const FileTensor* tensor;
  DType from, to;
  std::span<const float> importance;  // [columns], or [matrices, columns]; empty: none

  int64_t columns() const { return tensor->shape.back(); }
  int64_t rows() const { return NumElements(*tensor) / columns(); }
  int64_t rows_per_matrix() const {
    return tensor->shape.size() < 2 ? 1 : tensor->shape[tensor->shape.size() - 2];
  }
};

// The weights of the columns of row `row`; null: all the same.
const float* ImportanceOfRow(const Job& job, int64_t row) {
  if (job.importance.empty()) return nullptr;
  const int64_t matrix = row / job.rows_per_matrix();
  const auto slice = job.importance.subspan(static_cast<size_t>(matrix * job.columns()),
                                            static_cast<size_t>(job.columns()));
  const bool unused = std::ranges::all_of(slice, [](float value) { return value == 0.0f; });
  return unused ? nullptr : slice.data();
}

struct Rows {
  int64_t begin, count;
};

// Encodes `rows` to `target`; adds up the squared error in the order of the elements.
absl::Status EncodeRows(const Job& job, Rows rows, std::byte* target, double& squared_error) {
  const int64_t columns = job.columns();
  const auto source_bytes = static_cast<size_t>(RowBytes(job.from, columns));
  const auto target_bytes = static_cast<size_t>(RowBytes(job.to, columns));
  std::vector<std::byte> source(source_bytes);  // aligned, as the file's rows need not be
  std::vector<float> values(static_cast<size_t>(columns)), decoded(values.size());
  for (int64_t r = rows.begin; r < rows.begin + rows.count; ++r, target += target_bytes) {
    std::memcpy(source.data(), job.tensor->data.data() + static_cast<size_t>(r) * source_bytes,
                source_bytes);
    DequantizeRow(job.from, source.data(), values.data(), columns);
    const absl::Status status =
        QuantizeRow(job.to, values.data(), target, columns, ImportanceOfRow(job, r));
    if (!status.ok()) return Annotate(status, absl::StrCat("row ", r));
    DequantizeRow(job.to, target, decoded.data(), columns);
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = static_cast<double>(decoded[i]) - static_cast<double>(values[i]);
      squared_error += error * error;
    }
  }
  return absl::OkStatus();
}

// Encodes and writes `slab`. Chunks are cut the same way for any number of threads, and their
// errors are added in order, so that the results are the same too.
absl::StatusOr<double> WriteSlab(const Job& job, Rows slab, int threads, GgufWriter& writer) {
  const int64_t columns = job.columns();
  const int64_t chunk_rows = std::max<int64_t>(kChunkElements / columns, 1);
  const int64_t chunks = (slab.count + chunk_rows - 1) / chunk_rows;
  const int64_t row_bytes = RowBytes(job.to, columns);
  std::vector<std::byte> encoded(static_cast<size_t>(slab.count * row_bytes));
  std::vector<double> errors(static_cast<size_t>(chunks));
  std::vector<absl::Status> statuses(static_cast<size_t>(chunks));
  RunOnThreads(threads, chunks, [&](int64_t chunk) {
    const int64_t first = chunk * chunk_rows;
    const Rows rows = {slab.begin + first, std::min(chunk_rows, slab.count - first)};
    const auto i = static_cast<size_t>(chunk);
    statuses[i] = EncodeRows(job, rows, encoded.data() + first * row_bytes, errors[i]);
  });
  double total = 0.0;
  for (size_t i = 0; i < errors.size(); ++i) {
    TANDEM_RETURN_IF_ERROR(statuses[i]);
    total += errors[i];
  }
  TANDEM_RETURN_IF_ERROR(writer.WriteTensor(job.tensor->name, encoded));
  return total;
}

absl::StatusOr<TensorReport> WriteTensor(const Job& job, int threads, GgufWriter& writer) {
  TensorReport report = {std::string(job.tensor->name), job.from, job.to, NumElements(*job.tensor),
                         job.rows() * RowBytes(job.to, job.columns())};
  if (job.from == job.to) {
    TANDEM_RETURN_IF_ERROR(writer.WriteTensor(job.tensor->name, job.tensor->data));
    return report;
  }
  const int64_t slab_rows = std::max<int64_t>(kSlabElements / job.columns(), 1);
  for (int64_t row = 0; row < job.rows(); row += slab_rows) {
    const Rows slab = {row, std::min(slab_rows, job.rows() - row)};
    TANDEM_ASSIGN_OR_RETURN(const double error, WriteSlab(job, slab, threads, writer));
    report.squared_error += error;
  }
  return report;
}

absl::StatusOr<Job> MakeJob(const FileTensor& tensor, bool tied, const QuantizeTypes& types,
                            const ImportanceMatrix& importance) {
  TANDEM_ASSIGN_OR_RETURN(const DType from, SupportedDType(tensor));
  if (tensor.shape.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Text(tensor.name), " is a scalar"));
  }
  TANDEM_ASSIGN_OR_RETURN(const DType to, TypeOf(tensor, from, tied, types));
  Job job = {&tensor, from, to, importance.Find(tensor.name)};
  const int64_t wanted = job.rows() / job.rows_per_matrix() * job.columns();
  if (!job.importance.empty() && static_cast<int64_t>(job.importance.size()) != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("the importance matrix has ", job.importance.size(), " values for ",
                     Text(tensor.name), ", which has ", wanted, " columns in all its matrices"));
  }
  return job;
}

// The metadata of `model` and the tensors of `jobs`.
GgufHeader MakeHeader(const GgufModel& model, std::span<const Job> jobs, DType type) {
  GgufHeader header;
  for (const GgufEntry& entry : model.metadata().entries()) {
    const std::string_view key = entry.key;
    const bool replaced = key == "general.file_type" || key == "general.alignment" ||
                          key == "general.quantization_version" || key.starts_with("split.");
    if (!replaced) header.SetValue(key, entry.value);
  }
  header.SetU32("general.file_type", GgufFileType(type));
  header.SetU32("general.quantization_version", kGgufQuantizationVersion);
  for (const Job& job : jobs) header.AddTensor(job.tensor->name, job.to, job.tensor->shape);
  return header;
}

absl::StatusOr<std::vector<Job>> ListJobs(const GgufModel& model, const QuantizeTypes& types,
                                          const ImportanceMatrix& importance) {
  const bool tied = model.tensors().Find("output.weight") == nullptr;
  std::vector<Job> jobs;
  for (const FileTensor& tensor : model.tensors()) {
    TANDEM_ASSIGN_OR_RETURN(jobs.emplace_back(), MakeJob(tensor, tied, types, importance));
  }
  return jobs;
}

absl::Status CheckTypes(const QuantizeTypes& types) {
  std::vector<DType> asked = {types.type};
  for (const TensorTypeRule& rule : types.rules) asked.push_back(rule.type);
  if (std::ranges::find(asked, DType::kI32) == asked.end()) return absl::OkStatus();
  return absl::InvalidArgumentError("weights cannot become i32");
}

absl::StatusOr<std::vector<TensorReport>> WriteAll(std::span<const Job> jobs,
                                                   const QuantizeOptions& options,
                                                   GgufWriter& writer) {
  int64_t total = 0, done = 0;
  for (const Job& job : jobs) total += NumElements(*job.tensor);
  std::vector<TensorReport> reports;
  for (const Job& job : jobs) {
    auto report = WriteTensor(job, ThreadCount(options.threads), writer);
    if (!report.ok()) {
      return Annotate(report.status(), absl::StrCat("tensor ", Text(job.tensor->name)));
    }
    reports.push_back(*std::move(report));
    done += reports.back().elements;
    if (options.progress) {
      options.progress(reports.back(), static_cast<double>(done) / static_cast<double>(total));
    }
  }
  return reports;
}

}  // namespace

absl::StatusOr<std::vector<TensorReport>> QuantizeGguf(std::string_view in, std::string_view out,
                                                       const QuantizeOptions& options) {
  TANDEM_RETURN_IF_ERROR(CheckTypes(options.types));
  TANDEM_ASSIGN_OR_RETURN(const GgufModel model, GgufModel::Open(in));
  ImportanceMatrix importance;
  if (!options.importance_path.empty()) {
    TANDEM_ASSIGN_OR_RETURN(importance, ImportanceMatrix::Open(options.importance_path));
  }
  TANDEM_ASSIGN_OR_RETURN(const auto jobs, ListJobs(model, options.types, importance));
  const GgufHeader header = MakeHeader(model, jobs, options.types.type);
  TANDEM_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(out, header));
  TANDEM_ASSIGN_OR_RETURN(auto reports, WriteAll(jobs, options, writer));
  TANDEM_RETURN_IF_ERROR(writer.Finish());
  return reports;
}

}  // namespace tandem
