#include "tools/bench/report.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/json.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

void Bind(const Ceilings& ceilings, BenchRow& row) {
  row.memory_bound = row.test.prompt == 0;
  if (ceilings.bytes <= 0 || ceilings.operations <= 0) return;
  const double memory = row.bytes_per_second() / ceilings.bytes;
  const double multiply = row.operations_per_second() / ceilings.operations;
  row.memory_bound = memory >= multiply;
  row.share = std::max(memory, multiply);
}

std::string_view Bound(const BenchRow& row) { return row.memory_bound ? "memory" : "multiply"; }

// A row as names and values, in the order of all formats for programs.
Json Fields(const BenchRow& row) {
  return {{"test", row.test.name()},
          {"n_prompt", row.test.prompt},
          {"n_gen", row.test.generated},
          {"depth", row.test.depth},
          {"parallel", row.test.parallel},
          {"threads", row.setting.threads},
          {"micro_batch", row.setting.micro_batch},
          {"kv_type", row.setting.kv_type},
          {"device", row.setting.device},
          {"repetitions", row.repetitions},
          {"tokens_per_second", row.speed},
          {"tokens_per_second_min", row.slowest},
          {"tokens_per_second_max", row.fastest},
          {"bytes_per_token", row.per_token.bytes},
          {"flops_per_token", row.per_token.flops},
          {"gb_per_second", row.bytes_per_second() / 1e9},
          {"gflop_per_second", row.operations_per_second() / 1e9},
          {"share_of_ceiling", row.share.has_value() ? Json(*row.share) : Json()},
          {"bound", Bound(row)},
          {"error", row.error},
          {"planned_weights_mapped_bytes", row.planned.weights_mapped},
          {"planned_weights_copied_bytes", row.planned.weights_copied},
          {"planned_kv_cache_bytes", row.planned.kv_cache},
          {"planned_arena_bytes", row.planned.arena},
          {"process_anonymous_bytes", row.process.anonymous},
          {"process_file_bytes", row.process.file}};
}

// RFC 4180: quotes around text, and doubled in it.
std::string CsvField(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_string()) return JsonText(value);
  std::string text = "\"";
  for (const char c : value.get<std::string>()) text.append(c == '"' ? 2 : 1, c);
  return text + "\"";
}

// Three digits, however large.
std::string Short(double value) {
  return absl::StrFormat("%.*f", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
}

}  // namespace

BenchRow MakeRow(const BenchSetting& setting, const BenchTest& test, const Measured& measured,
                 const Ceilings& ceilings) {
  std::vector<double> seconds = measured.seconds;
  std::ranges::sort(seconds);
  const auto tokens = static_cast<double>(test.tokens());
  BenchRow row = {
      .setting = setting, .test = test, .repetitions = static_cast<int>(seconds.size())};
  const size_t middle = seconds.size() / 2;
  const double median =
      seconds.size() % 2 == 1 ? seconds[middle] : (seconds[middle - 1] + seconds[middle]) / 2;
  row.speed = tokens / median;
  row.slowest = tokens / seconds.back();
  row.fastest = tokens / seconds.front();
  row.per_token = {measured.work.bytes / tokens, measured.work.flops / tokens};
  Bind(ceilings, row);
  return row;
}

MemoryUse TotalMemory(const std::vector<MemoryUse>& uses) {
  MemoryUse total;
  for (const MemoryUse& use : uses) {
    total.weights_mapped += use.weights_mapped;
    total.weights_copied += use.weights_copied;
    total.kv_cache += use.kv_cache;
    total.arena += use.arena;
  }
  return total;
}

std::string TableHeader() {
  return absl::StrFormat("%-14s %8s %10s %19s %9s %9s %8s %8s %7s %-8s  %s\n", "test", "sessions",
                         "tokens/s", "min to max", "MB/tok", "Mflop/tok", "GB/s", "Gflop/s",
                         "of max", "bound", "device, threads, micro-batch, KV");
}

std::string TableRow(const BenchRow& row) {
  const std::string range = Short(row.slowest) + " to " + Short(row.fastest);
  const std::string share = row.share.has_value() ? absl::StrFormat("%.1f", 100 * *row.share) : "-";
  return absl::StrFormat("%-14s %8d %10s %19s %9s %9s %8s %8s %7s %-8s  %s, %d, %d, %s\n",
                         row.test.name(), row.test.parallel, Short(row.speed), range,
                         Short(row.per_token.bytes / 1e6), Short(row.per_token.flops / 1e6),
                         Short(row.bytes_per_second() / 1e9),
                         Short(row.operations_per_second() / 1e9), share, std::string(Bound(row)),
                         OneLine(row.setting.device), row.setting.threads, row.setting.micro_batch,
                         row.setting.kv_type);
}

std::string CsvHeader() {
  const Json fields = Fields(BenchRow());
  std::vector<std::string> names;
  for (const auto& [name, value] : fields.items()) names.push_back(name);
  return absl::StrJoin(names, ",") + "\n";
}

std::string CsvRow(const BenchRow& row) {
  const Json fields = Fields(row);
  std::vector<std::string> values;
  for (const auto& [name, value] : fields.items()) values.push_back(CsvField(value));
  return absl::StrJoin(values, ",") + "\n";
}

std::string JsonRow(const std::string& model, const BenchRow& row) {
  Json json = Fields(row);
  json["model"] = model;
  return JsonText(json) + "\n";
}

std::string MemoryText(const BenchRow& row) {
  const MemoryUse& plan = row.planned;
  return absl::StrFormat(
      "memory   planned: weights %s mapped, %s copied, KV cache %s, activations %s\n"
      "         process: %s anonymous, %s of files at most\n",
      BytesText(plan.weights_mapped), BytesText(plan.weights_copied), BytesText(plan.kv_cache),
      BytesText(plan.arena), BytesText(row.process.anonymous), BytesText(row.process.file));
}

}  // namespace tandem
