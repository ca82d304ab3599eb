// Events to payloads and back: nothing is lost, whatever is inside.
#include "store/encode.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "fixture.h"

namespace cd4ml::store {
namespace {

// Comparable views of structures. A new field breaks the binding and so asks for its place here and
// in encode.cc.
auto View(const core::TriggerFacts& x) {
  const auto& [kind, key, by, reason] = x;
  return std::tie(kind, key, by, reason);
}
auto View(const core::Pins& x) {
  const auto& [repo, commit, subject, file, definition, materials, upstream, mixed, params, sources, digest] = x;
  return std::tie(repo, commit, subject, file, definition, materials, upstream, mixed, params, sources, digest);
}
auto View(const core::RetrySpec& x) {
  const auto& [limit, error_limit, when, backoff, backoff_max] = x;
  return std::tie(limit, error_limit, when, backoff, backoff_max);
}
auto View(const core::Resources& x) {
  const auto& [cpu, memory, gpus] = x;
  return std::tie(cpu, memory, gpus);
}
auto View(const core::MatrixSpec& x) {
  const auto& [cells, max_parallel, goes_on, select, select_highest] = x;
  return std::tie(cells, max_parallel, goes_on, select, select_highest);
}
auto View(const core::StagePlan& x) {
  const auto& [name, kind, needs, references, condition, labels, resources, timeout, assign, total,
               retry, environment, policy, refuses_mixed, package, recipe, reuse, max_age, baselines,
               override_people, cell_of, cell_params, matrix] = x;
  static const core::MatrixSpec kNone;
  return std::tuple_cat(std::tuple(matrix.has_value()), View(matrix ? *matrix : kNone), std::tie(cell_of, cell_params),
                        std::tie(name, kind, needs, references, condition, labels, timeout, assign,
                                 total, environment, policy, refuses_mixed, package, recipe, reuse, max_age, baselines,
                                 override_people),
                        View(retry), View(resources));
}
auto View(const core::Deployment& x) {
  const auto& [id, environment, pipeline, run, stage, package, model, agent, endpoint, started,
               ended, replaced, overrides] = x;
  EXPECT_TRUE(overrides.empty()) << "the ledger has none";
  return std::tie(id, environment, pipeline, run, stage, package, model, agent, endpoint, started,
                  ended, replaced);
}

template <typename T>
T RoundTrip(const T& event) {
  const core::Event whole(event);
  const auto payload = EncodeEvent(whole);
  EXPECT_TRUE(payload.ok()) << payload.status().ToString();
  auto decoded = DecodeEvent(core::EventName(whole), *payload);
  EXPECT_TRUE(decoded.ok()) << decoded.status().ToString() << "\n" << *payload;
  if (!decoded.ok()) return T{};
  EXPECT_EQ(*EncodeEvent(*decoded), *payload);
  return std::get<T>(*decoded);
}

const char kNasty[] = "\"quoted\"\\ \n\t\x01 \xC3\xBC \xE2\x82\xAC \xF0\x9F\x9A\x97 </script> %s";

core::Version FullVersion(const std::string& name) {
  core::Version version = DataVersion(name);
  version.kind = core::VersionKind::kProbeSet;
  version.name = name + kNasty;
  version.artifact.is_tree = true;
  version.artifact.files = 17;
  return version;
}

TEST(EncodeEvent, KeepsARunWithAllItsPinsAndPlans) {
  core::RunStarted event;
  event.id = "car/12";
  event.pipeline = "car";
  event.number = 12;
  event.lane = "experiment";
  event.trigger = {core::TriggerKind::kMonitor, "key", "car/watch", kNasty};
  event.pins = CarRun(12).pins;
  event.pins.file = "car.cd4ml.yaml";
  event.pins.params =
      Value::Map{{"a", Value::List{1, 2.5, "x", true, Value(), Value::Map{}}}, {kNasty, 1e300}};
  event.pins.param_sources = {{"a", "default"}, {kNasty, "trigger"}};
  event.pins.materials["more"] = FullVersion("more");
  event.stages = CarPlan();
  core::StagePlan& plan = event.stages[0];
  plan.condition = "always()";
  plan.labels = {"gpu", ""};
  plan.timeout = Duration(5);
  plan.assign_timeout = Duration(6);
  plan.retry = {3, 4, {"infra"}, Duration(7), Duration(8)};
  plan.resources = {1'500, 1 << 30, 2};
  plan.total_timeout = Duration(9);
  plan.environment_policy = core::ConcurrencyPolicy::kLatest;
  plan.cell_of = "train";
  plan.cell_params = {{"train.depth", Value(8)}, {kNasty, Value(kNasty)}};
  plan.matrix = core::MatrixSpec{{"train@8", "train@12"}, 2, true, "mae", true};
  event.priority = -7;
  event.concurrency = {"cars", core::ConcurrencyPolicy::kCancel, 3};
  event.queued = true;
  event.retry_of = "car/11";

  const core::RunStarted back = RoundTrip(event);

  EXPECT_EQ(std::tie(back.id, back.pipeline, back.number, back.lane, back.priority, back.queued,
                     back.retry_of),
            std::tie(event.id, event.pipeline, event.number, event.lane, event.priority,
                     event.queued, event.retry_of));
  EXPECT_EQ(back.concurrency, event.concurrency);
  EXPECT_EQ(View(back.trigger), View(event.trigger));
  EXPECT_EQ(View(back.pins), View(event.pins));
  ASSERT_EQ(back.stages.size(), event.stages.size());
  for (size_t i = 0; i < event.stages.size(); ++i)
    EXPECT_EQ(View(back.stages[i]), View(event.stages[i]));
}

TEST(EncodeEvent, KeepsAnOutcomeWithEveryField) {
  core::AttemptEnded event{"train", 2, core::AttemptState::kFailed, {}};
  core::Outcome& outcome = event.outcome;
  outcome.state = core::AttemptState::kFailed;
  outcome.reason = core::Reason::kMetricsUnreadable;
  outcome.message = kNasty;
  outcome.exit_code = -1;
  outcome.outputs = {Output("model", core::OutputType::kModel, "m"),
                     Output("", core::OutputType::kFile, "")};
  outcome.outputs[0].profile = DataVersion("profile").artifact;
  outcome.metrics = {
      {"mae", 1.5}, {"zero", 0.0}, {"minus", -0.0}, {"inf", HUGE_VAL}, {"small", 5e-324}};
  outcome.verdict = Judged(core::VerdictOutcome::kFail);
  outcome.verdict->segments = {"vw/golf"};
  outcome.service = core::StartedService{"http://127.0.0.1:1", "agent"};
  outcome.environment = Value::Map{{"python", "3.11"}};
  outcome.log_bytes = std::numeric_limits<int64_t>::max();
  outcome.cpu_seconds = 0.1;
  outcome.max_rss_bytes = 1;

  const core::Outcome back = RoundTrip(event).outcome;

  const auto& [state, reason, message, exit_code, outputs, metrics, verdict, service, environment,
               log_bytes, cpu_seconds, max_rss_bytes] = back;
  EXPECT_EQ(std::tie(state, reason, message, exit_code, outputs, metrics, service, environment,
                     log_bytes, cpu_seconds, max_rss_bytes),
            std::tie(outcome.state, outcome.reason, outcome.message, outcome.exit_code,
                     outcome.outputs, outcome.metrics, outcome.service, outcome.environment,
                     outcome.log_bytes, outcome.cpu_seconds, outcome.max_rss_bytes));
  EXPECT_EQ(ToJson(core::ToValue(*verdict)), ToJson(core::ToValue(*outcome.verdict)));
}

TEST(EncodeEvent, KeepsAMetricThatIsNotANumber) {
  core::AttemptEnded event{"train", 1, core::AttemptState::kSucceeded, {}};
  event.outcome.metrics["mae"] = std::nan("");

  EXPECT_TRUE(std::isnan(RoundTrip(event).outcome.metrics.at("mae")));
}

TEST(EncodeEvent, KeepsADeployment) {
  core::Deployed event{"release", {}};
  event.deployment = {"car/1/release",
                      "production",
                      "car",
                      "car/1",
                      "release",
                      FullVersion("package"),
                      FullVersion("model"),
                      "agent",
                      "http://h:1",
                      UtcTime{5},
                      UtcTime{6},
                      "car/0/release"};

  EXPECT_EQ(View(RoundTrip(event).deployment), View(event.deployment));
}

TEST(EncodeEvent, KeepsTheSmallEvents) {
  {
    const auto [stage, not_before] = RoundTrip(core::StageReady{"train", UtcTime{-5}});
    EXPECT_EQ(std::tuple(stage, not_before), std::tuple("train", UtcTime{-5}));
  }
  {
    const core::Recipe parts = {{"code", "a"}, {"input train.model", kNasty}};
    const auto [stage, number, agent, recipe, note] = RoundTrip(core::LeaseGranted{"train", 7, kNasty, parts, kNasty});
    EXPECT_EQ(std::tuple(stage, number, agent, recipe, note), std::tuple("train", 7, kNasty, parts, kNasty));
  }
  {
    const auto [stage, number] = RoundTrip(core::AttemptStarted{"", 0});
    EXPECT_EQ(std::tuple(stage, number), std::tuple("", 0));
  }
  {
    const std::vector<core::Version> used = {FullVersion("a"), core::Version{}},
                                     produced = {FullVersion("b")};
    const auto [stage, number, back_used, back_produced] =
        RoundTrip(core::VersionsProduced{"t", 1, used, produced});
    EXPECT_EQ(std::tie(back_used, back_produced), std::tie(used, produced));
    EXPECT_EQ(std::tuple(stage, number), std::tuple("t", 1));
  }
  {
    const auto [stage, environment, deployment] =
        RoundTrip(core::MonitorArmed{"watch", "production", "car/1/release"});
    EXPECT_EQ(std::tuple(stage, environment, deployment),
              std::tuple("watch", "production", "car/1/release"));
  }
  {
    const auto [stage, state, reason, message] = RoundTrip(
        core::StageEnded{"t", core::StageState::kSkipped, core::Reason::kNoAgent, kNasty});
    EXPECT_EQ(std::tuple(stage, state, reason, message),
              std::tuple("t", core::StageState::kSkipped, core::Reason::kNoAgent, kNasty));
  }
  {
    const auto [reason, by] = RoundTrip(core::CancelRequested{kNasty, "car/2"});
    EXPECT_EQ(std::tie(reason, by), std::tuple(std::string(kNasty), std::string("car/2")));
  }
  {
    const auto [stage, stop] = RoundTrip(core::StopRequested{
        "t", {core::StageState::kFailed, core::Reason::kTotalTimeout, kNasty}});
    EXPECT_EQ(std::tuple(stage, stop.state, stop.reason, stop.message),
              std::tuple("t", core::StageState::kFailed, core::Reason::kTotalTimeout, kNasty));
  }
  {
    core::Carried from{{"car/1", "t", 2}, GoodOutcome("train", "x")};
    const auto [stage, carried] = RoundTrip(core::StageCarried{"t", from});
    EXPECT_EQ(carried.from, from.from);
    EXPECT_EQ(carried.outcome.metrics, from.outcome.metrics);
    EXPECT_EQ(carried.outcome.outputs, from.outcome.outputs);
  }
  RoundTrip(core::RunAdmitted{});
  {
    const auto [state, reason, message] =
        RoundTrip(core::RunEnded{core::RunState::kCancelled, core::Reason::kCancelled, ""});
    EXPECT_EQ(std::tuple(state, reason, message),
              std::tuple(core::RunState::kCancelled, core::Reason::kCancelled, ""));
  }
}

TEST(EncodeEvent, ReplacesBytesThatAreNoTextSoThatTheEventStaysReadable) {
  const core::CancelRequested back =
      RoundTrip(core::CancelRequested{"a\xFF"
                                      "b\xC3", ""});

  EXPECT_EQ(back.reason,
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
}

TEST(EncodeEvent, RefusesAValueThatCouldNotBeReadAgain) {
  Value deep = 1;
  for (int i = 0; i < 70; ++i) deep = Value::List{deep};
  core::RunStarted event;
  event.pins.params = deep;

  EXPECT_EQ(EncodeEvent(event).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(DecodeEvent, NamesWhatIsWrongWithAPayload) {
  const auto why = [](const char* kind, const char* payload) {
    return Message(DecodeEvent(kind, payload).status());
  };

  EXPECT_EQ(why("stage_end", "{}"), "unknown event \"stage_end\"");
  EXPECT_EQ(why("stage_ended", "{}"),
            "event stage_ended: member \"state\" is missing or of another type");
  EXPECT_EQ(why("stage_ended", R"({"state":"gone","reason":"none"})"),
            "event stage_ended: member \"state\" is missing or of another type");
  EXPECT_EQ(why("lease_granted", R"({"number":99999999999})"),
            "event lease_granted: member \"number\" is missing or of another type");
  for (const char* payload : {"", "[]", "null", "{", "{\"stage\":1}", "{\"stage\":[\"a\"]}"}) {
    EXPECT_NE(why("stage_ready", payload), "") << payload;
  }
}

}  // namespace
}  // namespace cd4ml::store
