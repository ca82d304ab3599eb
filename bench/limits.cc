// What this machine can do at best, without cd4ml: the yardsticks beside the benchmarks.
//
//   bench_limits FOLDER SECONDS STAMP
//
// spawn: processes of /bin/true, one after the other and two at a time. start: from posix_spawn to the first instruction
// of the program STAMP (bench/stamp.cc). commit: transactions of an event and a state in
// SQLite with a write-ahead log and synchronous=FULL in FOLDER, by the number of units in one transaction. round trip:
// one message each way on a bare gRPC stream over loopback TCP. Each for about SECONDS. Prints one line of JSON.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "driver.h"

extern char** environ;

namespace cd4ml::bench {
namespace {

void SpawnTrue() {
  char path[] = "/bin/true";
  char* arguments[] = {path, nullptr};
  pid_t pid = 0;
  int status = 0;
  if (posix_spawn(&pid, path, nullptr, nullptr, arguments, environ) != 0) std::exit(1);
  if (waitpid(pid, &status, 0) < 0) std::exit(1);
}

// Calls `step` again and again for `seconds` and returns the durations in milliseconds.
Samples Repeat(double seconds, const std::function<void()>& step) {
  Samples samples;
  const double end = NowMs() + seconds * 1e3;
  for (double before = NowMs(); before < end;) {
    step();
    const double after = NowMs();
    samples.Add(after - before);
    before = after;
  }
  return samples;
}

// Returns how long after this call the first instruction of STAMP ran, in milliseconds.
double StartStamp(char* path) {
  int ends[2];
  posix_spawn_file_actions_t actions;
  char* arguments[] = {path, nullptr};
  pid_t pid = 0;
  char text[64] = {};
  if (pipe(ends) != 0) std::exit(1);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const double before = NowMs();
  if (posix_spawn(&pid, path, &actions, nullptr, arguments, environ) != 0) std::exit(1);
  waitpid(pid, nullptr, 0);
  if (read(ends[0], text, sizeof text - 1) <= 0) std::exit(1);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[0]);
  close(ends[1]);
  return std::strtod(text, nullptr) / 1e6 - before;
}

double SpawnsPerSecond(double seconds) {
  size_t counts[2] = {};
  {
    std::jthread first([&] { counts[0] = Repeat(seconds, SpawnTrue).count(); });
    std::jthread second([&] { counts[1] = Repeat(seconds, SpawnTrue).count(); });
  }
  return static_cast<double>(counts[0] + counts[1]) / seconds;
}

class Ledger {
 public:
  explicit Ledger(const std::string& folder) : path_(folder + "/limits.db") {
    if (sqlite3_open(path_.c_str(), &db_) != SQLITE_OK) std::exit(1);
    Do("PRAGMA journal_mode=WAL");
    Do("PRAGMA synchronous=FULL");
    Do("CREATE TABLE event(run INTEGER, seq INTEGER, body TEXT)");
    Do("CREATE INDEX event_by_run ON event(run, seq)");
    Do("CREATE TABLE stage(run INTEGER, name INTEGER, state INTEGER, PRIMARY KEY(run, name))");
    event_ = Prepare("INSERT INTO event(run, seq, body) VALUES(?1, ?2, 'finished with exit code 0')");
    state_ = Prepare("INSERT INTO stage(run, name, state) VALUES(?1, ?2, 1) "
                     "ON CONFLICT(run, name) DO UPDATE SET state = state + 1");
  }
  ~Ledger() {
    sqlite3_finalize(event_);
    sqlite3_finalize(state_);
    sqlite3_close(db_);
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }

  void Commit(int units) {
    Do("BEGIN IMMEDIATE");
    for (int i = 0; i < units; ++i, ++seq_) {
      for (sqlite3_stmt* statement : {event_, state_}) {
        sqlite3_bind_int64(statement, 1, seq_ % 100);
        sqlite3_bind_int64(statement, 2, seq_);
        if (sqlite3_step(statement) != SQLITE_DONE) std::exit(1);
        sqlite3_reset(statement);
      }
    }
    Do("COMMIT");
  }

 private:
  void Do(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) std::exit(1);
  }
  sqlite3_stmt* Prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) != SQLITE_OK) std::exit(1);
    return statement;
  }

  const std::string path_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt *event_ = nullptr, *state_ = nullptr;
  int64_t seq_ = 0;
};

// Sends every message back.
class Echo : public grpc::CallbackGenericService {
  class Stream : public grpc::ServerGenericBidiReactor {
   public:
    Stream() { StartRead(&message_); }
    void OnReadDone(bool ok) override { ok ? StartWrite(&message_) : Finish(grpc::Status::OK); }
    void OnWriteDone(bool ok) override {
      if (ok) StartRead(&message_);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer message_;
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override { return new Stream; }
};

// Sends a message, waits for it to come back, and again, until the time is over.
class Caller : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Caller(grpc::GenericStub& stub, double seconds) : end_ms_(NowMs() + seconds * 1e3) {
    stub.PrepareBidiStreamingCall(&context_, "/bench/Echo", {}, this);
    Send();
    StartCall();
  }

  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    const double now = NowMs();
    if (!ok) return;
    samples_.Add(now - sent_ms_);
    now < end_ms_ ? Send() : StartWritesDone();
    if (now >= end_ms_) StartRead(&message_);  // Hears of the end.
  }
  void OnDone(const grpc::Status&) override { done_.set_value(); }

  Samples& Wait() {
    done_.get_future().wait();
    return samples_;
  }

 private:
  void Send() {
    grpc::Slice slice(std::string(200, 'x'));
    message_ = grpc::ByteBuffer(&slice, 1);
    sent_ms_ = NowMs();
    StartWrite(&message_);
  }

  const double end_ms_;
  double sent_ms_ = 0;
  grpc::ClientContext context_;
  grpc::ByteBuffer message_;
  Samples samples_;
  std::promise<void> done_;
};

std::string RoundTrips(double seconds) {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) std::exit(1);
  grpc::GenericStub stub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  Caller caller(stub, seconds);
  return caller.Wait().Json();
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  using namespace cd4ml::bench;
  if (argc != 4) {
    std::fprintf(stderr, "usage: bench_limits FOLDER SECONDS STAMP\n");
    return 2;
  }
  const double seconds = std::atof(argv[2]);
  // Processes first: a process with gRPC's threads spawns more slowly.
  std::string spawn = Repeat(seconds, SpawnTrue).Json();
  Samples start;
  Repeat(seconds, [&] { start.Add(StartStamp(argv[3])); });
  const double spawns = SpawnsPerSecond(seconds);
  Ledger ledger(argv[1]);
  std::string commits;
  for (const int units : {1, 100, 1000}) {
    Samples samples = Repeat(seconds, [&] { ledger.Commit(units); });
    commits += (commits.empty() ? "" : ", ") + ("\"" + std::to_string(units) + "\": ") + samples.Json();
  }
  std::printf(R"({"spawn_ms": %s, "start_ms": %s, "spawns_per_s": %.0f, "commit_ms": {%s}, "round_trip_ms": %s})" "\n", spawn.c_str(),
              start.Json().c_str(), spawns, commits.c_str(), RoundTrips(seconds).c_str());
  return 0;
}
