// What readers see: runs, the ledger, predictions, checks and lineage.
#include <atomic>
#include <set>
#include <thread>
#include <tuple>

#include "cd4ml/core/monitor.h"
#include "fixture.h"
#include "raw.h"

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

TEST_F(History, TracesAModelToItsOwnRunWhenManyRunsMadeTheSameBytes) {
  const core::Run first = RunCar(1, "same");
  RunCar(2, "same");
  RunCar(3, "same");

  auto up = history().TraceLineage("car/2/release", LineageDirection::kUp, 0);
  auto down = history().TraceLineage(core::FindVersion(first, "train.model")->digest.substr(0, 6),
                                     LineageDirection::kDown, 0);

  ASSERT_OK(up.status());
  for (const LineageNode& node : up->nodes) {
    if (node.kind == LineageNode::Kind::kAttempt) {
      EXPECT_TRUE(node.id.starts_with("car/2/")) << node.id;
    }
  }
  ASSERT_OK(down.status());
  for (const char* used : {"car/1/package/1", "car/2/package/1", "car/3/package/1", "car/1/release",
                           "car/3/release"}) {
    EXPECT_TRUE(Ids(*down).contains(used)) << used;
  }
  EXPECT_FALSE(Ids(*down).contains("car/1/train/1"));
}

TEST_F(History, TracesABadDataVersionDownToPredictions) {
  const core::Run run = RunCar(1, "one");
  ASSERT_OK(store_->Commit({PredictionChange{{{"car/1/release", "req-1", Tick(), Value(), 1.0}}}}));

  auto graph = history().TraceLineage(core::VersionId(run.pins.materials.at("listings")),
                                      LineageDirection::kDown, 0);

  ASSERT_OK(graph.status());
  for (const char* id : {"car/1/validate/1", "car/1/train/1", "car/1/package/1", "car/1/release/1",
                         "car/1/release", "req-1"}) {
    EXPECT_TRUE(Ids(*graph).contains(id)) << id;
  }
}

TEST_F(History, TellsEqualBytesFromElsewhereFromWhatWasMadeHere) {
  RunCar(1, "same");
  const core::Run second = RunCar(2, "same");

  auto graph = history().TraceLineage(core::VersionId(second.pins.materials.at("listings")),
                                      LineageDirection::kDown, 0);

  ASSERT_OK(graph.status());
  for (const char* id : {"car/2/train/1", "car/2/release"}) EXPECT_TRUE(Ids(*graph).contains(id)) << id;
  for (const char* id : {"car/1/train/1", "car/1/release"}) EXPECT_FALSE(Ids(*graph).contains(id)) << id;
}

TEST_F(History, WalksAVersionDownFromEachThatMadeIt) {
  RunCar(1, "same");
  core::Run second = RunCar(2, "same");

  auto graph = history().TraceLineage("params:car@" + second.pins.params_digest.hex(), LineageDirection::kDown, 0);

  ASSERT_OK(graph.status());
  for (const char* id : {"car/1/package/1", "car/1/release", "car/2/package/1", "car/2/release"}) {
    EXPECT_TRUE(Ids(*graph).contains(id)) << id;
  }
}

TEST_F(History, FindsDataByWhereItWasReadFrom) {
  core::Run run;
  core::StartRun start = CarRun(1);
  start.pins.materials["listings"].summary = "1.2 KiB from s3://lake/listings.csv";
  ASSERT_OK(Do(run, start));
  ASSERT_OK(Perform(run, "validate", GoodOutcome("validate", "one")));
  const std::string id = core::VersionId(run.pins.materials.at("listings"));

  for (const char* reference : {"car/listings", "s3://lake/listings.csv"}) {
    auto graph = history().TraceLineage(reference, LineageDirection::kDown, 1);
    ASSERT_OK(graph.status());
    EXPECT_EQ(graph->root, id) << reference;
  }
  EXPECT_TRUE(absl::IsNotFound(history().TraceLineage("listings.csv", LineageDirection::kDown, 1).status()));
  RunCar(2, "two");
  EXPECT_TRUE(absl::IsInvalidArgument(history().TraceLineage("car/listings", LineageDirection::kDown, 1).status()));
}

// --- impact --------------------------------------------------------------------------------------

struct Found {
  std::vector<std::string> runs, models, deployments;
};

Found Flat(const Impact& impact) {
  Found found{impact.runs, {}, {}};
  for (const ImpactedModel& model : impact.models) found.models.push_back(core::ToText(model.made_by));
  for (const ImpactedDeployment& one : impact.deployments) found.deployments.push_back(one.deployment.id);
  return found;
}

using Names = std::vector<std::string>;

TEST_F(History, SaysWhichModelsDeploymentsAndPredictionsCameOfAVersionOfData) {
  RunCar(1, "one");
  const core::Run run = RunCar(2, "two");
  RunCar(3, "three");
  const UtcTime first = Tick(), last = Tick();
  ASSERT_OK(store_->Commit({PredictionChange{{{"car/2/release", "req-1", first, Value(), 1.0},
                                              {"car/2/release", "req-2", last, Value(), 1.0},
                                              {"car/3/release", "req-3", last, Value(), 1.0}}}}));
  const core::Version data = run.pins.materials.at("listings");

  for (const std::string& reference : {core::VersionId(data), data.digest, data.digest.substr(0, 8), "sha256:" + data.digest}) {
    auto impact = history().FindImpact(reference);

    ASSERT_OK(impact.status());
    EXPECT_EQ(impact->versions, std::vector<core::Version>{data});
    const Found found = Flat(*impact);
    EXPECT_EQ(found.runs, Names{"car/2"});
    EXPECT_EQ(found.models, Names{"car/2/train/1"});
    EXPECT_EQ(found.deployments, Names{"car/2/release"});
    EXPECT_EQ(impact->models[0].model, *core::FindVersion(run, "train.model"));
    EXPECT_EQ(impact->deployments[0].predictions, 2);
    EXPECT_EQ(impact->deployments[0].first_prediction, first);
    EXPECT_EQ(impact->deployments[0].last_prediction, last);
    EXPECT_TRUE(impact->deployments[0].deployment.ended.is_set());
    EXPECT_FALSE(impact->truncated);
  }
}

TEST_F(History, SaysWhatCameOfACommitAndOfAllVersionsOfAMaterial) {
  const core::Run run = RunCar(1, "one");
  RunCar(2, "two");

  EXPECT_EQ(Flat(*history().FindImpact(run.pins.commit.substr(0, 7))).deployments, Names{"car/1/release"});
  const Found all = Flat(*history().FindImpact("car/listings"));
  EXPECT_EQ(all.runs, (Names{"car/1", "car/2"}));
  EXPECT_EQ(all.deployments, (Names{"car/1/release", "car/2/release"}));
}

TEST_F(History, BlamesNoDataForWhatOthersMadeOfEqualBytes) {
  const core::Run first = RunCar(1, "same");
  const core::Run second = RunCar(2, "same");

  EXPECT_EQ(Flat(*history().FindImpact(first.pins.materials.at("listings").digest)).models, Names{"car/1/train/1"});
  EXPECT_EQ(Flat(*history().FindImpact(second.pins.materials.at("listings").digest)).models, Names{"car/2/train/1"});
}

TEST_F(History, FollowsAResultIntoTheRunThatTookItOver) {
  const core::Run first = RunCar(1, "one");
  core::Run second;
  core::StartRun start = CarRun(2);
  const core::StageRun& validated = *first.FindStage("validate");
  start.carried["validate"] = {{"car/1", "validate", 1}, *validated.result(), true};
  ASSERT_OK(Do(second, start));
  ASSERT_OK(Perform(second, "train", GoodOutcome("train", "two")));

  const Found found = Flat(*history().FindImpact(first.pins.materials.at("listings").digest));

  EXPECT_EQ(found.runs, (Names{"car/1", "car/2"}));
  EXPECT_EQ(found.models, (Names{"car/1/train/1", "car/2/train/1"}));
}

std::vector<std::string> Attempts(const std::vector<core::Origin>& origins) {
  std::vector<std::string> ids;
  for (const core::Origin& origin : origins) ids.push_back(core::ToText(core::AttemptOf(origin)));
  return ids;
}

TEST_F(History, LeadsFromAResultThatWasMadeUnderAnotherNameToWhoMadeIt) {
  const core::Run first = RunCar(1, "one");
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("van")}}));
  core::StartRun start = CarRun(2);
  start.pipeline = "van";
  start.id = "van/2";
  start.stages = {Plan("fit", core::StageKind::kTrain, {}, {"listings"}),
                  Plan("package", core::StageKind::kPackage, {"fit"}, {"fit.model"}),
                  Plan("release", core::StageKind::kDeploy, {"package"}, {"package.service"})};
  start.stages[0].reuse = true;
  start.stages[2].environment = "production";
  start.stages[2].package = "package.service";
  core::Run second;
  ASSERT_OK(Do(second, start));
  ASSERT_OK(Do(second, core::OfferResult{"fit", {{"car/1", "train", 1}, *first.FindStage("train")->result(), true}}));
  for (const char* stage : {"package", "release"}) ASSERT_OK(Perform(second, stage, GoodOutcome(stage, "two")));

  const LineageGraph up = history().TraceLineage("van/2", LineageDirection::kUp, 0).value();
  const bool has_maker = std::any_of(up.nodes.begin(), up.nodes.end(), [](const LineageNode& node) { return node.id == "car/1/train/1"; });
  EXPECT_TRUE(has_maker);
  EXPECT_EQ(Attempts(history().FindOrigins("van/2", true).value()),
            (Names{"van/2/package/1", "car/1/train/1", "car/1/validate/1"}));
  for (const std::string& root : {first.pins.commit, first.pins.materials.at("listings").digest}) {
    EXPECT_EQ(Flat(history().FindImpact(root).value()).deployments, (Names{"car/1/release", "van/2/release"})) << root;
  }
  EXPECT_EQ(second.FindStage("release")->state, core::StageState::kSucceeded);
}

TEST_F(History, RefusesToTraceAMatrixThatChoseNoCell) {
  core::StartRun start = CarRun(1);
  start.stages = {Plan("train@8", core::StageKind::kTrain, {}, {}), Plan("train", core::StageKind::kTrain, {"train@8"}, {})};
  start.stages[0].cell_of = "train";
  start.stages[1].matrix = core::MatrixSpec{.cells = {"train@8"}};
  core::Run run;
  ASSERT_OK(Do(run, start));
  ASSERT_OK(Perform(run, "train@8", GoodOutcome("train", "one")));

  EXPECT_EQ(history().TraceLineage("car/1/train", LineageDirection::kUp, 0).status().message(),
            "no cell of stage \"train\" of run car/1 was chosen; trace one of them, like car/1/train@8");
  ASSERT_OK(history().TraceLineage("car/1/train@8", LineageDirection::kUp, 0).status());
}

TEST_F(History, KnowsARunThatPerformedNothingByWhatItTookOver) {
  const core::Run first = RunCar(1, "one");
  core::StartRun start = CarRun(2);
  start.stages.resize(2);
  for (core::StagePlan& stage : start.stages) stage.reuse = true;
  core::Run second;
  ASSERT_OK(Do(second, start));
  for (const char* stage : {"validate", "train"}) {
    ASSERT_OK(Do(second, core::OfferResult{stage, {{"car/1", stage, 1}, *first.FindStage(stage)->result(), true}}));
  }
  ASSERT_EQ(second.state, core::RunState::kSucceeded);

  EXPECT_EQ(history().TraceLineage("car/2", LineageDirection::kUp, 0).value().root, "car/1/train/1");
  EXPECT_EQ(history().TraceLineage("car/2", LineageDirection::kDown, 0).value().root, "car/1/validate/1");
  EXPECT_EQ(Attempts(history().FindOrigins("car/2", false).value()), Names{"car/1/train/1"});
  const std::string data = first.pins.materials.at("listings").digest;
  EXPECT_EQ(Flat(history().FindImpact(data).value()).runs, (Names{"car/1", "car/2"}));

  const std::string commit = second.pins.commit;
  for (const std::string& reference : {commit, commit.substr(0, 7), "code:car@" + commit}) {
    const auto impact = history().FindImpact(reference);
    ASSERT_OK(impact.status());
    EXPECT_EQ(impact->runs, Names{"car/2"});
    EXPECT_TRUE(impact->models.empty()) << "it made none";
    ASSERT_EQ(impact->versions.size(), 1u);
    EXPECT_EQ(core::VersionId(impact->versions[0]), "code:car@" + commit);
    const absl::Status traced = history().TraceLineage(reference, LineageDirection::kDown, 0).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(traced)) << traced;
    EXPECT_NE(traced.message().find("car/2 took over every result"), std::string::npos) << traced;
  }
  EXPECT_TRUE(absl::IsNotFound(history().FindImpact("code:bike@" + commit).status()));
}

TEST_F(History, RefusesAnImpactOfNothingOrOfTwoThings) {
  const core::Run run = RunCar(1, "one");

  EXPECT_TRUE(absl::IsNotFound(history().FindImpact("elsewhere.csv").status()));
  EXPECT_TRUE(absl::IsNotFound(history().FindImpact("feedbeef00").status()));
  const absl::Status kind = history().FindImpact("model:car/train.model@" + run.pins.materials.at("listings").digest).status();
  EXPECT_TRUE(absl::IsNotFound(kind)) << kind;
}

TEST_F(History, FindsTheAttemptThatMadeAThingWithAllThatIsRecordedOfIt) {
  const core::Run run = RunCar(1, "one");
  RunCar(2, "two");

  auto origins = history().FindOrigins(core::FindVersion(run, "train.model")->digest.substr(0, 12), false);

  ASSERT_OK(origins.status());
  ASSERT_EQ(Attempts(*origins), std::vector<std::string>{"car/1/train/1"});
  const core::Origin& origin = origins->front();
  EXPECT_EQ(origin.kind, core::StageKind::kTrain);
  EXPECT_EQ(origin.pins.commit, run.pins.commit);
  EXPECT_EQ(origin.pins.params, run.pins.params);
  EXPECT_EQ(origin.pins.definition, run.pins.definition);
  EXPECT_EQ(origin.trigger.by, "ada@host");
  EXPECT_EQ(origin.attempt.agent, "agent-1");
  EXPECT_TRUE(origin.attempt.ended.is_set());
  EXPECT_EQ(origin.attempt.outcome.metrics.at("mae"), 1100.5);
  EXPECT_EQ(origin.recorder.size(), 32u);
  ASSERT_EQ(origin.produced.size(), 1u);
  EXPECT_EQ(origin.produced[0], *core::FindVersion(run, "train.model"));
  ASSERT_EQ(origin.used.size(), 4u);
  EXPECT_EQ(origin.used[0].digest, run.pins.commit);
  EXPECT_EQ(origin.used[3], *core::FindVersion(run, "validate.clean"));
}

TEST_F(History, FindsTheOriginsOfWhatMadeNothingItself) {
  RunCar(1, "one");
  ASSERT_OK(store_->Commit({PredictionChange{{{"car/1/release", "req-1", Tick(), Value(), 1.0}}}}));
  const std::vector<std::string> package = {"car/1/package/1"};
  const std::vector<std::string> all = {"car/1/package/1", "car/1/train/1", "car/1/validate/1"};

  for (const char* reference : {"req-1", "car/1/release", "car/production", "car/1", "car/1/package", "car/1/release/1"}) {
    auto nearest = history().FindOrigins(reference, false);
    ASSERT_OK(nearest.status());
    EXPECT_EQ(Attempts(*nearest), package) << reference;
    auto upstream = history().FindOrigins(reference, true);
    ASSERT_OK(upstream.status());
    EXPECT_EQ(Attempts(*upstream), all) << reference;
  }
}

TEST_F(History, NeitherShowsNorLetsSignWhatIsNotAsItWasWritten) {
  RunCar(1, "one");
  const core::Run sound = RunCar(2, "two");
  {
    RawDatabase raw(options_.path);
    EXPECT_EQ(raw.Execute("DROP TRIGGER run_event_is_never_changed"), "");
  }
  for (const auto& [kind, from, to] : {std::tuple("run_started", "max_depth", "min_depth"), {"attempt_ended", "1100.5", "1000.5"},
                                       {"versions_produced", "car/validate", "car/validatd"}}) {
    RawDatabase raw(options_.path);
    const std::string where = " WHERE run = 1 AND kind = '" + std::string(kind) + "'";
    const auto change = [&](const std::string& a, const std::string& b) {
      EXPECT_EQ(raw.Execute("UPDATE run_event SET payload = replace(payload, '" + a + "', '" + b + "')" + where), "");
    };
    ASSERT_TRUE(history().FindOrigins("car/1/train", false).ok()) << kind;
    change(from, to);
    const absl::Status signing = history().FindOrigins("car/1/train", false).status();
    EXPECT_TRUE(absl::IsDataLoss(signing)) << kind << ": " << signing;
    EXPECT_NE(signing.message().find("is not as it was written"), std::string::npos) << signing;
    EXPECT_TRUE(absl::IsDataLoss(history().FindOrigins("car/1/release", true).status())) << kind;
    if (kind != std::string("versions_produced")) {
      EXPECT_TRUE(absl::IsDataLoss(history().GetRun("car/1").status())) << kind;
    }
    if (kind == std::string("run_started")) {
      EXPECT_TRUE(absl::IsDataLoss(history().TraceLineage("car/1/train", LineageDirection::kUp, 0).status()));
    }
    EXPECT_TRUE(history().FindOrigins("car/2/release", true).ok()) << kind;
    EXPECT_EQ(history().GetRun("car/2").value().pins.params, sound.pins.params);
    change(to, from);
  }
}

TEST_F(History, SaysThatNoStageMadeRawData) {
  const core::Run run = RunCar(1, "one");

  EXPECT_TRUE(absl::IsFailedPrecondition(
      history().FindOrigins(core::VersionId(run.pins.materials.at("listings")), true).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(history().FindOrigins(run.pins.commit, true).status()));
  EXPECT_TRUE(absl::IsNotFound(history().FindOrigins("feedbeef00", false).status()));
}

TEST_F(History, UnderstandsEveryWayToNameAThing) {
  RunCar(1, "one");
  const core::Run run = RunCar(2, "two");
  ASSERT_OK(store_->Commit({PredictionChange{{{"car/1/release", "req/1", Tick(), Value(), 1.0}}}}));
  const auto root = [this](const std::string& reference,
                           LineageDirection direction = LineageDirection::kUp) {
    auto graph = history().TraceLineage(reference, direction, 1);
    return graph.ok() ? graph->root : graph.status().ToString();
  };
  const std::string model = core::VersionId(*core::FindVersion(run, "train.model"));
  const std::string digest = core::FindVersion(run, "train.model")->digest;

  EXPECT_EQ(root("car/2"), "car/2/release");
  EXPECT_EQ(root("car/2", LineageDirection::kDown), "car/2/validate/1");
  EXPECT_EQ(root("car/latest"), "car/2/release");
  EXPECT_EQ(root("car/latest-passed"), "car/2/release");
  EXPECT_EQ(root("production"), "car/2/release");
  EXPECT_EQ(root("car/1/release"), "car/1/release");
  EXPECT_EQ(root("car/1/train"), "car/1/train/1");
  EXPECT_EQ(root("car/1/train/1"), "car/1/train/1");
  EXPECT_EQ(root("req/1"), "req/1");
  EXPECT_EQ(root(model), model);
  EXPECT_EQ(root("sha256:" + digest), model);
  EXPECT_EQ(root(digest.substr(0, 6)), model);
  EXPECT_EQ(root(run.pins.commit.substr(0, 7)), "code:car@" + run.pins.commit);
}

TEST_F(History, SaysWhatItCouldNotFind) {
  core::Run fresh;
  ASSERT_OK(Do(fresh, CarRun(1)));
  const auto code = [this](const std::string& reference) {
    return history().TraceLineage(reference, LineageDirection::kUp, 1).status().code();
  };

  EXPECT_EQ(code("car/1"), absl::StatusCode::kFailedPrecondition);  // Nothing was attempted.
  for (const char* reference : {"",
                                "/",
                                "//",
                                "car",
                                "car/",
                                "car/2",
                                "car/0",
                                "car/-1",
                                "car/99999999999999999999",
                                "staging",
                                "car/1/train",
                                "car/1/train/7",
                                "bike/latest",
                                "abc",
                                "abcdefabcdef",
                                "sha256:",
                                "@",
                                "model:x@",
                                "'; DROP TABLE run; --",
                                "\xFF\xFE",
                                "%",
                                "model:car/train.model@abcdef"}) {
    EXPECT_EQ(code(reference), absl::StatusCode::kNotFound) << reference;
  }
}

TEST_F(History, AsksForMoreOfAnAmbiguousDigest) {
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("bike")}}));
  core::Run run;
  core::StartRun start = CarRun(1);
  start.stages = {Plan("a", core::StageKind::kCommand, {}, {})};
  ASSERT_OK(Do(run, start));
  core::Outcome outcome = Success();
  outcome.outputs = {Output("x", core::OutputType::kFile, "equal"),
                     Output("y", core::OutputType::kFile, "equal")};
  ASSERT_OK(Perform(run, "a", outcome));
  const std::string digest = Sha256("equal").hex();

  const absl::Status status =
      history().TraceLineage(digest.substr(0, 8), LineageDirection::kUp, 1).status();

  EXPECT_EQ(Message(status), "\"" + digest.substr(0, 8) + "\" may mean file:car/a.x@" + digest +
                                 ", file:car/a.y@" + digest + "; give more of it");
  EXPECT_TRUE(
      history().TraceLineage("file:car/a.y@" + digest.substr(0, 8), LineageDirection::kUp, 1).ok());
}

TEST_F(History, KeepsEnvironmentsOfPipelinesApart) {
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("bike")}}));
  RunCar(1, "one");
  core::StartRun start = CarRun(1);
  start.pipeline = "bike";
  start.id = "bike/1";
  core::Run bike;
  ASSERT_OK(Do(bike, start));
  for (const char* stage : {"validate", "train", "evaluate", "package", "release"}) {
    ASSERT_OK(Perform(bike, stage, GoodOutcome(stage, "bike")));
  }

  EXPECT_EQ(store_->Load()->live.size(), 2u);
  EXPECT_EQ(history().ListDeployments("production", now_, 10)->size(), 2u);
  const auto trace = [this](const std::string& reference) {
    return history().TraceLineage(reference, LineageDirection::kUp, 1);
  };
  EXPECT_EQ(trace("bike/production")->root, "bike/1/release");
  EXPECT_EQ(trace("car/production")->root, "car/1/release");
  EXPECT_EQ(Message(trace("production").status()),
            "\"production\" may mean bike/production, car/production; give more of it");
}

TEST_F(History, ADeploymentNamesTheOverridesOfItsRunAndNoOthers) {
  RunCar(1, "one");
  core::Run run;
  ASSERT_OK(Do(run, CarRun(2)));
  for (const char* stage : {"validate", "train", "evaluate", "package", "release"}) {
    core::Outcome outcome = GoodOutcome(stage, "two");
    if (std::string_view(stage) == "evaluate") {
      outcome.verdict->outcome = core::VerdictOutcome::kWarn;
      outcome.verdict->overrides = {{.rule = "mae", .by = "ana", .reason = "tax", .at = UtcTime{1}, .expires = UtcTime{2'000}}};
    }
    ASSERT_OK(Perform(run, stage, outcome));
  }

  const auto graph = history().TraceLineage("car/2/release", LineageDirection::kUp, 1);
  const auto before = history().TraceLineage("car/1/release", LineageDirection::kUp, 1);

  ASSERT_OK(graph.status());
  ASSERT_OK(before.status());
  const auto deployment = [](const LineageGraph& in) {
    return std::find_if(in.nodes.begin(), in.nodes.end(), [](const LineageNode& one) { return one.kind == LineageNode::Kind::kDeployment; });
  };
  const auto node = deployment(*graph);
  ASSERT_NE(node, graph->nodes.end());
  EXPECT_EQ(node->label, "deployment car/2/release to production, live, overridden: evaluate.mae by ana");
  EXPECT_EQ(ToJson(*node->facts.Find("overrides")),
            R"([{"by":"ana","expires":"1970-01-01T00:00:02.000Z","reason":"tax","rule":"evaluate.mae"}])");
  EXPECT_EQ(deployment(*before)->facts.Find("overrides"), nullptr);
}

TEST_F(History, StopsAtTheDepthAskedFor) {
  RunCar(1, "one");

  auto graph = history().TraceLineage("production", LineageDirection::kUp, 1);

  ASSERT_OK(graph.status());
  EXPECT_EQ(Ids(*graph), (std::set<std::string>{"car/1/release", "car/1/release/1"}));
  EXPECT_TRUE(graph->truncated);
}

TEST_F(History, ListsRunsNewestFirstPageByPage) {
  ASSERT_OK(store_->Commit({PipelineChange{Pipeline("bike")}}));
  RunCar(1, "one");
  for (int64_t number = 2; number <= 5; ++number) {
    core::Run run;
    ASSERT_OK(Do(run, CarRun(number)));
    if (number == 4) continue;
    ASSERT_OK(Do(run, core::CancelRun{"no need"}));
  }
  core::StartRun bike = CarRun(1);
  bike.pipeline = "bike";
  bike.id = "bike/1";
  core::Run other;
  ASSERT_OK(Do(other, bike));
  const auto ids = [this](const RunFilter& filter) {
    std::string text;
    auto runs = history().ListRuns(filter);
    EXPECT_TRUE(runs.ok()) << runs.status().ToString();
    for (const RunSummary& run : *runs) text += run.id + " ";
    return text;
  };

  EXPECT_EQ(ids({}), "bike/1 car/5 car/4 car/3 car/2 car/1 ");
  EXPECT_EQ(ids({.limit = 2}), "bike/1 car/5 ");
  EXPECT_EQ(ids({.limit = 2, .before = "car/5"}), "car/4 car/3 ");
  EXPECT_EQ(ids({.pipeline = "car", .limit = 3, .before = "car/4"}), "car/3 car/2 car/1 ");
  EXPECT_EQ(ids({.pipeline = "car", .before = "car/1"}), "");
  EXPECT_EQ(ids({.state = core::RunState::kCancelled}), "car/5 car/3 car/2 ");
  EXPECT_EQ(ids({.pipeline = "car", .state = core::RunState::kRunning}), "car/4 ");
  EXPECT_EQ(ids({.pipeline = "boat"}), "");
  EXPECT_EQ(ids({.limit = -5}), "bike/1 ");
  EXPECT_TRUE(absl::IsNotFound(history().ListRuns({.before = "car/99"}).status()));
  const RunSummary passed = history().ListRuns({.state = core::RunState::kSucceeded})->at(0);
  EXPECT_EQ(std::tie(passed.word, passed.stages_done, passed.stages_total, passed.gates_passed,
                     passed.gates_judged),
            std::make_tuple("passed", 6, 6, 2, 2));
  EXPECT_EQ(passed.commit, CarRun(1).pins.commit);
}

TEST_F(History, CountsARejectedGateAsJudged) {
  core::Run run;
  ASSERT_OK(Do(run, CarRun(1)));
  core::Outcome outcome = GoodOutcome("validate", "x");
  outcome.verdict = Judged(core::VerdictOutcome::kFail);
  ASSERT_OK(Perform(run, "validate", outcome));

  const RunSummary summary = history().ListRuns({}).value().at(0);

  EXPECT_EQ(summary.word, "gate rejected");
  EXPECT_EQ(summary.message, run.message);
  EXPECT_EQ(summary.gates_passed, 0);
  EXPECT_EQ(summary.gates_judged, 1);
  EXPECT_EQ(summary.stages_done, 6);  // The others were skipped.
}

TEST_F(History, KnowsWhatWasLiveWhen) {
  RunCar(1, "one");
  const UtcTime first = history().ListDeployments("production", UtcTime{}, 1)->at(0).started;
  RunCar(2, "two");
  const auto ids = [this](const std::string& environment, UtcTime at) {
    std::string text;
    auto deployments = history().ListDeployments(environment, at, 10);
    EXPECT_TRUE(deployments.ok()) << deployments.status().ToString();
    for (const core::Deployment& deployment : *deployments) {
      text += deployment.id + " ";
    }
    return text;
  };
  const core::Deployment second = history().ListDeployments("production", UtcTime{}, 1)->at(0);

  EXPECT_EQ(ids("", UtcTime{}), "car/2/release car/1/release ");
  EXPECT_EQ(ids("production", first), "car/1/release ");
  EXPECT_EQ(ids("", first + Duration(1)), "car/1/release ");
  EXPECT_EQ(ids("", second.started), "car/2/release ");
  EXPECT_EQ(ids("", UtcTime{first.ms - 1}), "");
  EXPECT_EQ(ids("staging", UtcTime{}), "");
  const core::Deployment ended = history().ListDeployments("production", first, 1)->at(0);
  EXPECT_EQ(ended.ended, second.started);
  EXPECT_EQ(second.replaced, ended.id);
  EXPECT_EQ(second.model.name, "car/train.model");
}

TEST_F(History, GivesTheNewestPredictionsOfAWindowOldestFirst) {
  RunCar(1, "one");
  std::vector<PredictionRecord> predictions;
  for (int i = 0; i < 10; ++i)
    predictions.push_back(
        {"car/1/release", "k" + std::to_string(i), UtcTime{i}, Value(), double(i)});
  ASSERT_OK(store_->Commit({PredictionChange{predictions}}));

  auto window = history().Predictions("car/1/release", UtcTime{2}, UtcTime{8}, 3);

  ASSERT_OK(window.status());
  std::string keys;
  for (const PredictionRecord& prediction : *window) keys += prediction.key;
  EXPECT_EQ(keys, "k5k6k7");
}

TEST_F(History, ListsChecksNewestFirst) {
  core::MonitorState monitor;
  monitor.pipeline = "car";
  monitor.stage = "watch";
  for (int64_t number = 1; number <= 3; ++number) {
    MonitorCheckRecord check{"car/watch",     number,      UtcTime{number},
                             "car/1/release", 100,         Judged(core::VerdictOutcome::kFail),
                             "drift",         "cool-down", ""};
    ASSERT_OK(store_->Commit({MonitorChange{monitor, check}}));
  }
  MonitorCheckRecord again;
  again.monitor = "car/watch";
  again.number = 3;
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Commit({MonitorChange{monitor, again}})));

  auto checks = history().MonitorChecks("car/watch", 2);

  ASSERT_OK(checks.status());
  ASSERT_EQ(checks->size(), 2u);
  EXPECT_EQ((*checks)[0].number, 3);
  EXPECT_EQ((*checks)[0].verdict.rules.at(0).observed, "1100");
  EXPECT_EQ((*checks)[0].held_back, "cool-down");
}

TEST_F(History, ServesManyThreadsWhileTheWriterWrites) {
  RunCar(1, "one");
  cd4ml::History& readers = history();
  std::vector<std::jthread> threads;
  std::atomic<int> failures = 0;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        auto runs = readers.ListRuns({});
        // Each answer is of one moment: a run is there whole.
        failures += !runs.ok() || !readers.GetRun(runs->at(0).id).ok() ||
                    !readers.TraceLineage("car/1", LineageDirection::kUp, 0).ok();
      }
    });
  }
  for (int64_t number = 2; number <= 6; ++number) RunCar(number, "x");
  threads.clear();

  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace cd4ml::store
