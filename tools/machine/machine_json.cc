#include "tools/machine/machine_json.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "backends/device/status.h"
#include "runtime/atomic_file.h"
#include "tools/json.h"
#include "tools/machine/cache_folder.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int kVersion = 1;
constexpr size_t kMostBytes = size_t{1} << 20;

Json ToJson(const Rate& rate) { return {{"best", rate.best}, {"median", rate.median}}; }

Json ToJson(const Processor& processor) {
  Json read = Json::array(), multiply = Json::array();
  for (const ReadRate& rate : processor.read) {
    read.push_back({{"threads", rate.threads}, {"bytes_per_second", ToJson(rate.bytes)}});
  }
  for (const MultiplyRate& rate : processor.multiply) {
    multiply.push_back({{"type", rate.type},
                        {"instructions", rate.instructions},
                        {"threads", rate.threads},
                        {"operations_per_second", ToJson(rate.operations)}});
  }
  return {{"device", processor.device},
          {"model", processor.model},
          {"cores", processor.cores},
          {"read", std::move(read)},
          {"multiply", std::move(multiply)}};
}

// Reads fields; after the first that is missing or wrong, ok() is false and all are empty.
class Reader {
 public:
  bool ok() const { return ok_; }

  const Json& Field(const Json& json, const char* name) {
    static const Json kNothing;
    if (json.is_object() && json.contains(name)) return json.at(name);
    ok_ = false;
    return kNothing;
  }
  const Json& List(const Json& json, const char* name) {
    const Json& list = Field(json, name);
    ok_ &= list.is_array();
    return list;
  }
  std::string String(const Json& json, const char* name) {
    const Json& field = Field(json, name);
    ok_ &= field.is_string();
    return ok_ ? field.get<std::string>() : std::string();
  }
  int Count(const Json& json, const char* name) {
    const Json& field = Field(json, name);
    ok_ &= field.is_number_integer() && field > 0 && field <= 1 << 20;
    return ok_ ? field.get<int>() : 1;
  }
  Rate ReadRateOf(const Json& json, const char* name) {
    const Json& field = Field(json, name);
    return {Positive(field, "best"), Positive(field, "median")};
  }

 private:
  double Positive(const Json& json, const char* name) {
    const Json& field = Field(json, name);
    ok_ &= field.is_number() && field > 0.0 && field <= 1e21;
    return ok_ ? field.get<double>() : 0;
  }

  bool ok_ = true;
};

Processor ReadProcessor(const Json& json, Reader& reader) {
  Processor processor = {.device = reader.String(json, "device"),
                         .model = reader.String(json, "model"),
                         .cores = reader.Count(json, "cores")};
  for (const Json& item : reader.List(json, "read")) {
    processor.read.push_back(
        {reader.Count(item, "threads"), reader.ReadRateOf(item, "bytes_per_second")});
  }
  for (const Json& item : reader.List(json, "multiply")) {
    processor.multiply.push_back({reader.String(item, "type"), reader.String(item, "instructions"),
                                  reader.Count(item, "threads"),
                                  reader.ReadRateOf(item, "operations_per_second")});
  }
  return processor;
}

}  // namespace

std::string MachineToJson(const Machine& machine) {
  Json processors = Json::array(), buses = Json::array();
  for (const Processor& processor : machine.processors) processors.push_back(ToJson(processor));
  for (const Bus& bus : machine.buses) {
    buses.push_back({{"from", bus.from}, {"to", bus.to}, {"bytes_per_second", ToJson(bus.bytes)}});
  }
  return JsonText(
      {{"version", kVersion}, {"processors", std::move(processors)}, {"buses", std::move(buses)}});
}

std::optional<Machine> MachineFromJson(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Reader reader;
  if (reader.Field(json, "version") != kVersion) return std::nullopt;
  Machine machine;
  for (const Json& item : reader.List(json, "processors")) {
    machine.processors.push_back(ReadProcessor(item, reader));
  }
  for (const Json& item : reader.List(json, "buses")) {
    machine.buses.push_back({reader.String(item, "from"), reader.String(item, "to"),
                             reader.ReadRateOf(item, "bytes_per_second")});
  }
  return reader.ok() ? std::optional<Machine>(std::move(machine)) : std::nullopt;
}

std::string MachineCachePath() {
  const std::string folder = CacheFolder();
  return folder.empty() ? "" : (fs::path(folder) / "machine.json").string();
}

std::optional<Machine> LoadMachine(const std::string& path, std::string_view model, int cores) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kMostBytes) {
    return std::nullopt;
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::optional<Machine> machine = MachineFromJson(text);
  if (!machine.has_value()) return std::nullopt;
  const Processor* cpu = machine->Find("cpu");
  if (cpu == nullptr || cpu->model != model || cpu->cores != cores) return std::nullopt;
  return machine;
}

absl::Status SaveMachine(const std::string& path, const Machine& machine) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) {
    return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
  }
  TANDEM_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const std::string text = MachineToJson(machine) + "\n";
  TANDEM_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(text))));
  return file.Commit();
}

}  // namespace tandem
