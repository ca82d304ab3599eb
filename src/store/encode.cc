// One list of fields per type serves both directions, so that what is written is what is read.
#include "encode.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <limits>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "database.h"

namespace cd4ml::store {
namespace {

constexpr int kDepthMax = 60;  // ParseJson reads 64.

std::string_view ToText(core::Severity severity) {
  return severity == core::Severity::kError ? "error" : "warning";
}

#define CD4ML_PARSE(Enum)                                                  \
  std::optional<core::Enum> ParseWord(std::string_view text, core::Enum) { \
    return core::Parse##Enum(text);                                        \
  }
CD4ML_PARSE(RunState)
CD4ML_PARSE(StageState)
CD4ML_PARSE(AttemptState)
CD4ML_PARSE(Reason)
CD4ML_PARSE(TriggerKind)
CD4ML_PARSE(StageKind)
CD4ML_PARSE(OutputType)
CD4ML_PARSE(VersionKind)
CD4ML_PARSE(ConcurrencyPolicy)
#undef CD4ML_PARSE
std::optional<core::Severity> ParseWord(std::string_view text, core::Severity) {
  if (text == "error") return core::Severity::kError;
  if (text == "warning") return core::Severity::kWarning;
  return std::nullopt;
}

// --- the fields of every type; F is a Writer or a Reader
// -------------------------------------------

template <typename T, typename U>
concept Is = std::same_as<std::remove_const_t<T>, U>;

template <typename F, Is<core::TriggerFacts> T>
void Fields(F& field, T& x) {
  field("kind", x.kind);
  field("key", x.key);
  field("by", x.by);
  field("reason", x.reason);
}
template <typename F, Is<ArtifactRef> T>
void Fields(F& field, T& x) {
  field("digest", x.digest);
  field("tree", x.is_tree);
  field("size", x.size);
  field("files", x.files);
}
template <typename F, Is<core::Version> T>
void Fields(F& field, T& x) {
  field("kind", x.kind);
  field("name", x.name);
  field("digest", x.digest);
  field("artifact", x.artifact);
  field("summary", x.summary);
}
template <typename F, Is<core::Pins> T>
void Fields(F& field, T& x) {
  field("repo", x.repo);
  field("commit", x.commit);
  field("commit_subject", x.commit_subject);
  field("file", x.file);
  field("definition", x.definition);
  field("materials", x.materials);
  field("params", x.params);
  field("param_sources", x.param_sources);
  field("params_digest", x.params_digest);
  field("upstream", x.upstream);
  field("mixed", x.mixed);
}
template <typename F, Is<core::RetrySpec> T>
void Fields(F& field, T& x) {
  field("limit", x.limit);
  field("when", x.when);
  field("backoff", x.backoff);
  field("error_limit", x.error_limit);
  field("backoff_max", x.backoff_max);
}
template <typename F, Is<core::Resources> T>
void Fields(F& field, T& x) {
  field("cpu_millis", x.cpu_millis);
  field("memory_bytes", x.memory_bytes);
  field("gpus", x.gpus);
}
template <typename F, Is<core::ConcurrencySpec> T>
void Fields(F& field, T& x) {
  field("group", x.group);
  field("policy", x.policy);
  field("limit", x.limit);
}
template <typename F, Is<core::AttemptId> T>
void Fields(F& field, T& x) {
  field("run", x.run);
  field("stage", x.stage);
  field("number", x.number);
}
template <typename F, Is<core::MatrixSpec> T>
void Fields(F& field, T& x) {
  field("cells", x.cells);
  field("max_parallel", x.max_parallel);
  field("goes_on", x.goes_on);
  field("select", x.select);
  field("select_highest", x.select_highest);
}
template <typename F, Is<core::StagePlan> T>
void Fields(F& field, T& x) {
  field("name", x.name);
  field("kind", x.kind);
  field("needs", x.needs);
  field("references", x.references);
  field("condition", x.condition);
  field("labels", x.labels);
  field("timeout", x.timeout);
  field("assign_timeout", x.assign_timeout);
  field("retry", x.retry);
  field("environment", x.environment);
  field("package", x.package);
  field("resources", x.resources);
  field("total_timeout", x.total_timeout);
  field("environment_policy", x.environment_policy);
  field("recipe", x.recipe);
  field("reuse", x.reuse);
  field("reuse_max_age", x.reuse_max_age);
  field("refuses_mixed", x.refuses_mixed);
  field("baselines", x.baselines);
  field("override_people", x.override_people);
  field("cell_of", x.cell_of);
  field("cell_params", x.cell_params);
  field("matrix", x.matrix);
}
template <typename F, Is<core::ProducedOutput> T>
void Fields(F& field, T& x) {
  field("name", x.name);
  field("path", x.path);
  field("type", x.type);
  field("artifact", x.artifact);
  field("profile", x.profile);
}
template <typename F, Is<core::StartedService> T>
void Fields(F& field, T& x) {
  field("endpoint", x.endpoint);
  field("agent", x.agent);
}
template <typename F, Is<core::Outcome> T>
void Fields(F& field, T& x) {
  field("state", x.state);
  field("reason", x.reason);
  field("message", x.message);
  field("exit_code", x.exit_code);
  field("outputs", x.outputs);
  field("metrics", x.metrics);
  field("verdict", x.verdict);
  field("service", x.service);
  field("environment", x.environment);
  field("log_bytes", x.log_bytes);
  field("cpu_seconds", x.cpu_seconds);
  field("max_rss_bytes", x.max_rss_bytes);
}
template <typename F, Is<core::Carried> T>
void Fields(F& field, T& x) {
  field("from", x.from);
  field("outcome", x.outcome);
  field("reused", x.reused);
  field("cell", x.cell);
  field("why", x.why);
}
template <typename F, Is<core::Stop> T>
void Fields(F& field, T& x) {
  field("state", x.state);
  field("reason", x.reason);
  field("message", x.message);
}
template <typename F, Is<core::Deployment> T>
void Fields(F& field, T& x) {
  field("id", x.id);
  field("environment", x.environment);
  field("pipeline", x.pipeline);
  field("run", x.run);
  field("stage", x.stage);
  field("package", x.package);
  field("model", x.model);
  field("agent", x.agent);
  field("endpoint", x.endpoint);
  field("started", x.started);
  field("ended", x.ended);
  field("replaced", x.replaced);
}
template <typename F, Is<core::Place> T>
void Fields(F& field, T& x) {
  field("line", x.line);
  field("column", x.column);
  field("length", x.length);
}
template <typename F, Is<core::Diagnostic> T>
void Fields(F& field, T& x) {
  field("code", x.code);
  field("severity", x.severity);
  field("message", x.message);
  field("file", x.file);
  field("place", x.place);
  field("snippet", x.snippet);
  field("label", x.label);
  field("help", x.help);
}
template <typename F, Is<core::RunStarted> T>
void Fields(F& field, T& x) {
  field("id", x.id);
  field("pipeline", x.pipeline);
  field("number", x.number);
  field("lane", x.lane);
  field("trigger", x.trigger);
  field("pins", x.pins);
  field("stages", x.stages);
  field("priority", x.priority);
  field("concurrency", x.concurrency);
  field("queued", x.queued);
  field("retry_of", x.retry_of);
}
template <typename F, Is<core::RunAdmitted> T>
void Fields(F&, T&) {}
template <typename F, Is<core::StageCarried> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("carried", x.carried);
}
template <typename F, Is<core::StopRequested> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("stop", x.stop);
}
template <typename F, Is<core::StageReady> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("not_before", x.not_before);
}
template <typename F, Is<core::LeaseGranted> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("number", x.number);
  field("agent", x.agent);
  field("recipe", x.recipe);
  field("reuse_note", x.reuse_note);
}
template <typename F, Is<core::AttemptStarted> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("number", x.number);
}
template <typename F, Is<core::AttemptEnded> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("number", x.number);
  field("state", x.state);
  field("outcome", x.outcome);
}
template <typename F, Is<core::VersionsProduced> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("number", x.number);
  field("used", x.used);
  field("produced", x.produced);
}
template <typename F, Is<core::Deployed> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("deployment", x.deployment);
}
template <typename F, Is<core::MonitorArmed> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("environment", x.environment);
  field("deployment", x.deployment);
}
template <typename F, Is<core::StageEnded> T>
void Fields(F& field, T& x) {
  field("stage", x.stage);
  field("state", x.state);
  field("reason", x.reason);
  field("message", x.message);
}
template <typename F, Is<core::CancelRequested> T>
void Fields(F& field, T& x) {
  field("reason", x.reason);
  field("superseded_by", x.superseded_by);
}
template <typename F, Is<core::RunEnded> T>
void Fields(F& field, T& x) {
  field("state", x.state);
  field("reason", x.reason);
  field("message", x.message);
}

// --- writing
// ---------------------------------------------------------------------------------------

// Values that a reader puts back when the member is missing. Enums and structures are always
// written.
template <typename T>
bool IsEmpty(const T& x) {
  if constexpr (requires { x.empty(); }) {
    return x.empty();
  } else if constexpr (std::same_as<T, double>) {
    return x == 0 && !std::signbit(x);
  } else if constexpr (std::is_arithmetic_v<T>) {
    return x == 0;
  } else if constexpr (requires { x.has_value(); }) {
    return !x.has_value();
  } else if constexpr (std::same_as<T, UtcTime> || std::same_as<T, Digest>) {
    return !x.is_set();
  } else if constexpr (std::same_as<T, Duration>) {
    return x.count() == 0;
  } else if constexpr (std::same_as<T, Value>) {
    return x.is_null();
  } else {
    return false;
  }
}

int DepthOf(const Value& value) {
  int depth = 0;
  if (value.is_list()) {
    for (const Value& item : value.list()) depth = std::max(depth, DepthOf(item));
    return depth + 1;
  }
  if (!value.is_map()) return 0;
  for (const auto& [key, item] : value.map()) depth = std::max(depth, DepthOf(item));
  return depth + 1;
}

class Writer {
 public:
  Writer() { out_.reserve(256); }

  template <typename T>
  void operator()(std::string_view name, const T& x) {
    if (IsEmpty(x)) return;
    Key(name);
    Write(x);
  }

  template <typename T>
  void Write(const T& x) {
    if constexpr (std::same_as<T, bool>) {
      out_ += x ? "true" : "false";
    } else if constexpr (std::integral<T>) {
      Number(int64_t{x});
    } else if constexpr (std::is_enum_v<T>) {
      out_ += '"';
      out_ += ToText(x);
      out_ += '"';
    } else {
      out_ += '{';
      first_ = true;
      Fields(*this, x);
      out_ += '}';
      first_ = false;
    }
  }
  void Write(const std::string& x) { Quote(x); }
  void Write(double x) { out_ += ToJson(Value(x)); }
  void Write(const UtcTime& x) { Number(x.ms); }
  void Write(const Duration& x) { Number(x.count()); }
  void Write(const Digest& x) { Quote(x.hex()); }
  void Write(const core::Verdict& x) { out_ += ToJson(core::ToValue(x)); }
  void Write(const Value& x) {
    too_deep_ = too_deep_ || DepthOf(x) > kDepthMax - 4;  // It stands in at most four maps.
    if (!too_deep_) out_ += ToJson(x);
  }
  template <typename T>
  void Write(const std::optional<T>& x) {
    Write(*x);
  }
  template <typename T>
  void Write(const std::vector<T>& list) {
    char separator = '[';
    for (const T& item : list) {
      out_ += separator;
      Write(item);
      separator = ',';
    }
    out_ += list.empty() ? "[]" : "]";
  }
  template <typename T>
  void Write(const std::map<std::string, T>& map) {
    out_ += '{';
    first_ = true;
    for (const auto& [key, item] : map) {
      Key(key);
      Write(item);
    }
    out_ += '}';
    first_ = false;
  }

  absl::StatusOr<std::string> Finish() {
    if (too_deep_)
      return absl::InvalidArgumentError("a value is nested deeper than " +
                                        std::to_string(kDepthMax));
    return IsUtf8(out_) ? std::move(out_) : MakeUtf8(out_);
  }

 private:
  void Key(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    Quote(name);
    out_ += ':';
  }
  void Number(int64_t number) {
    char digits[24];
    out_.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
  }
  void Quote(std::string_view text) {
    const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
      return c >= 0x20 && c != '"' && c != '\\';
    });
    if (!plain) {
      out_ += ToJson(Value(text));
      return;
    }
    out_ += '"';
    out_ += text;
    out_ += '"';
  }

  std::string out_;
  bool first_ = true;  // No member has been written into the innermost map.
  bool too_deep_ = false;
};

// --- reading
// ---------------------------------------------------------------------------------------

class Reader {
 public:
  explicit Reader(const Value& map) : map_(&map) {}

  template <typename T>
  void operator()(std::string_view name, T& x) {
    if (!status_.ok()) return;
    const Value* value = map_->Find(name);
    const std::string_view outer = std::exchange(member_, name);
    if (value != nullptr) {
      Read(*value, x);
    } else if (T empty{}; IsEmpty(empty)) {
      x = std::move(empty);
    } else {
      Fail();
    }
    member_ = outer;
  }

  template <typename T>
  void Read(const Value& value, T& x) {
    if constexpr (std::same_as<T, bool>) {
      value.is_bool() ? void(x = value.boolean()) : Fail();
    } else if constexpr (std::integral<T>) {
      x = static_cast<T>(
          Integer(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
    } else if constexpr (std::is_enum_v<T>) {
      const std::optional<T> parsed =
          value.is_string() ? ParseWord(value.string(), T{}) : std::nullopt;
      parsed.has_value() ? void(x = *parsed) : Fail();
    } else {
      if (!value.is_map()) return Fail();
      const Value* outer = std::exchange(map_, &value);
      Fields(*this, x);
      map_ = outer;
    }
  }
  void Read(const Value& value, std::string& x) {
    value.is_string() ? void(x = value.string()) : Fail();
  }
  void Read(const Value& value, double& x) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (value.is_number()) {
      x = value.number();
    } else if (value == Value("NaN")) {
      x = std::numeric_limits<double>::quiet_NaN();
    } else if (value == Value("Infinity") || value == Value("-Infinity")) {
      x = value.string().front() == '-' ? -kInfinity : kInfinity;
    } else {
      Fail();
    }
  }
  void Read(const Value& value, UtcTime& x) { x = UtcTime{Integer(value)}; }
  void Read(const Value& value, Duration& x) { x = Duration(Integer(value)); }
  void Read(const Value& value, Digest& x) {
    absl::StatusOr<Digest> digest = Digest::Parse(value.is_string() ? value.string() : "");
    digest.ok() ? void(x = *std::move(digest)) : Fail();
  }
  void Read(const Value& value, core::Verdict& x) {
    absl::StatusOr<core::Verdict> verdict = core::VerdictFromValue(value);
    verdict.ok() ? void(x = *std::move(verdict)) : Fail();
  }
  void Read(const Value& value, Value& x) { x = value; }
  template <typename T>
  void Read(const Value& value, std::optional<T>& x) {
    Read(value, x.emplace());
  }
  template <typename T>
  void Read(const Value& value, std::vector<T>& x) {
    if (!value.is_list()) return Fail();
    x.clear();
    for (const Value& item : value.list()) Read(item, x.emplace_back());
  }
  template <typename T>
  void Read(const Value& value, std::map<std::string, T>& x) {
    if (!value.is_map()) return Fail();
    x.clear();
    for (const auto& [key, item] : value.map()) Read(item, x[key]);
  }

  const absl::Status& status() const { return status_; }

 private:
  void Fail() {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError("member \"" + std::string(member_) +
                                           "\" is missing or of another type");
    }
  }
  int64_t Integer(const Value& value, int64_t min = std::numeric_limits<int64_t>::min(),
                  int64_t max = std::numeric_limits<int64_t>::max()) {
    const auto* number = std::get_if<int64_t>(&value.data);
    if (number != nullptr && *number >= min && *number <= max) return *number;
    Fail();
    return 0;
  }

  const Value* map_;
  std::string_view member_ = "";
  absl::Status status_;
};

template <size_t I = 0>
absl::StatusOr<core::Event> DecodeAlternative(std::string_view kind, std::string_view payload) {
  if constexpr (I == std::variant_size_v<core::Event>) {
    return absl::InvalidArgumentError("unknown event \"" + std::string(kind) + "\"");
  } else {
    core::Event event(std::in_place_index<I>);
    if (core::EventName(event) != kind) return DecodeAlternative<I + 1>(kind, payload);
    CD4ML_RETURN_IF_ERROR(
        Annotate(Decode(payload, std::get<I>(event)), "event " + std::string(kind)));
    return event;
  }
}

}  // namespace

template <typename T>
absl::StatusOr<std::string> Encode(const T& value) {
  Writer writer;
  writer.Write(value);
  return writer.Finish();
}

template <typename T>
absl::Status Decode(std::string_view json, T& value) {
  CD4ML_ASSIGN_OR_RETURN(const Value parsed, ParseJson(json));
  Reader reader(parsed);
  reader.Read(parsed, value);
  return reader.status();
}

std::string EventSum(int64_t run, int64_t seq, UtcTime at, std::string_view kind, std::string_view payload) {
  std::string bytes = std::to_string(run) + "|" + std::to_string(seq) + "|" + std::to_string(at.ms) + "|";
  bytes += kind;
  bytes += '|';
  bytes += payload;
  return Sha256(bytes).hex().substr(0, 16);
}

absl::StatusOr<std::string> EncodeEvent(const core::Event& event) {
  return std::visit([](const auto& alternative) { return Encode(alternative); }, event);
}

absl::StatusOr<core::Event> DecodeEvent(std::string_view kind, std::string_view payload) {
  return DecodeAlternative(kind, payload);
}

#define CD4ML_ENCODED(...)                                               \
  template absl::StatusOr<std::string> Encode(const __VA_ARGS__& value); \
  template absl::Status Decode(std::string_view json, __VA_ARGS__& value);
CD4ML_ENCODED(Value)
CD4ML_ENCODED(core::Verdict)
CD4ML_ENCODED(std::vector<std::string>)
CD4ML_ENCODED(std::vector<core::Diagnostic>)
CD4ML_ENCODED(std::vector<UtcTime>)
CD4ML_ENCODED(std::map<std::string, int>)
CD4ML_ENCODED(core::Recipe)
#undef CD4ML_ENCODED

}  // namespace cd4ml::store
