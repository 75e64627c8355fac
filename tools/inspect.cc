// `tandem inspect`: what is in a model file.
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "tools/command.h"
#include "tools/flags.h"
#include "tools/json.h"
#include "tools/model_files.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

struct InspectFlags {
  std::string model;
  EngineFlags engine;
  bool graph = false;
  bool json = false;
  int64_t tokens = 1;
};

struct TypeUse {
  int64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, TypeUse> UseByType(const TensorTable& tensors) {
  std::map<std::string, TypeUse> uses;
  for (const FileTensor& tensor : tensors) {
    TypeUse& use = uses[tensor.type_name];
    ++use.tensors;
    use.elements += NumElements(tensor);
    use.bytes += static_cast<int64_t>(tensor.data.size());
  }
  return uses;
}

int64_t CountParameters(const TensorTable& tensors) {
  int64_t count = 0;
  for (const FileTensor& tensor : tensors) count += NumElements(tensor);
  return count;
}

// Of a column that holds `name` of each item; a very long one may stand out.
template <typename Items, typename Name>
int Width(const Items& items, Name name) {
  size_t width = 0;
  for (const auto& item : items) width = std::max(width, std::min<size_t>((item.*name).size(), 60));
  return static_cast<int>(width);
}

std::string DescribeText(const std::string& path, const ModelFiles& files) {
  std::string text = absl::StrFormat(
      "file        %s\nformat      %s, %d file%s, %s\nparameters  %d in %d tensors\n", path,
      files.format, files.files, files.files == 1 ? "" : "s", BytesText(files.bytes),
      CountParameters(files.tensors), files.tensors.size());
  absl::StrAppendFormat(&text, "\nmetadata (%d)\n", files.facts.size());
  const int key_width = Width(files.facts, &FileFact::key);
  for (const FileFact& fact : files.facts) {
    absl::StrAppendFormat(&text, "  %-*s  %-8s  %s\n", key_width, OneLine(fact.key), fact.type,
                          OneLine(fact.text));
  }
  text += "\ntensors\n";
  const int name_width = Width(files.tensors.all(), &FileTensor::name);
  for (const FileTensor& tensor : files.tensors) {
    absl::StrAppendFormat(&text, "  %-*s  %-8s  %-20s  %10s%s\n", name_width, OneLine(tensor.name),
                          OneLine(tensor.type_name), ShapeText(tensor.shape),
                          BytesText(static_cast<int64_t>(tensor.data.size())),
                          tensor.dtype.has_value() ? "" : "  (type not supported)");
  }
  text += "\ntypes\n";
  for (const auto& [type, use] : UseByType(files.tensors)) {
    absl::StrAppendFormat(&text, "  %-8s  %5d tensors  %14d parameters  %10s\n", OneLine(type),
                          use.tensors, use.elements, BytesText(use.bytes));
  }
  return text;
}

Json DescribeJson(const std::string& path, const ModelFiles& files) {
  Json metadata = Json::object(), tensors = Json::array(), types = Json::object();
  for (const FileFact& fact : files.facts) metadata[fact.key] = fact.json;
  for (const FileTensor& tensor : files.tensors) {
    tensors.push_back(
        {{"name", tensor.name},
         {"type", tensor.type_name},
         {"supported", tensor.dtype.has_value()},
         {"shape", Json(std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end()))},
         {"bytes", tensor.data.size()}});
  }
  for (const auto& [type, use] : UseByType(files.tensors)) {
    types[type] = {{"tensors", use.tensors}, {"parameters", use.elements}, {"bytes", use.bytes}};
  }
  return {{"file", path},
          {"format", files.format},
          {"files", files.files},
          {"bytes", files.bytes},
          {"parameters", CountParameters(files.tensors)},
          {"metadata", std::move(metadata)},
          {"tensors", std::move(tensors)},
          {"types", std::move(types)}};
}

absl::StatusOr<std::string> DescribeGraph(const InspectFlags& flags) {
  EngineOptions options = ToEngineOptions(flags.engine);
  options.micro_batch = std::max(options.micro_batch, flags.tokens);
  TANDEM_ASSIGN_OR_RETURN(const auto engine, OpenEngine(flags.model, options));
  if (flags.tokens > engine->options().context) {
    return absl::InvalidArgumentError(absl::StrCat("a step of ", flags.tokens,
                                                   " tokens; the context holds ",
                                                   engine->options().context, " (--ctx)"));
  }
  return engine->DescribePlan(flags.tokens);
}

absl::StatusOr<int> Inspect(const InspectFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const ModelFiles files, OpenModelFiles(flags.model));
  std::string graph;
  if (flags.graph) {
    TANDEM_ASSIGN_OR_RETURN(graph, DescribeGraph(flags));
  }
  if (flags.json) {
    Json description = DescribeJson(flags.model, files);
    if (flags.graph) description["graph"] = graph;
    TANDEM_RETURN_IF_ERROR(WriteOut(JsonText(description) + "\n"));
    return kExitOk;
  }
  const std::string text = DescribeText(flags.model, files);
  TANDEM_RETURN_IF_ERROR(WriteOut(flags.graph ? text + "\ngraph\n" + graph : text));
  return kExitOk;
}

}  // namespace

Action SetUpInspect(CLI::App& app) {
  auto flags = std::make_shared<InspectFlags>();
  app.add_option("MODEL", flags->model, "A GGUF file, a .safetensors file, or a folder of them")
      ->required();
  app.add_flag("--json", flags->json, "Print one object of JSON");
  CLI::Option* graph =
      app.add_flag("--graph", flags->graph,
                   "Also the plan of a step: nodes, their devices, segments, and places in memory");
  app.add_option("-n,--max-tokens", flags->tokens, "Most tokens of that step")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20).description(""))
      ->needs(graph)
      ->type_name("N");
  AddEngineFlags(app, flags->engine);
  app.footer(R"(
Works for architectures and tensor types that cannot be run as well, but for --graph.

Examples:
  tandem inspect model.gguf
  tandem inspect model.gguf --graph -n 512 --device reference
  tandem inspect model.gguf --json | jq .types)");
  return [flags] { return Inspect(*flags); };
}

}  // namespace tandem
