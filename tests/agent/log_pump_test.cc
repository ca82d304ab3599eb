// Logs on their way to the daemon's store.
#include "agent/log_pump.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "cd4ml/os/os.h"

namespace cd4ml::agent {
namespace {

const core::AttemptId kAttempt{"p/1", "train", 1};

// Takes logs as the daemon does; nothing else comes here.
class LogsOnly : public AgentApi {
 public:
  explicit LogsOnly(LogStore& logs) : logs_(logs) {}

  void AppendLog(std::string, core::AttemptId attempt, int64_t offset, std::string bytes, Done<int64_t> done) override {
    done(logs_.Append(core::ToText(attempt), offset, bytes));
  }
  void OpenSession(AgentHello, std::function<void(DesiredState)>, std::function<void(absl::Status)>,
                   Done<SessionGrant>) override {}
  void Report(std::string, AgentReport, DoneStatus) override {}
  void Finish(std::string, core::AttemptId, core::Outcome, Done<int64_t>) override {}
  void RecordPredictions(std::string, std::vector<PredictionRecord>, Done<int64_t>) override {}
  void CloseSession(std::string, DoneStatus) override {}

 private:
  LogStore& logs_;
};

// Returns the end of what is kept of a log of so many bytes.
std::string EndOfLog(int64_t size) {
  const std::filesystem::path folder = testing::TempDir() + "log-pump";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string path = folder / "log";
  std::ofstream(path) << "begins";
  std::filesystem::resize_file(path, static_cast<uintmax_t>(size));
  const std::unique_ptr<LogStore> logs = os::MakeLogStore(folder / "logs");
  LogsOnly daemon(*logs);
  std::promise<void> delivered;
  {
    LogPump pump(daemon, [&](const core::AttemptId&) { delivered.set_value(); }, [](const core::AttemptId&) {});
    pump.SetSession("s");
    pump.Follow(kAttempt, path);
    pump.End(kAttempt, size);
    delivered.get_future().wait();
  }
  const std::string id = core::ToText(kAttempt);
  std::string end = *logs->Read(id, std::max<int64_t>(0, *logs->Size(id) - 100), 100);
  std::filesystem::remove_all(folder);
  return end;
}

TEST(LogPump, OfALogThatIsTooLongTheStoreSaysThatItIsCutOff) {
  const std::string end = EndOfLog(kLogSizeMax + 300'000);
  EXPECT_TRUE(end.ends_with("[cd4ml: the log is cut off here, at 100.0 MiB]\n")) << end;
}

TEST(LogPump, OfALogThatIsJustNotTooLongNothingIsSaid) {
  EXPECT_EQ(EndOfLog(kLogSizeMax), std::string(100, '\0'));
}

}  // namespace
}  // namespace cd4ml::agent
