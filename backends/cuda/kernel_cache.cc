#include "backends/cuda/kernel_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/strings/str_format.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "tandem kernel 1\n";
constexpr std::string_view kSuffix = ".kernel";

class Fnv1a {
 public:
  void Add(std::string_view text) {
    for (const char c : text) {
      hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    }
    hash_ = (hash_ ^ 0xff) * 0x100000001b3ull;  // ("a", "b") is not ("ab", "")
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325ull;
};

uint64_t Hash(std::string_view text) {
  Fnv1a hash;
  hash.Add(text);
  return hash.value();
}

void AppendText(std::string& out, std::string_view text) {
  const uint64_t size = text.size();
  out.append(reinterpret_cast<const char*>(&size), sizeof(size));
  out.append(text);
}

// Takes a text from the front of `in`; nothing if it is cut.
std::optional<std::string_view> TakeText(std::string_view& in) {
  uint64_t size = 0;
  if (in.size() < sizeof(size)) return std::nullopt;
  std::memcpy(&size, in.data(), sizeof(size));
  in.remove_prefix(sizeof(size));
  if (size > in.size()) return std::nullopt;
  const std::string_view text = in.substr(0, size);
  in.remove_prefix(size);
  return text;
}

// Magic, key, entry, code, and the hash of all of these.
std::string Encode(const KernelKey& key, const KernelImage& image) {
  std::string file(kMagic);
  AppendText(file, key.ToString());
  AppendText(file, image.entry);
  AppendText(file, std::string_view(image.code.data(), image.code.size()));
  const uint64_t hash = Hash(file);
  file.append(reinterpret_cast<const char*>(&hash), sizeof(hash));
  return file;
}

std::optional<KernelImage> Decode(const KernelKey& key, std::string_view file) {
  uint64_t hash = 0;
  if (file.size() < kMagic.size() + sizeof(hash) || !file.starts_with(kMagic)) return std::nullopt;
  std::memcpy(&hash, file.data() + file.size() - sizeof(hash), sizeof(hash));
  file.remove_suffix(sizeof(hash));
  if (Hash(file) != hash) return std::nullopt;
  file.remove_prefix(kMagic.size());
  const auto text = TakeText(file), entry = TakeText(file), code = TakeText(file);
  if (!code.has_value() || *text != key.ToString()) return std::nullopt;
  return KernelImage{std::string(*entry), std::vector<char>(code->begin(), code->end())};
}

std::optional<std::string> ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return std::nullopt;
  return text;
}

std::string StemOf(const KernelKey& key) { return absl::StrFormat("%016x-", Hash(key.ToString())); }

}  // namespace

std::string KernelKey::ToString() const {
  return absl::StrFormat("%s %s %s %016x", arch, kernel.file, kernel.name, sources);
}

uint64_t HashSources(std::span<const SourceFile> sources) {
  Fnv1a hash;
  for (const char* option : CompilerOptions()) hash.Add(option);
  for (const SourceFile& file : sources) {
    hash.Add(file.name);
    hash.Add(file.text);
  }
  return hash.value();
}

std::optional<KernelImage> KernelCache::Find(const KernelKey& key) const {
  if (folder_.empty()) return std::nullopt;
  if (!key.compiler.empty()) {
    const auto file = ReadFile(fs::path(folder_) / absl::StrCat(StemOf(key), key.compiler,
                                                                Text(kSuffix)));
    return file.has_value() ? Decode(key, *file) : std::nullopt;
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(StemOf(key))) continue;
    const auto file = ReadFile(entry.path());
    auto image = file.has_value() ? Decode(key, *file) : std::nullopt;
    if (image.has_value()) return image;
  }
  return std::nullopt;
}

absl::Status KernelCache::Store(const KernelKey& key, const KernelImage& image) const {
  if (folder_.empty()) return absl::OkStatus();
  static std::atomic<int> counter = 0;  // names of temporary files
  std::error_code error;
  fs::create_directories(folder_, error);
  const fs::path path =
      fs::path(folder_) / absl::StrCat(StemOf(key), key.compiler, Text(kSuffix));
  const fs::path temporary = absl::StrCat(path.string(), ".", getpid(), ".", counter++);
  {
    std::ofstream out(temporary, std::ios::binary);
    const std::string file = Encode(key, image);
    out.write(file.data(), static_cast<std::streamsize>(file.size()));
    out.flush();
    if (!out) {
      fs::remove(temporary, error);
      return absl::UnavailableError(
          absl::StrCat("kernel cache: cannot write ", temporary.string()));
    }
  }
  fs::rename(temporary, path, error);
  if (!error) return absl::OkStatus();
  const std::string reason = error.message();
  fs::remove(temporary, error);
  return absl::UnavailableError(absl::StrCat("kernel cache: ", path.string(), ": ", reason));
}

}  // namespace tandem::cuda
