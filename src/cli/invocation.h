// One call of the program: its arguments, its streams, and the daemon it speaks to.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/cli/cli.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/words.h"

namespace cd4ml::cli {

enum class OutputFormat { kTable, kWide, kJson, kJsonl, kName };

// What to do next: a few words, and the command with everything filled in.
struct Hint {
  std::string what;
  std::string command;
};

// Returns where to look for the right name when one was not found; nothing for other errors.
std::vector<Hint> IfNotFound(const absl::Status& status, const Hint& hint);

class Invocation {
 public:
  // REQUIRES: `line_arguments` come from ParseLine; `world` outlives this.
  Invocation(const CliPorts& world, const Command* performed, Arguments line_arguments);

  const CliPorts& ports;
  const Command* const command;  // Null: none was named.
  const Arguments arguments;
  const Terminal out, err;
  const OutputFormat format;
  const bool quiet;  // Only answers and errors.

  bool is_json() const { return format == OutputFormat::kJson || format == OutputFormat::kJsonl; }

  // The daemon's ports; connected on first use.
  ControlApi& Control() { return *Connected().control; }
  QueryApi& Query() { return *Connected().query; }
  StorageApi& Storage() { return *Connected().storage; }
  absl::StatusOr<std::string> ReadArtifact(const Digest& digest, int64_t size_max) {
    return Connected().read_artifact(digest, size_max);
  }
  GateApi& Gates() { return *Connected().gates; }

  // Returns the span that the flag `name` gives; zero when it is not given. INVALID_ARGUMENT: it is
  // none.
  absl::StatusOr<Duration> Span(const std::string& name) const;
  // Returns the number that the flag `name` gives, within [min, max].
  absl::StatusOr<int> Number(const std::string& name, int fallback, int min, int max) const;

  // Calls `ask` with a callback and waits until that is called. CANCELLED: Ctrl-C.
  // DEADLINE_EXCEEDED: it takes longer than --timeout.
  template <typename T, typename Ask>
  absl::StatusOr<T> Await(const Ask& ask) const;

  // Prints an error with its findings and what to do next; returns its exit code.
  int Fail(const absl::Status& status, const std::vector<Hint>& hints = {}) const;
  // Prints a refusal of the command line; returns 2.
  int FailUsage(const std::string& message) const;

  // Prints on standard error, unless quiet.
  void Note(const std::string& text) const;
  void Hints(const std::vector<Hint>& hints) const;

  // Prints messages as JSON: the only one as itself, a list as array (json) or a line each (jsonl).
  void PrintJson(const std::string& message) const;
  void PrintJsonList(const std::vector<std::string>& messages) const;

  // Prints a list in the format that was asked for. `name` and `json` are called per item, `rows`
  // fills the table.
  template <typename T, typename Name, typename Json>
  void PrintList(const std::vector<T>& items, const Name& name, const Json& json,
                 const Table& table, const std::string& when_empty) const;
  void PrintTable(const Table& table) const;

 private:
  Connection& Connected();

  std::string server_;
  std::optional<Connection> connection_;
};

template <typename T, typename Ask>
absl::StatusOr<T> Invocation::Await(const Ask& ask) const {
  const absl::StatusOr<Duration> timeout = Span("timeout");
  if (!timeout.ok()) return timeout.status();
  const Duration began = ports.clock.Steady();
  // Shared: an answer may still come after Ctrl-C.
  auto answer = std::make_shared<std::promise<absl::StatusOr<T>>>();
  std::future<absl::StatusOr<T>> future = answer->get_future();
  ask([answer](absl::StatusOr<T> result) { answer->set_value(std::move(result)); });
  while (future.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    if (ports.interrupted()) {
      return absl::CancelledError("interrupted before the daemon had answered");
    }
    if (timeout->count() > 0 && ports.clock.Steady() - began >= *timeout) {
      return absl::DeadlineExceededError("the daemon has not answered within " +
                                         FormatDuration(*timeout));
    }
  }
  return future.get();
}

template <typename T, typename Name, typename Json>
void Invocation::PrintList(const std::vector<T>& items, const Name& name, const Json& json,
                           const Table& table, const std::string& when_empty) const {
  if (is_json()) {
    std::vector<std::string> messages;
    for (const T& item : items) messages.push_back(json(item));
    return PrintJsonList(messages);
  }
  if (items.empty()) return Note(when_empty);
  if (format != OutputFormat::kName) return PrintTable(table);
  for (const T& item : items) out.Line(name(item));
}

}  // namespace cd4ml::cli
