// Definitions become specifications; templates become values; what a run keeps reads back the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/check.h"
#include "cd4ml/base/status.h"
#include "cd4ml/yaml/yaml.h"
#include "tests/yaml/golden.h"

namespace cd4ml::yaml {
namespace {

using core::PipelineSpec;
using core::StageSpec;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

core::Scope MakeScope(Value params) {
  core::Scope scope;
  scope.name = [params](std::string_view name) -> std::optional<Value> {
    if (name == "run.lane") return Value("production");
    if (!name.starts_with("params.")) return std::nullopt;
    const Value* value = params.FindPath(name.substr(7));
    return value == nullptr ? std::nullopt : std::optional<Value>(*value);
  };
  return scope;
}

core::Scope EverythingScope() {
  return MakeScope(*ParseJson(R"({"train": {"depth": 12}, "gate": {"mae_max": 1650.5},
                                  "data": {"folder": "out"}})"));
}

ParsedPipeline Parse(const std::string& text, const core::Scope* scope = nullptr) {
  return MakePipelineParser()->Parse(text, "x.cd4ml.yaml", scope);
}

std::string Findings(const ParsedPipeline& parsed) {
  std::string out;
  for (const core::Diagnostic& finding : parsed.diagnostics) {
    if (finding.severity == core::Severity::kError) out += core::Format(finding);
  }
  return out;
}

ParsedPipeline ParseEverything(const core::Scope* scope) {
  return Parse(
      ReadText(std::string(CD4ML_SOURCE_DIR) + "/tests/golden/pipelines/everything.cd4ml.yaml"),
      scope);
}

const StageSpec& Stage(const PipelineSpec& spec, const std::string& name) {
  const StageSpec* stage = spec.FindStage(name);
  CD4ML_CHECK(stage != nullptr, name);
  return *stage;
}

template <typename Body>
Body RuleOf(const StageSpec& stage, const std::string& name) {
  for (const core::Rule& rule : stage.rules) {
    if (rule.name == name && std::holds_alternative<Body>(rule.body))
      return std::get<Body>(rule.body);
  }
  ADD_FAILURE() << "no rule " << name << " of that form";
  return {};
}

std::string Smallest(const std::string& more) {
  return "format: 1\npipeline: p\nstages:\n  a: {run: x" + more + "}\n";
}

TEST(Parse, ReadsTheTopLevel) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;

  EXPECT_EQ(spec.name, "everything");
  EXPECT_EQ(spec.file, "x.cd4ml.yaml");
  EXPECT_EQ(spec.group, "marketplace");
  EXPECT_EQ(spec.priority, 5);
  EXPECT_EQ(spec.concurrency.policy, core::ConcurrencyPolicy::kLatest);
  EXPECT_EQ(spec.concurrency.limit, 2);
  EXPECT_THAT(spec.description, HasSubstr("nothing here is an error"));
  EXPECT_TRUE(spec.triggers.dispatch);
  EXPECT_THAT(spec.triggers.dispatch_lanes, ElementsAre("production", "experiment"));
  EXPECT_EQ(spec.triggers.monitor, "watch");
  EXPECT_THAT(spec.params.files, ElementsAre("params.yaml", "more.json"));
  EXPECT_TRUE(spec.params.experiment_only);
  ASSERT_EQ(spec.params.schema.size(), 8u);
  const core::ParamSchema& algorithm = spec.params.schema[0];
  EXPECT_EQ(algorithm.name, "train.algorithm");
  EXPECT_EQ(algorithm.type, core::ParamSchema::Type::kEnum);
  EXPECT_THAT(algorithm.values, ElementsAre("ridge", "forest"));
  EXPECT_EQ(*algorithm.fallback, Value("ridge"));
  EXPECT_EQ(spec.params.schema[1].bounds, (core::Bounds{1, 64}));
  EXPECT_EQ(*spec.params.schema[3].fallback, Value(Value::List{"age", "mileage"}));
}

TEST(Parse, ReadsMaterialsAndEnvironments) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;

  ASSERT_EQ(spec.materials.size(), 11u);
  EXPECT_EQ(spec.materials[0].kind, core::MaterialSpec::Kind::kGit);
  EXPECT_EQ(spec.materials[0].branch, "main");
  const core::MaterialSpec& sales = *spec.FindMaterial("sales");
  EXPECT_EQ(sales.location, "file:///srv/sales");
  const auto source = [&](const char* name) { return core::SourceText(*spec.FindMaterial(name)); };
  EXPECT_EQ(source("sales"), "file:///srv/sales [*.csv]");
  EXPECT_EQ(source("page"), "https://example.org/prices.csv");
  EXPECT_EQ(source("labels"), "git /srv/labels.git:labels@v1.2");
  EXPECT_EQ(source("own"), "git .:README.md");
  EXPECT_EQ(source("tracked"), "dvc data/raw.csv.dvc");
  EXPECT_EQ(source("locked"), "dvc dvc.lock:model.json");
  EXPECT_EQ(source("taxonomy"), "car-taxonomy/publish");
  EXPECT_EQ(source("champion"), "car-prices/train.model live in production");
  EXPECT_TRUE(spec.FindMaterial("taxonomy")->consistent);
  EXPECT_EQ(sales.pattern, "*.csv");
  EXPECT_EQ(sales.at, "raw/sales");
  EXPECT_EQ(sales.csv->encoding, "latin-1");
  EXPECT_EQ(sales.csv->delimiter, ";");
  EXPECT_EQ(sales.csv->header, true);
  EXPECT_THAT(sales.csv->columns, ElementsAre(Pair("price", "text")));
  EXPECT_FALSE(spec.FindMaterial("listings")->csv.has_value());
  EXPECT_EQ(spec.FindEnvironment("staging")->target, "http://127.0.0.1:8081");
  EXPECT_THAT(spec.FindEnvironment("production")->lanes, ElementsAre("production"));
  EXPECT_EQ(spec.FindEnvironment("production")->concurrency, core::ConcurrencyPolicy::kCancel);
  EXPECT_EQ(spec.FindEnvironment("staging")->concurrency, core::ConcurrencyPolicy::kQueue);
}

TEST(Parse, ReadsRuntimesOverTheDefault) {
  using Kind = core::RuntimeSpec::Kind;
  const PipelineSpec spec = ParseEverything(nullptr).spec;
  const auto runtime = [&](const char* stage) { return Stage(spec, stage).runtime; };

  EXPECT_EQ(runtime("error-gate").kind, Kind::kPython);
  EXPECT_EQ(runtime("error-gate").python, "3.11");
  EXPECT_EQ(runtime("error-gate").requirements, "env/requirements.lock");
  EXPECT_EQ(runtime("train").kind, Kind::kImage);
  EXPECT_THAT(runtime("train").image, HasSubstr("trainer@sha256:"));
  EXPECT_EQ(runtime("package").kind, Kind::kSetup);
  EXPECT_THAT(runtime("package").setup.argv, ElementsAre("scripts/install.sh", "--prefix", "/opt"));
  EXPECT_THAT(runtime("package").key, ElementsAre("env/*.lock", "scripts/install.sh"));
  EXPECT_EQ(runtime("tell").kind, Kind::kHost);
  EXPECT_EQ(Parse(Smallest(""), nullptr).spec.stages[0].runtime.kind, Kind::kUnsaid);
}

TEST(Parse, ReadsTheFilesOfRuntimesAsTheyAre) {
  const std::string text = "a==1 \\\r\n\t--hash=${{ x }} # \"\u00e9\"\n";
  ParsedPipeline parsed = Parse(Smallest(", runtime: host"), nullptr);
  parsed.expanded.insert(parsed.expanded.size() - 1,
                         ", \"files\": {\"a.lock\": " + ToJson(Value(text)) + ", \"empty\": \"\", \"zz\": \"1\"}");
  const ParsedPipeline again = Parse(parsed.expanded, nullptr);
  EXPECT_EQ(Findings(again), "");
  EXPECT_THAT(again.spec.files, ElementsAre(Pair("a.lock", text), Pair("empty", ""), Pair("zz", "1")));
  EXPECT_EQ(again.expanded, parsed.expanded);
}

TEST(Parse, ReadsWhatAllStagesShareOverTheDefaults) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;
  const StageSpec& data = Stage(spec, "validate-data");
  const StageSpec& train = Stage(spec, "train");

  EXPECT_THAT(data.labels, ElementsAre("linux"));
  EXPECT_THAT(train.labels, ElementsAre("linux", "bigmem"));
  EXPECT_EQ(data.timeout, std::chrono::minutes(30));
  EXPECT_EQ(train.timeout, std::chrono::hours(4));
  EXPECT_EQ(data.assign_timeout, std::chrono::minutes(10));
  EXPECT_EQ(train.assign_timeout, std::chrono::hours(1));
  EXPECT_EQ(data.silence_timeout, std::chrono::minutes(5));
  EXPECT_EQ(train.silence_timeout, std::chrono::minutes(20));
  EXPECT_EQ(data.total_timeout, std::chrono::hours(5));
  EXPECT_EQ(train.total_timeout, std::chrono::hours(12));
  EXPECT_EQ(data.grace, std::chrono::seconds(20));
  EXPECT_EQ(train.grace, std::chrono::minutes(1));
  EXPECT_EQ(data.retry.limit, 2);
  EXPECT_EQ(data.retry.error_limit, 2) << "limit alone says both";
  EXPECT_THAT(data.retry.when, ElementsAre("agent_lost", "infra", "timeout", "exit_code"));
  EXPECT_EQ(data.retry.backoff, std::chrono::seconds(30));
  EXPECT_EQ(train.retry.limit, 1);
  EXPECT_EQ(train.retry.error_limit, 5);
  EXPECT_THAT(train.retry.when, ElementsAre("infra", "exit_code"));
  EXPECT_EQ(train.retry.backoff_max, std::chrono::minutes(5));
  EXPECT_EQ(data.resources, (core::Resources{.cpu_millis = 500}));
  EXPECT_EQ(train.resources.memory_bytes, int64_t{4} << 30);
  EXPECT_EQ(train.resources.gpus, 1);
  EXPECT_EQ(train.env.at("THREADS"), "4");
  EXPECT_EQ(train.env.at("RATE"), "0.10") << "as it is written";
  EXPECT_EQ(train.env.at("LOUD"), "true");
  EXPECT_EQ(train.env.at("PYTHONPATH"), "src");
  EXPECT_TRUE(train.env.contains("DEPTH"));
  EXPECT_FALSE(data.env.contains("DEPTH"));
  EXPECT_THAT(data.run.script, HasSubstr("[[[["));
  EXPECT_THAT(train.run.argv, ElementsAre("python", "src/train.py", "--out", "model"));
  EXPECT_THAT(train.params, ElementsAre("train", "data.folder"));
  EXPECT_THAT(train.code, ElementsAre("src/train.py"));
  EXPECT_EQ(data.inputs[0].from, "sales");
  EXPECT_EQ(data.inputs[1].name, "old");
  EXPECT_EQ(data.inputs[1].at, "old/listings.csv");
  EXPECT_TRUE(data.outputs[1].always);
  EXPECT_FALSE(data.outputs[0].always);
  EXPECT_EQ(data.outputs[1].quarantine, "");
  EXPECT_EQ(data.outputs[2].quarantine, "clean");
  EXPECT_EQ(train.outputs[1].type, core::OutputType::kProbeSet);
  EXPECT_EQ(train.outputs[3].type, core::OutputType::kFile);
  EXPECT_EQ(train.metrics[0].file, "model/metrics.json");
  EXPECT_EQ(train.metrics[1].pattern, "Accuracy: ([0-9.]+)");
  EXPECT_EQ(train.metrics[2].slice, "brand");
  EXPECT_THAT(train.goals, ElementsAre(Pair("mae", false), Pair("r2", true)));
}

TEST(Parse, ReadsEveryFormOfDataRule) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;
  const StageSpec& gate = Stage(spec, "validate-data");

  EXPECT_EQ(RuleOf<core::RowsRule>(gate, "enough").rows, (core::Bounds{20, 1000000}));
  EXPECT_FALSE(RuleOf<core::ColumnsRule>(gate, "schema").exactly);
  EXPECT_TRUE(RuleOf<core::ColumnsRule>(gate, "exact").exactly);
  const auto price = RuleOf<core::ColumnRule>(gate, "price");
  EXPECT_EQ(price.column, "price");
  EXPECT_EQ(price.type, core::ColumnType::kFloat);
  EXPECT_EQ(price.value, (core::Bounds{200, 250000}));
  EXPECT_EQ(price.max_nulls, 0.0);
  EXPECT_EQ(price.max_bad_share, 0.01);
  EXPECT_THAT(RuleOf<core::ColumnRule>(gate, "fuel").in,
              ElementsAre("petrol", "diesel", "98", "true"));
  EXPECT_EQ(RuleOf<core::ColumnRule>(gate, "name").pattern, "[a-z]+");
  EXPECT_TRUE(RuleOf<core::UniqueRule>(gate, "copies").except);
  EXPECT_FALSE(RuleOf<core::UniqueRule>(gate, "keys").except);
  const auto share = RuleOf<core::ShareRule>(gate, "rejected");
  EXPECT_EQ(share.share_of, "sales");
  EXPECT_EQ(share.by, "brand");
  const auto segments = RuleOf<core::SegmentsRule>(gate, "segments");
  EXPECT_EQ(segments.rows_min, 50);
  EXPECT_FALSE(segments.exclude_below);
  EXPECT_EQ(segments.coverage_min, 0.75);
  const auto drift = RuleOf<core::DriftRule>(gate, "drift");
  EXPECT_EQ(drift.versus, "champion.train_data");
  EXPECT_EQ(drift.first, core::FirstTime::kFail);
  EXPECT_EQ(drift.min_samples, 2000);
  EXPECT_EQ(RuleOf<core::SqlRule>(gate, "sane").predicate, "price > 0");
  EXPECT_EQ(segments.lost_versus, "last_accepted");
  EXPECT_EQ(segments.lost_max, 2);
  EXPECT_EQ(segments.first, core::FirstTime::kFail);
  EXPECT_EQ(drift.measure, core::DriftMeasure::kPsi);
  EXPECT_EQ(RuleOf<core::DriftRule>(gate, "js").measure, core::DriftMeasure::kJensenShannon);
  EXPECT_EQ(RuleOf<core::DriftRule>(gate, "js").versus, "last_accepted");
  EXPECT_EQ(RuleOf<core::DriftRule>(gate, "far").measure, core::DriftMeasure::kWasserstein);
  EXPECT_EQ(RuleOf<core::ColumnRule>(gate, "outliers").outliers, core::OutlierMethod::kMad);
  const auto known = RuleOf<core::KeyRule>(gate, "known");
  EXPECT_FALSE(known.disjoint);
  EXPECT_EQ(known.other, "old");
  EXPECT_THAT(known.columns, ElementsAre("country", "zip"));
  EXPECT_THAT(known.other_columns, ElementsAre("country", "zipcode"));
  EXPECT_EQ(known.max_bad_share, 0.01);
  const auto leak = RuleOf<core::KeyRule>(gate, "leak");
  EXPECT_TRUE(leak.disjoint);
  EXPECT_EQ(leak.other, "rejects");
  EXPECT_THAT(leak.columns, ElementsAre());
  const auto currency = RuleOf<core::StatRule>(gate, "currency");
  EXPECT_EQ(currency.stat, core::Statistic::kMedian);
  EXPECT_EQ(currency.column, "price");
  EXPECT_EQ(currency.window_column, "year");
  EXPECT_EQ(currency.window_last, std::chrono::hours(24 * 14));
  EXPECT_EQ(currency.versus, "rest");
  EXPECT_EQ(currency.max_change, (core::Allowance{.abs = 50, .rel = 0.2}));
  EXPECT_EQ(currency.min_samples, 100);
  const auto grown = RuleOf<core::StatRule>(gate, "grown");
  EXPECT_EQ(grown.stat, core::Statistic::kCount);
  EXPECT_EQ(grown.value, (core::Bounds{5, std::nullopt}));
  EXPECT_EQ(grown.first, core::FirstTime::kFail);
  EXPECT_EQ(RuleOf<core::FreshRule>(gate, "fresh").within, std::chrono::hours(24 * 14));
  EXPECT_EQ(RuleOf<core::FreshRule>(gate, "fresh").column, "seen_at");
  EXPECT_EQ(RuleOf<core::BalanceRule>(gate, "balance").column, "year");
  EXPECT_EQ(RuleOf<core::BalanceRule>(gate, "balance").share, (core::Bounds{0.1, 0.9}));
  for (const core::Rule& rule : gate.rules)
    EXPECT_EQ(rule.blocks, rule.name != "name") << rule.name;
  const auto by = [&](const std::string& name) {
    return std::find_if(gate.rules.begin(), gate.rules.end(), [&](const auto& rule) { return rule.name == name; })->by;
  };
  EXPECT_THAT(by("sane"), ElementsAre("brand"));
  EXPECT_THAT(by("outliers"), ElementsAre("brand", "model"));
  EXPECT_THAT(by("price"), ElementsAre());
}

TEST(Parse, ReadsModelAndContractRules) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;
  const StageSpec& model = Stage(spec, "error-gate");
  const StageSpec& contract = Stage(spec, "contract-gate");

  EXPECT_TRUE(RuleOf<core::MetricRule>(model, "mae").value.max.has_value()) << "a stand-in";
  const auto sliced = RuleOf<core::MetricRule>(model, "models");
  EXPECT_EQ(sliced.slice, "car_model");
  EXPECT_EQ(sliced.min_samples, 100);
  EXPECT_EQ(sliced.allow_failing, 0.05);
  EXPECT_THAT(RuleOf<core::CheckRule>(model, "overfit").expression, HasSubstr("r2.train - r2"));
  EXPECT_THAT(model.predictions->slices, ElementsAre("car_model"));
  EXPECT_EQ(model.predictions->champion, "champion_estimate");
  EXPECT_EQ(model.predictions->weight, "n");
  const auto versus = RuleOf<core::MetricRule>(model, "not-worse");
  EXPECT_EQ(versus.versus, "champion");
  EXPECT_EQ(versus.worse_by, (core::Allowance{.abs = 20, .rel = 0.02}));
  EXPECT_EQ(versus.confidence, 0.95);
  EXPECT_EQ(versus.first, core::FirstTime::kFail);
  EXPECT_EQ(RuleOf<core::MetricRule>(model, "each").slice, "car_model");
  EXPECT_EQ(RuleOf<core::MetricRule>(model, "each").first, core::FirstTime::kPass);
  EXPECT_EQ(RuleOf<core::MetricRule>(model, "better").worse_by.rel, -0.01);
  const auto fair = RuleOf<core::FairnessRule>(model, "fair");
  EXPECT_EQ(fair.slice + " " + fair.metric, "car_model bias");
  EXPECT_EQ(fair.max_difference, 300);
  EXPECT_EQ(fair.min_ratio, 0.8);
  EXPECT_EQ(fair.min_samples, 50);
  const core::PredictionsSpec& labels = *Stage(spec, "labels").predictions;
  EXPECT_EQ(labels.task, core::PredictionTask::kClassification);
  EXPECT_EQ(labels.score + labels.champion_score + labels.positive, "pold_ptrue");
  EXPECT_EQ(Stage(spec, "ranking").predictions->task, core::PredictionTask::kRanking);
  EXPECT_EQ(Stage(spec, "ranking").predictions->group, "query");
  EXPECT_EQ(model.champion_environment, "production");
  EXPECT_FALSE(model.asks_champion());
  const StageSpec& asked = Stage(spec, "asked");
  EXPECT_EQ(asked.champion_request->method + asked.champion_request->path + asked.champion_request->body, "POST/v1/labelrow.input");
  EXPECT_EQ(asked.champion_answer + asked.champion_score, "/label/probability");
  EXPECT_EQ(Stage(spec, "predicts").champion_predict.argv, (std::vector<std::string>{"./price-service", "--batch"}));
  EXPECT_EQ(Stage(spec, "predicts").champion_answer, "/price");
  EXPECT_FALSE(contract.service->ready_grpc);
  EXPECT_EQ(Stage(spec, "speaks-grpc").service->ready_grpc, "shop.v1.Prices");
  EXPECT_EQ(contract.package, "package.service");
  EXPECT_EQ(contract.service->run.script, "./price-service --port $CD4ML_PORT");
  EXPECT_EQ(contract.service->ready_path, "/healthz");
  const auto parity = RuleOf<core::ProbeRule>(contract, "parity");
  EXPECT_EQ(parity.method, "POST");
  EXPECT_EQ(parity.path, "/v1/estimate");
  EXPECT_EQ(parity.body, "row.input");
  EXPECT_EQ(parity.answer_pointer, "/price");
  EXPECT_EQ(parity.rel_tol, 1e-9);
  EXPECT_EQ(parity.abs_tol, 0.5);
  EXPECT_EQ(RuleOf<core::ProbeRule>(contract, "text").answer_pointer, "");
  const auto message = RuleOf<core::ProbeRule>(contract, "message");
  EXPECT_EQ(message.grpc, "shop.v1.Prices/Estimate");
  EXPECT_EQ(message.proto, "protos/prices.proto");
  EXPECT_EQ(message.method + message.path, "");
  EXPECT_EQ(RuleOf<core::MemoryRule>(contract, "small").max, int64_t{512} << 20);
  EXPECT_EQ(RuleOf<core::ContractRule>(contract, "web").file, "contracts/web.yaml");
  const auto latency = RuleOf<core::LatencyRule>(contract, "fast");
  EXPECT_EQ(latency.p95, std::chrono::milliseconds(50));
  EXPECT_EQ(latency.concurrency, 8);
}

TEST(Parse, ReadsDeploysAndMonitors) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;
  const StageSpec& release = Stage(spec, "release");
  const StageSpec& watch = Stage(spec, "watch");

  EXPECT_EQ(Stage(spec, "stage-it").environment, "staging");
  EXPECT_EQ(release.package, "package.service");
  EXPECT_EQ(release.hooks.apply.script, "scripts/apply.sh");
  EXPECT_EQ(release.hooks.rollback.script, "scripts/rollback.sh");
  EXPECT_FALSE(release.service.has_value());
  EXPECT_EQ(release.condition, "run.lane == 'production' and passed('stage-it')");
  ASSERT_TRUE(watch.monitor.has_value());
  EXPECT_EQ(watch.monitor->every, std::chrono::hours(1));
  EXPECT_EQ(watch.monitor->window, std::chrono::hours(24 * 7));
  EXPECT_EQ(watch.monitor->predictions_source, "jsonl");
  ASSERT_EQ(watch.monitor->checks.size(), 2u);
  EXPECT_EQ(watch.monitor->checks[0].consecutive, 2);
  EXPECT_FALSE(watch.monitor->checks[1].blocks);
  EXPECT_THAT(watch.monitor->retrain->checks, ElementsAre("drift"));
  EXPECT_EQ(watch.monitor->retrain->lane, "experiment");
  EXPECT_EQ(watch.monitor->retrain->params.at("train.depth"), Value(8));
  EXPECT_EQ(watch.monitor->retrain->max_per_week, 3);
  EXPECT_EQ(Stage(spec, "tell").kind, core::StageKind::kCommand);
}

TEST(Parse, SaysNothingOfConcurrencyRetriesAndResourcesWhenTheFileDoesNot) {
  const PipelineSpec spec = Parse(Smallest("")).spec;
  const StageSpec& stage = Stage(spec, "a");

  EXPECT_EQ(spec.concurrency.group, "") << "no bound";
  EXPECT_EQ(spec.priority, 0);
  EXPECT_EQ(stage.retry.limit, 0);
  EXPECT_EQ(stage.retry.error_limit, 2);
  EXPECT_EQ(stage.retry.backoff_max, core::RetrySpec().backoff_max);
  EXPECT_EQ(stage.resources, core::Resources());
  EXPECT_EQ(stage.silence_timeout.count(), 0);
  EXPECT_EQ(stage.total_timeout.count(), 0);
  EXPECT_EQ(stage.grace, core::StageSpec().grace);
}

TEST(Parse, GivesThePipelinesNameToAGroupThatHasNone) {
  for (const char* text : {"concurrency: cancel", "concurrency: {policy: cancel}"}) {
    const PipelineSpec spec = Parse(std::string(text) + "\n" + Smallest("")).spec;

    EXPECT_EQ(spec.concurrency, (core::ConcurrencySpec{"p", core::ConcurrencyPolicy::kCancel, 1}));
  }
}

TEST(Parse, HoldsAgainstEachOtherOnlyTimesThatAreKnown) {
  const std::string text = Smallest(", timeout: 1m, silence_timeout: \"${{ params.silence }}\"");
  const core::Scope brief = MakeScope(Value::Map{{"silence", "30s"}});
  const core::Scope long_one = MakeScope(Value::Map{{"silence", "2m"}});

  EXPECT_EQ(Findings(Parse(text)), "");
  EXPECT_EQ(Findings(Parse(text, &brief)), "");
  EXPECT_THAT(Findings(Parse(text, &long_one)), HasSubstr("CD0114"));
}

TEST(Parse, ReadsEveryFormOfAVerdictOfTheStagesOwn) {
  using Kind = core::VerdictSpec::Kind;
  const std::pair<const char*, core::VerdictSpec> forms[] = {
      {"exit_code", {Kind::kExitCode, "", {}}},
      {"{file: v.json}", {Kind::kFile, "v.json", {}}},
      {"{junit: out/junit.xml}", {Kind::kJunit, "out/junit.xml", {}}},
      {"{great_expectations: gx.json}", {Kind::kGreatExpectations, "gx.json", {}}},
      {"{pandera: p.json}", {Kind::kPandera, "p.json", {}}},
      {"{evidently: e.json}", {Kind::kEvidently, "e.json", {}}}};
  for (const auto& [text, wanted] : forms) {
    const ParsedPipeline parsed = Parse("format: 1\npipeline: p\nstages:\n  g: {kind: data_gate, run: check, verdict: " +
                                        std::string(text) + "}\n");
    ASSERT_EQ(Findings(parsed), "") << text;
    for (const PipelineSpec& spec : {parsed.spec, Parse(parsed.expanded).spec}) {
      const core::StageSpec& gate = Stage(spec, "g");
      ASSERT_TRUE(gate.verdict.has_value()) << text;
      EXPECT_EQ(gate.verdict->kind, wanted.kind) << text;
      EXPECT_EQ(gate.verdict->file, wanted.file) << text;
      EXPECT_TRUE(gate.rules.empty());
    }
  }
}

TEST(Parse, KeepsTheOrderOfTheFile) {
  const PipelineSpec spec = ParseEverything(nullptr).spec;

  EXPECT_EQ(spec.stages.front().name, "validate-data");
  EXPECT_EQ(spec.stages.back().name, "tell");
  EXPECT_EQ(spec.stages.front().rules.front().name, "schema");
}

TEST(Parse, EvaluatesTemplatesToTheTypesThatFieldsWant) {
  const core::Scope scope = EverythingScope();

  const ParsedPipeline parsed = ParseEverything(&scope);

  ASSERT_EQ(Findings(parsed), "");
  const PipelineSpec& spec = parsed.spec;
  EXPECT_EQ(RuleOf<core::MetricRule>(Stage(spec, "error-gate"), "mae").value.max, 1650.5);
  EXPECT_EQ(Stage(spec, "validate-data").outputs[0].path, "out/clean.csv");
  EXPECT_EQ(Stage(spec, "train").env.at("DEPTH"), "12");
  EXPECT_EQ(Stage(spec, "train").env.at("LANE"), "production");
  EXPECT_EQ(Stage(spec, "train").resources.cpu_millis, 3000);
  EXPECT_EQ(spec.concurrency.group, "prices-production");
}

TEST(Parse, KeepsConditionsForLater) {
  const core::Scope scope = EverythingScope();

  const ParsedPipeline parsed = ParseEverything(&scope);

  EXPECT_EQ(Stage(parsed.spec, "tell").condition, "failed('train') || always()");
  EXPECT_THAT(parsed.expanded, HasSubstr("failed('train') || always()"));
}

TEST(Parse, ExpandsToADefinitionThatExpandsToItself) {
  const core::Scope scope = EverythingScope();
  const ParsedPipeline first = ParseEverything(&scope);

  const ParsedPipeline second = Parse(first.expanded, nullptr);
  const ParsedPipeline third = Parse(second.expanded, &scope);

  ASSERT_EQ(Findings(second), "");
  EXPECT_EQ(first.expanded, second.expanded);
  EXPECT_EQ(first.expanded, third.expanded);
  EXPECT_TRUE(ParseJson(first.expanded).ok()) << "it is JSON";
  EXPECT_EQ(first.expanded.find("params.gate"), std::string::npos) << "nothing is left to evaluate";
}

// Everything of a specification but places, so that two can be compared.
std::string Described(const PipelineSpec& spec) {
  std::string out = spec.name + spec.group + spec.description + spec.triggers.monitor;
  for (const auto& lane : spec.triggers.dispatch_lanes) out += lane;
  for (const auto& file : spec.params.files) out += file;
  for (const auto& param : spec.params.schema) {
    out += param.name + std::to_string(static_cast<int>(param.type)) +
           ToJson(param.fallback.value_or(Value()));
    for (const auto& value : param.values) out += value;
    out += std::to_string(param.bounds.min.value_or(-1)) +
           std::to_string(param.bounds.max.value_or(-1));
  }
  for (const auto& material : spec.materials) {
    out +=
        "\n" + material.name + material.branch + material.location + material.pattern + material.at +
        material.path + material.ref + material.output + material.environment + (material.consistent ? "!" : "?");
    if (material.csv) out += material.csv->encoding + material.csv->delimiter;
  }
  for (const auto& environment : spec.environments)
    out += "\n" + environment.name + environment.target +
           std::string(core::ToText(environment.concurrency)) + (environment.refuses_mixed ? "refuses" : "");
  out += std::to_string(spec.priority) + spec.concurrency.group +
         std::string(core::ToText(spec.concurrency.policy)) +
         std::to_string(spec.concurrency.limit);
  for (const StageSpec& stage : spec.stages) {
    out += "\n" + stage.name + std::string(core::ToText(stage.kind)) + stage.run.script +
           stage.condition + stage.package + stage.environment + stage.champion_environment +
           stage.hooks.apply.script;
    for (const auto& list :
         {stage.needs, stage.code, stage.params, stage.labels, stage.run.argv, stage.retry.when}) {
      for (const auto& item : list) out += item + ",";
    }
    for (const auto& input : stage.inputs) out += input.name + input.from + input.at;
    for (const auto& output : stage.outputs) {
      out += output.name + output.path + std::string(core::ToText(output.type)) +
             (output.always ? "always" : "") + output.quarantine;
    }
    for (const auto& [name, value] : stage.env) out += name + "=" + value;
    for (const auto& metrics : stage.metrics)
      out += metrics.file + metrics.name + metrics.pattern + metrics.slice;
    for (const auto& [name, up] : stage.goals) out += name + (up ? "+" : "-");
    for (const int64_t number :
         {stage.timeout.count(), stage.assign_timeout.count(), stage.total_timeout.count(),
          stage.silence_timeout.count(), stage.grace.count(), int64_t{stage.retry.limit},
          int64_t{stage.retry.error_limit}, stage.retry.backoff.count(),
          stage.retry.backoff_max.count(), stage.resources.cpu_millis,
          stage.resources.memory_bytes, stage.resources.gpus}) {
      out += std::to_string(number) + ",";
    }
    for (const auto& rule : stage.rules) {
      out += rule.name + std::string(core::RuleForm(rule.body)) +
             std::string(core::Subject(rule.body)) + (rule.blocks ? "!" : "?");
      if (const auto* metric = std::get_if<core::MetricRule>(&rule.body)) {
        out += metric->metric + metric->slice + std::to_string(metric->value.max.value_or(-1));
      }
      if (const auto* column = std::get_if<core::ColumnRule>(&rule.body)) {
        out += column->column + column->pattern;
        for (const auto& value : column->in) out += value + ",";
      }
      if (const auto* probe = std::get_if<core::ProbeRule>(&rule.body))
        out += probe->path + probe->body + probe->equals + probe->grpc + probe->proto;
      if (const auto* memory = std::get_if<core::MemoryRule>(&rule.body)) out += std::to_string(memory->max);
    }
    if (stage.service) out += stage.service->run.script + stage.service->ready_path + stage.service->ready_grpc.value_or("none");
    if (stage.champion_request) out += stage.champion_request->path + stage.champion_request->body;
    for (const auto& word : stage.champion_predict.argv) out += word + ",";
    out += stage.champion_answer + stage.champion_score;
    if (stage.monitor) {
      out += std::to_string(stage.monitor->every.count()) + stage.monitor->predictions_source;
      for (const auto& check : stage.monitor->checks)
        out += check.name + std::to_string(check.consecutive);
      if (stage.monitor->retrain)
        out +=
            stage.monitor->retrain->lane + ToJson(stage.monitor->retrain->params.begin()->second);
    }
  }
  return out;
}

TEST(Parse, ReadsTheExpandedDefinitionAsTheSameSpecification) {
  const core::Scope scope = EverythingScope();
  const ParsedPipeline first = ParseEverything(&scope);

  const ParsedPipeline again = Parse(first.expanded, nullptr);

  EXPECT_EQ(Described(first.spec), Described(again.spec));
}

TEST(Parse, ReadyOverGrpcIsSaidByAServiceOrByTheWholeServer) {
  const auto ready = [](const std::string& text) {
    const ParsedPipeline parsed = Parse("format: 1\npipeline: p\nenvironments: {e: {}}\nstages:\n"
                                        "  a: {kind: package, run: x, runtime: host, outputs: {s: {path: s, type: deployable}}}\n"
                                        "  b: {kind: deploy, environment: e, deploy: a.s, runtime: host, service: {run: x, ready: {" +
                                        text + "}}}\n");
    return parsed.diagnostics.empty() ? "ready " + parsed.spec.FindStage("b")->service->ready_grpc.value_or("over HTTP")
                                      : parsed.diagnostics[0].message;
  };
  EXPECT_EQ(ready("grpc: true"), "ready ");
  EXPECT_EQ(ready("grpc: shop.v1.Prices"), "ready shop.v1.Prices");
  EXPECT_EQ(ready("http: /healthz"), "ready over HTTP");
  EXPECT_EQ(ready("grpc: true, http: /healthz"), "a service is asked over HTTP whether it is ready, or over gRPC");
  EXPECT_THAT(ready("grpc: false"), ::testing::HasSubstr("\"grpc\" wants a text"));
}

TEST(Parse, GivesEqualDefinitionsEqualExpansions) {
  const std::string plain = Smallest(", timeout: 30m, env: {A: x}");
  const std::string other =
      "# a comment\nformat: 1\npipeline: \"p\"\n\nstages:\n  a:\n    run: 'x'\n    timeout: "
      "\"30m\"\n    env:\n      A: x\n";

  EXPECT_EQ(Parse(plain).expanded, Parse(other).expanded);
}

TEST(Parse, KeepsTextOfEverySortThroughItsExpansion) {
  const std::string text =
      "format: 1\npipeline: p\nstages:\n  a:\n    run: |\n      echo \"quotes\" 'and' \\ "
      "backslash\n      "
      "\tünïcödé [{ 🚗\n    env: {A: \"tab\\there\", B: 010, C: 1:30, D: \"1\", E: 1.10, F: -0, G: "
      "1e999, H: yes}\n";
  const ParsedPipeline first = Parse(text);
  ASSERT_EQ(Findings(first), "");

  const ParsedPipeline again = Parse(first.expanded);

  ASSERT_EQ(Findings(again), "");
  EXPECT_EQ(again.spec.stages[0].run.script,
            "echo \"quotes\" 'and' \\ backslash\n\tünïcödé [{ 🚗\n");
  EXPECT_EQ(again.spec.stages[0].env, first.spec.stages[0].env);
  EXPECT_THAT(
      again.spec.stages[0].env,
      ElementsAre(Pair("A", "tab\there"), Pair("B", "010"), Pair("C", "1:30"), Pair("D", "1"),
                  Pair("E", "1.10"), Pair("F", "-0"), Pair("G", "1e999"), Pair("H", "yes")));
  EXPECT_TRUE(ParseJson(first.expanded).ok()) << first.expanded;
}

TEST(Parse, TakesAListFromAParameter) {
  const core::Scope scope = MakeScope(*ParseJson(R"({"fuels": ["petrol", 98], "bad": [[1]]})"));
  const auto text = [](const std::string& name) {
    return "format: 1\npipeline: p\nmaterials: {cars: {data: c.csv}}\nstages:\n  g:\n    kind: "
           "data_gate\n    rules:\n"
           "      fuel: {of: cars, column: fuel, in: \"${{ params." +
           name + " }}\"}\n";
  };

  const ParsedPipeline good = Parse(text("fuels"), &scope);
  const ParsedPipeline bad = Parse(text("bad"), &scope);

  ASSERT_EQ(Findings(good), "");
  EXPECT_THAT(RuleOf<core::ColumnRule>(good.spec.stages[0], "fuel").in,
              ElementsAre("petrol", "98"));
  EXPECT_EQ(Parse(good.expanded).expanded, good.expanded);
  EXPECT_THAT(Findings(bad), HasSubstr("CD0306"));
}

TEST(Parse, RefusesWhatAnExpressionMustNotGive) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"x": null})", "gives nothing"},
      {R"({"x": {"a": 1}})", "gives a map"},
      {R"({"x": "${{ run.lane }}"})", "a text with ${{ }} in it"},
      {R"({"x": "a\u0000b"})", "a control character"},
      {R"({"y": 1})", "unknown name \"params.x\""},
  };
  for (const auto& [params, message] : cases) {
    const core::Scope scope = MakeScope(*ParseJson(params));

    EXPECT_THAT(Findings(Parse(Smallest(", env: {A: \"${{ params.x }}\"}"), &scope)),
                HasSubstr(message));
  }
}

TEST(Parse, RefusesAValueOfTheWrongTypeFromAnExpression) {
  const core::Scope scope = MakeScope(*ParseJson(R"({"x": "soon", "n": 5})"));

  EXPECT_THAT(Findings(Parse(Smallest(", retry: {limit: \"${{ params.x }}\"}"), &scope)),
              HasSubstr("CD0103"));
  EXPECT_THAT(Findings(Parse(Smallest(", timeout: \"${{ params.n }}\"}"), &scope)),
              HasSubstr("CD0"));
  EXPECT_EQ(Findings(Parse(Smallest(", timeout: \"${{ params.n }}m\""), &scope)), "");
  EXPECT_EQ(Findings(Parse(Smallest(", retry: {limit: \"${{ params.n }}\"}"), &scope)), "");
}

TEST(Parse, AllowsDispatchUnlessTriggersLeaveItOut) {
  const std::string rest = "format: 1\npipeline: p\nstages: {a: {run: x}}\n";

  EXPECT_TRUE(Parse(rest).spec.triggers.dispatch);
  EXPECT_TRUE(Parse(rest + "triggers: {dispatch: {}}\n").spec.triggers.dispatch);
  EXPECT_FALSE(Parse(rest + "triggers: {monitor: {stage: a}}\n").spec.triggers.dispatch);
}

TEST(Parse, PointsAtCharactersNotBytes) {
  const ParsedPipeline parsed =
      Parse("format: 1\npipeline: p\nstages: {a: {run: \"ü🚗é\", tymeout: 5s}}\n");

  ASSERT_EQ(parsed.diagnostics.size(), 1u) << Findings(parsed);
  EXPECT_EQ(parsed.diagnostics[0].place, (core::Place{3, 26, 7}));
}

TEST(Parse, ShowsAWindowOfALongLine) {
  const std::string filler(5000, 'x');
  const ParsedPipeline parsed =
      Parse("{\"format\": 1, \"pipeline\": \"p\", \"stages\": {\"a\": {\"run\": \"" + filler +
            "\", \"tymeout\": \"5s\"}}}");

  ASSERT_EQ(parsed.diagnostics.size(), 1u) << Findings(parsed);
  EXPECT_LT(parsed.diagnostics[0].snippet.size(), 200u);
  const std::string shown = core::Format(parsed.diagnostics[0]);
  const size_t snippet = shown.find("\"tymeout\"", shown.find('\n'));
  const size_t line = shown.rfind('\n', snippet);
  const size_t caret = shown.find("^^^^^^^^^", snippet);
  // The cut is one character of three bytes.
  EXPECT_EQ(snippet - line - 2, caret - shown.rfind('\n', caret)) << shown;
}

TEST(Parse, StopsAfterAHundredFindings) {
  std::string text = "format: 1\npipeline: p\nstages:\n";
  for (int i = 0; i < 500; ++i) text += "  a" + std::to_string(i) + ": {run: x, nope: 1}\n";

  const core::Diagnostics findings = Parse(text).diagnostics;

  ASSERT_EQ(findings.size(), 101u);
  EXPECT_EQ(findings.back().code, "CD0020");
}

}  // namespace
}  // namespace cd4ml::yaml
