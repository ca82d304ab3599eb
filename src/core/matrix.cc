// Cells by name, by their parameters, and what they come to.
#include "cd4ml/core/matrix.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cd4ml/base/digest.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

constexpr size_t kNameMax = 64;      // Of what follows the @.
constexpr size_t kShownMax = 20;     // Cells whose values stand in a text; all are on record with the cells.

// Whatever needs no quotes in a shell and means nothing in a path.
bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' ||
         c == '+';
}

// The stage that waits for the cells and stands for them.
StageSpec StandIn(const StageSpec& stage) {
  StageSpec one;
  one.name = stage.name;
  one.kind = stage.kind;
  one.needs = stage.matrix->cells;
  one.outputs = stage.outputs;
  one.runtime = stage.runtime;       // What was packaged here is served in it.
  one.goals = stage.goals;
  one.matrix = stage.matrix;
  one.place = stage.place;
  return one;
}

// Returns the parameter that is a single value and that `name` lies within, or "".
std::string SingleAround(const Value& params, std::string_view name) {
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    const Value* whole = params.FindPath(name.substr(0, dot));
    if (whole != nullptr && !whole->is_map() && !whole->is_null()) return std::string(name.substr(0, dot));
  }
  return "";
}

bool IsPartOf(std::string_view name, std::string_view whole) {
  return name == whole || (name.starts_with(whole) && name[whole.size()] == '.');
}

// Returns why a value cannot take the place of what the files hold, or "".
std::string MisfitOf(const Value* in_files, const Value& value) {
  if (in_files == nullptr) return "is in no file of parameters";
  const auto is_int = [](const Value& one) { return std::holds_alternative<int64_t>(one.data); };
  const bool fits = in_files->is_null() || (in_files->is_string() && value.is_string()) ||
                    (in_files->is_bool() && value.is_bool()) ||
                    (in_files->is_number() && value.is_number() && (is_int(value) || !is_int(*in_files)));
  return fits ? "" : "is of type " + std::string(TypeName(*in_files)) + " in its file, and not " + ToJson(value);
}

// The metric of one that succeeded, if it is a number.
std::optional<double> ValueOf(const CellResult& cell, const std::string& metric) {
  if (cell.state != StageState::kSucceeded || cell.outcome == nullptr) return std::nullopt;
  const auto found = cell.outcome->metrics.find(metric);
  if (found == cell.outcome->metrics.end() || !std::isfinite(found->second)) return std::nullopt;
  return found->second;
}

std::string WhyItCannotWin(const CellResult& cell, const std::string& metric) {
  if (cell.state != StageState::kSucceeded) return std::string(ToText(cell.state));
  const auto found = cell.outcome->metrics.find(metric);
  if (found == cell.outcome->metrics.end()) return "no " + metric;
  return metric + (std::isnan(found->second) ? " is NaN" : " is infinite");
}

std::string Joint(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < std::min(parts.size(), kShownMax); ++i) text += (i == 0 ? "" : ", ") + parts[i];
  if (parts.size() > kShownMax) text += " and " + std::to_string(parts.size() - kShownMax) + " more";
  return text;
}

std::string Cells(size_t count) { return std::to_string(count) + (count == 1 ? " cell" : " cells"); }

// What the selection is told with: every candidate, best first, and why the others are none.
std::string WhyItWon(const MatrixSpec& matrix, const std::vector<std::pair<double, const CellResult*>>& ranked,
                     const std::vector<std::string>& others) {
  std::vector<std::string> values;
  for (const auto& [value, cell] : ranked) values.push_back(cell->name + " " + ToText(Value(value)));
  std::string why = std::string(matrix.select_highest ? "highest " : "lowest ") + matrix.select + " of " +
                    Cells(ranked.size()) + ": " + Joint(values);
  if (ranked.size() > 1 && ranked[0].first == ranked[1].first) {
    why += "; of equal ones the first in the file's order wins";
  }
  return why + (others.empty() ? "" : "; not compared: " + Joint(others));
}

Joined Select(const MatrixSpec& matrix, const std::vector<CellResult>& cells) {
  std::vector<std::pair<double, const CellResult*>> ranked;
  std::vector<std::string> others;
  std::vector<std::string> known;
  for (const CellResult& cell : cells) {
    if (const std::optional<double> value = ValueOf(cell, matrix.select)) {
      ranked.emplace_back(*value, &cell);
      continue;
    }
    others.push_back(cell.name + " (" + WhyItCannotWin(cell, matrix.select) + ")");
    if (!known.empty() || cell.outcome == nullptr) continue;
    for (const auto& [name, value] : cell.outcome->metrics) known.push_back(name);
  }
  if (ranked.empty()) {
    const bool is_known = std::find(known.begin(), known.end(), matrix.select) != known.end();
    return {StageState::kFailed, Reason::kMetricsUnreadable,
            "no cell can win, because none has a number for metric \"" + matrix.select + "\": " + Joint(others) +
                (is_known ? "" : DidYouMean(matrix.select, known)),
            std::nullopt};
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](const auto& a, const auto& b) {
    return matrix.select_highest ? a.first > b.first : a.first < b.first;
  });
  const CellResult& winner = *ranked.front().second;
  Joined joined;
  joined.winner = {winner.made_by, *winner.outcome, false, winner.name, WhyItWon(matrix, ranked, others)};
  return joined;
}

}  // namespace

std::string CellName(const std::string& stage, const std::vector<Value>& values) {
  std::string name;
  bool is_plain = true;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string text = ToText(values[i]);
    is_plain = is_plain && !text.empty();
    if (i > 0) name += ',';
    for (char c : text) {
      is_plain = is_plain && IsPlain(c);
      name += IsPlain(c) ? c : '-';
    }
  }
  if (!is_plain || name.size() > kNameMax) {
    // Readable as far as it goes; the digest tells it from its likes.
    name = name.substr(0, kNameMax - 16) + "~" + Sha256(ToJson(Value::List(values.begin(), values.end()))).hex().substr(0, 8);
  }
  return stage + "@" + name;
}

Scope ScopeOfCell(const Scope& outer, const std::map<std::string, Value>& cell_params) {
  Scope scope = outer;
  scope.name = [&outer, &cell_params](std::string_view name) {
    std::optional<Value> value = outer.name(name);
    for (const auto& [param, own] : cell_params) {
      const std::string whole = "params." + param;
      if (name != whole && !(value && IsPartOf(whole, name))) continue;
      Value root = Value::Map{{"it", value.value_or(Value())}};
      SetCellParams(root, {{"it" + whole.substr(name.size()), own}});
      value = *root.Find("it");
    }
    return value;
  };
  return scope;
}

void SetCellParams(Value& params, const std::map<std::string, Value>& cell_params) {
  for (const auto& [name, value] : cell_params) {
    const Value* before = params.FindPath(name);
    const bool has_fraction = before != nullptr && std::holds_alternative<double>(before->data) && value.is_number();
    SetPath(params, name, has_fraction ? Value(value.number()) : value);
  }
}

bool Overlap(std::string_view a, std::string_view b) { return IsPartOf(a, b) || IsPartOf(b, a); }

void ExpandMatrices(PipelineSpec& pipeline) {
  std::vector<StageSpec> stages;
  for (StageSpec& stage : pipeline.stages) {
    if (!stage.matrix) {
      stages.push_back(std::move(stage));
      continue;
    }
    MatrixSpec& matrix = *stage.matrix;
    const auto goal = stage.goals.find(matrix.select);
    matrix.select_highest = goal != stage.goals.end() ? goal->second : HigherIsBetter(matrix.select).value_or(false);
    std::move(stage.cells.begin(), stage.cells.end(), std::back_inserter(stages));
    stages.push_back(StandIn(stage));
  }
  pipeline.stages = std::move(stages);
}

absl::Status CheckCells(const PipelineSpec& pipeline, const Value& params, const std::map<std::string, Value>& overrides) {
  for (const StageSpec& stage : pipeline.stages) {
    for (const auto& [name, value] : stage.cell_params) {
      for (const auto& [given, ignored] : overrides) {
        if (!Overlap(given, name)) continue;
        return absl::InvalidArgumentError("parameter \"" + name + "\" is a dimension of the matrix of stage \"" + stage.cell_of +
                                          "\", whose cells have values of their own; change the matrix to try others");
      }
      if (const std::string around = SingleAround(params, name); !around.empty()) {
        return absl::InvalidArgumentError("parameter \"" + name + "\" of the matrix of stage \"" + stage.cell_of +
                                          "\" lies within \"" + around + "\", which is " + ToJson(*params.FindPath(around)));
      }
      if (!pipeline.params.schema.empty()) continue;   // Its form was checked with the definition.
      const std::string misfit = MisfitOf(params.FindPath(name), value);
      if (misfit.empty()) continue;
      return absl::InvalidArgumentError("parameter \"" + name + "\" of the matrix of stage \"" + stage.cell_of + "\" " + misfit);
    }
  }
  return absl::OkStatus();
}

UtcTime TotalTimeoutFrom(const Run& run, const StageRun& stage) {
  const StageRun* matrix = stage.plan.cell_of.empty() ? nullptr : run.FindStage(stage.plan.cell_of);
  if (matrix == nullptr || matrix->plan.matrix->max_parallel == 0) return stage.first_ready;
  return stage.attempts.empty() ? UtcTime() : stage.attempts.front().granted;
}

CellResult ResultOf(const Run& run, const StageRun& cell) {
  CellResult result{cell.plan.name, cell.state, cell.reason, cell.result(), {run.id, cell.plan.name, 0}};
  if (cell.carried) {
    result.made_by = cell.carried->from;
  } else if (const Attempt* latest = cell.latest()) {
    result.made_by.number = latest->number;
  }
  return result;
}

Joined JoinCells(const MatrixSpec& matrix, const std::vector<CellResult>& cells) {
  std::vector<std::string> lost;
  const CellResult* failed = nullptr;
  size_t passed = 0;
  for (const CellResult& cell : cells) {
    passed += cell.state == StageState::kSucceeded;
    if (cell.state != StageState::kFailed && cell.state != StageState::kCancelled) continue;
    lost.push_back(cell.name + " (" + std::string(ToText(cell.state)) + ")");
    if (failed == nullptr || failed->state == StageState::kCancelled) failed = &cell;
  }
  const bool others_count = matrix.goes_on && !matrix.select.empty() && passed > 0;
  if (failed != nullptr && !others_count) {
    return {StageState::kFailed, failed->reason, "of its " + Cells(cells.size()) + ", these did not succeed: " + Joint(lost),
            std::nullopt};
  }
  if (passed == 0) {
    return {StageState::kSkipped, cells.empty() ? Reason::kNeedFailed : cells.front().reason, "every cell of it was skipped",
            std::nullopt};
  }
  if (!matrix.select.empty()) return Select(matrix, cells);
  return {StageState::kSucceeded, Reason::kNone, Cells(passed) + " passed", std::nullopt};
}

}  // namespace cd4ml::core
