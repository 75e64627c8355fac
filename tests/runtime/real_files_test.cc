// Vocabularies and checkpoints that other programs wrote. Skipped where they are not at hand.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/gguf_model.h"
#include "runtime/safetensors.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

// The files under `folder` of the shared data, next to the source tree or one level up.
std::vector<std::string> SharedFiles(std::string_view folder, std::string_view extension) {
  std::vector<std::string> paths;
  for (const char* up : {"/../shared/", "/../../shared/"}) {
    const std::string root = std::string(TANDEM_SOURCE_DIR) + up + std::string(folder);
    if (!fs::is_directory(root)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.path().extension() == extension) paths.push_back(entry.path());
    }
    break;
  }
  return paths;
}

TEST(RealFilesTest, VocabulariesOfGgml) {
  const auto paths = SharedFiles("tokenizers", ".gguf");
  if (paths.empty()) GTEST_SKIP() << "no vocabularies";
  for (const std::string& path : paths) {
    const auto model = GgufModel::Open(path);
    ASSERT_TRUE(model.ok()) << model.status();
    const GgufMetadata& metadata = model->metadata();
    EXPECT_TRUE(metadata.GetString("general.architecture").ok()) << path;
    const auto tokens = metadata.GetStringArray("tokenizer.ggml.tokens");
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_GT(tokens->size(), 30000u);
    const auto types = metadata.GetI32Array("tokenizer.ggml.token_type");
    ASSERT_TRUE(types.ok()) << types.status();
    EXPECT_EQ(types->size(), tokens->size());
    EXPECT_TRUE(model->tensors().empty());
  }
}

TEST(RealFilesTest, CheckpointsOfTransformers) {
  std::vector<std::string> paths = SharedFiles("golden", ".safetensors");
  for (auto& path : SharedFiles("stories", ".safetensors")) paths.push_back(std::move(path));
  if (paths.empty()) GTEST_SKIP() << "no checkpoints";
  for (const std::string& path : paths) {
    const auto model = SafetensorsModel::Open(path);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_GT(model->tensors().size(), 4u) << path;
    for (const FileTensor& tensor : model->tensors()) {
      ASSERT_TRUE(SupportedDType(tensor).ok()) << tensor.name;
      EXPECT_EQ(tensor.data.size(),
                static_cast<size_t>(RowBytes(*tensor.dtype, NumElements(tensor))));
    }
  }
}

}  // namespace
}  // namespace tandem
