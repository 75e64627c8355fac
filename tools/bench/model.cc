#include "tools/bench/model.h"

#include "backends/device/status.h"
#include "runtime/synthetic.h"
#include "tools/bench/check.h"
#include "tools/default_model.h"
#include "tools/terminal.h"

namespace tandem {
namespace {

// "cpu" of "cpu+reference".
std::string FirstOf(const std::string& devices) { return devices.substr(0, devices.find('+')); }

absl::StatusOr<BenchModel> MakeSynthetic(const BenchFlags& flags) {
  TANDEM_ASSIGN_OR_RETURN(const SyntheticSpec spec, ParseSyntheticSpec(flags.synthetic));
  TANDEM_ASSIGN_OR_RETURN(
      auto model,
      MakeSyntheticModel(spec.config, {.type = spec.type,
                                       .layers = flags.layers,
                                       .device = FirstOf(flags.request.devices.front())}));
  return BenchModel{std::move(model), flags.synthetic + ", random weights", /*synthetic=*/true};
}

}  // namespace

absl::StatusOr<BenchModel> OpenBenchModel(const BenchFlags& flags) {
  if (!flags.synthetic.empty()) return MakeSynthetic(flags);
  std::string path = flags.model;
  if (path.empty()) {
    TANDEM_ASSIGN_OR_RETURN(path, FindDefaultModel());
  }
  TANDEM_ASSIGN_OR_RETURN(auto model, Model::Open(path));
  for (const std::string& warning : model->warnings()) {
    PrintNote("tandem: warning: " + OneLine(warning));
  }
  std::string name = model->config().name.empty() ? path : model->config().name;
  return BenchModel{std::move(model), std::move(name)};
}

std::string MultiplyTypeOf(const Model& model, const Processor& processor) {
  const DType type = MainWeightType(model);
  if (type == DType::kBF16 && MultiplyCeiling(processor, "bf16", processor.cores) > 0) {
    return "bf16";
  }
  const bool real = type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
  return real ? "f32" : "int8";
}

}  // namespace tandem
