// `cd4ml data profile` and `cd4ml data diff`: tables on this machine, looked at without a daemon.
#include <cmath>
#include <cstdio>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/profile_diff.h"
#include "cli/commands/commands.h"
#include "cli/invocation.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using core::ColumnDifference;
using core::ColumnProfile;

constexpr double kMovedPsi = 0.25;   // What a drift rule allows without a bound of its own.

// "18,705"
std::string Grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3 && text[at - 4] != '-';) text.insert(at -= 3, ",");
  return text;
}

std::string NumberText(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", number);
  return text;
}

// "0", "0.3 %", "100 %"
std::string ShareText(int64_t part, int64_t whole) {
  if (part == 0 || whole == 0) return "0";
  char text[32];
  std::snprintf(text, sizeof text, "%.2g %%", 100 * static_cast<double>(part) / static_cast<double>(whole));
  return part == whole ? "100 %" : text;
}

// Reads "encoding=windows-1252", "columns.price=text".
absl::Status AddCsv(const std::string& stated, core::CsvFormat& csv) {
  const size_t equals = stated.find('=');
  const std::string key = stated.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : stated.substr(equals + 1);
  if (value.empty()) return absl::InvalidArgumentError("--csv wants KEY=VALUE, not \"" + stated + "\"");
  if (key == "encoding") {
    csv.encoding = value;
  } else if (key == "delimiter") {
    csv.delimiter = value == "\\t" ? "\t" : value;
  } else if (key == "header" && (value == "true" || value == "false")) {
    csv.header = value == "true";
  } else if (key.starts_with("columns.")) {
    csv.columns[key.substr(8)] = value;
  } else {
    return absl::InvalidArgumentError("--csv " + stated + " says nothing; it may say encoding, delimiter, header=true|false "
                                      "and columns.NAME=TYPE");
  }
  return absl::OkStatus();
}

// One table, loaded and profiled.
absl::StatusOr<core::TableProfile> ProfileOf(const Invocation& invocation, TableEngine& engine, const std::string& file) {
  TableSource source{.name = file, .path = file, .csv = std::nullopt};
  for (const std::string& stated : invocation.arguments.Many("csv")) {
    if (!source.csv) source.csv.emplace();
    CD4ML_RETURN_IF_ERROR(AddCsv(stated, *source.csv));
  }
  // The command line is understood; it is the table that is wrong.
  if (const absl::Status added = engine.AddTable(source); !added.ok()) return absl::UnknownError(Message(added));
  // Rows that do not fit are rows; whoever looks at the table must hear of them.
  core::Rule rows{.name = "rows", .body = core::RowsRule{file, {0, std::nullopt}}};
  const core::RuleResult judged = engine.Judge(rows, {});
  for (const std::string& row : judged.rows) invocation.Note(SafeLine(file + ": does not fit: " + row));
  return engine.Profile(file);
}

constexpr std::string_view kOfRun = "run:";
constexpr int64_t kProfileMax = 64 << 20;

// Returns the profile that a gate kept of a table: "run:shop/12/validate-data.clean".
absl::StatusOr<core::TableProfile> KeptProfile(Invocation& invocation, const std::string& reference) {
  const std::string path = reference.substr(kOfRun.size());
  const size_t slash = path.rfind('/');
  const size_t dot = path.find('.', slash == std::string::npos ? 0 : slash);
  if (slash == std::string::npos || dot == std::string::npos) {
    return absl::InvalidArgumentError("\"" + reference + "\" names no table of a run; write run:PIPELINE/NUMBER/STAGE.TABLE");
  }
  const std::string stage = path.substr(slash + 1, dot - slash - 1), table = path.substr(dot + 1);
  CD4ML_ASSIGN_OR_RETURN(const RunView view, invocation.Query().GetRun(path.substr(0, slash)));
  std::vector<std::string> known;
  for (const core::StageRun& one : view.run.stages) {
    const core::Outcome* result = one.result();
    if (result == nullptr) continue;
    for (const core::ProducedOutput& output : result->outputs) {
      if (!output.profile) continue;
      known.push_back(one.plan.name + "." + output.name);
      if (one.plan.name != stage || output.name != table) continue;
      CD4ML_ASSIGN_OR_RETURN(const std::string text, invocation.ReadArtifact(output.profile->digest, kProfileMax));
      CD4ML_ASSIGN_OR_RETURN(const Value value, ParseJson(text));
      return core::ProfileFromValue(value);
    }
  }
  return absl::NotFoundError("run " + view.run.id + " has kept no profile of \"" + stage + "." + table + "\"" +
                             DidYouMean(stage + "." + table, known));
}

// What a table is compared with: another one, a profile in a file as `data profile -o json` writes it, or one of a run.
absl::StatusOr<core::TableProfile> ReferenceOf(Invocation& invocation, TableEngine& engine, const std::string& name) {
  if (name.starts_with(kOfRun)) return KeptProfile(invocation, name);
  if (!name.ends_with(".json")) return ProfileOf(invocation, engine, name);
  CD4ML_ASSIGN_OR_RETURN(const std::string text, invocation.ports.read_file(name));
  const absl::StatusOr<Value> value = ParseJson(text);
  if (!value.ok() || value->Find("columns") == nullptr) return absl::InvalidArgumentError(name + " is no profile of one table");
  absl::StatusOr<core::TableProfile> profile = core::ProfileFromValue(*value);
  if (!profile.ok()) return Annotate(profile.status(), name);
  return profile;
}

std::string MostFrequent(const ColumnProfile& column) {
  const std::pair<const std::string, int64_t>* most = nullptr;
  for (const auto& entry : column.top) {
    if (most == nullptr || entry.second > most->second) most = &entry;
  }
  return most == nullptr ? "" : ShareText(most->second, column.rows) + " " + Fit(most->first, 24);
}

void PrintProfile(const Invocation& invocation, const std::string& file, const core::TableProfile& profile) {
  invocation.out.Line(SafeLine(file + ": " + Grouped(profile.rows) + (profile.rows == 1 ? " row, " : " rows, ") +
                               Count(static_cast<int64_t>(profile.columns.size()), "column", "columns")));
  Table table({{"COLUMN", 0}, {"TYPE", 1}, {"EMPTY", 0}, {"DISTINCT", 0}, {"MIN", 2}, {"P25", kOnlyWide}, {"MEDIAN", 1},
               {"P75", kOnlyWide}, {"MAX", 2}, {"MEAN", 4}, {"STD", kOnlyWide}, {"MOST FREQUENT", 3}});
  for (const auto& [name, column] : profile.columns) {
    const bool has_numbers = column.numeric && column.rows > column.nulls;
    const auto number = [&](double value) { return has_numbers ? NumberText(value) : ""; };
    const auto quantile = [&](size_t i) { return i < column.quantiles.size() ? number(column.quantiles[i]) : ""; };
    table.Add({name, column.type, ShareText(column.nulls, column.rows), Grouped(column.distinct), number(column.min),
               quantile(2), quantile(3), quantile(4), number(column.max), number(column.mean), number(column.std),
               MostFrequent(column)});
  }
  invocation.PrintTable(table);
}

int PerformProfile(Invocation& invocation) {
  const auto engine = invocation.ports.table_engine();
  if (!engine.ok()) return invocation.Fail(engine.status());
  std::vector<std::string> messages;
  const std::vector<std::string> files = invocation.arguments.Many("FILE");
  for (size_t i = 0; i < files.size(); ++i) {
    const auto profile = ProfileOf(invocation, **engine, files[i]);
    if (!profile.ok()) return invocation.Fail(profile.status());
    if (invocation.is_json()) {
      Value value = core::ToValue(*profile);
      SetPath(value, "table", files[i]);   // A profile by itself does not know whose it is.
      messages.push_back(ToJson(value));
      continue;
    }
    if (i > 0) invocation.out.Line();
    PrintProfile(invocation, files[i], *profile);
  }
  if (messages.size() == 1) {
    invocation.PrintJson(messages[0]);
  } else if (!messages.empty()) {
    invocation.PrintJsonList(messages);
  }
  return kExitOk;
}

std::string ShareText(const std::optional<double>& share) {
  if (!share) return "";
  constexpr double kParts = 1e9;
  return ShareText(std::llround(*share * kParts), std::llround(kParts));
}

// "3000 -> 3100 (+3.3 %)", or one text where nothing has changed.
std::string MoveText(const std::optional<double>& before, const std::optional<double>& after) {
  if (!before || !after) return "";
  const std::string text = NumberText(*before);
  if (*before == *after) return text;
  std::string move = text + " -> " + NumberText(*after);
  if (*before == 0) return move;
  char change[32];
  std::snprintf(change, sizeof change, " (%+.2g %%)", 100 * (*after - *before) / std::abs(*before));
  return move + change;
}

std::string ArrowText(const std::string& before, const std::string& after) {
  return before == after ? before : (before.empty() ? "-" : before) + " -> " + (after.empty() ? "-" : after);
}

Cell ChangeCell(const ColumnDifference& column) {
  switch (column.change) {
    case core::ColumnChange::kAdded: return {"added", Style::kWarn};
    case core::ColumnChange::kRemoved: return {"removed", Style::kBad};
    case core::ColumnChange::kType: return {ArrowText(column.type_before, column.type_after), Style::kWarn};
    case core::ColumnChange::kSame: break;
  }
  return column.psi.value_or(0) > kMovedPsi ? Cell("moved", Style::kWarn) : Cell("");
}

std::string IndexText(const std::optional<double>& index) {
  return index ? core::FormatNumber(std::round(*index * 1e4) / 1e4) : "";
}

void PrintDifference(const Invocation& invocation, const core::TableDifference& difference) {
  invocation.out.Line("rows: " + ArrowText(Grouped(difference.rows_before), Grouped(difference.rows_after)));
  Table table({{"COLUMN", 0}, {"CHANGE", 0}, {"EMPTY", 1}, {"MEDIAN", 2}, {"MEAN", 3}, {"PSI", 0}, {"JS", 0}});
  for (const ColumnDifference& column : difference.columns) {
    table.Add({column.name, ChangeCell(column), ArrowText(ShareText(column.nulls_before), ShareText(column.nulls_after)),
               MoveText(column.median_before, column.median_after), MoveText(column.mean_before, column.mean_after),
               IndexText(column.psi), IndexText(column.js)});
  }
  invocation.PrintTable(table);
}

int PerformDiff(Invocation& invocation) {
  const auto engine = invocation.ports.table_engine();
  if (!engine.ok()) return invocation.Fail(engine.status());
  const std::string before = invocation.arguments.One("A"), after = invocation.arguments.One("B");
  if (after.starts_with(kOfRun) || after.ends_with(".json")) {
    return invocation.FailUsage("B is a table: what a profile does not hold cannot be counted in the bins of A");
  }
  const auto was = ReferenceOf(invocation, **engine, before);
  if (!was.ok()) return invocation.Fail(was.status());
  const auto is = ProfileOf(invocation, **engine, after);
  if (!is.ok()) return invocation.Fail(is.status());
  const auto counted = (*engine)->CountLike(after, *was);
  if (!counted.ok()) return invocation.Fail(counted.status());
  const core::TableDifference difference = core::DiffProfiles(*was, *is, *counted);
  if (invocation.is_json()) {
    invocation.PrintJson(ToJson(core::ToValue(difference)));
  } else {
    PrintDifference(invocation, difference);
  }
  return kExitOk;
}

Option CsvOption() {
  return {"--csv", "KEY=VALUE", "how text tables are read: encoding, delimiter, header, columns.NAME=TYPE", true};
}

}  // namespace

Command DataProfile() {
  return {.path = "data profile",
          .group = "Data",
          .summary = "describe tables, column by column; needs no daemon",
          .examples = {"data profile listings.csv --csv encoding=windows-1252", "data profile sales/ -o json"},
          .operands = {{"FILE", "a table (CSV, TSV, JSON lines, Parquet; also .gz), or a folder of one", true, true}},
          .options = {CsvOption()},
          .perform = PerformProfile,
          .details = "The same profile that a data gate keeps of every dataset that it accepts. Numbers have quantiles by linear "
                     "interpolation and the deviation with n-1; what is no number counts as empty in a column of numbers."};
}

Command DataDiff() {
  return {.path = "data diff",
          .group = "Data",
          .summary = "say how a table differs from another one, or from a profile",
          .examples = {"data diff january.csv february.csv", "data diff january.json february.csv -o json",
                       "data diff run:used-car-price/12/validate-data.clean february.csv"},
          .operands = {{"A", "a table, a profile (.json, from data profile), or run:PIPELINE/NUMBER/STAGE.TABLE"},
                       {"B", "the table that it is compared with"}},
          .options = {CsvOption()},
          .perform = PerformDiff,
          .details = "PSI is the population stability index against A's deciles or frequent values, as in drift rules: "
                     "above 0.25 a column has moved. JS is the Jensen-Shannon distance of the same, from 0 to 1."};
}

}  // namespace cd4ml::cli
