// Where results are kept between runs.
#pragma once

#include <string>

namespace tandem {

// $XDG_CACHE_HOME/tandem, or ~/.cache/tandem; "" without a home.
std::string CacheFolder();

// Of compiled kernels, inside the cache folder; "" if there is none.
std::string KernelCacheFolder();

}  // namespace tandem
