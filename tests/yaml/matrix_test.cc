// A stage with a matrix becomes its cells, in the definition and in what a run keeps of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/core/matrix.h"
#include "cd4ml/core/params.h"
#include "cd4ml/core/plan.h"
#include "cd4ml/yaml/yaml.h"

namespace cd4ml::yaml {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kTop[] = R"(format: 1
pipeline: p
params:
  schema:
    depth: {type: int, default: 12}
    rate: {type: float, default: 0.1}
    seed: {type: int, default: 1}
    more: {type: map, default: {x: 1, y: 2}}
stages:
)";

constexpr char kTrain[] = R"(
  train:
    kind: train
    matrix: {depth: [8, 12], rate: [1, 0.5], exclude: [{depth: 8, rate: 0.5}], max_parallel: 2, fail_fast: false, select: {metric: r2}}
    env: {DEPTH: "${{ params.depth }}", TOGETHER: "${{ params.depth * 10 + params.seed }}"}
    timeout: "${{ params.depth }}m"
    run: train
    outputs: {model: {path: "model-${{ params.depth }}.json", type: model}}
    metrics: [metrics.json]
    goals: {r2: max}
  use: {needs: [train], inputs: {model: train.model}, if: "${{ passed('train') }}", run: use}
)";

ParsedPipeline Parse(const std::string& text, const core::Scope* scope = nullptr) {
  return MakePipelineParser()->Parse(text, "x.cd4ml.yaml", scope);
}

ParsedPipeline ParseWith(const std::string& text, const std::string& params) {
  const Value values = *ParseJson(params);
  const core::Scope scope = core::ScopeOfRun(values, "production", core::TriggerKind::kDispatch);
  return Parse(text, &scope);
}

std::string Findings(const ParsedPipeline& parsed) {
  std::string out;
  for (const core::Diagnostic& finding : parsed.diagnostics) {
    if (finding.severity == core::Severity::kError) out += core::Brief(finding) + "\n";
  }
  return out;
}

std::vector<std::string> Names(const core::PipelineSpec& spec) {
  std::vector<std::string> names;
  for (const core::StageSpec& stage : spec.stages) names.push_back(stage.name);
  return names;
}

constexpr char kParams[] = R"({"depth": 12, "rate": 0.1, "seed": 7, "more": {"x": 1, "y": 2}})";

TEST(Matrix, BecomesACellForEveryCombinationAndAStageBehindThem) {
  const ParsedPipeline parsed = Parse(std::string(kTop) + kTrain);

  ASSERT_EQ(Findings(parsed), "");
  const std::vector<std::string> cells = {"train@8,1.0", "train@12,1.0", "train@12,0.5"};
  EXPECT_THAT(Names(parsed.spec), ElementsAre(cells[0], cells[1], cells[2], "train", "use"));
  const core::StageSpec& train = *parsed.spec.FindStage("train");
  ASSERT_TRUE(train.matrix.has_value());
  EXPECT_EQ(train.matrix->cells, cells);
  EXPECT_EQ(train.matrix->max_parallel, 2);
  EXPECT_TRUE(train.matrix->goes_on);
  EXPECT_EQ(train.matrix->select, "r2");
  EXPECT_TRUE(train.matrix->select_highest);
  EXPECT_EQ(train.needs, cells);
  EXPECT_TRUE(train.run.empty());
  const core::StageSpec& cell = *parsed.spec.FindStage("train@12,0.5");
  EXPECT_EQ(cell.cell_of, "train");
  EXPECT_EQ(cell.cell_params, (std::map<std::string, Value>{{"depth", Value(12)}, {"rate", Value(0.5)}}));
  EXPECT_EQ(cell.run.script, "train");
}

TEST(Matrix, ItsStagesCanBePlanned) {
  const auto plans = core::MakePlan(Parse(std::string(kTop) + kTrain).spec, {});

  ASSERT_EQ(plans.size(), 5u);
  EXPECT_EQ(plans[3].name, "train");
  EXPECT_FALSE(plans[3].reuse) << "it makes nothing itself";
  EXPECT_TRUE(plans[3].matrix.has_value());
  EXPECT_EQ(plans[0].cell_of, "train");
  EXPECT_THAT(plans[4].references, ElementsAre("train.model"));
}

TEST(Matrix, ExpressionsKnowTheParametersOfTheirCell) {
  const ParsedPipeline parsed = ParseWith(std::string(kTop) + kTrain, kParams);

  ASSERT_EQ(Findings(parsed), "");
  const core::StageSpec& shallow = *parsed.spec.FindStage("train@8,1.0");
  EXPECT_EQ(shallow.env.at("DEPTH"), "8");
  EXPECT_EQ(shallow.env.at("TOGETHER"), "87") << "what is no dimension is the run's";
  EXPECT_EQ(shallow.timeout, Duration(8 * 60'000));
  EXPECT_EQ(shallow.outputs[0].path, "model-8.json");
  EXPECT_EQ(parsed.spec.FindStage("train@12,0.5")->env.at("DEPTH"), "12");
}

TEST(Matrix, AMapParameterHasTheCellsMember) {
  const ParsedPipeline parsed = ParseWith(std::string(kTop) +
      "  a: {matrix: {more.x: [5, 6]}, env: {X: \"${{ params.more.x }}\", Y: \"${{ params.more.y }}\"}, run: x}\n", kParams);

  ASSERT_EQ(Findings(parsed), "");
  EXPECT_EQ(parsed.spec.FindStage("a@6")->env.at("X"), "6");
  EXPECT_EQ(parsed.spec.FindStage("a@6")->env.at("Y"), "2");
}

TEST(Matrix, WhatARunKeepsMeansTheSameAndGivesTheSameBytes) {
  const ParsedPipeline first = ParseWith(std::string(kTop) + kTrain, kParams);
  const ParsedPipeline second = Parse(first.expanded);

  ASSERT_EQ(Findings(second), "");
  EXPECT_EQ(second.expanded, first.expanded);
  EXPECT_THAT(first.expanded, Not(HasSubstr("${{ params")));
  ASSERT_EQ(Names(second.spec), Names(first.spec));
  for (size_t i = 0; i < first.spec.stages.size(); ++i) {
    const core::StageSpec& a = first.spec.stages[i];
    const core::StageSpec& b = second.spec.stages[i];
    EXPECT_EQ(a.env, b.env) << a.name;
    EXPECT_EQ(a.cell_params, b.cell_params) << a.name;
    EXPECT_EQ(a.timeout, b.timeout) << a.name;
    EXPECT_EQ(a.needs, b.needs) << a.name;
    EXPECT_EQ(a.outputs.size(), b.outputs.size()) << a.name;
  }
  EXPECT_EQ(second.spec.FindStage("train")->matrix->select_highest, true);
}

TEST(Matrix, OneMoreValueLeavesTheOtherCellsAsTheyWere) {
  const auto cell = [](const std::string& values) {
    const ParsedPipeline parsed =
        ParseWith(std::string(kTop) + "  a: {matrix: {depth: " + values + "}, env: {D: \"${{ params.depth }}\"}, run: x}\n", kParams);
    const Value expanded = *ParseJson(parsed.expanded);
    return ToJson(*expanded.Find("stages")->Find("a")->Find("cells")->Find("8"));
  };

  EXPECT_EQ(cell("[8, 12]"), cell("[2, 8, 12, 16]"));
}

TEST(Matrix, WithoutASchemaDimensionsAreParametersOfAFile) {
  const std::string stage = "stages:\n  a: {matrix: {depth: [8, 12]}, run: x}\n";

  EXPECT_EQ(Findings(Parse("format: 1\npipeline: p\nparams: {file: params.yaml}\n" + stage)), "");
  EXPECT_THAT(Findings(Parse("format: 1\npipeline: p\n" + stage)), HasSubstr("unknown parameter \"depth\" in a matrix"));
}

TEST(Matrix, DimensionsDoNotLieWithinOneAnother) {
  const auto with = [](const std::string& dimensions) {
    return Findings(Parse(std::string(kTop) + "  a: {matrix: {" + dimensions + "}, run: x}\n"));
  };

  EXPECT_THAT(with("more.x: [3], more.x.b: [1, 2]"), HasSubstr("\"more.x.b\" and \"more.x\" lie within one another"));
  EXPECT_THAT(with("more.x.b: [1, 2], more.x: [3]"), HasSubstr("lie within one another"));
  EXPECT_EQ(with("more.x: [3], more.xb: [1, 2]"), "");
}

TEST(Matrix, CellsOfTheSameNameAreNamed) {
  const std::string text = "format: 1\npipeline: p\nparams: {file: params.yaml}\nstages:\n"
      "  a: {matrix: {t: [\"#%!*&#  \", \"# :!!%  \"]}, run: x}\n";

  EXPECT_THAT(Findings(Parse(text)), HasSubstr("the cells of [\"#%!*&#  \"] and [\"# :!!%  \"] have the same name, a@--------~1e4809e2"));
}

TEST(Matrix, AnExpressionThatFailsSaysInWhichCell) {
  const std::string findings = Findings(ParseWith(std::string(kTop) +
      "  a: {matrix: {depth: [1, 2]}, env: {X: \"${{ 1 / (params.depth - 2) }}\"}, run: x}\n"
      "  b: {env: {X: \"${{ 1 / (params.depth - 12) }}\"}, run: x}\n", kParams));

  EXPECT_THAT(findings, HasSubstr("division by zero (in cell \"a@2\")"));
  EXPECT_THAT(findings, Not(HasSubstr("a@1")));
  EXPECT_THAT(findings, HasSubstr("division by zero\n")) << "of no cell";
}

TEST(Matrix, AMonitorGivesNoDimensionHoweverItWritesIt) {
  const auto with = [](const std::string& params) {
    return Findings(Parse(R"(format: 1
pipeline: p
params: {file: params.yaml}
environments: {shop: {}}
triggers: {monitor: {stage: watch}}
stages:
  train: {matrix: {train.depth: [1, 2]}, run: x, outputs: {m: {path: m, type: model}}}
  watch:
    kind: monitor
    environment: shop
    every: 1h
    window: 1d
    checks: {silence: {metric: requests, min: 1}}
    on_breach: {retrain: {lane: production, params: )" + params + "}}\n"));
  };
  const std::string is_dimension = "parameter \"train.depth\" is a dimension of the matrix";

  EXPECT_THAT(with("{train.depth: 3}"), HasSubstr(is_dimension));
  EXPECT_THAT(with("{train: {depth: 3}}"), HasSubstr(is_dimension));
  EXPECT_THAT(with("{train.seed: 3}"), Not(HasSubstr(is_dimension)));
}

TEST(Matrix, APathThatLeavesTheWorkDirectoryInOneCellIsFound) {
  const std::string text = "format: 1\npipeline: p\nparams: {schema: {where: {type: string, default: a}}}\nstages:\n"
      "  a: {matrix: {where: [b, ../c]}, run: x, outputs: {out: {path: \"${{ params.where }}/out.txt\"}}}\n";

  EXPECT_THAT(Findings(ParseWith(text, R"({"where": "a"})")), HasSubstr("must not leave the work directory"));
}

TEST(Matrix, ACellThatWritesIntoAnothersStageOutputIsFound) {
  const std::string text = "format: 1\npipeline: p\nparams: {schema: {where: {type: string, default: a}}}\nstages:\n"
      "  a: {matrix: {where: [b, c]}, run: x, outputs: {out: {path: \"${{ params.where }}/out.txt\"}}}\n"
      "  d: {run: x, outputs: {out: {path: c}}}\n";

  EXPECT_THAT(Findings(ParseWith(text, R"({"where": "a"})")), HasSubstr("so does output \"out\" of cell \"a@c\""));
}

TEST(Matrix, CellsOfWhichOneIsUsedHaveOneRuntime) {
  const auto with = [](const std::string& select) {
    return Findings(ParseWith("format: 1\npipeline: p\nparams: {schema: {which: {type: string, default: a}}}\nstages:\n"
        "  a:\n    matrix: {which: [b, c]" + select + "}\n    runtime: {python: \"3.11\", requirements: \"${{ params.which }}.lock\"}\n"
        "    run: x\n    metrics: [m.json]\n", R"({"which": "a"})"));
  };

  EXPECT_THAT(with(", select: {metric: mae}"), HasSubstr("have different runtimes"));
  EXPECT_EQ(with(""), "");
}

TEST(Matrix, WhatOnlyLooksWrittenOutIsRefused) {
  const auto with = [](const std::string& body) { return Findings(Parse(std::string(kTop) + "  a: " + body + "\n")); };
  const std::string matrix = "{matrix: {depth: [8, 12]}, cells: ";

  EXPECT_EQ(with(matrix + "{\"8\": {run: x}, \"12\": {run: x}}}"), "") << "as a run keeps it";
  EXPECT_THAT(with(matrix + "{\"8\": {run: x}}}"), HasSubstr("not those of the matrix"));
  EXPECT_THAT(with(matrix + "{\"12\": {run: x}, \"8\": {run: x}}}"), HasSubstr("not those of the matrix"));
  EXPECT_THAT(with(matrix + "[\"8\", {run: x}, \"12\", {run: x}]}"), HasSubstr("not those of the matrix"));
  EXPECT_THAT(with(matrix + "{\"8\": {run: x}, \"12\": {run: x, needs: [b]}}}"), HasSubstr("not defined"));
  EXPECT_THAT(with(matrix + "{\"8\": {run: x}, \"12\": {run: x, kind: train}}}"), HasSubstr("another stage than the first cell"));
  EXPECT_THAT(with(matrix + "{\"8\": {run: x}, \"12\": {run: x, needs: [a]}}}"), HasSubstr("another stage than the first cell"));
  EXPECT_THAT(with("{cells: {\"8\": {run: x}}}"), HasSubstr("unknown key \"cells\""));
  EXPECT_THAT(with(matrix + "{\"8\": {run: x}, \"12\": {run: x}}, run: x}"), HasSubstr("not those of the matrix"));
  EXPECT_THAT(with(matrix + "{\"8\": {kind: monitor}, \"12\": {kind: monitor}}}"), HasSubstr("unknown key \"cells\""));
  EXPECT_THAT(with(matrix + "{\"8\": {run: x, matrix: {depth: [1]}}, \"12\": {run: x}}}"), HasSubstr("a cell has no matrix of its own"));
}

TEST(Matrix, IsBoundedWhateverItsStageHolds) {
  std::string values;
  for (int i = 0; i < 1'000; ++i) values += (i == 0 ? "" : ", ") + std::to_string(i);
  const std::string head = std::string(kTop) + "  a:\n    matrix: {depth: [" + values + "]}\n";

  EXPECT_EQ(Findings(Parse(head + "    run: x\n")), "");
  EXPECT_THAT(Findings(Parse(head + "    run: " + std::string(10'000, 'x') + "\n")), HasSubstr("too large for 1000 cells"));
  std::string env = "    run: x\n    env: {";
  for (int i = 0; i < 500; ++i) env += (i == 0 ? "V" : ", V") + std::to_string(i) + ": 1";
  EXPECT_THAT(Findings(Parse(head + env + "}\n")), HasSubstr("too large for 1000 cells"));
}

TEST(Matrix, AllMatricesTogetherStayBelowTheNumberOfStages) {
  std::string values;
  for (int i = 0; i < 1'000; ++i) values += (i == 0 ? "" : ", ") + std::to_string(i);
  std::string text = kTop;
  for (int i = 0; i < 10; ++i) text += "  a" + std::to_string(i) + ": {matrix: {depth: [" + values + "]}, run: x}\n";

  EXPECT_THAT(Findings(Parse(text)), HasSubstr("more than 10000 stages, with the cells of matrices"));
}

}  // namespace
}  // namespace cd4ml::yaml
