// Who may include whom. Nothing includes upward or sideways, each library stays in its folder, and
// library code leaves the process and its environment alone.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A place in the tree, the first that a path matches, and the places that it may include besides
// itself.
struct Layer {
  std::string_view prefix;
  std::vector<std::string_view> below;
};

const std::vector<Layer>& Layers() {
  static const std::vector<Layer> layers = {
      {"backends/device/", {}},
      {"backends/reference/", {"backends/device/"}},
      {"backends/cpu/", {"backends/device/"}},
      {"backends/cuda/", {"backends/device/"}},
      {"backends/conformance/", {"backends/device/"}},
      {"backends/plugin_loader.", {"backends/device/"}},
      {"backends/open_device.",
       {"backends/device/", "backends/plugin_loader.h", "backends/reference/reference_device.h",
        "backends/cpu/cpu_device.h", "backends/cuda/cuda_device.h"}},
      {"ops/", {"backends/device/"}},
      {"graph/", {"backends/device/", "ops/"}},
      {"runtime/", {"backends/device/", "backends/open_device.h", "ops/", "graph/"}},
      {"tools/machine/", {"backends/device/", "runtime/atomic_file.h", "tools/json.h"}},
      {"tools/",
       {"backends/device/", "backends/open_device.h", "backends/conformance/", "ops/", "graph/",
        "runtime/"}},
  };
  return layers;
}

// The prefix of a library's headers, and a place that may include them and be the only one to reach
// them by that.
struct Library {
  std::string_view prefix, owner;
};
constexpr std::array<Library, 19> kLibraries = {{
    {"Eigen/", "backends/reference/"},
    {"tbb/", "backends/cpu/"},
    {"oneapi/", "backends/cpu/"},
    {"immintrin", "backends/cpu/"},
    {"immintrin", "tools/machine/"},
    {"cuda", "backends/cuda/"},
    {"nvrtc", "backends/cuda/"},
    {"cublas", "backends/cuda/"},
    {"nvtx", "backends/cuda/"},
    {"nlohmann/", "runtime/"},
    {"nlohmann/", "tools/"},
    {"pcre2", "runtime/"},
    {"utf8proc", "runtime/"},
    {"CLI/", "tools/"},
    {"gtest/", "tests/"},
    {"gmock/", "tests/"},
    {"benchmark/", "tests/"},
    {"cassert", "tests/"},
    {"assert.h", "tests/"},
}};

using Sources = std::map<std::string, std::string>;  // path to text

std::string LayerOf(const std::string& path) {
  for (const Layer& layer : Layers()) {
    if (path.starts_with(layer.prefix)) return std::string(layer.prefix);
  }
  return "";
}

bool MayInclude(const std::string& from, const std::string& to) {
  for (const Layer& layer : Layers()) {
    if (!from.starts_with(layer.prefix)) continue;
    if (to.starts_with(layer.prefix)) return true;
    return std::ranges::any_of(layer.below, [&](auto prefix) { return to.starts_with(prefix); });
  }
  return false;
}

std::vector<std::string> IncludesOf(const std::string& text) {
  static const std::regex include(R"re(^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"])re");
  std::vector<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, include)) names.push_back(match[1]);
  }
  return names;
}

// The text without comments and the content of literals.
std::string CodeOf(const std::string& text) {
  static const std::regex noise(
      R"re(//[^\n]*|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/|R"\((?:[^)]|\)[^"])*\)"|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)')re");
  return std::regex_replace(text, noise, " ");
}

// All files that a file reaches through includes of this tree, itself among them.
std::set<std::string> Reached(const Sources& sources, const std::string& from) {
  std::set<std::string> seen = {from};
  std::vector<std::string> open = {from};
  while (!open.empty()) {
    const std::string path = open.back();
    open.pop_back();
    for (const std::string& name : IncludesOf(sources.at(path))) {
      if (sources.contains(name) && seen.insert(name).second) open.push_back(name);
    }
  }
  return seen;
}

std::vector<std::string> UpwardIncludes(const Sources& sources) {
  std::vector<std::string> faults;
  for (const auto& [path, text] : sources) {
    if (LayerOf(path).empty()) faults.push_back(path + " is in no layer");
    for (const std::string& name : IncludesOf(text)) {
      const bool ours = !LayerOf(name).empty() || name.starts_with("tests/");
      if (ours && !MayInclude(path, name)) faults.push_back(path + " includes " + name);
    }
  }
  return faults;
}

// True if `file` may include `name` where `path` reaches it.
bool MayReach(const std::string& path, const std::string& file, const std::string& name) {
  bool listed = false;
  for (const Library& library : kLibraries) {
    if (!name.starts_with(library.prefix)) continue;
    if (path.starts_with(library.owner) && file.starts_with(library.owner)) return true;
    listed = true;
  }
  return !listed;
}

std::vector<std::string> LeakedLibraries(const Sources& sources) {
  std::vector<std::string> faults;
  for (const auto& [path, text] : sources) {
    for (const std::string& file : Reached(sources, path)) {
      for (const std::string& name : IncludesOf(sources.at(file))) {
        if (sources.contains(name) || MayReach(path, file, name)) continue;
        faults.push_back(path + " reaches " + name + (file == path ? "" : " by " + file));
      }
    }
  }
  return faults;
}

// Calls that end the process, read its environment or throw. Tools may end their own process.
std::vector<std::string> ForbiddenWords(const Sources& sources) {
  static const std::regex word(
      R"re((?:^|[^\w.>])(?:std::)?((?:secure_)?getenv|abort|_?exit|quick_exit|terminate|assert)\s*\(|\b(throw)\b)re");
  std::vector<std::string> faults;
  for (const auto& [path, text] : sources) {
    if (path.starts_with("tools/")) continue;
    const std::string code = CodeOf(text);
    for (auto it = std::sregex_iterator(code.begin(), code.end(), word);
         it != std::sregex_iterator(); ++it) {
      faults.push_back(path + ": " + ((*it)[1].matched ? (*it)[1].str() : (*it)[2].str()));
    }
  }
  return faults;
}

std::vector<std::string> HeaderFaults(const Sources& sources) {
  std::vector<std::string> faults;
  for (const auto& [path, text] : sources) {
    if (!path.ends_with(".h")) continue;
    const std::string code = CodeOf(text);
    if (code.find("#pragma once") == std::string::npos)
      faults.push_back(path + ": no #pragma once");
    if (code.find("using namespace") != std::string::npos) {
      faults.push_back(path + ": using namespace");
    }
  }
  return faults;
}

Sources ReadTree() {
  const std::filesystem::path root = TANDEM_SOURCE_DIR;
  Sources sources;
  for (const char* folder : {"backends", "ops", "graph", "runtime", "tools"}) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc") continue;
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      sources[std::filesystem::relative(entry.path(), root).generic_string()] = text.str();
    }
  }
  return sources;
}

class LayeringTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { tree_ = new Sources(ReadTree()); }
  static void TearDownTestSuite() { delete tree_; }
  static const Sources& tree() { return *tree_; }

 private:
  static Sources* tree_;
};
Sources* LayeringTest::tree_ = nullptr;

TEST_F(LayeringTest, TheTreeIsRead) {
  EXPECT_GT(tree().size(), 50u);
  EXPECT_TRUE(tree().contains("graph/plan.h"));
}

TEST_F(LayeringTest, NothingIncludesUpwardOrSideways) {
  EXPECT_THAT(UpwardIncludes(tree()), IsEmpty());
}

TEST_F(LayeringTest, LibrariesStayInTheirFolders) {
  EXPECT_THAT(LeakedLibraries(tree()), IsEmpty());
}

TEST_F(LayeringTest, LibraryCodeLeavesTheProcessAlone) {
  EXPECT_THAT(ForbiddenWords(tree()), IsEmpty());
}

TEST_F(LayeringTest, HeadersAreWellBehaved) { EXPECT_THAT(HeaderFaults(tree()), IsEmpty()); }

TEST(LayeringRulesTest, FindUpwardAndSidewaysIncludes) {
  EXPECT_THAT(UpwardIncludes({{"ops/a.cc", "#include \"ops/op.h\"\n# include \"graph/graph.h\"\n"},
                              {"graph/b.h", "#include <vector>\n#include \"ops/op.h\"\n"},
                              {"backends/cpu/c.cc", "#include \"backends/reference/rows.h\"\n"},
                              {"backends/open_device.cc", "#include \"backends/cpu/simd.h\"\n"},
                              {"runtime/d.cc", "#include \"tests/damage.h\"\n"},
                              {"other/e.cc", ""}}),
              ElementsAre("backends/cpu/c.cc includes backends/reference/rows.h",
                          "backends/open_device.cc includes backends/cpu/simd.h",
                          "ops/a.cc includes graph/graph.h", "other/e.cc is in no layer",
                          "runtime/d.cc includes tests/damage.h"));
}

TEST(LayeringRulesTest, FindLibrariesThatLeakThroughHeaders) {
  EXPECT_THAT(LeakedLibraries({{"runtime/fields.h", "#include <nlohmann/json.hpp>\n"},
                               {"runtime/engine.h", "#include \"runtime/fields.h\"\n"},
                               {"tools/run.cc", "#include \"runtime/engine.h\"\n"},
                               {"graph/plan.cc", "#include <tbb/task_arena.h>\n"}}),
              ElementsAre("graph/plan.cc reaches tbb/task_arena.h",
                          "tools/run.cc reaches nlohmann/json.hpp by runtime/fields.h"));
}

TEST(LayeringRulesTest, FindForbiddenWordsInCodeOnly) {
  EXPECT_THAT(ForbiddenWords({{"ops/a.cc",
                               "// exit(1)\n/* throw */ const char* s = \"abort()\";\n"
                               "static_assert(true); stream.exit(); Exit(2);\n"},
                              {"ops/b.cc", "if (x) std::abort();\nthrow 1;\nassert(x);"},
                              {"tools/c.cc", "exit(1);"}}),
              ElementsAre("ops/b.cc: abort", "ops/b.cc: throw", "ops/b.cc: assert"));
}

}  // namespace
