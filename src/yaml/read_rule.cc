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
constexpr Range kConfidence = {0.5, 0.999};
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
      rule.type = static_cast<core::ColumnType>(IndexOf(kTypes, type));
    }
    ReadBounds(fields_, rule.value);
    if (Node* in = fields_.Take("in")) reader_.ReadScalarTexts(*in, rule.in);
    fields_.Read("pattern", rule.pattern);
    fields_.Read("max_nulls", rule.max_nulls, kShare);
    fields_.Read("max_bad_share", rule.max_bad_share, kShare);
    static const Words kMethods = {"iqr", "z", "mad"};
    std::string outliers;
    if (fields_.ReadWord("outliers", outliers, kMethods)) {
      rule.outliers = static_cast<core::OutlierMethod>(IndexOf(kMethods, outliers));
      const bool of_numbers = !rule.type || *rule.type == core::ColumnType::kInt ||
                              *rule.type == core::ColumnType::kFloat;
      if (!of_numbers)
        Conflict("outliers", "only numbers have outliers, and the type is " + core::Quoted(type));
    }
    bool bounds = false;
    for (const char* key : {"type", "min", "max", "in", "pattern", "max_nulls", "outliers"})
      bounds |= fields_.Has(key);
    NeedBound(bounds);
    return rule;
  }

  // references: zips.zipcode, or with more than one column [zips.country, zips.zipcode].
  core::RuleBody Key() {
    core::KeyRule rule;
    rule.of = Of();
    rule.disjoint = fields_.Has("disjoint_from");
    const std::string_view key = rule.disjoint ? "disjoint_from" : "references";
    std::vector<std::string> others;
    Node& node = *fields_.Take(key);
    stage_.places.emplace(part_ + "." + std::string(key), node.place);
    ReadOneOrMore(node, others);
    for (const std::string& other : others) {
      const auto [table, column] = core::ParseReference(other);
      const bool is_first = rule.other_columns.empty();
      if (column.empty() || (!is_first && table != rule.other)) {
        reader_.Error(code::kBadName, node.place,
                      core::Quoted(key) + " names " +
                          (column.empty() ? "no column of a table" : "columns of two tables"),
                      "", "write table.column, or a list of columns of one table");
        break;
      }
      rule.other = table;
      rule.other_columns.emplace_back(column);
    }
    if (fields_.Read("columns", rule.columns) && rule.columns.size() != others.size()) {
      Conflict("columns", "\"columns\" are " + std::to_string(rule.columns.size()) + ", and " +
                              core::Quoted(key) + " names " + std::to_string(others.size()));
    }
    fields_.Read("max_bad_share", rule.max_bad_share, kShare);
    return rule;
  }

  core::RuleBody Stat() {
    static const Words kStatistics = {"count", "nulls", "distinct", "min", "max", "mean", "median",
                                      "sum",   "std",   "p05",      "p25", "p75", "p95"};
    core::StatRule rule;
    rule.of = Of();
    std::string word;
    if (fields_.ReadWord("stat", word, kStatistics))
      rule.stat = static_cast<core::Statistic>(IndexOf(kStatistics, word));
    fields_.ReadNeeded("column", rule.column);
    ReadBounds(fields_, rule.value);
    if (Node* window = fields_.Take("window")) {
      Fields inner(reader_, *window, "\"window\"");
      inner.ReadNeeded("column", rule.window_column);
      inner.ReadNeeded("last", rule.window_last);
      inner.Finish();
    }
    if (Reference("versus", rule.versus, /*needed=*/false)) ReadChange(rule, word);
    NeedBound(fields_.Has("min") || fields_.Has("max") || fields_.Has("versus"));
    fields_.Read("min_samples", rule.min_samples, kCount);
    return rule;
  }

  core::RuleBody Fresh() {
    core::FreshRule rule;
    rule.of = Of();
    Fields fresh(reader_, *fields_.Take("fresh"), "\"fresh\"");
    fresh.ReadNeeded("column", rule.column);
    fresh.ReadNeeded("within", rule.within);
    fresh.Finish();
    return rule;
  }

  core::RuleBody Balance() {
    core::BalanceRule rule;
    rule.of = Of();
    Fields balance(reader_, *fields_.Take("balance"), "\"balance\"");
    balance.ReadNeeded("column", rule.column);
    balance.Finish();
    ReadBounds(fields_, rule.share, kShare);
    NeedBound(fields_.Has("min") || fields_.Has("max"));
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
    if (Node* by = fields_.Take("by")) {
      std::vector<std::string> columns;
      ReadOneOrMore(*by, columns);
      if (columns.size() > 1) Conflict("by", "shares are taken by one column");
      if (!columns.empty()) rule.by = columns.front();
    }
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
    if (Node* lost = segments.Take("lost")) {
      Fields inner(reader_, *lost, "\"lost\"");
      if (Node* versus = inner.Need("versus")) {
        reader_.ReadLiteral(*versus, rule.lost_versus);
        stage_.places.emplace(part_ + ".versus", versus->place);
      }
      inner.ReadNeeded("max", rule.lost_max, kCount);
      rule.first = First(inner);
      inner.Finish();
    }
    segments.Finish();
    return rule;
  }

  core::RuleBody Drift() {
    core::DriftRule rule;
    rule.of = Of();
    ReadDrift(fields_, part_, stage_, rule);
    rule.first = First(fields_);
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
    const bool compares = fields_.Has("versus") || fields_.Has("worse_by") || fields_.Has("confidence");
    if (compares) {
      ReadVersus(rule);
    } else {
      NeedBound(fields_.Has("min") || fields_.Has("max"));
    }
    return rule;
  }

  core::RuleBody Fairness() {
    core::FairnessRule rule;
    Fields fairness(reader_, *fields_.Take("fairness"), "\"fairness\"");
    if (fairness.ReadNeeded("slice", rule.slice))
      stage_.places.emplace(part_ + ".slice", fairness.PlaceOf("slice"));
    fairness.ReadNeeded("metric", rule.metric);
    fairness.Read("max_difference", rule.max_difference, Range{0});
    fairness.Read("min_ratio", rule.min_ratio, kShare);
    fairness.Read("min_samples", rule.min_samples, kCount);
    fairness.Finish();
    NeedBound(fairness.Has("max_difference") || fairness.Has("min_ratio"));
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

  // What a champion is asked, which is no rule: there is nothing yet to hold its answers against.
  core::ProbeRule Champion() {
    core::ProbeRule rule;
    if (Node* request = fields_.Need("request")) ReadRequest(*request, rule);
    if (!rule.grpc.empty()) {
      reader_.Error(code::kConflict, fields_.PlaceOf("request"), "a champion is asked over HTTP: get, post or put");
    }
    return rule;
  }

  core::RuleBody Contract() {
    core::ContractRule rule;
    if (fields_.Read("contract", rule.file)) {
      stage_.places.emplace(part_ + ".contract", fields_.PlaceOf("contract"));
    }
    return rule;
  }

  // Reads a text or a list of texts.
  void ReadOneOrMore(Node& node, std::vector<std::string>& out) {
    if (node.is_scalar()) {
      reader_.Read(node, out.emplace_back());
    } else {
      reader_.Read(node, out);
    }
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

  core::RuleBody Memory() {
    core::MemoryRule rule;
    Fields memory(reader_, *fields_.Take("memory"), "\"memory\"");
    if (Node* max = memory.Need("max")) reader_.ReadSize(*max, rule.max);
    memory.Finish();
    return rule;
  }

 private:
  std::string Of() {
    std::string of;
    Reference("of", of);
    return of;
  }

  bool Reference(std::string_view key, std::string& out, bool needed = true) {
    Node* node = needed ? fields_.Need(key) : fields_.Take(key);
    if (node == nullptr) return false;
    stage_.places.emplace(part_ + "." + std::string(key), node->place);
    return reader_.ReadLiteral(*node, out);
  }

  static core::FirstTime First(Fields& fields) {
    std::string first;
    fields.ReadWord("first", first, {"pass", "fail"});
    return first == "fail" ? core::FirstTime::kFail : core::FirstTime::kPass;
  }

  // Reads what only a comparison has.
  void ReadChange(core::StatRule& rule, const std::string& word) {
    if (Node* change = fields_.Need("max_change")) {
      Fields inner(reader_, *change, "\"max_change\"");
      inner.Read("abs", rule.max_change.abs, Range{0});
      inner.Read("rel", rule.max_change.rel, Range{0});
      inner.Finish();
      if (change->is_map() && !inner.Has("abs") && !inner.Has("rel"))
        reader_.Error(code::kNoBound, change->place, "\"max_change\" bounds nothing");
    }
    if (rule.versus != "rest") {
      rule.first = First(fields_);
      return;
    }
    if (!fields_.Has("window"))
      Conflict("versus", "the rest is what lies outside of a window, and there is no \"window\"");
    for (const std::string_view total : {"count", "sum", "distinct"}) {
      if (word == total)
        Conflict("versus", core::Quoted(total) + " grows with the length of time, and the rest is longer than the window");
    }
  }

  void Conflict(std::string_view key, const std::string& message) {
    reader_.Error(code::kConflict, fields_.PlaceOf(key), message);
  }

  static size_t IndexOf(const Words& words, const std::string& word) {
    return static_cast<size_t>(std::find(words.begin(), words.end(), word) - words.begin());
  }

  void ReadVersus(core::MetricRule& rule) {
    Reference("versus", rule.versus);
    if (Node* worse_by = fields_.Need("worse_by")) {
      Fields allowance(reader_, *worse_by, "\"worse_by\"");
      allowance.Read("abs", rule.worse_by.abs);
      allowance.Read("rel", rule.worse_by.rel);
      allowance.Finish();
      NeedBound(allowance.Has("abs") || allowance.Has("rel"));
    }
    fields_.Read("confidence", rule.confidence, kConfidence);
    std::string first;
    fields_.ReadWord("first", first, {"pass", "fail"});
    if (first == "fail") rule.first = core::FirstTime::kFail;
    for (const char* bound : {"min", "max"}) {
      if (!fields_.Has(bound)) continue;
      reader_.Error(code::kConflict, fields_.PlaceOf(bound),
                    fields_.where() + " has " + core::Quoted(bound) + " and \"versus\"", "", "make two rules of it");
    }
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
    if (request.Has("grpc")) {
      ++methods;
      ReadMethod(request, rule);
    }
    if (node.is_map() && methods != 1) {
      reader_.Error(code::kConflict, node.place, "\"request\" needs one of get, post, put and grpc");
    }
    if (Node* json = request.Take("json")) reader_.ReadExpression(*json, rule.body, kRowNames);
    request.Finish();
  }

  // Reads `grpc: package.Service/Method, proto: FILE`.
  void ReadMethod(Fields& request, core::ProbeRule& rule) {
    rule.method.clear();
    if (request.Read("grpc", rule.grpc) && (std::count(rule.grpc.begin(), rule.grpc.end(), '/') != 1 ||
                                            rule.grpc.front() == '/' || rule.grpc.back() == '/')) {
      reader_.Error(code::kBadPath, request.PlaceOf("grpc"), "\"grpc\" names a method like package.Service/Method");
    }
    if (request.ReadNeeded("proto", rule.proto)) {
      stage_.places.emplace(part_ + ".proto", request.PlaceOf("proto"));
    }
  }

  void ReadAnswer(Node& node, core::ProbeRule& rule) {
    Fields answer(reader_, node, "\"answer\"");
    ReadPointer(answer, "json", rule.answer_pointer);
    std::string body;
    answer.ReadWord("body", body, {"text"});
    if (node.is_map() && answer.Has("json") == answer.Has("body")) {
      reader_.Error(code::kConflict, node.place, "\"answer\" needs one of json and body");
    }
    if (!rule.grpc.empty() && answer.Has("body")) {
      reader_.Error(code::kConflict, answer.PlaceOf("body"), "an answer over gRPC is no text; point into it with \"json\"");
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

constexpr std::array<Form, 20> kForms = {{
    {"stat", StageKind::kDataGate, &RuleReader::Stat, ""},
    {"fresh", StageKind::kDataGate, &RuleReader::Fresh, ""},
    {"balance", StageKind::kDataGate, &RuleReader::Balance, ""},
    {"references", StageKind::kDataGate, &RuleReader::Key, ""},
    {"disjoint_from", StageKind::kDataGate, &RuleReader::Key, ""},
    {"rows", StageKind::kDataGate, &RuleReader::Rows, ""},
    {"unique", StageKind::kDataGate, &RuleReader::Unique, ""},
    {"share_of", StageKind::kDataGate, &RuleReader::Share, ""},
    {"segments", StageKind::kDataGate, &RuleReader::Segments, ""},
    {"drift", StageKind::kDataGate, &RuleReader::Drift, ""},
    {"sql", StageKind::kDataGate, &RuleReader::Sql, ""},
    {"metric", StageKind::kModelGate, &RuleReader::Metric, ""},
    {"check", StageKind::kModelGate, &RuleReader::Check, ""},
    {"fairness", StageKind::kModelGate, &RuleReader::Fairness, ""},
    {"probe", StageKind::kContractGate, &RuleReader::Probe, ""},
    {"contract", StageKind::kContractGate, &RuleReader::Contract, ""},
    {"latency", StageKind::kContractGate, &RuleReader::Latency, ""},
    {"memory", StageKind::kContractGate, &RuleReader::Memory, ""},
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

// A key that several forms share, and which ones.
struct SharedKey {
  std::string_view key;
  std::vector<std::string_view> forms;
};

// Reports keys that other forms have, so that nobody believes them to hold for every rule.
void RefuseKeysOfOtherForms(Fields& fields, std::string_view form) {
  static const std::vector<SharedKey> kShared = {
      {"by", {"rows", "column", "unique", "share_of", "sql", "stat"}},
      {"window", {"stat"}},
      {"versus", {"stat", "drift", "metric"}},
      {"first", {"stat", "drift", "metric"}},
      {"min_samples", {"stat", "drift", "metric"}},
      {"max_bad_share", {"column", "references", "disjoint_from", "sql"}},
      {"slice", {"metric"}},
      {"confidence", {"metric"}},
  };
  for (const SharedKey& shared : kShared) {
    if (!fields.Has(shared.key) || std::find(shared.forms.begin(), shared.forms.end(), form) != shared.forms.end()) continue;
    fields.Ignore({std::string(shared.key)});
    std::string forms;
    for (const std::string_view one : shared.forms) forms += (forms.empty() ? "" : ", ") + std::string(one);
    fields.reader().Error(code::kRuleForm, fields.PlaceOf(shared.key),
                          core::Quoted(shared.key) + " has no meaning in a rule of the form " + core::Quoted(form), "",
                          "rules that have it: those with " + forms);
  }
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
  for (const std::string_view asked_by : {"rows", "column", "unique", "sql", "stat"}) {
    if (form->key != asked_by) continue;
    if (Node* by = fields.Take("by")) rule_reader.ReadOneOrMore(*by, rule.by);
  }
  RefuseKeysOfOtherForms(fields, form->key);
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
  if (fields.ReadWord("drift", measure, {"psi", "js", "wasserstein"})) {
    drift.measure = measure == "js"            ? core::DriftMeasure::kJensenShannon
                    : measure == "wasserstein" ? core::DriftMeasure::kWasserstein
                                               : core::DriftMeasure::kPsi;
  }
  fields.ReadNeeded("columns", drift.columns);
  if (Node* versus = fields.Need("versus")) {
    fields.reader().ReadLiteral(*versus, drift.versus);
    stage.places.emplace(part + ".versus", versus->place);
  }
  fields.Read("max", drift.max, Range{0});
  fields.Read("min_samples", drift.min_samples, kCount);
}

bool ReadPointer(Fields& fields, std::string_view key, std::string& pointer) {
  if (!fields.Read(key, pointer)) return false;
  if (!pointer.starts_with('/')) {
    fields.reader().Error(code::kBadPath, fields.PlaceOf(key), core::Quoted(key) + " is a JSON pointer, which begins with /");
  }
  return true;
}

void ReadRules(Reader& reader, Node& rules, core::StageSpec& stage, bool required) {
  if (required) {
    if (!CheckNamedMap(reader, rules, "required")) return;
    for (size_t i = 0; i < rules.member_count(); ++i) {
      stage.rules.push_back(ReadRule(reader, std::string(rules.key(i).text), rules.key(i), rules.value(i), stage));
    }
    return;
  }
  ForEachNamed(reader, rules, "rules", [&](const std::string& name, const Node& key, Node& value) {
    stage.rules.push_back(ReadRule(reader, name, key, value, stage));
  });
}

core::ProbeRule ReadChampionRequest(Fields& champion, core::StageSpec& stage) {
  const core::Rule rule{.name = "champion", .body = core::ProbeRule(), .place = champion.node().place};
  return RuleReader(champion, stage, rule).Champion();
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
