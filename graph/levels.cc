#include "graph/levels.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace tandem {
namespace {

// Levels of the nodes so far that use a root.
struct Uses {
  int read = -1, written = -1;
};

std::vector<int> LevelsOf(const Graph& graph) {
  std::map<ValueId, Uses> uses;
  std::vector<int> levels;
  for (const Node& node : graph.nodes) {
    const auto read = graph.ReadRoots(node), written = graph.WrittenRoots(node);
    int level = 0;
    for (ValueId root : read) level = std::max(level, uses[root].written + 1);
    for (ValueId root : written) {
      level = std::max({level, uses[root].written + 1, uses[root].read + 1});
    }
    for (ValueId root : read) uses[root].read = std::max(uses[root].read, level);
    for (ValueId root : written) uses[root].written = std::max(uses[root].written, level);
    levels.push_back(level);
  }
  return levels;
}

// The roots that the nodes of a group use.
class Group {
 public:
  bool Admits(const Graph& graph, const Node& node) const {
    const auto meets = [](const std::vector<ValueId>& roots, const std::set<ValueId>& others) {
      return std::ranges::any_of(roots, [&](ValueId root) { return others.contains(root); });
    };
    const auto written = graph.WrittenRoots(node);
    return !meets(graph.ReadRoots(node), written_) && !meets(written, written_) &&
           !meets(written, read_);
  }
  void Add(const Graph& graph, const Node& node) {
    for (ValueId root : graph.ReadRoots(node)) read_.insert(root);
    for (ValueId root : graph.WrittenRoots(node)) written_.insert(root);
  }

 private:
  std::set<ValueId> read_, written_;
};

}  // namespace

void SortByLevel(Graph& graph) {
  const std::vector<int> levels = LevelsOf(graph);
  std::vector<size_t> order(graph.nodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&levels](size_t i) { return levels[i]; });
  std::vector<Node> nodes;
  for (size_t i : order) nodes.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(nodes);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (ValueId id : graph.nodes[i].outputs) {
      graph.values[static_cast<size_t>(id)].producer = static_cast<NodeId>(i);
    }
  }
}

std::vector<int> GroupIndependentNodes(const Graph& graph, std::span<const Segment> segments) {
  std::vector<int> group_of(graph.nodes.size());
  int number = -1;
  for (const Segment& segment : segments) {
    Group group;
    for (NodeId id : segment.nodes) {
      const Node& node = graph.node(id);
      if (id == segment.nodes.front() || !group.Admits(graph, node)) {
        group = Group();
        ++number;
      }
      group.Add(graph, node);
      group_of[static_cast<size_t>(id)] = number;
    }
  }
  return group_of;
}

}  // namespace tandem
