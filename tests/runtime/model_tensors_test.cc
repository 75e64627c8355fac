#include "runtime/model_tensors.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/model.h"
#include "tests/runtime/temp_dir.h"
#include "tests/tiny_model.h"

namespace tandem {
namespace {

std::map<std::string, std::string> Listed(const ModelConfig& config, const TensorChoices& choices) {
  std::map<std::string, std::string> shapes;
  for (const ModelTensor& tensor : ListModelTensors(config, choices)) {
    EXPECT_TRUE(shapes.emplace(tensor.name, tensor.shape.ToString()).second) << tensor.name;
  }
  return shapes;
}

std::map<std::string, std::string> Present(const Model& model) {
  std::map<std::string, std::string> shapes;
  for (const auto& [name, weight] : model.weights().all()) {
    if (name != "rope.inv_freq") shapes.emplace(name, weight.shape.ToString());
  }
  return shapes;
}

TEST(ModelTensorsTest, AreThoseOfACheckpoint) {
  const TempDir folder;
  const std::string path = folder.Path("tiny");
  const auto written = testing::WriteTinyModel(
      path, TANDEM_SOURCE_DIR "/tests/data/tokenizers/small_metaspace.json");
  ASSERT_TRUE(written.ok()) << written;
  const auto model = Model::Open(path);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(Listed((*model)->config(), {.layout = LatentLayout::kJoined}), Present(**model));
}

TEST(ModelTensorsTest, AreThoseOfAGgufFile) {
  const auto model = Model::Open(TANDEM_SOURCE_DIR "/models/stories-iq4_nl.gguf");
  ASSERT_TRUE(model.ok()) << model.status();
  const bool split = (*model)->weights().Contains("blk.0.attn_k_b.weight");
  const TensorChoices choices = {split ? LatentLayout::kSplit : LatentLayout::kJoined,
                                 !(*model)->weights().Contains("output.weight")};
  EXPECT_EQ(Listed((*model)->config(), choices), Present(**model));
}

}  // namespace
}  // namespace tandem
