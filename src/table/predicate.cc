// Lets DuckDB parse a predicate into a tree and walks that: text is never judged by its looks.
#include "table/predicate.h"

#include <algorithm>
#include <array>
#include <set>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/base/value.h"

namespace cd4ml::table {
namespace {

constexpr size_t kPredicateMax = 4096;

constexpr std::array<std::string_view, 9> kClasses = {"COLUMN_REF",  "CONSTANT", "COMPARISON",
                                                      "CONJUNCTION", "OPERATOR", "BETWEEN",
                                                      "CASE",        "CAST",     "FUNCTION"};

const std::vector<std::string>& Functions() {
  static const std::vector<std::string> kFunctions = {
      // Numbers.
      "abs", "ceil", "floor", "round", "trunc", "sqrt", "ln", "log", "log10", "exp", "power", "pow",
      "sign", "greatest", "least", "mod", "isfinite", "isnan", "isinf",
      // Text.
      "lower", "upper", "trim", "ltrim", "rtrim", "length", "strlen", "left", "right", "substring",
      "substr", "replace", "contains", "starts_with", "ends_with", "prefix", "suffix", "concat",
      "regexp_matches", "regexp_full_match", "regexp_extract", "like_escape", "not_like_escape",
      "ilike_escape", "not_ilike_escape",
      // Times.
      "year", "month", "day", "hour", "minute", "second", "dayofweek", "isodow", "dayofyear",
      "week", "quarter", "epoch", "date_part", "date_trunc", "date_diff", "datediff", "strftime",
      "strptime", "try_strptime", "make_date", "to_days", "to_hours", "to_minutes", "to_seconds",
      "to_months", "to_years",
      // Choices.
      "coalesce", "ifnull", "nullif"};
  return kFunctions;
}

bool Is(const Value* value, std::string_view text) {
  return value != nullptr && value->is_string() && value->string() == text;
}
bool IsNothing(const Value* value) {
  return value == nullptr || value->is_null() || (value->is_list() && value->list().empty());
}

absl::Status Refuse(const std::string& what) {
  return absl::InvalidArgumentError("the predicate " + what);
}

absl::Status CheckFunction(const Value& node) {
  const Value* name = node.Find("function_name");
  if (name == nullptr || !name->is_string()) return Refuse("has a call that cannot be read");
  if (const Value* is_operator = node.Find("is_operator");
      is_operator != nullptr && *is_operator == Value(true)) {
    return absl::OkStatus();
  }
  const std::vector<std::string>& known = Functions();
  if (std::find(known.begin(), known.end(), name->string()) == known.end() ||
      !Is(node.Find("schema"), "") || !Is(node.Find("catalog"), "")) {
    return Refuse("calls \"" + name->string() + "\", which is not allowed in a rule" +
                  DidYouMean(name->string(), known));
  }
  return absl::OkStatus();
}

// Walks all nodes; every one with a "class" is an expression.
absl::Status Walk(const Value& node, std::set<std::string>& columns) {
  if (node.is_list()) {
    for (const Value& item : node.list()) CD4ML_RETURN_IF_ERROR(Walk(item, columns));
  }
  if (!node.is_map()) return absl::OkStatus();
  if (const Value* kind = node.Find("class"); kind != nullptr) {
    if (!kind->is_string() ||
        std::find(kClasses.begin(), kClasses.end(), kind->string()) == kClasses.end()) {
      return Refuse("may not use a " + ToText(*kind) +
                    ": only columns, constants, comparisons and functions of one row");
    }
    if (kind->string() == "FUNCTION") CD4ML_RETURN_IF_ERROR(CheckFunction(node));
    if (kind->string() == "CONSTANT") return absl::OkStatus();
    if (kind->string() == "COLUMN_REF") {
      const Value* names = node.Find("column_names");
      if (names == nullptr || !names->is_list() || names->list().size() != 1) {
        return Refuse("names a column with a dot; put its name in double quotes");
      }
      columns.insert(ToText(names->list()[0]));
    }
  }
  for (const auto& [key, child] : node.map()) CD4ML_RETURN_IF_ERROR(Walk(child, columns));
  return absl::OkStatus();
}

// Whether an expression may be NaN or infinite where its operands are not; a division by zero is NULL by itself.
bool MayBeNoNumber(const Value& node) {
  if (Is(node.Find("class"), "CAST")) {
    const Value* type = node.FindPath("cast_type.id");
    return Is(type, "DOUBLE") || Is(type, "FLOAT");
  }
  const Value* name = node.Find("function_name");
  return Is(name, "power") || Is(name, "pow") || Is(name, "^") || Is(name, "**") || Is(name, "exp");
}

// Puts cd4ml_finite(...) around every such expression. Returns whether there is one. SQL takes NaN for the greatest number,
// so that it would fulfil "> 0.5".
bool MakeFinite(Value& node) {
  bool has_any = false;
  if (auto* list = std::get_if<Value::List>(&node.data)) {
    for (Value& item : *list) has_any |= MakeFinite(item);
  }
  auto* map = std::get_if<Value::Map>(&node.data);
  if (map == nullptr) return has_any;
  map->erase("query_location");   // Need not be there, and is not always a number that a Value can hold.
  for (auto& [key, child] : *map) has_any |= MakeFinite(child);
  if (!MayBeNoNumber(node)) return has_any;
  Value inner = std::move(node);
  node = Value::Map{{"class", "FUNCTION"}, {"type", "FUNCTION"}, {"function_name", "cd4ml_finite"},
                    {"children", Value::List{std::move(inner)}}, {"order_bys", Value::Map{{"type", "ORDER_MODIFIER"}}}};
  return true;
}

// Returns the one expression of `SELECT predicate`, and refuses anything that makes it more than
// that.
absl::StatusOr<const Value*> OnlyExpression(const Value& tree) {
  const Value* statements = tree.Find("statements");
  if (statements == nullptr || !statements->is_list() || statements->list().size() != 1)
    return Refuse("is more than one statement");
  const Value* select = statements->list()[0].Find("node");
  if (select == nullptr || !Is(select->Find("type"), "SELECT_NODE") ||
      !Is(select->FindPath("from_table.type"), "EMPTY") ||
      !IsNothing(select->FindPath("cte_map.map"))) {
    return Refuse("is more than an expression");
  }
  for (const std::string_view clause : {"modifiers", "where_clause", "group_expressions",
                                        "group_sets", "having", "sample", "qualify"}) {
    if (!IsNothing(select->Find(clause))) return Refuse("is more than an expression");
  }
  const Value* expressions = select->Find("select_list");
  if (expressions == nullptr || !expressions->is_list() || expressions->list().size() != 1)
    return Refuse("is more than one expression");
  if (!Is(expressions->list()[0].Find("alias"), "")) return Refuse("is more than an expression");
  return &expressions->list()[0];
}

}  // namespace

absl::StatusOr<Predicate> CheckPredicate(Database& database, const std::string& predicate) {
  if (predicate.size() > kPredicateMax)
    return Refuse("is longer than " + std::to_string(kPredicateMax) + " characters");
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> rows,
                         database.Query("SELECT CAST(json_serialize_sql(" +
                                        Literal("SELECT " + predicate) + ") AS VARCHAR)"));
  absl::StatusOr<Value> tree = ParseJson(rows[0][0].value_or(""));
  if (!tree.ok()) return Refuse("is nested too deep");
  if (const Value* error = tree->Find("error_message"); error != nullptr)
    return Refuse("is not valid SQL: " + ToText(*error));
  CD4ML_ASSIGN_OR_RETURN(const Value* expression, OnlyExpression(*tree));
  std::set<std::string> columns;
  CD4ML_RETURN_IF_ERROR(Walk(*expression, columns));
  if (columns.empty()) return Refuse("names no column");
  Predicate checked{{columns.begin(), columns.end()}, predicate};
  if (!MakeFinite(*tree)) return checked;
  CD4ML_ASSIGN_OR_RETURN(const std::vector<Row> made,
                         database.Query("SELECT json_deserialize_sql(" + Literal(ToJson(*tree)) + "::JSON)"));
  checked.sql = made[0][0].value_or("").substr(std::string_view("SELECT ").size());
  return checked;
}

}  // namespace cd4ml::table
