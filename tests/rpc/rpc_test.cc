// A server on a free port and its clients: every call arrives, every answer and error comes back.
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

#include "cd4ml/base/status.h"
#include "cd4ml/ports/answer.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cd4ml/rpc/connect.h"
#include "cd4ml/rpc/serve.h"
#include "tests/rpc/fakes.h"
#include "tests/support/blob_contract.h"
#include "tests/support/memory_blob_store.h"
#include "tests/support/temp_dir.h"

namespace cd4ml::rpc {
namespace {

constexpr Duration kNow{0};

class Rpc : public testing::Test {
 protected:
  Rpc() { Start("127.0.0.1:0"); }

  void Start(const std::string& address) {
    auto started =
        Serve({.address = address, .followers_max = 3}, control_, query_, agents_, blobs_);
    CD4ML_CHECK(started.ok(), started.status().ToString());
    server_ = *std::move(started);
  }

  FakeControl control_;
  FakeQuery query_;
  FakeAgents agents_;
  MemoryBlobStore blobs_;
  std::unique_ptr<Server> server_;
};

// --- control -----------------------------------------------------------------------------------

TEST_F(Rpc, CarriesEveryControlCall) {
  const auto client = ConnectControl(server_->address());
  const auto start = FilledValue<v1::StartRunRequest>();
  const auto registration = FilledValue<v1::RegisterPipelineRequest>();

  const auto registered = Await<absl::StatusOr<RegisterResult>>(
      [&](auto done) { client->RegisterPipeline(registration, done); });
  EXPECT_EQ(control_.asked, TextOf(registration));
  EXPECT_EQ(TextOf(registered.value()), Filled<v1::RegisterPipelineResponse>().DebugString());

  const auto started =
      Await<absl::StatusOr<core::Run>>([&](auto done) { client->StartRun(start, done); });
  EXPECT_EQ(control_.asked, TextOf(start));
  EXPECT_EQ(TextOf(started.value()), Filled<v1::Run>().DebugString());

  for (const bool already : {false, true}) {
    control_.already = already;
    const auto repeated = Await<absl::StatusOr<StartedRun>>([&](auto done) { client->StartRun(start, done); });
    const auto retried = Await<absl::StatusOr<StartedRun>>([&](auto done) { client->RetryRun({}, done); });
    const auto made_again = Await<absl::StatusOr<StartedRun>>([&](auto done) { client->ReproduceRun({}, done); });
    for (const auto& answer : {repeated, retried, made_again}) EXPECT_EQ(answer.value().already, already);
  }

  const auto planned =
      Await<absl::StatusOr<PlannedRun>>([&](auto done) { client->PlanRun(start, done); });
  EXPECT_EQ(control_.asked, "plan " + TextOf(start));
  EXPECT_EQ(TextOf(planned.value()), Filled<v1::PlannedRun>().DebugString());

  const auto reproduce = FilledValue<v1::ReproduceRunRequest>();
  const auto reproduced =
      Await<absl::StatusOr<core::Run>>([&](auto done) { client->ReproduceRun(reproduce, done); });
  EXPECT_EQ(control_.asked, TextOf(reproduce));
  EXPECT_EQ(TextOf(reproduced.value()), Filled<v1::Run>().DebugString());

  const auto cancelled = Await<absl::StatusOr<core::Run>>(
      [&](auto done) { client->CancelRun("p/1", "too slow", done); });
  EXPECT_EQ(control_.asked, "p/1: too slow");
  EXPECT_EQ(TextOf(cancelled.value()), Filled<v1::Run>().DebugString());

  const auto backup = Await<absl::StatusOr<BackupReport>>(
      [&](auto done) { client->BackUp("/srv/backup", done); });
  EXPECT_EQ(control_.asked, "back up to /srv/backup");
  EXPECT_EQ(TextOf(backup.value()), Filled<v1::BackUpResponse>().DebugString());

  const auto scrub =
      Await<absl::StatusOr<ScrubReport>>([&](auto done) { client->Scrub(1'024, done); });
  EXPECT_EQ(control_.asked, "scrub 1024");
  EXPECT_EQ(TextOf(scrub.value()), Filled<v1::ScrubResponse>().DebugString());
}

TEST_F(Rpc, CarriesErrorsWithTheirFindings) {
  const auto client = ConnectControl(server_->address());
  const core::Diagnostics findings(3, FilledValue<v1::Diagnostic>());
  control_.error = DiagnosticsError("3 problems in a.cd4ml.yaml", findings);

  const auto answer =
      Await<absl::StatusOr<core::Run>>([&](auto done) { client->StartRun({}, done); });

  EXPECT_EQ(answer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cd4ml::Message(answer.status()), "3 problems in a.cd4ml.yaml");
  EXPECT_EQ(DiagnosticsOf(answer.status()), findings);
}

TEST_F(Rpc, CarriesMoreFindingsThanARequestMayHaveMetadata) {
  const auto client = ConnectControl(server_->address());
  control_.error =
      DiagnosticsError("many", core::Diagnostics(10'000, FilledValue<v1::Diagnostic>()));

  const auto answer =
      Await<absl::StatusOr<core::Run>>([&](auto done) { client->StartRun({}, done); });

  EXPECT_EQ(cd4ml::Message(answer.status()), "many");
  EXPECT_GT(DiagnosticsOf(answer.status()).size(), 500u);
}

TEST_F(Rpc, KeepsEveryCodeAndMessage) {
  const auto client = ConnectQuery(server_->address());
  for (int code = 1; code <= 16; ++code) {
    const absl::Status said(static_cast<absl::StatusCode>(code), "why \"ä\" " + std::to_string(code));
    query_.error = said;

    const absl::Status answer = client->GetServer().status();
    EXPECT_EQ(answer.code(), said.code());
    EXPECT_EQ(answer.message(), said.message());
    EXPECT_EQ(IsAnswer(answer), absl::IsUnavailable(answer)) << "what the daemon says is not taken for its absence";
  }
}

// --- query -------------------------------------------------------------------------------------

TEST_F(Rpc, CarriesEveryQuery) {
  const auto client = ConnectQuery(server_->address());

  EXPECT_EQ(TextOf(client->GetServer().value()), Filled<v1::GetServerResponse>().DebugString());
  EXPECT_EQ(TextOf(client->GetRun("p/latest").value()), Filled<v1::RunView>().DebugString());
  EXPECT_EQ(query_.asked, "p/latest");
  EXPECT_EQ(TextOf(client->GetPipeline("p").value()), Filled<v1::Pipeline>().DebugString());
  EXPECT_EQ(query_.asked, "p");
  EXPECT_EQ(TextOf(client->ListAgents().value().at(0)), Filled<v1::Agent>().DebugString());
  EXPECT_EQ(TextOf(client->ListDeployments("production", {123'456}, 7).value().at(0)),
            Filled<v1::Deployment>().DebugString());
  EXPECT_EQ(query_.asked, "production 123456 7");
  ASSERT_TRUE(client->ListDeployments("", {}, 1).ok());
  EXPECT_EQ(query_.asked, " 0 1");
  EXPECT_EQ(TextOf(client->ListMonitors(5).value().at(0)), Filled<v1::Monitor>().DebugString());
  EXPECT_EQ(query_.asked, "5");
  EXPECT_EQ(TextOf(client->TraceLineage("p/3", LineageDirection::kDown, 9).value()),
            Filled<v1::LineageGraph>().DebugString());
  EXPECT_EQ(query_.asked, "p/3 down 9");
  ASSERT_TRUE(client->TraceLineage("p/3", LineageDirection::kUp, 9).ok());
  EXPECT_EQ(query_.asked, "p/3 up 9");
  EXPECT_EQ(TextOf(client->FindImpact("9f2c1aa").value()), Filled<v1::Impact>().DebugString());
  EXPECT_EQ(query_.asked, "impact of 9f2c1aa");
  EXPECT_EQ(TextOf(client->JudgeReproduction("p/3", 0.5).value()), Filled<v1::Reproduction>().DebugString());
  EXPECT_EQ(query_.asked, "p/3 within 0.500000");
  ASSERT_TRUE(client->JudgeReproduction("p/3", std::nullopt).ok());
  EXPECT_EQ(query_.asked, "p/3 within bytes");
  EXPECT_EQ(TextOf(client->CompareRuns("p/3", "p/4", core::Compared::kEverything).value()),
            Filled<v1::RunComparison>().DebugString());
  EXPECT_EQ(query_.asked, "p/3 and p/4 all");
  ASSERT_TRUE(client->CompareRuns("p/3", "p/4", core::Compared::kDifferences).ok());
  EXPECT_EQ(query_.asked, "p/3 and p/4");
  EXPECT_EQ(client->ExportDocument("p/3", DocumentKind::kUpstream).value(), "text of it");
  EXPECT_EQ(query_.asked, "p/3 document 1");
}

TEST_F(Rpc, ListsRunsByPage) {
  const auto client = ConnectQuery(server_->address());
  const RunFilter filter{
      .pipeline = "p", .state = core::RunState::kFailed, .limit = 2, .before = "p/9"};

  const auto runs = client->ListRuns(filter);

  ASSERT_EQ(runs.value().size(), 2u);
  EXPECT_EQ(TextOf(runs->at(1)), Filled<v1::RunSummary>().DebugString());
  EXPECT_EQ(query_.asked, TextOf(filter));
  ASSERT_TRUE(client->ListRuns({}).ok());
  EXPECT_EQ(query_.asked, TextOf(RunFilter{}));
  for (const int limit : {-1, 1'001}) {
    EXPECT_EQ(client->ListRuns({.limit = limit}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(Rpc, ListsMoreThanOnePageHolds) {
  const auto client = ConnectQuery(server_->address());
  for (const int count : {0, 1, 999, 1'000, 1'001, 2'500}) {
    query_.pipelines = count;

    const auto pipelines = client->ListPipelines();

    ASSERT_EQ(pipelines.value().size(), static_cast<size_t>(count));
    for (int i = 0; i < count; ++i)
      EXPECT_EQ(pipelines->at(i).name, "p" + std::to_string(10'000 + i));
  }
}

TEST_F(Rpc, WatchesARunUntilItEnds) {
  const auto client = ConnectQuery(server_->address());
  Box<RunView> views;
  Box<absl::Status> ends;

  const auto subscription = client->WatchRun(
      "p/1", [&](RunView view) { views.Put(std::move(view)); },
      [&](absl::Status end) { ends.Put(std::move(end)); });
  ASSERT_TRUE(subscription.ok()) << subscription.status();
  EXPECT_EQ(TextOf(views.Take()), Filled<v1::RunView>().DebugString());
  const auto change = query_.watchers.Take();
  RunView changed;
  changed.run.id = "p/1";
  changed.waiting["train"] = "no agent has the label gpu";
  change(changed);
  EXPECT_EQ(TextOf(views.Take()), TextOf(changed));
  query_.watcher_ends.Take()(absl::OkStatus());

  EXPECT_TRUE(ends.Take().ok());
  EXPECT_TRUE(query_.unsubscribed.Take());
}

TEST_F(Rpc, AnswersAnUnknownRunToTheOneWhoAsked) {
  query_.error = absl::NotFoundError("no run \"p/7\"");

  const auto subscription = ConnectQuery(server_->address())
                                ->WatchRun(
                                    "p/7", [](RunView) {}, [](absl::Status) {});

  EXPECT_EQ(subscription.status(), query_.error);
}

TEST_F(Rpc, StopsCallingBackWhenASubscriptionIsDropped) {
  const auto client = ConnectQuery(server_->address());
  Box<RunView> views;
  Box<absl::Status> ends;
  auto subscription = client->WatchRun(
      "p/1", [&](RunView view) { views.Put(std::move(view)); },
      [&](absl::Status end) { ends.Put(std::move(end)); });
  views.Take();

  subscription->reset();

  EXPECT_TRUE(query_.unsubscribed.Take());
  EXPECT_EQ(views.size(), 0u);
  EXPECT_EQ(ends.size(), 0u);
}

TEST_F(Rpc, RefusesMoreFollowersThanAllowed) {
  const auto client = ConnectQuery(server_->address());
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  for (int i = 0; i < 3; ++i) {
    subscriptions.push_back(client
                                ->WatchRun(
                                    "p/1", [](RunView) {}, [](absl::Status) {})
                                .value());
  }

  const auto refused = client->WatchRun(
      "p/1", [](RunView) {}, [](absl::Status) {});

  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(client->GetServer().ok());
  subscriptions.pop_back();
  absl::Status again = refused.status();
  while (absl::IsResourceExhausted(again)) {  // Until the daemon has noticed.
    again = client
                ->WatchRun(
                    "p/1", [](RunView) {}, [](absl::Status) {})
                .status();
  }
  EXPECT_TRUE(again.ok()) << again;
}

TEST_F(Rpc, ReadsALogChunkByChunk) {
  const auto client = ConnectQuery(server_->address());
  const auto attempt = FilledValue<v1::AttemptId>();
  query_.log = Noise(1'000'000);
  query_.chunk_max = 300'000;

  std::string read;
  bool end = false;
  while (!end) {
    const auto chunk =
        client->ReadLog(attempt, static_cast<int64_t>(read.size()), /*follow=*/false);
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    ASSERT_EQ(chunk->offset, static_cast<int64_t>(read.size()));
    read += chunk->bytes;
    end = chunk->end;
  }

  EXPECT_TRUE(read == query_.log.get());
  EXPECT_EQ(query_.asked, TextOf(attempt));
  EXPECT_EQ(client->ReadLog(attempt, 999'999, /*follow=*/false).value().bytes,
            read.substr(999'999));
}

TEST_F(Rpc, AnswersNothingNewWhenALogGoesOnLater) {
  const auto client = ConnectQuery(server_->address());
  query_.log_has_ended = false;

  const std::string read = query_.log;
  EXPECT_EQ(client->ReadLog({}, 0, false).value().bytes, read);
  const auto nothing = client->ReadLog({}, static_cast<int64_t>(read.size()), false);
  const auto again = client->ReadLog({}, static_cast<int64_t>(read.size()), false);

  EXPECT_EQ(nothing.value().bytes + again.value().bytes, "");
  EXPECT_FALSE(nothing->end || again->end);
  query_.log = read + "third line\n";
  EXPECT_EQ(client->ReadLog({}, static_cast<int64_t>(read.size()), false).value().bytes,
            "third line\n");
}

// --- agents ------------------------------------------------------------------------------------

// One agent's side of a session.
struct Agent {
  explicit Agent(const std::string& address) : client(ConnectAgent(address)) {}

  absl::StatusOr<SessionGrant> Open(const std::string& name) {
    auto hello = FilledValue<v1::AgentHello>();
    hello.name = name;
    return Await<absl::StatusOr<SessionGrant>>([&](auto done) {
      client->OpenSession(
          hello, [this](DesiredState state) { desired.Put(std::move(state)); },
          [this](absl::Status status) { lost.Put(std::move(status)); }, done);
    });
  }
  absl::Status Report(const std::string& session, const AgentReport& report) {
    return Await<absl::Status>([&](auto done) { client->Report(session, report, done); });
  }

  Box<DesiredState> desired;
  Box<absl::Status> lost;
  std::unique_ptr<AgentApi> client;  // Last: its callbacks use the boxes.
};

TEST_F(Rpc, GrantsASessionAndPushesWhatIsDesired) {
  Agent agent(server_->address());

  const auto grant = agent.Open("alpha");

  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->session, "alpha");
  EXPECT_EQ(grant->heartbeat, FilledValue<v1::SessionGrant>().heartbeat);
  auto hello = FilledValue<v1::AgentHello>();
  hello.name = "alpha";
  EXPECT_EQ(agents_.asked.Take(), TextOf(hello));
  auto next = FilledValue<v1::DesiredState>();
  // A session keeps leases by the names of their attempts.
  std::sort(next.leases.begin(), next.leases.end(), [](const TaskPtr& a, const TaskPtr& b) { return a->attempt < b->attempt; });
  EXPECT_EQ(TextOf(agent.desired.Take()), TextOf(next));
  next.revision += 1;
  next.leases.clear();
  next.services.clear();
  agents_.sessions.Take().on_desired(next);
  EXPECT_EQ(TextOf(agent.desired.Take()), TextOf(next));
}

TEST_F(Rpc, RefusesAnAgentWithTheDaemonsWords) {
  Agent agent(server_->address());
  agents_.error = absl::FailedPreconditionError("protocol 9 is not supported; supported: 1");

  EXPECT_EQ(agent.Open("alpha").status(), agents_.error);
  EXPECT_EQ(agent.lost.size(), 0u);
}

TEST_F(Rpc, AnswersEveryReportOnce) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  agents_.asked.Take();
  const auto report = FilledValue<v1::AgentReport>();

  EXPECT_TRUE(agent.Report("alpha", report).ok());
  EXPECT_EQ(agents_.asked.Take(), "alpha " + TextOf(report));
  Box<absl::Status> answers;
  for (int i = 0; i < 100; ++i)
    agent.client->Report("alpha", report, [&](absl::Status s) { answers.Put(s); });
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(answers.Take().ok());
  EXPECT_EQ(agent.Report("nobody", report).code(), absl::StatusCode::kNotFound);
}

TEST_F(Rpc, LosesASessionWhoseReportIsRefused) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  agents_.error = absl::NotFoundError("session alpha is over");

  EXPECT_EQ(agent.Report("alpha", {}), agents_.error);
  EXPECT_EQ(agent.lost.Take(), agents_.error);
  EXPECT_EQ(agent.Report("alpha", {}).code(), absl::StatusCode::kNotFound);
}

TEST_F(Rpc, TellsAnAgentThatANewerSessionTookOver) {
  Agent old_agent(server_->address());
  Agent new_agent(server_->address());
  ASSERT_TRUE(old_agent.Open("alpha").ok());
  const auto old_session = agents_.sessions.Take();
  ASSERT_TRUE(new_agent.Open("alpha").ok());

  old_session.on_lost(absl::AbortedError("superseded by another session of agent alpha"));

  EXPECT_EQ(old_agent.lost.Take(),
            absl::AbortedError("superseded by another session of agent alpha"));
  EXPECT_TRUE(new_agent.Report("alpha", {}).ok());
}

TEST_F(Rpc, IgnoresWhatTheDaemonSaysToAnAgentThatIsGone) {
  FakeAgents::Session session;
  {
    Agent agent(server_->address());
    ASSERT_TRUE(agent.Open("alpha").ok());
    session = agents_.sessions.Take();
  }
  for (int i = 0; i < 100; ++i) session.on_desired(DesiredState{.revision = i});
  session.on_lost(absl::AbortedError("expired"));
}

TEST_F(Rpc, LosesItsSessionsWhenTheDaemonStops) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());

  server_->Shutdown(Duration(10'000));  // Ends far earlier, or the test takes too long.

  const absl::Status lost = agent.lost.Take();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable) << lost;
  EXPECT_EQ(agent.lost.size(), 0u);
  EXPECT_EQ(agent.Open("alpha").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(Rpc, ConnectsAgainAfterTheDaemonCameBack) {
  const TempDir dir;
  server_.reset();
  Start("unix://" + dir.At("socket"));
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  server_.reset();
  EXPECT_FALSE(agent.lost.Take().ok());

  Start("unix://" + dir.At("socket"));

  absl::Status opened = absl::UnknownError("");
  while (!opened.ok()) {  // Until gRPC's back-off is over; the test runner limits it.
    opened = agent.Open("alpha").status();
    ASSERT_TRUE(opened.ok() || absl::IsUnavailable(opened)) << opened;
  }
}

// The last owner of a channel waits for gRPC's threads, so none of them may be that owner.
TEST_F(Rpc, LeavesItsChannelToTheClientWhenACallEnds) {
  for (int i = 0; i < 300; ++i) {
    server_.reset();
    Start("127.0.0.1:0");
    Agent agent(server_->address());
    ASSERT_TRUE(agent.Open("alpha").ok());
    server_->Shutdown(Duration(10'000));
    EXPECT_FALSE(agent.lost.Take().ok());
    EXPECT_FALSE(agent.Open("alpha").ok());
  }
}

TEST_F(Rpc, ClosesASessionWithoutALossBeingHeard) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  agents_.asked.Take();

  const auto closed =
      Await<absl::Status>([&](auto done) { agent.client->CloseSession("alpha", done); });

  EXPECT_TRUE(closed.ok()) << closed;
  EXPECT_EQ(agents_.asked.Take(), "close alpha");
  agent.client.reset();
  EXPECT_EQ(agent.lost.size(), 0u);
}

TEST_F(Rpc, CarriesResultsAndLogs) {
  Agent agent(server_->address());
  const auto attempt = FilledValue<v1::AttemptId>();
  const auto outcome = FilledValue<v1::Outcome>();

  const auto revision = Await<absl::StatusOr<int64_t>>(
      [&](auto done) { agent.client->Finish("alpha", attempt, outcome, done); });
  EXPECT_EQ(revision.value(), 41);
  EXPECT_EQ(agents_.asked.Take(), "alpha " + TextOf(attempt) + TextOf(outcome));

  for (const size_t size : {size_t{0}, size_t{5}, size_t{1} << 20, (size_t{5} << 20) + 3}) {
    const std::string bytes = Noise(size);
    const auto appended = Await<absl::StatusOr<int64_t>>(
        [&](auto done) { agent.client->AppendLog("alpha", attempt, 7, bytes, done); });
    EXPECT_EQ(appended.value(), static_cast<int64_t>(size) + 7);
    EXPECT_TRUE(agents_.log.get().substr(7) == bytes);
  }
  EXPECT_EQ(agents_.asked.Take(), TextOf(attempt));
}

TEST_F(Rpc, CarriesTheResultsOfASessionOnItsStreamAndLargeOnesBesideIt) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  agents_.asked.Take();
  auto outcome = FilledValue<v1::Outcome>();
  outcome.message = "small";
  Box<absl::StatusOr<int64_t>> answers;
  const auto finish = [&](int number) {
    agent.client->Finish("alpha", {"shop/1", "train", number}, outcome,
                         [&](absl::StatusOr<int64_t> answer) { answers.Put(std::move(answer)); });
  };

  for (int number = 1; number <= 500; ++number) finish(number);
  for (int number = 1; number <= 500; ++number) EXPECT_EQ(answers.Take().value(), 41);
  for (int number = 1; number <= 500; ++number) {
    EXPECT_EQ(agents_.asked.Take(),
              "alpha " + TextOf(core::AttemptId{"shop/1", "train", number}) + TextOf(outcome));
  }
  outcome.message = std::string(2 << 20, 'x');
  finish(501);
  EXPECT_EQ(answers.Take().value(), 41);
  outcome.message = "stale";
  agents_.error = absl::AbortedError("attempt shop/1/train/9 is stale");
  finish(9);
  EXPECT_EQ(answers.Take().status(), agents_.error);
  EXPECT_EQ(agent.lost.size(), 0u);
}

TEST_F(Rpc, NeverTakesTheEndOfASessionForAStaleAttempt) {
  struct SilentAgents : FakeAgents {
    Box<Done<int64_t>> waiting;
    void Finish(std::string, core::AttemptId, core::Outcome, Done<int64_t> done) override {
      waiting.Put(std::move(done));
    }
  } silent;
  const auto server = Serve({.address = "127.0.0.1:0"}, control_, query_, silent, blobs_).value();
  Agent agent(server->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  Box<absl::StatusOr<int64_t>> answers;
  agent.client->Finish("alpha", {"shop/1", "train", 1}, {},
                       [&](absl::StatusOr<int64_t> answer) { answers.Put(std::move(answer)); });
  const Done<int64_t> done = silent.waiting.Take();

  silent.sessions.Take().on_lost(absl::AbortedError("superseded"));

  EXPECT_EQ(answers.Take().status().code(), absl::StatusCode::kUnavailable);
  done(1);  // Too late, and harmless.
}

TEST_F(Rpc, TellsOfEachLeaseOnceAndTheAgentKnowsThemAll) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());
  const auto session = agents_.sessions.Take();
  std::mt19937 random(1);
  std::map<core::AttemptId, TaskPtr> leases;
  const int64_t first = agent.desired.Take().revision + 1;
  for (int64_t revision = first; revision < first + 200; ++revision) {
    Task task = *FilledValue<v1::DesiredState>().leases.at(0);
    task.attempt.number = static_cast<int>(random() % 50) + 1;
    if (!leases.erase(task.attempt)) leases[task.attempt] = std::make_shared<const Task>(task);
    auto desired = FilledValue<v1::DesiredState>();
    desired.revision = revision;
    desired.leases.clear();
    for (const auto& [attempt, lease] : leases) desired.leases.push_back(lease);

    session.on_desired(desired);

    // A newer state may overtake one that waits for its turn, but the last one comes.
    DesiredState heard;
    while (heard.revision < revision) heard = agent.desired.Take();
    ASSERT_EQ(TextOf(heard), TextOf(desired));
  }
}

TEST_F(Rpc, CarriesPredictionsOfAnySize) {
  Agent agent(server_->address());
  std::vector<PredictionRecord> predictions(1'000, FilledValue<v1::Prediction>());
  for (PredictionRecord& prediction : predictions)
    prediction.input = Value::Map{{"text", std::string(10'000, 'x')}};

  const auto recorded = Await<absl::StatusOr<int64_t>>(
      [&](auto done) { agent.client->RecordPredictions("d", predictions, done); });

  EXPECT_EQ(recorded.value(), 1'000);
  EXPECT_EQ(agents_.asked.Take(), "d " + TextOf(predictions[0]));
  const auto none = Await<absl::StatusOr<int64_t>>(
      [&](auto done) { agent.client->RecordPredictions("d", {predictions[0]}, done); });
  EXPECT_EQ(none.value(), 1);
}

TEST_F(Rpc, RefusesStaleAttemptsWithTheDaemonsWords) {
  Agent agent(server_->address());
  agents_.error = absl::AbortedError("attempt p/1/train/1 is stale");

  EXPECT_EQ(Await<absl::StatusOr<int64_t>>([&](auto done) {
              agent.client->Finish("s", {}, {}, done);
            }).status(),
            agents_.error);
  EXPECT_EQ(Await<absl::StatusOr<int64_t>>([&](auto done) {
              agent.client->AppendLog("s", {}, 0, Noise(3 << 20), done);
            }).status(),
            agents_.error);
}

TEST_F(Rpc, AnswersManyCallsAtOnce) {
  Agent agent(server_->address());
  Box<absl::StatusOr<int64_t>> answers;
  const auto answered = [&](absl::StatusOr<int64_t> answer) { answers.Put(std::move(answer)); };
  for (int i = 0; i < 100; ++i) {
    agent.client->Finish("s", {}, {}, answered);
    agent.client->RecordPredictions("d", {PredictionRecord()}, answered);
  }
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(answers.Take().ok());
}

TEST_F(Rpc, AnswersCallsUnderWayWhenAClientIsDestroyed) {
  // A daemon that answers when it is told to.
  struct SlowAgents : FakeAgents {
    Box<Done<int64_t>> waiting;
    void Finish(std::string, core::AttemptId, core::Outcome, Done<int64_t> done) override {
      waiting.Put(std::move(done));
    }
  } slow;
  const auto server = Serve({.address = "127.0.0.1:0"}, control_, query_, slow, blobs_).value();
  Agent agent(server->address());
  Box<absl::StatusOr<int64_t>> answers;
  agent.client->Finish("s", {}, {},
                       [&](absl::StatusOr<int64_t> answer) { answers.Put(std::move(answer)); });
  const Done<int64_t> done = slow.waiting.Take();

  agent.client.reset();

  EXPECT_EQ(answers.Take().status().code(), absl::StatusCode::kCancelled);
  done(1);  // Too late, and harmless.
}

// --- blobs -------------------------------------------------------------------------------------

// A store behind a server. It removes behind the daemon's back, which a client alone may not.
class RemoteHarness {
 public:
  BlobStore& store() { return removing_; }
  void Overwrite(const Digest& digest, const std::string& bytes) {
    local_.Overwrite(digest, bytes);
  }

 private:
  struct Removing : ForwardingBlobs {
    Removing(BlobStore& remote, BlobStore& behind) : ForwardingBlobs(remote), local(behind) {}
    absl::Status Remove(const Digest& digest) override { return local.Remove(digest); }
    BlobStore& local;
  };

  FakeControl control_;
  FakeQuery query_;
  FakeAgents agents_;
  MemoryBlobStore local_;
  std::unique_ptr<Server> server_ =
      Serve({.address = "127.0.0.1:0"}, control_, query_, agents_, local_).value();
  std::unique_ptr<BlobStore> remote_ = ConnectBlobs(server_->address());
  Removing removing_{*remote_, local_};
};

TEST_F(Rpc, MovesABigBlobBothWays) {
  const TempDir dir;
  const auto client = ConnectBlobs(server_->address());
  const std::string bytes = Noise(64 << 20);
  const std::string path = dir.Write("big", bytes);

  const auto digest = client->PutFile(path, /*may_link=*/true);

  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(*digest, Sha256(bytes));
  EXPECT_EQ(blobs_.Size(*digest).value(), 64 << 20);
  ASSERT_TRUE(
      client->Materialize(*digest, dir.At("back"), /*executable=*/false, /*may_link=*/true).ok());
  EXPECT_TRUE(FileBytes(dir.At("back")) == bytes);
}

TEST_F(Rpc, SendsOnlyTheFilesThatTheDaemonLacks) {
  // Counts what is written.
  struct CountingBlobs : ForwardingBlobs {
    using ForwardingBlobs::ForwardingBlobs;
    absl::StatusOr<std::unique_ptr<BlobWriter>> Create() override {
      ++writers;
      return inner.Create();
    }
    std::atomic<int> writers = 0;
  } counting(blobs_);
  const auto server =
      Serve({.address = "127.0.0.1:0"}, control_, query_, agents_, counting).value();
  const auto client = ConnectBlobs(server->address());
  const TempDir dir;
  const std::vector<std::string> paths = {dir.Write("a", "one"), dir.Write("b", "two"),
                                          dir.Write("c", "one")};
  ASSERT_TRUE(client->PutFile(paths[0], false).ok());
  counting.writers = 0;

  const auto digests = client->PutFiles(paths, false);

  EXPECT_EQ(digests.value(), (std::vector{Sha256("one"), Sha256("two"), Sha256("one")}));
  EXPECT_EQ(counting.writers, 1);
  EXPECT_TRUE(client->PutFiles({}, false).value().empty());
}

TEST_F(Rpc, LetsNoClientRemoveABlob) {
  const Digest digest = PutBytes(blobs_, "bytes").value();

  EXPECT_EQ(ConnectBlobs(server_->address())->Remove(digest).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(blobs_.Size(digest).ok());
}

// A daemon's store whose disk lies about what it holds.
struct LyingBlobs : ForwardingBlobs {
  using ForwardingBlobs::ForwardingBlobs;
  struct Reader : BlobReader {
    absl::StatusOr<std::string> Read(size_t) override { return std::exchange(rest, ""); }
    int64_t size() const override { return announced; }
    std::string rest;
    int64_t announced = 0;
  };
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const Digest&, int64_t) override {
    auto reader = std::make_unique<Reader>();
    reader->rest = rest;
    reader->announced = announced;
    return reader;
  }
  Shared<std::string> rest;
  Shared<int64_t> announced = 5;
};

TEST_F(Rpc, NeverHandsOutBytesThatArrivedDamaged) {
  LyingBlobs lying(blobs_);
  const auto server = Serve({.address = "127.0.0.1:0"}, control_, query_, agents_, lying).value();
  const auto client = ConnectBlobs(server->address());
  const TempDir dir;
  for (const char* sent : {"bites", "byte", "bytes!", ""}) {
    lying.rest = sent;

    EXPECT_EQ(ReadAll(*client, Sha256("bytes"), 0, 100).status().code(),
              absl::StatusCode::kDataLoss)
        << sent;
    EXPECT_EQ(client->Materialize(Sha256("bytes"), dir.At("out"), false, false).code(),
              absl::StatusCode::kDataLoss);
    EXPECT_FALSE(std::filesystem::exists(dir.At("out")));
  }
  lying.rest = "bytes";
  EXPECT_EQ(ReadAll(*client, Sha256("bytes"), 0, 2).value(), "bytes");
}

// --- where to listen ---------------------------------------------------------------------------

TEST_F(Rpc, SaysThatSomebodyElseListensThere) {
  const auto second = Serve({.address = server_->address()}, control_, query_, agents_, blobs_);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(cd4ml::Message(second.status()).find(server_->address()), std::string::npos)
      << second.status();
  EXPECT_TRUE(ConnectQuery(server_->address())->GetServer().ok());
}

TEST_F(Rpc, RefusesToListenWhereOtherMachinesConnect) {
  for (const char* address : {"0.0.0.0:0", "[::]:0", "example.org:7077", "192.168.1.1:0",
                              "127.0.0.1.evil.org:0", "128.0.0.1:0"}) {
    const auto server = Serve({.address = address}, control_, query_, agents_, blobs_);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kPermissionDenied)
        << address << ": " << server.status();
  }
}

TEST_F(Rpc, RefusesWhatIsNoAddress) {
  for (const char* address :
       {"", "7077", ":7077", "localhost", "localhost:", "localhost:x", "localhost:65536",
        "localhost:-1", "::1:7077", "[]:1", "unix:", "unix:///", "unix://relative",
        "http://localhost:1", "localhost:1 "}) {
    const auto server = Serve({.address = address}, control_, query_, agents_, blobs_);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument)
        << address << ": " << server.status();
  }
  const std::string too_long = "unix:///" + std::string(200, 'x');
  EXPECT_EQ(Serve({.address = too_long}, control_, query_, agents_, blobs_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(Rpc, ServesOnASocketThatOnlyItsOwnerMayUse) {
  const TempDir dir;
  Start("unix://" + dir.At("socket"));

  struct stat facts = {};
  ASSERT_EQ(stat(dir.At("socket").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  EXPECT_EQ(server_->port(), 0);
  EXPECT_EQ(server_->address(), "unix://" + dir.At("socket"));
  EXPECT_TRUE(ConnectQuery(server_->address())->GetServer().ok());
  EXPECT_EQ(
      Serve({.address = server_->address()}, control_, query_, agents_, blobs_).status().code(),
      absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(ConnectQuery(server_->address())->GetServer().ok());
}

TEST_F(Rpc, TakesOverASocketThatNobodyListensOn) {
  const TempDir dir;
  Start("unix://" + dir.At("socket"));
  const std::filesystem::path socket = dir.At("socket"), kept = dir.At("kept");
  std::filesystem::create_hard_link(socket, kept);
  server_.reset();
  if (!std::filesystem::exists(socket))
    std::filesystem::rename(kept, socket);  // As a killed daemon leaves it.

  Start("unix://" + dir.At("socket"));

  EXPECT_TRUE(ConnectQuery(server_->address())->GetServer().ok());
}

TEST_F(Rpc, NeverRemovesAFileThatIsNoSocket) {
  const TempDir dir;
  const std::string path = dir.Write("file", "precious");

  EXPECT_FALSE(Serve({.address = "unix://" + path}, control_, query_, agents_, blobs_).ok());
  EXPECT_EQ(FileBytes(path), "precious");
}

// Opens `count` idle connections from another process, which has files of its own, and keeps them.
class Flood {
 public:
  Flood(int port, int count) {
    CD4ML_CHECK(mkfifo(dir_.At("ready").c_str(), 0600) == 0, "mkfifo");
    const std::string connect = "exec {fd}<>/dev/tcp/127.0.0.1/" + std::to_string(port);
    const std::string script = "ulimit -n 2000; for i in $(seq " + std::to_string(count) +
                               "); do " + connect + "; done; echo > " + dir_.At("ready") + "; read";
    pipe_ = popen(("bash -c '" + script + "'").c_str(), "w");
    FileBytes(dir_.At("ready"));  // Waits until it is written.
  }
  ~Flood() { pclose(pipe_); }

 private:
  const TempDir dir_;
  FILE* pipe_ = nullptr;
};

TEST_F(Rpc, SurvivesMoreConnectionsThanItMayHaveFiles) {
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few = {.rlim_cur = 200, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  Start("127.0.0.1:0");
  const auto early = ConnectQuery(server_->address());
  ASSERT_TRUE(early->GetServer().ok());
  {
    const Flood flood(server_->port(), 400);

    EXPECT_TRUE(early->GetServer().ok());
    EXPECT_TRUE(absl::IsUnavailable(ConnectQuery(server_->address())->GetServer().status()));
  }

  absl::Status late = absl::UnknownError("");
  while (!late.ok()) {  // Until the connections that were closed are noticed.
    late = ConnectQuery(server_->address())->GetServer().status();
    ASSERT_TRUE(late.ok() || absl::IsUnavailable(late)) << late;
  }
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(Rpc, NamesTheDaemonThatIsNotThere) {
  const std::string address = server_->address();
  server_.reset();

  const auto control = ConnectControl(address);
  for (const absl::Status& status :
       {ConnectQuery(address)->GetServer().status(),
        ConnectBlobs(address)->Size(Sha256("x")).status(),
        ConnectBlobs(address)->Open(Sha256("x"), 0).status(),
        PutBytes(*ConnectBlobs(address), "x").status(),
        ConnectQuery(address)
            ->WatchRun(
                "p/1", [](RunView) {}, [](absl::Status) {})
            .status(),
        ConnectQuery(address)->ReadLog({}, 0, false).status(),
        Agent(address).Open("alpha").status(), Await<absl::StatusOr<core::Run>>([&](auto done) {
                                                 control->StartRun({}, done);
                                               }).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_TRUE(cd4ml::Message(status).starts_with("cannot reach the daemon at " + address))
        << status;
    EXPECT_TRUE(cd4ml::Message(status).ends_with("is cd4mld running there?")) << status;
  }
}

TEST_F(Rpc, GivesUpOnADaemonThatNeverAnswers) {
  // Somebody listens and takes connections, but speaks no gRPC.
  const int mute = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in where = {};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  ASSERT_EQ(bind(mute, reinterpret_cast<sockaddr*>(&where), size), 0);
  ASSERT_EQ(listen(mute, 5), 0);
  ASSERT_EQ(getsockname(mute, reinterpret_cast<sockaddr*>(&where), &size), 0);

  const auto answer =
      ConnectQuery("127.0.0.1:" + std::to_string(ntohs(where.sin_port)))->GetServer();

  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable) << answer.status();
  close(mute);
}

TEST_F(Rpc, EndsWatchersWhenTheDaemonStops) {
  const auto client = ConnectQuery(server_->address());
  Box<absl::Status> ends;
  const auto subscription = client->WatchRun(
      "p/1", [](RunView) {}, [&](absl::Status status) { ends.Put(std::move(status)); });
  ASSERT_TRUE(subscription.ok());

  server_->Shutdown(Duration(10'000));

  EXPECT_EQ(ends.Take().code(), absl::StatusCode::kUnavailable);
}

TEST_F(Rpc, StopsAtOnceWhenAskedTo) {
  Agent agent(server_->address());
  ASSERT_TRUE(agent.Open("alpha").ok());

  server_->Shutdown(kNow);
  server_->Shutdown(kNow);  // Twice does no harm.

  EXPECT_EQ(agent.lost.Take().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace cd4ml::rpc

namespace cd4ml {
INSTANTIATE_TYPED_TEST_SUITE_P(RemoteBlobStore, BlobContract, rpc::RemoteHarness);
}  // namespace cd4ml
