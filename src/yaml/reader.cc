// Reading single values and maps of known keys.
#include "yaml/reader.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "yaml/scan.h"

namespace cd4ml::yaml {

bool HasTemplate(const Node& node) { return node.is_scalar() && core::HasTemplate(node.text); }

namespace {

namespace code = core::code;

// Enough to cut the first kFindingsMax out of after sorting.
constexpr size_t kCollectedMax = 10 * kFindingsMax;

using core::Quoted;

std::string Join(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::string_view word : words) out += (out.empty() ? "" : ", ") + std::string(word);
  return out;
}

std::string Allowed(const Words& words) {
  return "allowed: " + Join(std::vector<std::string_view>(words.begin(), words.end()));
}

// Returns `did you mean "x"?`, or "".
std::string Suggestion(std::string_view word, const Words& candidates) {
  if (word.size() > 80) return "";
  const std::string closest = ClosestWord(word, candidates);
  return closest.empty() ? "" : "did you mean " + Quoted(closest) + "?";
}

std::string NamesAllowed(const Words& roots) {
  std::string out;
  for (const std::string& root : roots) {
    out += (out.empty() ? "allowed: " : ", ") + root + (root.ends_with('.') ? "NAME" : "");
  }
  return out;
}

std::string NumberText(double number) { return ToJson(Value(number)); }

}  // namespace

void Reader::Error(std::string_view code, const core::Place& place, std::string message,
                   std::string label, std::string help) {
  if (findings_.size() >= kCollectedMax) return;
  if (!cell_.empty()) message += " (in cell " + Quoted(cell_) + ")";
  findings_.push_back(
      core::MakeError(code, place, std::move(message), std::move(label), std::move(help)));
}

void Reader::WrongType(const Node& node, std::string_view wanted) {
  std::string help;
  if (wanted.ends_with("text") && node.kind == Node::Kind::kPlain) {
    help = "put it in quotes: " + Quoted(node.text);
  } else if (wanted == "a list" && node.is_scalar()) {
    help = "write a list of one as [" + Quoted(node.text) + "]";
  } else if (wanted == "true or false") {
    help = "allowed: true, false, without quotes";
  } else if (node.kind == Node::Kind::kQuoted && wanted != "a map") {
    help = "a value in quotes is text";
  }
  Error(
      code::kWrongType, node.place,
      Quoted(key_) + " wants " + std::string(wanted) + ", this is " + std::string(Described(node)),
      "", std::move(help));
}

void Reader::NotYet(std::string_view code, const core::Place& place, std::string_view word) {
  const core::CodeExplanation* explanation = core::ExplainCode(code);
  Error(code, place, "`" + std::string(word) + "` is not available yet", "",
        std::string(explanation->explanation));
}

// --- expressions ---

// Returns the place of a part of a scalar. Its offset is one in the file too when the scalar stands
// there as it is, which its length tells.
core::Place PlaceWithin(const Node& node, size_t offset, size_t length) {
  const int quotes = node.kind == Node::Kind::kQuoted ? 1 : 0;
  const bool is_verbatim = node.place.length == static_cast<int>(node.text.size()) + 2 * quotes;
  if (!is_verbatim || offset == std::string_view::npos) return node.place;
  return {node.place.line, node.place.column + quotes + static_cast<int>(offset),
          static_cast<int>(length)};
}

void Reader::ExpressionError(std::string_view code, const Node& node, const absl::Status& error) {
  std::string message = Message(error);
  core::Place place = node.place;
  // The message begins with "column N: ".
  const size_t colon = message.find(": ");
  if (message.starts_with("column ") && colon != std::string::npos) {
    place = PlaceWithin(node, static_cast<size_t>(std::atoi(message.c_str() + 7)) - 1, 1);
    message = message.substr(colon + 2);
  }
  Error(code, place, std::move(message), "", "in " + Quoted(node.text));
}

bool Reader::CheckNames(const Node& node, const std::vector<core::Expression>& expressions,
                        const Words& roots) {
  bool known = true;
  for (const core::Expression& expression : expressions) {
    for (const std::string& name : expression.Names()) {
      const bool is_known = std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
        return name == root || (root.ends_with('.') && name.starts_with(root));
      });
      if (is_known) continue;
      known = false;
      Error(code::kUnknownName, PlaceWithin(node, node.text.find(name), name.size()),
            "unknown name " + Quoted(name) + " in an expression", Suggestion(name, roots),
            NamesAllowed(roots));
    }
  }
  return known;
}

bool Reader::TakeRoom(size_t values, size_t bytes) {
  values_ += values;
  bytes_ += bytes;
  return values_ <= kValuesMax / 2 && bytes_ <= kBytesMax / 2;
}

void Reader::SetParams(const core::ParamsSpec& params) {
  param_spec_ = &params;
  if (params.schema.empty()) return;
  params_.emplace();
  for (const core::ParamSchema& param : params.schema) {
    params_->push_back(param.name);
    schema_.emplace(param.name, &param);
  }
  std::sort(params_->begin(), params_->end());
}

const core::ParamSchema* Reader::FindParam(std::string_view name) const {
  for (std::string_view part = name; !part.empty(); part = part.substr(0, std::max<size_t>(part.rfind('.') + 1, 1) - 1)) {
    const auto found = schema_.find(part);
    const bool counts = found != schema_.end() && (part == name || found->second->type == core::ParamSchema::Type::kMap);
    if (counts) return found->second;
  }
  return nullptr;
}

std::string Reader::SuggestParam(std::string_view name) const {
  return params_ ? Suggestion(name, *params_) : "";
}

bool Reader::CheckParams(const Node& node, const std::vector<core::Expression>& expressions) {
  constexpr std::string_view kPrefix = "params.";
  if (!params_) return true;
  bool known = true;
  for (const core::Expression& expression : expressions) {
    for (const std::string& name : expression.Names()) {
      if (!name.starts_with(kPrefix)) continue;
      std::string param = name.substr(kPrefix.size());
      const std::string whole = param;
      // A parameter that is a map has members that the schema does not name.
      while (!param.empty() && !std::binary_search(params_->begin(), params_->end(), param)) {
        const size_t dot = param.rfind('.');
        param.resize(dot == std::string::npos ? 0 : dot);
      }
      if (!param.empty()) continue;
      known = false;
      Error(code::kUnknownParameter, PlaceWithin(node, node.text.find(name), name.size()),
            "unknown parameter " + Quoted(whole), Suggestion(whole, *params_));
    }
  }
  return known;
}

// Returns why a definition cannot hold what an expression gave, or "". It is read again from JSON,
// where it must mean the same.
std::string_view ProblemOf(const Node& node) {
  if (node.is_null()) return "nothing";
  if (node.is_map()) return "a map";
  if (HasTemplate(node)) return "a text with ${{ }} in it";
  if (node.is_scalar() && HasControlCharacter(node.text)) return "a text with a control character";
  for (const Node& item : node.children) {
    if (!item.is_scalar()) return "a list that does not hold single values only";
    if (const std::string_view problem = ProblemOf(item); !problem.empty()) return problem;
  }
  return "";
}

Reader::Resolved Reader::Resolve(Node& node) {
  if (!HasTemplate(node)) return Resolved::kValue;
  static const Words kRoots = {"params.", "run.lane", "run.trigger"};
  const auto expressions = core::ParseTemplate(node.text);
  if (!expressions.ok()) {
    ExpressionError(code::kBadExpression, node, expressions.status());
    return Resolved::kFailed;
  }
  if (noted_ != nullptr) {
    for (const core::Expression& expression : *expressions) {
      for (const std::string& name : expression.Names()) noted_->insert(name);
    }
  }
  if (!CheckNames(node, *expressions, kRoots) || !CheckParams(node, *expressions))
    return Resolved::kFailed;
  if (scope_ == nullptr) return Resolved::kOpen;
  auto value = core::ResolveTemplate(node.text, *scope_);
  if (!value.ok()) {
    ExpressionError(code::kExpressionValue, node, value.status());
    return Resolved::kFailed;
  }
  Node resolved = ToNode(*value, node.place, tree_);
  const std::string_view problem = ProblemOf(resolved);
  if (!problem.empty()) {
    Error(code::kExpressionValue, node.place, "the expression gives " + std::string(problem));
    return Resolved::kFailed;
  }
  node = std::move(resolved);
  return Resolved::kValue;
}

bool Reader::RefuseTemplate(const Node& node) {
  if (!HasTemplate(node)) return false;
  Error(
      code::kTemplateNotHere, node.place, Quoted(key_) + " takes no expression", "",
      "write the value out: expressions stand in texts, numbers, paths, durations and conditions");
  return true;
}

bool Reader::ReadExpression(Node& node, std::string& out, const Words& roots) {
  if (!Read(node, out)) return false;
  if (core::HasTemplate(out)) return true;  // Whose value is not known yet.
  const auto expression = core::Expression::Parse(out);
  if (!expression.ok()) {
    ExpressionError(code::kBadExpression, node, expression.status());
    return false;
  }
  return roots.empty() || CheckNames(node, {*expression}, roots);
}

bool Reader::ReadCondition(Node& node, std::string& out) {
  if (!node.is_scalar() || !core::IsWholeTemplate(node.text)) {
    Error(code::kBadCondition, node.place, Quoted(key_) + " wants one expression", "",
          "write it as \"${{ run.lane == 'production' }}\"");
    return false;
  }
  const auto expressions = core::ParseTemplate(node.text);
  if (!expressions.ok()) {
    ExpressionError(code::kBadExpression, node, expressions.status());
    return false;
  }
  out = expressions->front().text();
  out = out.substr(out.find_first_not_of(" \t"));
  out = out.substr(0, out.find_last_not_of(" \t") + 1);
  return CheckNames(node, *expressions, {"params.", "run.lane", "run.id", "run.trigger"});
}

// --- scalars ---

bool Reader::Read(Node& node, std::string& out) {
  const bool is_computed = HasTemplate(node);
  if (Resolve(node) == Resolved::kFailed) return false;
  // Whatever scalar an expression gives is a text here.
  if (is_computed && node.is_scalar()) node.kind = Node::Kind::kQuoted;
  if (!node.is_scalar() || !ScalarValue(node).is_string()) {
    WrongType(node, "a text");
    return false;
  }
  if (node.text.empty()) {
    Error(code::kEmpty, node.place, Quoted(key_) + " must not be empty");
    return false;
  }
  out = std::string(node.text);
  return true;
}

std::optional<Value> Reader::Typed(Node& node, std::string_view wanted, bool& open) {
  const Resolved resolved = Resolve(node);
  open = resolved == Resolved::kOpen && core::IsWholeTemplate(node.text);
  if (open || resolved == Resolved::kFailed) return std::nullopt;
  if (node.kind == Node::Kind::kPlain && resolved == Resolved::kValue) return ScalarValue(node);
  WrongType(node, wanted);
  return std::nullopt;
}

bool Reader::Read(Node& node, bool& out) {
  bool open = false;
  const std::optional<Value> value = Typed(node, "true or false", open);
  if (!value) return open;
  if (!value->is_bool()) {
    WrongType(node, "true or false");
    return false;
  }
  out = value->boolean();
  return true;
}

bool Reader::Read(Node& node, double& out, Range range) {
  bool open = false;
  const std::optional<Value> value = Typed(node, "a number", open);
  if (open) out = std::isfinite(range.min) ? range.min : 0;
  if (!value) return open;
  if (!value->is_number()) {
    WrongType(node, "a number");
    return false;
  }
  out = value->number();
  if (std::isfinite(out) && out >= range.min && out <= range.max) return true;
  Error(code::kOutOfRange, node.place, Quoted(key_) + " is out of range: " + std::string(node.text),
        "", "allowed: " + NumberText(range.min) + " to " + NumberText(range.max));
  return false;
}

bool Reader::Read(Node& node, int64_t& out, Range range) {
  constexpr double kExactMax = 9007199254740992.0;  // Larger integers have no double of their own.
  double number = 0;
  range = {std::max(range.min, -kExactMax), std::min(range.max, kExactMax)};
  if (!Read(node, number, range)) return false;
  if (number != std::floor(number)) {
    WrongType(node, "a whole number");
    return false;
  }
  out = static_cast<int64_t>(number);
  return true;
}

bool Reader::Read(Node& node, int& out, Range range) {
  int64_t number = 0;
  constexpr double kMax = std::numeric_limits<int>::max();
  if (!Read(node, number, {std::max(range.min, -kMax), std::min(range.max, kMax)})) return false;
  out = static_cast<int>(number);
  return true;
}

bool Reader::ReadWithUnit(Node& node, std::string_view wanted, int64_t& out,
                          absl::StatusOr<int64_t> (*parse)(std::string_view)) {
  if (node.is_list() || node.is_map() || node.is_null()) {
    WrongType(node, wanted);
    return false;
  }
  const Resolved resolved = Resolve(node);
  if (resolved == Resolved::kFailed) return false;
  if (resolved == Resolved::kOpen) {
    out = 1;
    return true;
  }
  const absl::StatusOr<int64_t> amount = parse(node.text);
  if (!amount.ok() || *amount == 0) {
    Error(code::kBadUnit, node.place, Quoted(key_) + " wants " + std::string(wanted),
          ScalarValue(node).is_number() ? "the unit is missing" : "");
    return false;
  }
  out = *amount;
  return true;
}

bool Reader::Read(Node& node, Duration& out) {
  const auto parse = [](std::string_view text) -> absl::StatusOr<int64_t> {
    const absl::StatusOr<Duration> duration = ParseDuration(text);
    if (!duration.ok()) return duration.status();
    return duration->count();
  };
  int64_t count = 0;
  if (!ReadWithUnit(node, "a duration like 30s, 10m or 4h", count, parse)) return false;
  out = Duration(count);
  return true;
}

bool Reader::ReadSize(Node& node, int64_t& out) {
  return ReadWithUnit(node, "a size like 512MiB or 4GiB", out, ParseSize);
}

bool Reader::ReadScalarText(Node& node, std::string& out) {
  const Resolved resolved = Resolve(node);
  if (resolved == Resolved::kFailed) return false;
  if (!node.is_scalar()) {
    WrongType(node, "a text, a number or true or false");
    return false;
  }
  out = std::string(node.text);
  return true;
}

bool Reader::ReadWord(Node& node, std::string& out, const Words& allowed) {
  std::string word;
  if (!ReadLiteral(node, word)) return false;
  if (std::find(allowed.begin(), allowed.end(), word) == allowed.end()) {
    Error(code::kBadWord, node.place, Quoted(key_) + " cannot be " + Quoted(word),
          Suggestion(word, allowed), Allowed(allowed));
    return false;
  }
  out = std::move(word);
  return true;
}

bool Reader::ReadLiteral(Node& node, std::string& out) {
  return !RefuseTemplate(node) && Read(node, out);
}

bool Reader::ReadName(Node& node, std::string& out) {
  if (!ReadLiteral(node, out)) return false;
  return CheckName(*this, node, key_);
}

bool Reader::Read(Node& node, Value& out) {
  if (node.is_list() || node.is_map()) {
    for (size_t i = node.is_map() ? 1 : 0; i < node.children.size(); i += node.is_map() ? 2 : 1) {
      Value ignored;
      if (!Read(node.children[i], ignored)) return false;
    }
  } else if (Resolve(node) == Resolved::kFailed) {
    return false;
  }
  out = ToValue(node);
  return true;
}

bool Reader::Read(Node& node, core::CommandSpec& out) {
  const auto check = [&](const Node& part) {
    if (!HasTemplate(part)) return true;
    Error(code::kTemplateInRun, part.place, Quoted(key_) + " must not contain ${{ }}", "",
          "put the value into `env` and use the variable");
    return false;
  };
  if (!node.is_list()) return check(node) && Read(node, out.script);
  for (const Node& part : node.children) {
    if (!check(part)) return false;
  }
  return Read(node, out.argv);
}

// --- lists ---

namespace {

template <typename ReadItem>
bool ReadList(Reader& reader, std::string_view key, Node& node, std::vector<std::string>& out,
              const ReadItem& read_item) {
  if (!node.is_list()) {
    reader.WrongType(node, "a list");
    return false;
  }
  if (node.children.empty()) {
    reader.Error(code::kEmpty, node.place, Quoted(key) + " must not be empty");
    return false;
  }
  out.clear();
  out.reserve(node.children.size());
  bool complete = true;
  for (Node& item : node.children) {
    std::string text;
    if (read_item(item, text)) {
      out.push_back(std::move(text));
    } else {
      complete = false;
    }
  }
  return complete;
}

}  // namespace

bool Reader::Read(Node& node, std::vector<std::string>& out) {
  if (HasTemplate(node)) {
    const Resolved resolved = Resolve(node);
    if (resolved != Resolved::kValue) return resolved == Resolved::kOpen;
  }
  return ReadList(*this, key_, node, out,
                  [&](Node& item, std::string& text) { return Read(item, text); });
}

bool Reader::ReadScalarTexts(Node& node, std::vector<std::string>& out) {
  if (HasTemplate(node)) {
    const Resolved resolved = Resolve(node);
    if (resolved != Resolved::kValue) return resolved == Resolved::kOpen;
  }
  return ReadList(*this, key_, node, out,
                  [&](Node& item, std::string& text) { return ReadScalarText(item, text); });
}

bool Reader::ReadLiterals(Node& node, std::vector<std::string>& out) {
  if (RefuseTemplate(node)) return false;
  return ReadList(*this, key_, node, out,
                  [&](Node& item, std::string& text) { return ReadLiteral(item, text); });
}

// --- maps ---

Fields::Fields(Reader& reader, Node& node, std::string_view what, std::string_view name)
    : reader_(reader), node_(node), what_(what), name_(name) {
  if (node.is_map()) {
    taken_.resize(node.member_count());
  } else {
    reader.Error(code::kWrongType, node.place,
                 where() + " must be a map, this is " + std::string(Described(node)));
  }
  known_.reserve(24);
}

std::string Fields::where() const {
  return std::string(what_) + (name_.empty() ? "" : " " + Quoted(name_));
}

std::optional<size_t> Fields::Find(std::string_view key) const {
  if (!node_.is_map()) return std::nullopt;
  for (size_t i = 0; i < node_.member_count(); ++i) {
    if (node_.key(i).text == key) return i;
  }
  return std::nullopt;
}

void Fields::Ignore(const Words& keys) {
  for (const std::string& key : keys) {
    if (const auto found = Find(key)) taken_[*found] = 1;
  }
}

bool Fields::HasTemplate(std::string_view key) const {
  const auto found = Find(key);
  return found && yaml::HasTemplate(node_.value(*found));
}

core::Place Fields::PlaceOf(std::string_view key) const {
  const auto found = Find(key);
  return found ? node_.value(*found).place : node_.place;
}

Node* Fields::Take(std::string_view key) {
  known_.push_back(key);
  const std::optional<size_t> found = Find(key);
  if (!found) return nullptr;
  taken_[*found] = 1;
  reader_.SetKey(key);
  return &node_.value(*found);
}

Node* Fields::Need(std::string_view key) {
  Node* node = Take(key);
  if (node == nullptr && node_.is_map()) {
    reader_.Error(code::kMissingKey, node_.place, where() + " needs " + Quoted(key));
  }
  return node;
}

void Fields::NotYet(std::string_view key, std::string_view code) {
  const auto found = Find(key);
  if (!found) return;
  taken_[*found] = 1;
  reader_.NotYet(code, node_.key(*found).place, key);
}

bool Fields::ReadWord(std::string_view key, std::string& out, const Words& allowed) {
  Node* node = Take(key);
  return node != nullptr && reader_.ReadWord(*node, out, allowed);
}

void Fields::Finish(const Words& elsewhere, std::string_view kind) {
  for (size_t i = 0; i < taken_.size(); ++i) {
    const Node& key = node_.key(i);
    // Merge keys and the second of two equal keys have been reported when the tree was built.
    if (taken_[i] != 0 || !key.is_scalar() || key.text == "<<" || Find(key.text) != i) continue;
    const bool is_misplaced =
        std::find(elsewhere.begin(), elsewhere.end(), key.text) != elsewhere.end();
    if (is_misplaced) {
      reader_.Error(code::kKeyOfOtherKind, key.place,
                    Quoted(key.text) + " does not belong in a stage of kind " + Quoted(kind), "",
                    "allowed: " + Join(known_));
    } else {
      reader_.Error(
          code::kUnknownKey, key.place, "unknown key " + Quoted(key.text) + " in " + where(),
          Suggestion(key.text, Words(known_.begin(), known_.end())), "allowed: " + Join(known_));
    }
  }
}

bool CheckNamedMap(Reader& reader, const Node& map, std::string_view what) {
  if (!map.is_map()) {
    reader.Error(code::kWrongType, map.place,
                 Quoted(what) + " wants a map, this is " + std::string(Described(map)));
  } else if (map.children.empty()) {
    reader.Error(code::kEmpty, map.place, Quoted(what) + " must not be empty");
  }
  return map.is_map();
}

bool CheckName(Reader& reader, const Node& key, std::string_view what) {
  if (!key.is_scalar() || IsName(key.text)) return key.is_scalar();
  reader.Error(
      code::kBadName, key.place, Quoted(key.text) + " is no name in " + Quoted(what), "",
      "names have lower-case letters, digits, - and _, begin with a letter or digit, and are "
      "at most 63 long");
  return false;
}

}  // namespace cd4ml::yaml
