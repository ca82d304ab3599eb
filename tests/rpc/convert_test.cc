// Every field of every message and value survives the wire.
#include "rpc/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/answer.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cd4ml/rpc/json.h"
#include "rpc/gates.h"
#include "rpc/status.h"
#include "tests/rpc/filled.h"

namespace cd4ml::rpc {
namespace {

// Converts to anything: as many of them as an aggregate takes is how many fields it has.
struct Anything {
  template <typename T>
  operator T() const;  // NOLINT: converting is all it is for
};

template <typename T, typename... Fields>
constexpr int FieldCount() {
  if constexpr (requires { T{Fields{}..., Anything{}}; }) {
    return FieldCount<T, Fields..., Anything>();
  } else {
    return sizeof...(Fields);
  }
}

template <typename C, typename P, int derived = 0>
struct Pair {
  using Value = C;
  using Message = P;
  static constexpr int kDerived = derived;  // Fields that are made anew at the other end.
};

// Every value that has a message of its own, also those within others.
template <typename T>
class Fields : public testing::Test {};
using AllPairs = testing::Types<
    Pair<ArtifactRef, v1::ArtifactRef>, Pair<core::Version, v1::Version>,
    Pair<LineageNode, v1::LineageNode>, Pair<LineageEdge, v1::LineageEdge>,
    Pair<LineageGraph, v1::LineageGraph>, Pair<core::Side, v1::Side>,
    Pair<core::Difference, v1::Difference>, Pair<RunComparison, v1::RunComparison>,
    Pair<ImpactedModel, v1::ImpactedModel>, Pair<ImpactedDeployment, v1::ImpactedDeployment>,
    Pair<Impact, v1::Impact>, Pair<core::Reproduction, v1::Reproduction>,
    Pair<ReproduceRequest, v1::ReproduceRunRequest>, Pair<core::Place, v1::Place>,
    Pair<core::Diagnostic, v1::Diagnostic>, Pair<PipelineRecord, v1::Pipeline>,
    Pair<core::RetrySpec, v1::RetrySpec>, Pair<core::StagePlan, v1::StagePlan>,
    Pair<core::RuleResult, v1::RuleResult>, Pair<core::Verdict, v1::Verdict>,
    Pair<core::Interval, v1::Interval>, Pair<core::Override, v1::Override>,
    Pair<core::AttemptId, v1::AttemptId>, Pair<core::ProducedOutput, v1::ProducedOutput>,
    Pair<core::StartedService, v1::StartedService>, Pair<core::Outcome, v1::Outcome>,
    Pair<core::Attempt, v1::Attempt>, Pair<core::StageRun, v1::StageRun, 3>,
    Pair<core::Pins, v1::Pins>, Pair<core::TriggerFacts, v1::TriggerFacts>,
    Pair<core::Run, v1::Run, 4>, Pair<RunView, v1::RunView>, Pair<RunSummary, v1::RunSummary>,
    Pair<PlannedRun, v1::PlannedRun>, Pair<core::Deployment, v1::Deployment>,
    Pair<core::MonitorState, v1::MonitorState>, Pair<MonitorCheckRecord, v1::MonitorCheck>,
    Pair<MonitorView, v1::Monitor>, Pair<PredictionRecord, v1::Prediction>,
    Pair<AgentRecord, v1::AgentRecord>, Pair<AgentView, v1::Agent>,
    Pair<AgentHello, v1::AgentHello>, Pair<SessionGrant, v1::SessionGrant>,
    Pair<TaskInput, v1::TaskInput>, Pair<TaskBaseline, v1::TaskBaseline>, Pair<Task, v1::Task>,
    Pair<ServiceTask, v1::ServiceTask>, Pair<DesiredState, v1::DesiredState>,
    Pair<HeldLease, v1::HeldLease>, Pair<HeldService, v1::HeldService>,
    Pair<AgentReport, v1::AgentReport>, Pair<RegisterRequest, v1::RegisterPipelineRequest>,
    Pair<RegisterResult, v1::RegisterPipelineResponse>, Pair<StartRequest, v1::StartRunRequest>,
    Pair<ServerFacts, v1::GetServerResponse>, Pair<RunFilter, v1::ListRunsRequest>,
    Pair<LogChunk, v1::ReadLogResponse>>;
TYPED_TEST_SUITE(Fields, AllPairs);

TYPED_TEST(Fields, AreAsManyInTheMessageAsInTheValue) {
  EXPECT_EQ(FieldCount<typename TypeParam::Value>() - TypeParam::kDerived,
            TypeParam::Message::descriptor()->field_count());
}

template <typename P>
class Messages : public testing::Test {};
using ConvertedMessages =
    testing::Types<v1::Run, v1::RunView, v1::RunSummary, v1::PlannedRun, v1::Verdict, v1::Outcome,
                   v1::AttemptId, v1::Diagnostic, v1::Pipeline, v1::Agent, v1::AgentHello,
                   v1::SessionGrant, v1::DesiredState, v1::AgentReport, v1::Deployment, v1::Monitor,
                   v1::Prediction, v1::LineageGraph, v1::RunComparison, v1::Impact, v1::Reproduction, v1::RegisterPipelineRequest,
                   v1::RegisterPipelineResponse, v1::StartRunRequest, v1::GetServerResponse,
                   v1::ListRunsRequest, v1::ReadLogResponse, v1::OverrideRecord, v1::GateRecord>;
TYPED_TEST_SUITE(Messages, ConvertedMessages);

TYPED_TEST(Messages, KeepEveryFieldThereAndBack) {
  const auto message = Filled<TypeParam>();

  const auto value = FromProto(message);

  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(ToProto(*value).DebugString(), message.DebugString());
}

TYPED_TEST(Messages, AreNeverMisreadWhenEmpty) {
  const auto value = FromProto(TypeParam());  // An error or a value, and no crash.

  EXPECT_TRUE(value.ok() || absl::IsInvalidArgument(value.status()));
}

TEST(Convert, KeepsNotANumber) {
  core::Outcome outcome;
  outcome.metrics["mae"] = std::nan("");
  outcome.verdict.emplace().rules.push_back(
      {.name = "rule", .form = "metric", .observed_number = std::nan("")});

  const auto back = FromProto(ToProto(outcome));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(std::isnan(back->metrics.at("mae")));
  EXPECT_TRUE(std::isnan(back->verdict->rules[0].observed_number.value()));
}

TEST(Convert, TellsAbsentFromZero) {
  core::Outcome outcome;
  core::Verdict& verdict = outcome.verdict.emplace();
  verdict.rules.resize(2);
  verdict.rules[1].sample_size = 0;

  const auto back = FromProto(ToProto(outcome));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_FALSE(back->service.has_value());
  EXPECT_FALSE(back->verdict->rules[0].sample_size.has_value());
  EXPECT_EQ(back->verdict->rules[1].sample_size, 0);
}

TEST(Convert, KeepsWholeNumbersApartFromFractions) {
  PredictionRecord prediction{
      .deployment = "d", .key = "k", .at = {5}, .input = Value::Map{{"a", 3}, {"b", 3.0}}};

  const auto back = FromProto(ToProto(prediction));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->input, prediction.input);
}

TEST(Convert, MakesWhatIsDerivedAnew) {
  core::Run run = FilledValue<v1::Run>();

  EXPECT_EQ(run.FindStage(run.stages[1].plan.name), &run.stages[1]);
  EXPECT_EQ(run.stages[0].dependents.size(), 4u);
}

TEST(Convert, KeepsTimesBefore1970) {
  EXPECT_EQ(FromProto(ToProto(UtcTime{-1})).value().ms, -1);
  EXPECT_EQ(FromProto(ToProto(UtcTime{-1'000})).value().ms, -1'000);
}

TEST(Convert, MakesTextReadableThatIsNoUtf8) {
  core::Verdict verdict;
  verdict.rules.push_back({.name = "rows", .rows = {"Citro\xEBn;\xFF", "caf\xC3\xA9", "\xE2\x82"}});

  const v1::Verdict message = ToProto(verdict);
  v1::Verdict received;

  ASSERT_TRUE(received.ParseFromString(message.SerializeAsString()));
  EXPECT_EQ(received.rules(0).rows(0), "Citro\uFFFDn;\uFFFD");
  EXPECT_EQ(received.rules(0).rows(1), "caf\u00E9");
  EXPECT_EQ(received.rules(0).rows(2), "\uFFFD\uFFFD");
}

TEST(Convert, RefusesWhatNoValueCanHold) {
  auto hello = Filled<v1::AgentHello>();
  hello.set_facts_json("{");
  EXPECT_FALSE(FromProto(hello).ok());

  auto run = Filled<v1::Run>();
  run.set_state(static_cast<v1::RunState>(99));
  EXPECT_EQ(cd4ml::Message(FromProto(run).status()),
            "RunState 99 is not a value that this version knows");

  run = Filled<v1::Run>();
  run.mutable_pins()->set_definition("../../etc/passwd");
  EXPECT_FALSE(FromProto(run).ok());

  run = Filled<v1::Run>();
  run.mutable_create_time()->set_seconds(INT64_MAX);
  EXPECT_FALSE(FromProto(run).ok());

  run = Filled<v1::Run>();
  run.mutable_stages(1)->mutable_plan()->add_needs("nobody");
  EXPECT_FALSE(FromProto(run).ok());

  auto grant = Filled<v1::SessionGrant>();
  grant.mutable_ttl()->set_seconds(INT64_MIN);
  EXPECT_FALSE(FromProto(grant).ok());
}

// Compares the words of a core enum with the names of a message's enum.
template <typename P, typename C>
void ExpectSameWords(int count) {
  const auto* type = google::protobuf::GetEnumDescriptor<P>();
  ASSERT_EQ(type->value_count(), count + 1) << type->name();
  for (int i = 0; i < count; ++i) {
    std::string name = type->value(i + 1)->name();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const std::string word(core::ToText(static_cast<C>(i)));
    EXPECT_TRUE(name.ends_with("_" + word)) << name << " is not " << word;
    EXPECT_EQ(type->value(i + 1)->number(), i + 1) << name;
  }
}

TEST(Convert, GivesEnumsTheSameWordsAsTheCore) {
  ExpectSameWords<v1::RunState, core::RunState>(5);
  ExpectSameWords<v1::StageState, core::StageState>(8);
  ExpectSameWords<v1::AttemptState, core::AttemptState>(6);
  ExpectSameWords<v1::Reason, core::Reason>(19);
  ExpectSameWords<v1::TriggerKind, core::TriggerKind>(4);
  ExpectSameWords<v1::StageKind, core::StageKind>(8);
  ExpectSameWords<v1::ConcurrencyPolicy, core::ConcurrencyPolicy>(3);
  ExpectSameWords<v1::OutputType, core::OutputType>(6);
  ExpectSameWords<v1::VersionKind, core::VersionKind>(10);
  ExpectSameWords<v1::DifferenceKind, core::DifferenceKind>(9);
  ExpectSameWords<v1::Trend, core::Trend>(3);
  ExpectSameWords<v1::Sameness, core::Sameness>(4);
  ExpectSameWords<v1::VerdictOutcome, core::VerdictOutcome>(4);
}

TEST(Json, PutsUserValuesInPlaceOfTheirText) {
  core::Run run = FilledValue<v1::Run>();
  run.pins.params = Value::Map{{"train", Value::Map{{"max_depth", 8}, {"rate", 0.5}}}};
  run.stages[0].attempts[0].outcome.metrics = {{"mae", std::nan("")}};

  const Value json = ParseJson(ToProtoJson(run)).value();

  EXPECT_EQ(*json.FindPath("pins.params.train.max_depth"), Value(8));
  EXPECT_EQ(json.FindPath("pins.params_json"), nullptr);
  EXPECT_EQ(
      *json.Find("stages")->list()[0].Find("attempts")->list()[0].FindPath("outcome.metrics.mae"),
      Value("NaN"));
}

TEST(Json, PrintsEveryFieldAlsoWhenItIsZero) {
  const Value json = ParseJson(ToProtoJson(std::vector<RunSummary>{RunSummary{}})).value();

  EXPECT_EQ(json.Find("runs")->list()[0].Find("message")->string(), "");
  EXPECT_EQ(json.map().size(), 1u);
}

TEST(Json, NamesListsByWhatTheyHold) {
  EXPECT_EQ(ToProtoJson(std::vector<AgentView>{}), "{\n  \"agents\": []\n}\n");
  EXPECT_EQ(ToProtoJson(std::vector<core::Diagnostic>{}), "{\n  \"problems\": []\n}\n");
  for (const std::string& text :
       {ToProtoJson(FilledValue<v1::RunView>()), ToProtoJson(FilledValue<v1::PlannedRun>()),
        ToProtoJson(FilledValue<v1::LineageGraph>()),
        ToProtoJson(FilledValue<v1::RunComparison>()),
        ToProtoJson(FilledValue<v1::Impact>()),
        ToProtoJson(FilledValue<v1::Reproduction>()),
        ToProtoJson(FilledValue<v1::GetServerResponse>()),
        ToProtoJson(FilledValue<v1::RegisterPipelineResponse>()),
        ToProtoJson(FilledValue<v1::Verdict>()),
        ToProtoJson(std::vector{FilledValue<v1::Deployment>()}),
        ToProtoJson(std::vector{FilledValue<v1::Monitor>()}),
        ToProtoJson(FilledValue<v1::Pipeline>()),
        ToProtoJson(std::vector{FilledValue<v1::Pipeline>()})}) {
    EXPECT_TRUE(ParseJson(text).ok()) << text;
    EXPECT_EQ(text.find("_json"), std::string::npos) << text;
  }
}

TEST(Status, KeepsTheFindings) {
  const core::Diagnostics findings = {FilledValue<v1::Diagnostic>(), FilledValue<v1::Diagnostic>()};

  std::string metadata;
  const grpc::Status wire = ToGrpc(DiagnosticsError("2 problems", findings), &metadata);
  const absl::Status back = FromGrpc(wire, {{kDiagnosticsKey, metadata}}, "here");

  EXPECT_EQ(back.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cd4ml::Message(back), "2 problems");
  EXPECT_EQ(DiagnosticsOf(back), findings);
}

TEST(Status, SendsAsManyFindingsAsFit) {
  core::Diagnostics findings(10'000, FilledValue<v1::Diagnostic>());

  std::string metadata;
  ToGrpc(DiagnosticsError("many problems", findings), &metadata);

  EXPECT_LT(metadata.size(), size_t{kMetadataMax} / 2);
  EXPECT_GT(ParseJson(metadata).value().list().size(), 500u);
}

TEST(Status, NamesTheDaemonThatDoesNotAnswer) {
  const absl::Status status = FromGrpc(
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"), {}, "127.0.0.1:7077");

  EXPECT_EQ(
      Message(status),
      "cannot reach the daemon at 127.0.0.1:7077 (connection refused); is cd4mld running there?");
}

TEST(Status, TellsAnAnswerFromSilence) {
  std::string metadata;
  const grpc::Status wire = ToGrpc(absl::UnavailableError("material \"m\": connection refused"), &metadata);

  const absl::Status answer = FromGrpc(wire, {{kDiagnosticsKey, metadata}}, "here");

  EXPECT_TRUE(IsAnswer(answer));
  EXPECT_EQ(answer.code(), absl::StatusCode::kUnavailable) << "which says that it may be asked again";
  EXPECT_EQ(Message(answer), "material \"m\": connection refused");
  EXPECT_FALSE(IsAnswer(FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"), {}, "here")));
}

TEST(DiagnosticPayload, IgnoresWhatIsNoListOfFindings) {
  for (const char* json : {"", "{", "7", "[]", "{}", "null"}) {
    EXPECT_TRUE(DiagnosticsOf(WithDiagnosticsJson(absl::InternalError("x"), json)).empty()) << json;
  }
  EXPECT_EQ(
      DiagnosticsOf(WithDiagnosticsJson(absl::InternalError("x"), R"([{"line":-4,"code":7}])")),
      core::Diagnostics{{.place = {.length = 0}}});
  EXPECT_EQ(DiagnosticsJson(absl::OkStatus()), "");
}

}  // namespace
}  // namespace cd4ml::rpc
