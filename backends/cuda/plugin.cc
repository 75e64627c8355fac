#include "backends/device/plugin.h"

#include "backends/cuda/cuda_device.h"

TANDEM_EXPORT const tandem::Plugin* tandem_plugin() {
  static const std::string abi = tandem::AbiString();
  static const tandem::Plugin plugin = {abi.c_str(), "cuda", &tandem::cuda::OpenCudaDevice};
  return &plugin;
}
