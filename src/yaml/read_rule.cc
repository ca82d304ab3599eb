// Rules of gates and checks of monitors: one function per form.
#include <algorithm>
#include <array>

#include "cd4ml/base/text.h"
#include "yaml/read.h"

namespace cd4ml::yaml {
namespace {

namespace code = core::code;
using core::StageKind;

constexpr Range kShare = {0, 1};
constexpr Range kCount = {0, 9e15};
const Words kRowNames = {"row", "row."};

// Reads one rule. Places of its parts are kept as "rules.NAME.PART".
class RuleReader {
 public:
  RuleReader(Fields& fields, core::StageSpec& stage, const core::Rule& rule)
      : fields_(fields), reader_(fields.reader()), stage_(stage), part_("rules." + rule.name) {}

  core::RuleBody Rows() {
    core::RowsRule rule{.of = Of(), .rows = {}};
    Fields rows(reader_, *fields_.Take("rows"), "\"rows\"");
    ReadBounds(rows, rule.rows, kCount);
    rows.Finish();
    NeedBound(rows.Has("min") || rows.Has("max"));
    return rule;
  }

  core::RuleBody Columns() {
    core::ColumnsRule rule{.of = Of(), .exactly = false, .columns = {}};
    OneOfTwoLists("columns", "exactly", "at_least", rule.exactly, rule.columns);
    return rule;
  }

  core::RuleBody Column() {
    static const Words kTypes = {"int", "float", "text", "bool", "date", "timestamp"};
    core::ColumnRule rule;
    rule.of = Of();
    fields_.Read("column", rule.column);
    std::string type;
    if (fields_.ReadWord("type", type, kTypes)) {
      rule.type = static_cast<core::ColumnType>(std::find(kTypes.begin(), kTypes.end(), type) -
                                                kTypes.begin());
    }
    ReadBounds(fields_, rule.value);
    if (Node* in = fields_.Take("in")) reader_.ReadScalarTexts(*in, rule.in);
    fields_.Read("pattern", rule.pattern);
    fields_.Read("max_nulls", rule.max_nulls, kShare);
    fields_.Read("max_bad_share", rule.max_bad_share, kShare);
    fields_.NotYet("outliers", code::kNoDataRule);
    bool bounds = fields_.Has("outliers");
    for (const char* key : {"type", "min", "max", "in", "pattern", "max_nulls"})
      bounds |= fields_.Has(key);
    NeedBound(bounds);
    return rule;
  }

  core::RuleBody Unique() {
    core::UniqueRule rule;
    rule.of = Of();
    OneOfTwoLists("unique", "except", "columns", rule.except, rule.columns);
    fields_.Read("max_share", rule.max_share, kShare);
    return rule;
  }

  core::RuleBody Share() {
    core::ShareRule rule;
    rule.of = Of();
    Reference("share_of", rule.share_of);
    fields_.ReadNeeded("max", rule.max, kShare);
    fields_.Read("by", rule.by);
    return rule;
  }

  core::RuleBody Segments() {
    core::SegmentsRule rule;
    rule.of = Of();
    Fields segments(reader_, *fields_.Take("segments"), "\"segments\"");
    segments.ReadNeeded("by", rule.by);
    if (Node* rows = segments.Need("rows")) {
      Fields inner(reader_, *rows, "\"rows\"");
      inner.ReadNeeded("min", rule.rows_min, Range{1, kCount.max});
      inner.Finish();
    }
    std::string below;
    segments.ReadWord("below", below, {"exclude", "fail"});
    rule.exclude_below = below != "fail";
    if (Node* coverage = segments.Take("coverage")) {
      Fields inner(reader_, *coverage, "\"coverage\"");
      inner.ReadNeeded("min", rule.coverage_min, kShare);
      inner.Finish();
    }
    segments.NotYet("lost", code::kNoLostSegments);
    segments.Finish();
    return rule;
  }

  core::RuleBody Drift() {
    core::DriftRule rule;
    rule.of = Of();
    ReadDrift(fields_, part_, stage_, rule);
    std::string first;
    fields_.ReadWord("first", first, {"pass", "fail"});
    if (first == "fail") rule.first = core::FirstTime::kFail;
    return rule;
  }

  core::RuleBody Sql() {
    core::SqlRule rule;
    rule.of = Of();
    fields_.Read("sql", rule.predicate);
    fields_.Read("max_bad_share", rule.max_bad_share, kShare);
    return rule;
  }

  core::RuleBody Metric() {
    core::MetricRule rule;
    fields_.Read("metric", rule.metric);
    ReadBounds(fields_, rule.value);
    if (fields_.Read("slice", rule.slice)) {
      stage_.places.emplace(part_ + ".slice", fields_.PlaceOf("slice"));
      fields_.Read("min_samples", rule.min_samples, kCount);
      fields_.Read("allow_failing", rule.allow_failing, kShare);
    }
    if (fields_.Has("versus")) {
      fields_.Ignore({"worse_by", "confidence", "first"});
    } else {
      NeedBound(fields_.Has("min") || fields_.Has("max"));
    }
    fields_.NotYet("versus", code::kNoBaseline);
    return rule;
  }

  core::RuleBody Check() {
    core::CheckRule rule;
    reader_.ReadExpression(*fields_.Take("check"), rule.expression, {});
    return rule;
  }

  core::RuleBody Probe() {
    core::ProbeRule rule;
    Reference("probe", rule.probe);
    if (Node* request = fields_.Need("request")) ReadRequest(*request, rule);
    if (Node* answer = fields_.Need("answer")) ReadAnswer(*answer, rule);
    return rule;
  }

  core::RuleBody Contract() {
    core::ContractRule rule;
    if (fields_.Read("contract", rule.file)) {
      stage_.places.emplace(part_ + ".contract", fields_.PlaceOf("contract"));
    }
    return rule;
  }

  core::RuleBody Latency() {
    core::LatencyRule rule;
    Fields latency(reader_, *fields_.Take("latency"), "\"latency\"");
    latency.Read("p50", rule.p50);
    latency.Read("p95", rule.p95);
    latency.Read("p99", rule.p99);
    latency.Read("requests", rule.requests, Range{1, 1e6});
    latency.Read("concurrency", rule.concurrency, Range{1, 256});
    latency.Finish();
    NeedBound(latency.Has("p50") || latency.Has("p95") || latency.Has("p99"));
    return rule;
  }

 private:
  std::string Of() {
    std::string of;
    Reference("of", of);
    return of;
  }

  void Reference(std::string_view key, std::string& out) {
    Node* node = fields_.Need(key);
    if (node == nullptr) return;
    reader_.ReadLiteral(*node, out);
    stage_.places.emplace(part_ + "." + std::string(key), node->place);
  }

  void NeedBound(bool is_bound) {
    if (is_bound) return;
    reader_.Error(code::kNoBound, fields_.node().place, fields_.where() + " bounds nothing");
  }

  // Reads `key: {first: [...]}` or `key: {second: [...]}`.
  void OneOfTwoLists(std::string_view key, std::string_view first, std::string_view second,
                     bool& is_first, std::vector<std::string>& out) {
    Node& node = *fields_.Take(key);
    const std::string quoted = core::Quoted(key);
    Fields inner(reader_, node, quoted);
    is_first = inner.Has(first);
    if (node.is_map() && is_first == inner.Has(second)) {
      reader_.Error(
          code::kConflict, node.place,
          inner.where() + " needs one of " + std::string(first) + " and " + std::string(second));
    }
    inner.Read(second, out);
    inner.Read(first, out);
    inner.Finish();
  }

  void ReadRequest(Node& node, core::ProbeRule& rule) {
    Fields request(reader_, node, "\"request\"");
    int methods = 0;
    for (const char* method : {"get", "post", "put"}) {
      if (!request.Has(method)) continue;
      ++methods;
      rule.method = method;
      std::transform(rule.method.begin(), rule.method.end(), rule.method.begin(),
                     [](char c) { return static_cast<char>(c - 'a' + 'A'); });
      if (request.Read(method, rule.path) && !rule.path.starts_with('/')) {
        reader_.Error(code::kBadPath, request.PlaceOf(method),
                      "the path of a request must begin with /");
      }
    }
    if (node.is_map() && methods != 1) {
      reader_.Error(code::kConflict, node.place, "\"request\" needs one of get, post and put");
    }
    if (Node* json = request.Take("json")) reader_.ReadExpression(*json, rule.body, kRowNames);
    request.Finish();
  }

  void ReadAnswer(Node& node, core::ProbeRule& rule) {
    Fields answer(reader_, node, "\"answer\"");
    if (answer.Read("json", rule.answer_pointer) && !rule.answer_pointer.starts_with('/')) {
      reader_.Error(code::kBadPath, answer.PlaceOf("json"),
                    "\"json\" is a JSON pointer, which begins with /");
    }
    std::string body;
    answer.ReadWord("body", body, {"text"});
    if (node.is_map() && answer.Has("json") == answer.Has("body")) {
      reader_.Error(code::kConflict, node.place, "\"answer\" needs one of json and body");
    }
    if (Node* equals = answer.Need("equals"))
      reader_.ReadExpression(*equals, rule.equals, kRowNames);
    answer.Read("abs_tol", rule.abs_tol, Range{0});
    answer.Read("rel_tol", rule.rel_tol, Range{0});
    answer.Read("max_mismatches", rule.max_mismatches, kCount);
    answer.Finish();
  }

  Fields& fields_;
  Reader& reader_;
  core::StageSpec& stage_;
  const std::string part_;
};

// A form of rule: the key that names it, the gate that it belongs to, and how to read it, or why
// it is not available yet. `column` and `columns` are also parts of other forms, so they come last.
struct Form {
  std::string_view key;
  StageKind gate;
  core::RuleBody (RuleReader::*read)();
  std::string_view not_yet;
};

constexpr std::array<Form, 19> kForms = {{
    {"stat", StageKind::kDataGate, nullptr, code::kNoDataRule},
    {"fresh", StageKind::kDataGate, nullptr, code::kNoDataRule},
    {"references", StageKind::kDataGate, nullptr, code::kNoDataRule},
    {"disjoint_from", StageKind::kDataGate, nullptr, code::kNoDataRule},
    {"fairness", StageKind::kModelGate, nullptr, code::kNoFairness},
    {"memory", StageKind::kContractGate, nullptr, code::kNoMemory},
    {"rows", StageKind::kDataGate, &RuleReader::Rows, ""},
    {"unique", StageKind::kDataGate, &RuleReader::Unique, ""},
    {"share_of", StageKind::kDataGate, &RuleReader::Share, ""},
    {"segments", StageKind::kDataGate, &RuleReader::Segments, ""},
    {"drift", StageKind::kDataGate, &RuleReader::Drift, ""},
    {"sql", StageKind::kDataGate, &RuleReader::Sql, ""},
    {"metric", StageKind::kModelGate, &RuleReader::Metric, ""},
    {"check", StageKind::kModelGate, &RuleReader::Check, ""},
    {"probe", StageKind::kContractGate, &RuleReader::Probe, ""},
    {"contract", StageKind::kContractGate, &RuleReader::Contract, ""},
    {"latency", StageKind::kContractGate, &RuleReader::Latency, ""},
    {"column", StageKind::kDataGate, &RuleReader::Column, ""},
    {"columns", StageKind::kDataGate, &RuleReader::Columns, ""},
}};

std::string FormsOf(StageKind gate) {
  std::string out = "allowed:";
  for (const Form& form : kForms) {
    if (form.gate == gate && form.read != nullptr)
      out += (out.ends_with(':') ? " " : ", ") + std::string(form.key);
  }
  return out;
}

// Returns the form of a rule, or null after saying why there is none.
const Form* FindForm(Fields& fields, const core::Rule& rule, StageKind gate) {
  Reader& reader = fields.reader();
  const Form* found = nullptr;
  for (const Form& form : kForms) {
    if (!fields.Has(form.key)) continue;
    if (found == nullptr) {
      found = &form;
    } else if (found->read != nullptr && !form.key.starts_with("column")) {
      reader.Error(code::kRuleForm, rule.place,
                   fields.where() + " has two forms: " + std::string(found->key) + " and " +
                       std::string(form.key),
                   "", "make two rules of it");
      return nullptr;
    }
  }
  if (found == nullptr) {
    Words forms;
    for (const Form& form : kForms) forms.emplace_back(form.key);
    std::string label;
    for (size_t i = 0; i < fields.node().member_count() && label.empty(); ++i) {
      const std::string key(fields.node().key(i).text);
      if (key.size() > 63 || key == "of" || key == "max" || key == "min") continue;
      const std::string closest = ClosestWord(key, forms);
      if (!closest.empty()) label = "did you mean \"" + closest + "\"?";
    }
    reader.Error(code::kRuleForm, rule.place, fields.where() + " has no form", label,
                 FormsOf(gate));
  } else if (found->gate != gate) {
    reader.Error(code::kRuleOfOtherGate, rule.place,
                 "a rule with \"" + std::string(found->key) + "\" belongs in a " +
                     std::string(core::ToText(found->gate)) + ", this is a " +
                     std::string(core::ToText(gate)),
                 "", FormsOf(gate));
    return nullptr;
  }
  return found;
}

core::Rule ReadRule(Reader& reader, const std::string& name, const Node& key, Node& node,
                    core::StageSpec& stage) {
  core::Rule rule{.name = name, .blocks = true, .body = core::CheckRule(), .place = key.place};
  Fields fields(reader, node, "rule", name);
  if (!node.is_map()) return rule;
  const Form* form = FindForm(fields, rule, stage.kind);
  if (form == nullptr) return rule;
  if (form->read == nullptr) {
    fields.NotYet(form->key, form->not_yet);
    return rule;
  }
  RuleReader rule_reader(fields, stage, rule);
  rule.body = (rule_reader.*form->read)();
  ReadSeverity(fields, rule.blocks);
  if (form->gate == StageKind::kDataGate && form->key != "share_of")
    fields.NotYet("by", code::kNoDataRule);
  if (form->gate == StageKind::kDataGate && form->key != "drift" && fields.Has("versus")) {
    fields.NotYet("versus", code::kNoBaseline);
    fields.Ignore({"first"});
  }
  fields.Finish();
  return rule;
}

// --- monitors ---

core::MetricRule ReadMonitorMetric(Fields& fields) {
  core::MetricRule metric;
  fields.Read("metric", metric.metric);
  if (metric.metric != "requests" && !metric.metric.empty()) {
    fields.reader().NotYet(code::kNoMonitorMetric, fields.PlaceOf("metric"),
                           "metric: " + metric.metric);
  }
  ReadBounds(fields, metric.value);
  fields.NotYet("of", code::kNoGroundTruth);
  fields.NotYet("min_labelled", code::kNoGroundTruth);
  if (!fields.Has("min") && !fields.Has("max")) {
    fields.reader().Error(code::kNoBound, fields.node().place, fields.where() + " bounds nothing");
  }
  return metric;
}

void ReadCheck(Reader& reader, const std::string& name, const Node& key, Node& node,
               core::StageSpec& stage) {
  core::CheckSpec check{.name = name, .rule = core::MetricRule(), .place = key.place};
  Fields fields(reader, node, "check", name);
  const bool is_drift = fields.Has("drift");
  if (is_drift == fields.Has("metric")) {
    if (node.is_map()) {
      reader.Error(code::kRuleForm, key.place, fields.where() + " needs one of metric and drift");
    }
  } else {
    if (is_drift) {
      ReadDrift(fields, "checks." + name, stage, check.rule.emplace<core::DriftRule>());
    } else {
      check.rule = ReadMonitorMetric(fields);
    }
    ReadSeverity(fields, check.blocks);
    fields.Read("consecutive", check.consecutive, Range{1, 1000});
    fields.Finish();
  }
  stage.monitor->checks.push_back(std::move(check));
}

void ReadRetrain(Reader& reader, Node& node, core::StageSpec& stage) {
  core::RetrainSpec& retrain = stage.monitor->retrain.emplace();
  Fields fields(reader, node, "\"retrain\"");
  stage.places.emplace("retrain", node.place);
  if (Node* checks = fields.Take("checks");
      checks != nullptr && reader.ReadLiterals(*checks, retrain.checks)) {
    for (const Node& check : checks->children) {
      stage.places.emplace("retrain.checks." + std::string(check.text), check.place);
    }
  }
  if (Node* lane = fields.Need("lane")) reader.ReadName(*lane, retrain.lane);
  if (Node* params = fields.Take("params")) {
    stage.places.emplace("retrain.params", params->place);
    Value value;
    if (!params->is_map()) {
      reader.WrongType(*params, "a map");
    } else if (reader.Read(*params, value)) {
      for (const auto& [name, param] : value.map()) retrain.params[name] = param;
    }
  }
  fields.Read("cooldown", retrain.cooldown);
  fields.Read("max_per_week", retrain.max_per_week, Range{1, 10'000});
  fields.Read("give_up_after", retrain.give_up_after, Range{1, 1000});
  fields.Finish();
}

void ReadPredictionSource(Reader& reader, Node& node, core::MonitorSpec& monitor) {
  Fields fields(reader, node, "\"predictions\"");
  if (fields.ReadWord("source", monitor.predictions_source, {"grpc", "http", "jsonl"}) &&
      monitor.predictions_source == "http") {
    reader.NotYet(code::kNoPredictionSource, fields.PlaceOf("source"), "source: http");
  }
  fields.NotYet("key", code::kNoGroundTruth);
  fields.NotYet("retain", code::kNoRetention);
  fields.Finish();
}

}  // namespace

void ReadBounds(Fields& fields, core::Bounds& bounds, Range range) {
  fields.Read("min", bounds.min, range);
  fields.Read("max", bounds.max, range);
  const bool is_known = !fields.HasTemplate("min") && !fields.HasTemplate("max");
  if (is_known && bounds.min && bounds.max && *bounds.min > *bounds.max) {
    fields.reader().Error(code::kOutOfRange, fields.PlaceOf("max"),
                          "\"max\" is smaller than \"min\"");
  }
}

void ReadSeverity(Fields& fields, bool& blocks) {
  std::string severity;
  fields.ReadWord("severity", severity, {"fail", "warn"});
  blocks = severity != "warn";
}

void ReadDrift(Fields& fields, const std::string& part, core::StageSpec& stage,
               core::DriftRule& drift) {
  std::string measure;
  if (fields.ReadWord("drift", measure, {"psi", "js", "wasserstein"}) && measure != "psi") {
    fields.reader().NotYet(code::kNoDriftMeasure, fields.PlaceOf("drift"), "drift: " + measure);
  }
  fields.ReadNeeded("columns", drift.columns);
  if (Node* versus = fields.Need("versus")) {
    fields.reader().ReadLiteral(*versus, drift.versus);
    stage.places.emplace(part + ".versus", versus->place);
    for (std::string_view later : {"last_accepted", "last_passed", "champion", "rest"}) {
      if (drift.versus != later) continue;
      fields.reader().NotYet(code::kNoBaseline, versus->place, "versus: " + drift.versus);
      drift.versus.clear();
    }
  }
  fields.Read("max", drift.max, Range{0});
  fields.Read("min_samples", drift.min_samples, kCount);
}

void ReadRules(Reader& reader, Node& rules, core::StageSpec& stage) {
  ForEachNamed(reader, rules, "rules", [&](const std::string& name, const Node& key, Node& value) {
    stage.rules.push_back(ReadRule(reader, name, key, value, stage));
  });
}

void ReadMonitor(Fields& fields, core::StageSpec& stage) {
  Reader& reader = fields.reader();
  core::MonitorSpec& monitor = stage.monitor.emplace();
  monitor.predictions_source = "grpc";
  fields.ReadNeeded("every", monitor.every);
  fields.ReadNeeded("window", monitor.window);
  if (Node* predictions = fields.Take("predictions"))
    ReadPredictionSource(reader, *predictions, monitor);
  fields.NotYet("ground_truth", code::kNoGroundTruth);
  if (Node* checks = fields.Need("checks")) {
    ForEachNamed(reader, *checks, "checks",
                 [&](const std::string& name, const Node& key, Node& value) {
                   ReadCheck(reader, name, key, value, stage);
                 });
  }
  if (Node* breach = fields.Take("on_breach")) {
    Fields inner(reader, *breach, "\"on_breach\"");
    if (Node* retrain = inner.Take("retrain")) ReadRetrain(reader, *retrain, stage);
    inner.NotYet("rollback", code::kNoBreachAction);
    inner.NotYet("notify", code::kNoNotify);
    inner.Finish();
  }
}

}  // namespace cd4ml::yaml
