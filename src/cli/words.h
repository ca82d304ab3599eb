// The words, symbols and exit codes under which people see runs and stages: the same in every
// command.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cd4ml/ports/query_api.h"
#include "cli/terminal.h"

namespace cd4ml::cli {

// Exit codes; `cd4ml help exit-codes` lists them.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitInvalidPipeline = 3,
  kExitNotFound = 4,
  kExitAuth = 5,
  kExitConflict = 6,
  kExitUnreachable = 7,
  kExitTimedOut = 8,
  kExitStageFailed = 10,
  kExitGateRejected = 11,
  kExitCancelled = 12,
  kExitInfrastructure = 13,
  kExitDifferent = 14,
  kExitInterrupted = 130,
};

ExitCode ExitCodeOf(const absl::Status& status);
// REQUIRES: the run has ended.
ExitCode ExitCodeOf(const core::Run& run);

// A state as it is shown: colour never says more than symbol and word.
struct StateWord {
  std::string symbol, word;
  Style style = Style::kPlain;

  std::string text() const { return symbol + " " + word; }
};
StateWord WordOf(std::string_view run_word);  // core::Word's words.
StateWord WordOf(const core::StageRun& stage);
StateWord WordOf(core::VerdictOutcome outcome);

// Returns what else there is to say about a stage in a few words: agent, needs, metrics, why it
// waits or failed.
std::string StageDetail(const core::Run& run, const core::StageRun& stage,
                        const std::string& waiting);

// Returns how an attempt ended: "attempt 1 failed on agent-a after 12s: exit_code: the command
// exited with 3".
std::string AttemptText(const core::Attempt& attempt);

// Returns how long a stage's latest attempt has taken or took; zero when none has begun.
Duration StageTime(const core::StageRun& stage, UtcTime now);

// Returns the stage that a run failed at, or null.
const core::StageRun* FailedStage(const core::Run& run);

// Returns why a run did not pass in one line, with its stage: rule, observed value and bound for
// gates.
std::string WhyNotPassed(const core::Run& run);

// Returns whether a run has had its turn: it neither waits for it nor ended before.
bool HasBegun(const core::Run& run);

// Returns "used-car-price/2 GATE REJECTED after 4m32s (exit 11)". REQUIRES: the run has ended.
std::string VerdictLine(const core::Run& run);

// Returns up to `max` metrics as "mae 1513.2, r2 0.86": overall ones before those of parts.
std::string MetricsText(const std::map<std::string, double>& metrics, size_t max);

std::string AgeText(UtcTime then, UtcTime now);  // "40s", "2h", "3d"; "-" when unset.
std::string MinuteText(UtcTime time);            // "2026-03-02 12:10"; "" when unset.
std::string BriefCommit(const std::string& commit);
// Returns `9f2c1aa "Use log mileage"`.
std::string CommitText(const std::string& commit, const std::string& subject);
std::string VersionText(const core::Version& version);  // "train.model@91bc2f0a1b2c"
std::string DataText(const core::Version& version);     // "sha256:91bc2f0a1b2c (12,000 rows)"

}  // namespace cd4ml::cli
