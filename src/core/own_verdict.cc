// Readers of what other tools found. Each is strict about what decides, and lenient about everything else.
#include "cd4ml/core/own_verdict.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "cd4ml/core/gate.h"

namespace cd4ml::core {
namespace {

using Kind = VerdictSpec::Kind;
using enum VerdictOutcome;

// Returns the beginning of a text on one line, at most `max` bytes of whole UTF-8 characters.
std::string Cut(std::string_view text, size_t max = kOwnTextMax) {
  size_t end = std::min(text.size(), max);
  while (end < text.size() && end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  std::string cut(text.substr(0, end));
  std::replace_if(
      cut.begin(), cut.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return end < text.size() ? cut + "…" : cut;
}

std::string Text(const Value& value, size_t max = kOwnTextMax) {
  return Cut(value.is_number() ? FormatNumber(value.number()) : cd4ml::ToText(value), max);
}

std::string TextAt(const Value& value, std::string_view member) {
  const Value* found = value.Find(member);
  return found == nullptr || found->is_null() ? "" : Text(*found);
}

// Returns the first of these members that is a text with something in it.
std::string FirstText(const Value& value, std::initializer_list<std::string_view> members) {
  for (std::string_view member : members) {
    const Value* found = value.FindPath(member);
    if (found != nullptr && found->is_string() && !found->string().empty()) return Cut(found->string());
  }
  return "";
}

std::optional<double> NumberAt(const Value& value, std::string_view member) {
  const Value* found = value.Find(member);
  return found != nullptr && found->is_number() ? std::optional(found->number()) : std::nullopt;
}

std::optional<int64_t> CountAt(const Value& value, std::string_view member) {
  const std::optional<double> number = NumberAt(value, member);
  if (!number || !(*number >= 0 && *number < 9e15)) return std::nullopt;
  return static_cast<int64_t>(*number);
}

bool IsFilledList(const Value* value) { return value != nullptr && value->is_list() && !value->list().empty(); }

void AddRow(RuleResult& result, std::string row) {
  if (result.rows.size() < kOffendingRowsMax) result.rows.push_back(std::move(row));
}

RuleResult Begin(Kind kind, std::string name, std::string subject) {
  RuleResult result;
  result.name = name.empty() ? std::string(ToText(kind)) : std::move(name);
  result.form = ToText(kind);
  result.subject = std::move(subject);
  return result;
}

std::vector<RuleResult> Refuse(Kind kind, std::string why) { return {UnreadableVerdict(kind, "", std::move(why))}; }

// What is tested against a number that is none has not passed.
void RefuseNaN(RuleResult& result) {
  if (!result.observed_number || std::isfinite(*result.observed_number)) return;
  result.outcome = kError;
  result.observed = FormatNumber(*result.observed_number);
  result.message = "\"" + result.name + "\" is " + result.observed + ", which cannot be compared";
}

// Keeps the worst results when there are too many, and counts the others in one.
std::vector<RuleResult> Bounded(Kind kind, std::vector<RuleResult> results) {
  if (results.size() <= kOwnResultsMax) return results;
  std::stable_sort(results.begin(), results.end(),
                   [](const RuleResult& a, const RuleResult& b) { return a.outcome > b.outcome; });
  const size_t more = results.size() - (kOwnResultsMax - 1);
  RuleResult others = Begin(kind, "others", std::to_string(more) + " results");
  others.outcome = results[kOwnResultsMax - 1].outcome;
  results.resize(kOwnResultsMax - 1);
  others.observed = std::to_string(more) + " more results, the worst of them " + std::string(ToText(others.outcome));
  others.message = "only the first " + std::to_string(kOwnResultsMax - 1) + " results are told one by one";
  results.push_back(std::move(others));
  return results;
}

// --- cd4ml's own form ---

// A rule as a person's program writes it: name and outcome are needed, everything else may be left out.
RuleResult ReadOwnRule(const Value& value, size_t position) {
  const std::string name = FirstText(value, {"name"});
  RuleResult result = Begin(Kind::kFile, name, TextAt(value, "subject"));
  const auto refuse = [&result](std::string why) {
    result.outcome = kError;
    result.message = std::move(why);
    return result;
  };
  if (name.empty()) return refuse("rule " + std::to_string(position + 1) + " of the verdict has no \"name\"");
  if (name.find('.') != std::string::npos) {
    result.name = ToText(Kind::kFile);   // Those are the names of rules that the server requires.
    return refuse("rule \"" + name + "\" of the verdict has a dot in its name, which only rules of the server have");
  }
  const Value* outcome = value.Find("outcome");
  const auto parsed =
      outcome != nullptr && outcome->is_string() ? ParseVerdictOutcome(outcome->string()) : std::nullopt;
  if (!parsed) {
    return refuse("rule \"" + name + "\" has " +
                  (outcome == nullptr ? "no \"outcome\"" : "the outcome " + Text(*outcome, 60)) +
                  "; it is pass, warn, fail or error");
  }
  result.outcome = *parsed;
  if (std::string form = FirstText(value, {"form"}); !form.empty()) result.form = std::move(form);
  result.observed = TextAt(value, "observed");
  if (result.observed.empty()) result.observed = ToText(*parsed);
  result.bound = TextAt(value, "bound");
  if (result.bound.empty()) result.bound = "pass";
  result.baseline = TextAt(value, "baseline");
  result.message = TextAt(value, "message");
  result.observed_number = NumberAt(value, "observed_number");
  if (!result.observed_number) result.observed_number = NumberAt(value, "observed");
  for (const char* member : {"observed_number", "observed"}) {
    const Value* number = value.Find(member);   // As the record itself writes it, or Python.
    if (number != nullptr && (*number == Value("NaN") || *number == Value("nan"))) result.observed_number = std::nan("");
  }
  result.baseline_number = NumberAt(value, "baseline_number");
  result.sample_size = CountAt(value, "sample_size");
  if (const Value* rows = value.Find("rows"); rows != nullptr && rows->is_list()) {
    for (const Value& row : rows->list()) AddRow(result, Text(row));
  }
  RefuseNaN(result);
  return result;
}

std::vector<RuleResult> ReadOwn(const Value& value) {
  const Value* rules = value.Find("rules");
  if (!value.is_map() || rules == nullptr || !rules->is_list()) {
    return Refuse(Kind::kFile,
                  R"(no verdict: it must be {"rules": [{"name": …, "outcome": "pass"|"warn"|"fail"|"error"}]})");
  }
  if (rules->list().empty()) return Refuse(Kind::kFile, "the verdict has no rules, so nothing was judged");
  std::vector<RuleResult> results;
  VerdictOutcome worst = kPass;
  for (const Value& rule : rules->list()) {
    results.push_back(ReadOwnRule(rule, results.size()));
    worst = std::max(worst, results.back().outcome);
  }
  const Value* stated = value.Find("outcome");
  if (stated == nullptr) return results;
  const auto outcome = stated->is_string() ? ParseVerdictOutcome(stated->string()) : std::nullopt;
  if (!outcome) {
    results.push_back(UnreadableVerdict(
        Kind::kFile, "", "the verdict has the outcome " + Text(*stated, 60) + "; it is pass, warn, fail or error"));
  } else if (*outcome > worst) {
    RuleResult whole = Begin(Kind::kFile, "verdict", "");
    whole.outcome = *outcome;
    whole.observed = ToText(*outcome);
    whole.bound = "pass";
    whole.message = "the verdict says " + whole.observed + ", although none of its rules does";
    results.push_back(std::move(whole));
  }
  return results;
}

// What says in sum that there is more amiss than it lists.
RuleResult Contradiction(Kind kind, const std::string& subject, int64_t stated, const std::string& what, int64_t listed) {
  return UnreadableVerdict(kind, subject, "it contradicts itself: it says that there are " + std::to_string(stated) + " " + what +
                                              ", and lists " + std::to_string(listed));
}

// --- Great Expectations: a validation result or a checkpoint's, of any version from 0.13 on ---

// The parts of a result that name suites: runs of a checkpoint, and what describe() lists.
void FindSuites(const Value& value, std::vector<const Value*>& suites) {
  if (value.is_list()) {
    for (const Value& item : value.list()) FindSuites(item, suites);
    return;
  }
  if (!value.is_map()) return;
  for (std::string_view member : {"results", "expectations"}) {
    if (const Value* found = value.Find(member); found != nullptr && found->is_list()) {
      suites.push_back(&value);
      return;
    }
  }
  if (const Value* run = value.Find("validation_result")) return FindSuites(*run, suites);
  if (const Value* runs = value.Find("run_results"); runs != nullptr && runs->is_map()) {
    for (const auto& [id, run] : runs->map()) FindSuites(run, suites);
  } else if (const Value* results = value.Find("validation_results")) {
    FindSuites(*results, suites);
  }
}

// Returns what an expectation raised; from version 1 on by metric.
std::optional<std::string> Raised(const Value* info) {
  if (info == nullptr || !info->is_map()) return std::nullopt;
  if (const Value* raised = info->Find("raised_exception"); raised != nullptr && raised->is_bool()) {
    if (!raised->boolean()) return std::nullopt;
    const std::string message = TextAt(*info, "exception_message");
    return message.empty() ? "it raised an exception" : message;
  }
  for (const auto& [metric, inner] : info->map()) {
    if (std::optional<std::string> raised = inner.is_map() ? Raised(&inner) : std::nullopt) return raised;
  }
  return std::nullopt;
}

// Returns what of the arguments says the bound: "max_value 100, min_value 0".
std::string BoundOf(const Value* kwargs) {
  static const std::set<std::string, std::less<>> kNotBounds = {
      "batch_id", "column", "column_list", "column_A", "column_B", "column_set", "result_format", "meta", "notes"};
  std::string bound;
  if (kwargs == nullptr || !kwargs->is_map()) return bound;
  for (const auto& [name, value] : kwargs->map()) {
    const bool counts = !value.is_null() && value != Value(false);
    if (counts && !kNotBounds.contains(name)) bound += (bound.empty() ? "" : ", ") + name + " " + Text(value, 120);
  }
  return Cut(bound);
}

std::string SubjectOf(const Value* kwargs) {
  if (kwargs == nullptr) return "table";
  std::string subject;
  for (std::string_view member : {"column", "column_list", "column_A", "column_B", "column_set"}) {
    if (const std::string text = TextAt(*kwargs, member); !text.empty()) subject += (subject.empty() ? "" : ",") + text;
  }
  return subject.empty() ? "table" : Cut(subject);
}

VerdictOutcome SeverityOf(const Value& expectation) {
  const std::string severity =
      FirstText(expectation, {"expectation_config.severity", "expectation_config.meta.severity", "severity"});
  return severity == "warning" || severity == "info" ? kWarn : kFail;
}

void ReadMeasured(const Value& measured, RuleResult& result) {
  result.sample_size = CountAt(measured, "element_count");
  const std::optional<int64_t> unexpected = CountAt(measured, "unexpected_count");
  if (unexpected) {
    result.observed_number = static_cast<double>(*unexpected);
    result.observed = std::to_string(*unexpected) + " unexpected";
    if (result.sample_size) result.observed += " of " + std::to_string(*result.sample_size);
  } else if (const Value* observed = measured.Find("observed_value"); observed != nullptr && !observed->is_null()) {
    result.observed = Text(*observed, 120);
    if (observed->is_number()) result.observed_number = observed->number();
  }
  const Value* rows = measured.Find("partial_unexpected_list");
  if (rows == nullptr || !rows->is_list()) return;
  for (const Value& row : rows->list()) AddRow(result, Text(row));
}

RuleResult ReadExpectation(const Value& expectation) {
  std::string type = FirstText(
      expectation, {"expectation_config.type", "expectation_config.expectation_type", "expectation_type", "type"});
  const Value* kwargs = expectation.FindPath("expectation_config.kwargs");
  if (kwargs == nullptr) kwargs = expectation.Find("kwargs");
  const std::string subject = SubjectOf(kwargs);
  RuleResult result = Begin(Kind::kGreatExpectations,
                            (type.empty() ? "expectation" : type) + (subject == "table" ? "" : " " + subject), subject);
  result.bound = BoundOf(kwargs);
  if (result.bound.empty()) result.bound = "met";
  if (const Value* measured = expectation.Find("result")) ReadMeasured(*measured, result);
  const Value* success = expectation.Find("success");
  if (std::optional<std::string> raised = Raised(expectation.Find("exception_info"))) {
    result.outcome = kError;
    result.message = "it could not be judged: " + *raised;
  } else if (success == nullptr || !success->is_bool()) {
    result.outcome = kError;
    result.message = "it does not say whether it was met";
  } else {
    result.outcome = success->boolean() ? kPass : SeverityOf(expectation);
    if (result.observed.empty()) result.observed = success->boolean() ? "met" : "not met";
    if (result.outcome == kPass) RefuseNaN(result);
  }
  return result;
}

std::vector<RuleResult> ReadGreatExpectations(const Value& value) {
  constexpr Kind kKind = Kind::kGreatExpectations;
  std::vector<const Value*> suites;
  FindSuites(value, suites);
  if (suites.empty())
    return Refuse(kKind, "no result of Great Expectations: it has neither \"results\" nor \"run_results\"");
  std::vector<RuleResult> results;
  VerdictOutcome worst = kPass;
  for (const Value* suite : suites) {
    const std::string name = FirstText(*suite, {"suite_name", "meta.expectation_suite_name", "expectation_suite_name"});
    const Value* list = suite->Find("results");
    if (list == nullptr || !list->is_list()) list = suite->Find("expectations");
    if (list->list().empty()) {
      results.push_back(UnreadableVerdict(
          kKind, name,
          "the suite " + (name.empty() ? "" : "\"" + name + "\" ") + "has no expectations, so nothing was judged"));
    }
    int64_t unmet = 0;
    for (const Value& expectation : list->list()) {
      results.push_back(ReadExpectation(expectation));
      unmet += results.back().outcome == kPass ? 0 : 1;
    }
    // More that were met is no contradiction: a result may list only the others.
    const Value* statistics = suite->Find("statistics");
    const auto stated = statistics == nullptr ? std::nullopt : CountAt(*statistics, "unsuccessful_expectations");
    if (stated.value_or(0) > unmet) results.push_back(Contradiction(kKind, name, *stated, "expectations that were not met", unmet));
  }
  for (const RuleResult& result : results) worst = std::max(worst, result.outcome);
  const Value* success = value.Find("success");
  if (worst == kPass && success != nullptr && *success == Value(false)) {
    RuleResult whole = Begin(kKind, "success", "");
    whole.outcome = kFail;
    whole.observed = "false";
    whole.bound = "true";
    whole.message = "the result says that it failed, although none of its expectations does";
    results.push_back(std::move(whole));
  }
  return results;
}

// --- pandera: the error report of SchemaErrors, or its failure cases as JSON; empty when the data is as the schema
// says ---

// One check of one column, with the cases that break it.
struct PanderaCheck {
  int64_t cases = 0;
  std::string message;
  std::vector<std::string> rows;
};
using PanderaChecks = std::map<std::pair<std::string, std::string>, PanderaCheck>;  // By column and check.

void AddCase(const Value& failure, PanderaChecks& checks) {
  std::string column = FirstText(failure, {"column", "schema"});
  PanderaCheck& check = checks[{column, TextAt(failure, "check")}];
  ++check.cases;
  const std::string index = TextAt(failure, "index");
  const Value* value = failure.Find("failure_case");
  if (check.rows.size() < kOffendingRowsMax && value != nullptr) {
    check.rows.push_back((index.empty() ? "" : "row " + index + ": ") + Text(*value));
  }
}

// Turns {column: {"0": …}, check: {"0": …}}, which is what pandas writes unless told otherwise, into records.
std::optional<Value::List> Records(const Value& columns) {
  const Value* checks = columns.Find("check");
  const Value* cases = columns.Find("failure_case");
  if (checks == nullptr || !checks->is_map() || cases == nullptr || !cases->is_map()) return std::nullopt;
  Value::List records;
  for (const auto& [row, check] : checks->map()) {
    Value::Map record;
    for (const auto& [name, cells] : columns.map()) {
      if (const Value* cell = cells.Find(row)) record[name] = *cell;
    }
    records.push_back(std::move(record));
  }
  return records;
}

// Reads {"SCHEMA": {REASON: [{schema, column, check, error}]}, "DATA": {…}}.
bool ReadPanderaReport(const Value& report, PanderaChecks& checks) {
  for (const auto& [part, reasons] : report.map()) {
    if ((part != "SCHEMA" && part != "DATA") || !reasons.is_map()) return false;
    for (const auto& [reason, errors] : reasons.map()) {
      if (!errors.is_list()) return false;
      for (const Value& error : errors.list()) {
        if (!error.is_map()) return false;
        PanderaCheck& check = checks[{FirstText(error, {"column", "schema"}), TextAt(error, "check")}];
        ++check.cases;
        check.message = TextAt(error, "error");
      }
      if (errors.list().empty()) return false;
    }
    if (reasons.map().empty()) return false;
  }
  return true;
}

std::vector<RuleResult> ReadPandera(const Value& value) {
  constexpr Kind kKind = Kind::kPandera;
  PanderaChecks checks;
  const std::optional<Value::List> records = value.is_list()  ? std::optional(value.list())
                                             : value.is_map() ? Records(value)
                                                              : std::nullopt;
  const bool is_read = records
                           ? std::all_of(records->begin(), records->end(),
                                         [](const Value& one) {
                                           return one.Find("check") != nullptr && one.Find("failure_case") != nullptr;
                                         })
                           : value.is_map() && ReadPanderaReport(value, checks);
  if (!is_read) {
    return Refuse(kKind, "no result of pandera: it is neither the error report nor the failure cases of SchemaErrors");
  }
  if (records) {
    for (const Value& failure : *records) AddCase(failure, checks);
  }
  if (checks.empty()) {
    RuleResult passed = Begin(kKind, "schema", "");
    passed.observed = "no failure case";
    passed.bound = "no failure case";
    return {passed};
  }
  std::vector<RuleResult> results;
  for (auto& [key, check] : checks) {
    const auto& [column, name] = key;
    RuleResult result = Begin(kKind, Cut((column.empty() ? "" : column + " ") + name, 200), column);
    result.outcome = kFail;
    result.observed =
        std::to_string(check.cases) + (records ? " failure case" : " error") + (check.cases == 1 ? "" : "s");
    result.observed_number = static_cast<double>(check.cases);
    result.bound = name;
    result.message = std::move(check.message);
    result.rows = std::move(check.rows);
    results.push_back(std::move(result));
  }
  return results;
}

// --- Evidently: a report or test suite with tests ---

std::optional<VerdictOutcome> EvidentlyOutcome(std::string status) {
  for (char& c : status) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (const size_t dot = status.rfind('.'); dot != std::string::npos) status.erase(0, dot + 1);  // "TestStatus.FAIL"
  if (status == "SUCCESS") return kPass;
  if (status == "WARNING" || status == "SKIPPED") return kWarn;
  if (status == "FAIL") return kFail;
  if (status == "ERROR") return kError;
  return std::nullopt;
}

// Returns the number that a test looked at: its own parameter, or from version 0.5 on the value of its metric.
std::optional<double> ObservedOf(const Value& test, const Value* metrics) {
  if (const Value* parameters = test.Find("parameters")) return NumberAt(*parameters, "value");
  const std::string id = FirstText(test, {"metric_config.metric_id"});
  if (id.empty() || !IsFilledList(metrics)) return std::nullopt;
  for (const Value& metric : metrics->list()) {
    if (FirstText(metric, {"id"}) == id) return NumberAt(metric, "value");
  }
  return std::nullopt;
}

// Returns "lt 0.1, gte 0": what the parameters of a test demand; from version 0.5 on its name says that.
std::string BoundOfTest(const Value& test, const std::string& name) {
  const Value* condition = test.FindPath("parameters.condition");
  std::string text;
  if (condition != nullptr && condition->is_map()) {
    for (const auto& [word, bound] : condition->map()) {
      if (!bound.is_null()) text += (text.empty() ? "" : ", ") + word + " " + Text(bound, 120);
    }
    return Cut(text);
  }
  const size_t colon = name.rfind(": ");
  return test.Find("test_config") == nullptr || colon == std::string::npos ? "" : name.substr(colon + 2);
}

// Adds what the summary of a suite says beyond its tests.
void AddSummary(const Value& summary, std::vector<RuleResult>& results) {
  const auto listed = static_cast<int64_t>(results.size());
  const auto failed = std::count_if(results.begin(), results.end(), [](const RuleResult& test) { return Blocks(test.outcome); });
  const bool has_passed = std::all_of(results.begin(), results.end(), [](const RuleResult& test) { return test.outcome == kPass; });
  const int64_t stated = CountAt(summary, "total_tests").value_or(0), stated_failed = CountAt(summary, "failed_tests").value_or(0);
  const Value* all_passed = summary.Find("all_passed");
  if (stated > listed) results.push_back(Contradiction(Kind::kEvidently, "", stated, "tests", listed));
  if (stated_failed > failed) {
    results.push_back(Contradiction(Kind::kEvidently, "", stated_failed, "tests that failed", failed));
  } else if (has_passed && all_passed != nullptr && *all_passed == Value(false)) {
    results.push_back(UnreadableVerdict(Kind::kEvidently, "", "it contradicts itself: its summary says that not all tests passed, and lists none"));
  }
}

std::vector<RuleResult> ReadEvidently(const Value& value) {
  constexpr Kind kKind = Kind::kEvidently;
  const Value* tests = value.Find("tests");
  if (!IsFilledList(tests)) {
    return Refuse(kKind,
                  "it holds no tests of Evidently: a report alone judges nothing; run it with tests and save its JSON");
  }
  std::vector<RuleResult> results;
  size_t skipped = 0;
  for (const Value& test : tests->list()) {
    const std::string status = FirstText(test, {"status", "status.value"});
    RuleResult result =
        Begin(kKind, FirstText(test, {"name", "id"}), FirstText(test, {"parameters.column_name", "group"}));
    const std::optional<VerdictOutcome> outcome = EvidentlyOutcome(status);
    skipped += outcome == kWarn && status.ends_with("SKIPPED") ? 1 : 0;
    result.outcome = outcome.value_or(kError);
    result.message =
        outcome ? TextAt(test, "description") : "the test has the status \"" + status + "\", which is none";
    result.observed = status;
    result.bound = BoundOfTest(test, result.name);
    if (result.bound.empty()) result.bound = "SUCCESS";
    result.observed_number = ObservedOf(test, value.Find("metrics"));
    if (result.observed_number) result.observed = FormatNumber(*result.observed_number);
    if (result.outcome == kPass) RefuseNaN(result);
    results.push_back(std::move(result));
  }
  if (skipped == results.size())
    results.push_back(UnreadableVerdict(kKind, "", "every test was skipped, so nothing was judged"));
  if (const Value* summary = value.Find("summary")) AddSummary(*summary, results);
  return results;
}

// --- JUnit ---

std::string AttributeOf(const XmlElement& element, std::string_view name) {
  const auto found = element.attributes.find(name);
  return found == element.attributes.end() ? "" : found->second;
}

bool IsCount(const std::string& text) {
  return !text.empty() && text.size() <= 15 && text.find_first_not_of("0123456789") == std::string::npos;
}

// REQUIRES: JunitTrouble has found none.
int64_t CountOf(const XmlElement& element, std::string_view name) {
  const std::string text = AttributeOf(element, name);
  return text.empty() ? 0 : std::stoll(text);
}

// Returns how many tests lie in a suite.
int64_t ListedTests(const XmlElement& suite) {
  int64_t tests = 0;
  for (const XmlElement& child : suite.children) tests += child.name == "testcase" ? 1 : ListedTests(child);
  return tests;
}

// Returns what keeps a suite, or one in it, from being believed: a count that is none, other numbers of tests than it
// lists, or an error of the suite itself. "": nothing.
std::string JunitTrouble(const XmlElement& suite) {
  const std::string where = "suite \"" + Cut(AttributeOf(suite, "name"), 200) + "\" ";
  for (const char* name : {"tests", "failures", "errors", "skipped", "disabled"}) {
    const std::string text = AttributeOf(suite, name);
    if (!text.empty() && !IsCount(text)) return where + "has " + name + "=\"" + Cut(text, 60) + "\", which is no number";
  }
  if (const int64_t stated = CountOf(suite, "tests"), listed = ListedTests(suite); stated > listed) {
    return where + "says that it has " + std::to_string(stated) + " tests, and lists " + std::to_string(listed);
  }
  for (const XmlElement& child : suite.children) {
    if (child.name == "error" || child.name == "failure") {
      const std::string why = AttributeOf(child, "message");
      return where + "ended with an error of its own" + (why.empty() && child.text.empty() ? "" : ": ") +
             Cut(why.empty() ? child.text : why);
    }
    if (child.name != "testsuite" && child.name != "testsuites") continue;
    if (std::string trouble = JunitTrouble(child); !trouble.empty()) return trouble;
  }
  return "";
}

struct TestCounts {
  int64_t tests = 0, failed = 0, broken = 0, skipped = 0;
};

const XmlElement* ChildOf(const XmlElement& element, std::string_view name) {
  for (const XmlElement& child : element.children) {
    if (child.name == name) return &child;
  }
  return nullptr;
}

VerdictOutcome OutcomeOf(const XmlElement& test) {
  if (ChildOf(test, "error") != nullptr) return kError;
  if (ChildOf(test, "failure") != nullptr) return kFail;
  const std::string status = AttributeOf(test, "status"), result = AttributeOf(test, "result");
  const bool was_left_out = status == "notrun" || status == "skipped" || status == "disabled" || result == "skipped" ||
                            result == "suppressed";
  return was_left_out || ChildOf(test, "skipped") != nullptr || ChildOf(test, "disabled") != nullptr ? kWarn : kPass;
}

std::string NameOf(const XmlElement& test) {
  const std::string of = AttributeOf(test, "classname");
  return Cut((of.empty() ? "" : of + "::") + AttributeOf(test, "name"), 200);
}

// "tests.test_price::test_range: assert 3 < 2"
std::string RowOf(const XmlElement& test) {
  for (std::string_view name : {"error", "failure", "skipped"}) {
    const XmlElement* child = ChildOf(test, name);
    if (child == nullptr) continue;
    std::string why = AttributeOf(*child, "message");
    if (why.empty()) why = child->text;
    return Cut(NameOf(test) + (why.empty() ? "" : ": " + why));
  }
  return NameOf(test) + ": not run";
}

// Says of a suite that counts more failures than it lists that they are there.
void CountUnlisted(const XmlElement& suite, TestCounts& counts) {
  counts.failed = std::max(counts.failed, CountOf(suite, "failures"));
  counts.broken = std::max(counts.broken, CountOf(suite, "errors"));
}

std::string Plural(int64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

RuleResult JudgeSuite(const XmlElement& suite, TestCounts& counts) {
  const std::string name = Cut(AttributeOf(suite, "name"), 200);
  RuleResult result = Begin(Kind::kJunit, name, name);
  for (const VerdictOutcome outcome : {kError, kFail, kWarn, kPass}) {
    for (const XmlElement& test : suite.children) {
      if (test.name != "testcase" || OutcomeOf(test) != outcome) continue;
      ++counts.tests;
      if (outcome == kPass) continue;
      ++(outcome == kError ? counts.broken : outcome == kFail ? counts.failed : counts.skipped);
      AddRow(result, RowOf(test));
    }
  }
  CountUnlisted(suite, counts);
  result.outcome = counts.broken > 0 ? kError : counts.failed > 0 ? kFail : counts.skipped > 0 ? kWarn : kPass;
  result.observed = std::to_string(counts.failed) + " failed" +
                    (counts.broken > 0 ? ", " + std::to_string(counts.broken) + " broken" : "") +
                    (counts.skipped > 0 ? ", " + std::to_string(counts.skipped) + " skipped" : "") + " of " +
                    Plural(counts.tests, "test");
  result.observed_number = static_cast<double>(counts.failed + counts.broken);
  result.bound = "0 failed";
  result.sample_size = counts.tests;
  if (result.outcome != kPass) result.message = result.rows.empty() ? result.observed : result.rows.front();
  return result;
}

void JudgeSuites(const XmlElement& element, std::vector<RuleResult>& results, TestCounts& sum) {
  const bool has_tests = ChildOf(element, "testcase") != nullptr;
  TestCounts counts;
  if (has_tests) results.push_back(JudgeSuite(element, counts));
  for (const XmlElement& child : element.children) {
    if (child.name == "testsuite" || child.name == "testsuites") JudgeSuites(child, results, counts);
  }
  TestCounts stated = counts;
  CountUnlisted(element, stated);
  if (!has_tests && (stated.failed > counts.failed || stated.broken > counts.broken)) {
    RuleResult result = Begin(Kind::kJunit, Cut(AttributeOf(element, "name"), 200), "");
    result.outcome = stated.broken > counts.broken ? kError : kFail;
    result.observed = std::to_string(stated.failed) + " failed, " + std::to_string(stated.broken) + " broken";
    result.bound = "0 failed";
    result.message = "it counts failures that it does not list";
    results.push_back(std::move(result));
  }
  sum.tests += stated.tests;
  sum.failed += stated.failed;
  sum.broken += stated.broken;
  sum.skipped += stated.skipped;
}

}  // namespace

std::string_view ToText(VerdictSpec::Kind kind) {
  switch (kind) {
    case Kind::kExitCode:
      return "exit_code";
    case Kind::kFile:
      return "file";
    case Kind::kJunit:
      return "junit";
    case Kind::kGreatExpectations:
      return "great_expectations";
    case Kind::kPandera:
      return "pandera";
    case Kind::kEvidently:
      return "evidently";
  }
  return "";
}

RuleResult UnreadableVerdict(VerdictSpec::Kind kind, const std::string& subject, std::string why) {
  RuleResult result = Begin(kind, "", Cut(subject));
  result.outcome = kError;
  result.message = std::move(why);
  return result;
}

std::vector<RuleResult> ReadOwnVerdict(VerdictSpec::Kind kind, const Value& value) {
  if (kind == Kind::kFile) return Bounded(kind, ReadOwn(value));
  if (kind == Kind::kGreatExpectations) return Bounded(kind, ReadGreatExpectations(value));
  if (kind == Kind::kPandera) return Bounded(kind, ReadPandera(value));
  if (kind == Kind::kEvidently) return Bounded(kind, ReadEvidently(value));
  return Refuse(kind, "a verdict of this kind is not read from JSON");
}

std::vector<RuleResult> ReadJunit(const XmlElement& root) {
  constexpr Kind kKind = Kind::kJunit;
  if (root.name != "testsuites" && root.name != "testsuite") {
    return Refuse(kKind, "no JUnit report: its root is <" + Cut(root.name, 60) + ">, not <testsuites> or <testsuite>");
  }
  std::vector<RuleResult> results;
  if (std::string trouble = JunitTrouble(root); !trouble.empty()) return Refuse(kKind, std::move(trouble));
  TestCounts sum;
  JudgeSuites(root, results, sum);
  const bool nothing_ran = sum.tests == sum.skipped && sum.failed == 0 && sum.broken == 0;
  if (nothing_ran) {
    results.push_back(UnreadableVerdict(kKind, "",
                                        sum.tests == 0 ? "the report holds no tests, so nothing was judged"
                                                       : "every test was skipped, so nothing was judged"));
  }
  return Bounded(kKind, std::move(results));
}

RuleResult JudgeExitCode(int exit_code, std::vector<std::string> last_lines) {
  RuleResult result = Begin(Kind::kExitCode, "exit-code", "the command");
  result.outcome = exit_code == 0 ? kPass : kFail;
  result.observed = "exited with " + std::to_string(exit_code);
  result.observed_number = exit_code;
  result.bound = "0";
  if (exit_code == 0) return result;
  result.message = "the command exited with " + std::to_string(exit_code) +
                   (last_lines.empty() ? "; it printed nothing" : "; its last line: " + Cut(last_lines.back()));
  for (const std::string& line : last_lines) AddRow(result, Cut(line));
  return result;
}

void AddOwnResults(std::vector<RuleResult> own, std::vector<RuleResult>& results) {
  std::set<std::string> taken;
  for (const RuleResult& result : results) taken.insert(result.name);
  for (RuleResult& result : own) {
    const std::string name = result.name;
    for (int again = 2; !taken.insert(result.name).second; ++again) result.name = name + " #" + std::to_string(again);
    results.push_back(std::move(result));
  }
}

}  // namespace cd4ml::core
