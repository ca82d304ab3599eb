// How every command reads flags, reaches the daemon, answers and fails.
#include "cli/invocation.h"

#include <algorithm>
#include <charconv>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/ports/answer.h"
#include "cd4ml/ports/diagnostic_payload.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

ColorMode ColorOf(const Arguments& arguments) {
  const std::string mode = arguments.One("color", "auto");
  return mode == "always"  ? ColorMode::kAlways
         : mode == "never" ? ColorMode::kNever
                           : ColorMode::kAuto;
}

OutputFormat FormatOf(const Arguments& arguments) {
  const std::string format = arguments.One("output", "table");
  if (format == "wide") return OutputFormat::kWide;
  if (format == "json") return OutputFormat::kJson;
  if (format == "jsonl") return OutputFormat::kJsonl;
  return format == "name" ? OutputFormat::kName : OutputFormat::kTable;
}

std::string ErrorText(const absl::Status& status) {
  const std::string message = Message(status);
  if (!message.empty()) return message;
  return "the daemon gave no reason (code " + std::to_string(static_cast<int>(status.code())) + ")";
}

// Returns compact or indented JSON, independent of how the printer lays it out.
std::string Relaid(const std::string& json, bool pretty) {
  const absl::StatusOr<Value> value = ParseJson(json);
  if (!value.ok()) return json;
  return pretty ? ToPrettyJson(*value) : ToJson(*value);
}

}  // namespace

std::string ResolveServer(const std::string& flag,
                          const std::map<std::string, std::string>& environment) {
  if (!flag.empty()) return flag;
  const std::string variable = Variable(environment, "CD4ML_SERVER");
  return variable.empty() ? "127.0.0.1:7420" : variable;
}

std::vector<Hint> IfNotFound(const absl::Status& status, const Hint& hint) {
  return absl::IsNotFound(status) ? std::vector<Hint>{hint} : std::vector<Hint>{};
}

Invocation::Invocation(const CliPorts& world, const Command* performed, Arguments line_arguments)
    : ports(world),
      command(performed),
      arguments(std::move(line_arguments)),
      out(world.out, world, ColorOf(arguments)),
      err(world.err, world, ColorOf(arguments)),
      format(FormatOf(arguments)),
      quiet(arguments.Has("quiet")),
      server_(ResolveServer(arguments.One("server"), world.environment)) {}

Connection& Invocation::Connected() {
  if (!connection_) connection_ = ports.connect(server_);
  return *connection_;
}

absl::StatusOr<Duration> Invocation::Span(const std::string& name) const {
  if (!arguments.Has(name)) return Duration(0);
  const absl::StatusOr<Duration> span = ParseDuration(arguments.One(name));
  if (!span.ok()) return Annotate(span.status(), "--" + name);
  return span;
}

absl::StatusOr<int> Invocation::Number(const std::string& name, int fallback, int min,
                                       int max) const {
  if (!arguments.Has(name)) return fallback;
  const std::string text = arguments.One(name);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < min || number > max) {
    return absl::InvalidArgumentError("--" + name + " is a whole number from " +
                                      std::to_string(min) + " to " + std::to_string(max) +
                                      ", not \"" + text + "\"");
  }
  return number;
}

int Invocation::Fail(const absl::Status& status, const std::vector<Hint>& hints) const {
  const core::Diagnostics findings = DiagnosticsOf(status);
  for (const core::Diagnostic& finding : findings) err.Write(SafeLines(core::Format(finding)));
  const std::string label = err.Paint("error:", Style::kBad) + " ";
  if (absl::IsUnavailable(status) && !IsAnswer(status)) {
    err.Line(label + "no cd4ml daemon answers at " + SafeLine(server_));
    err.Line("  start one on this machine:   cd4mld");
    err.Line("  or choose a server:          --server or CD4ML_SERVER");
    err.Line("  what the connection said:    " + SafeLine(ErrorText(status)));
    return kExitUnreachable;
  }
  err.Line(label + SafeLine(ErrorText(status)));
  Hints(hints);
  if (!findings.empty() && !findings.front().code.empty())
    Hints({{"What a finding means", "cd4ml explain " + findings.front().code}});
  return ExitCodeOf(status);
}

int Invocation::FailUsage(const std::string& message) const {
  err.Line(err.Paint("error:", Style::kBad) + " " + message);
  err.Line("  " + (command == nullptr ? "All commands:  cd4ml --help"
                                      : "How it is used:  cd4ml " + command->path + " --help"));
  return kExitUsage;
}

void Invocation::Note(const std::string& text) const {
  if (!quiet && !text.empty()) err.Line(text);
}

void Invocation::Hints(const std::vector<Hint>& hints) const {
  if (quiet) return;
  size_t width = 0;
  for (const Hint& hint : hints) width = std::max(width, DisplayWidth(hint.what));
  for (const Hint& hint : hints) {
    err.Line("  " + Pad(hint.what + ":", width + 1) + "  " + SafeLine(hint.command));
  }
}

void Invocation::PrintJson(const std::string& message) const {
  out.Line(Relaid(message, /*pretty=*/format != OutputFormat::kJsonl));
}

void Invocation::PrintJsonList(const std::vector<std::string>& messages) const {
  if (format == OutputFormat::kJson) return PrintJson("[" + Join(messages, ",") + "]");
  for (const std::string& message : messages) PrintJson(message);
}

void Invocation::PrintTable(const Table& table) const {
  const bool wide = format == OutputFormat::kWide;
  const int hidden = table.Print(
      out,
      {.width = out.width(), .headers = !arguments.Has("no-headers"), .wide = wide, .indent = ""});
  if (hidden > 0) Note("\n" + Count(hidden, "column", "columns") + " hidden, use -o wide");
}

}  // namespace cd4ml::cli
