// What readers see: runs, the ledger, predictions, checks and lineage.
#include <algorithm>
#include <set>

#include "cd4ml/core/monitor.h"
#include "fixture.h"

namespace cd4ml::store {
namespace {

class History : public StoreTest {};

std::set<std::string> Ids(const LineageGraph& graph) {
  std::set<std::string> ids;
  for (const LineageNode& node : graph.nodes) ids.insert(node.id);
  return ids;
}

const LineageNode* Find(const LineageGraph& graph, const std::string& start) {
  for (const LineageNode& node : graph.nodes) {
    if (node.id.starts_with(start)) return &node;
  }
  return nullptr;
}

TEST_F(History, TracesAPredictionBackToModelDataCommitAndParameters) {
  RunCar(1, "one");
  const core::Run run = RunCar(2, "two");
  ASSERT_OK(store_->Commit(
      {PredictionChange{{{"car/2/release", "req-7", Tick(), Value::Map{{"age", 3}}, 9'800.0}}}}));

  auto graph = history().TraceLineage("req-7", LineageDirection::kUp, 50);

  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ(graph->root, "req-7");
  EXPECT_FALSE(graph->truncated);
  std::set<std::string> expected = {"req-7",
                                    "car/2/release",
                                    "car/2/release/1",
                                    "car/2/package/1",
                                    "car/2/train/1",
                                    "car/2/validate/1",
                                    "code:car@" + run.pins.commit,
                                    "params:car@" + run.pins.params_digest.hex(),
                                    core::VersionId(run.pins.materials.at("listings"))};
  for (const char* reference : {"package.service", "train.model", "validate.clean"}) {
    expected.insert(core::VersionId(*core::FindVersion(run, reference)));
  }
  expected.insert("environment:car@" + Sha256(ToJson(Success().environment)).hex());
  EXPECT_EQ(Ids(*graph), expected);
  EXPECT_EQ(*Find(*graph, "params:")->facts.FindPath("values.train.max_depth"), Value(6));
  EXPECT_EQ(*Find(*graph, "environment:")->facts.FindPath("values.python"), Value("3.11.2"));
  // Every edge leads from what was to what came of it, so each node but the root has a way on.
  for (const LineageEdge& edge : graph->edges) EXPECT_NE(edge.from, graph->root);
}

}  // namespace
}  // namespace cd4ml::store
