// Reads expressions by recursive descent and evaluates their trees.
#include "cd4ml/core/expression.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::core {

struct Expression::Node {
  enum class Kind { kLiteral, kName, kCall, kNot, kNegate, kAnd, kOr, kCompare, kArithmetic };
  Kind kind = Kind::kLiteral;
  size_t offset = 0;  // In the text that errors speak of.
  Value literal;
  std::string word;  // A name, a function, or an operator.
  std::vector<std::shared_ptr<const Node>> operands;
};

namespace {

using Node = Expression::Node;
using NodePtr = std::shared_ptr<const Node>;

constexpr size_t kLengthMax = 4096;
constexpr int kDepthMax = 64;

absl::Status ErrorAt(size_t offset, const std::string& message) {
  return absl::InvalidArgumentError("column " + std::to_string(offset + 1) + ": " + message);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '.'; }
bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Reads one expression. `base` is where the text begins in what errors speak of.
class Reader {
 public:
  Reader(std::string_view text, size_t base) : text_(text), base_(base) {}

  absl::StatusOr<NodePtr> ReadAll() {
    if (text_.size() > kLengthMax) {
      return ErrorAt(base_,
                     "expression is longer than " + std::to_string(kLengthMax) + " characters");
    }
    CD4ML_ASSIGN_OR_RETURN(NodePtr root, ReadOr());
    SkipBlanks();
    if (at_ < text_.size()) return Unexpected();
    return root;
  }

 private:
  absl::StatusOr<NodePtr> ReadOr() {
    if (++depth_ > kDepthMax) return Error("expression is nested too deeply");
    CD4ML_ASSIGN_OR_RETURN(NodePtr left, ReadAnd());
    for (size_t at = Mark(); TakeWord("or") || Take("||"); at = Mark()) {
      CD4ML_ASSIGN_OR_RETURN(NodePtr right, ReadAnd());
      left = Make(Node::Kind::kOr, at, "or", {left, right});
    }
    --depth_;
    return left;
  }

  absl::StatusOr<NodePtr> ReadAnd() {
    CD4ML_ASSIGN_OR_RETURN(NodePtr left, ReadComparison());
    for (size_t at = Mark(); TakeWord("and") || Take("&&"); at = Mark()) {
      CD4ML_ASSIGN_OR_RETURN(NodePtr right, ReadComparison());
      left = Make(Node::Kind::kAnd, at, "and", {left, right});
    }
    return left;
  }

  absl::StatusOr<NodePtr> ReadComparison() {
    CD4ML_ASSIGN_OR_RETURN(NodePtr left, ReadSum());
    const size_t at = Mark();
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (!Take(symbol)) continue;
      CD4ML_ASSIGN_OR_RETURN(NodePtr right, ReadSum());
      return Make(Node::Kind::kCompare, at, symbol, {left, right});
    }
    return left;
  }

  absl::StatusOr<NodePtr> ReadSum() {
    CD4ML_ASSIGN_OR_RETURN(NodePtr left, ReadProduct());
    for (size_t at = Mark(); Peek() == '+' || Peek() == '-'; at = Mark()) {
      const std::string symbol(1, text_[at_++]);
      CD4ML_ASSIGN_OR_RETURN(NodePtr right, ReadProduct());
      left = Make(Node::Kind::kArithmetic, at, symbol, {left, right});
    }
    return left;
  }

  absl::StatusOr<NodePtr> ReadProduct() {
    CD4ML_ASSIGN_OR_RETURN(NodePtr left, ReadUnary());
    for (size_t at = Mark(); Peek() == '*' || Peek() == '/'; at = Mark()) {
      const std::string symbol(1, text_[at_++]);
      CD4ML_ASSIGN_OR_RETURN(NodePtr right, ReadUnary());
      left = Make(Node::Kind::kArithmetic, at, symbol, {left, right});
    }
    return left;
  }

  absl::StatusOr<NodePtr> ReadUnary() {
    const size_t at = Mark();
    const bool negates = Take("-");
    if (!negates && !Take("!") && !TakeWord("not")) return ReadOperand();
    if (++depth_ > kDepthMax) return Error("expression is nested too deeply");
    CD4ML_ASSIGN_OR_RETURN(NodePtr operand, ReadUnary());
    --depth_;
    return Make(negates ? Node::Kind::kNegate : Node::Kind::kNot, at, negates ? "-" : "!",
                {operand});
  }

  absl::StatusOr<NodePtr> ReadOperand() {
    const size_t at = Mark();
    const char next = Peek();
    if (Take("(")) {
      CD4ML_ASSIGN_OR_RETURN(NodePtr inner, ReadOr());
      SkipBlanks();
      if (!Take(")")) return Error("the parenthesis of column " + Column(at) + " is not closed");
      return inner;
    }
    if (next == '\'' || next == '"') return ReadText();
    if (IsDigit(next)) return ReadNumber();
    if (IsNameStart(next)) return ReadName();
    return Unexpected();
  }

  absl::StatusOr<NodePtr> ReadText() {
    const size_t at = at_;
    const size_t end = text_.find(text_[at], at + 1);
    if (end == std::string_view::npos) return Error("this text is not closed");
    at_ = end + 1;
    return MakeLiteral(at, Value(text_.substr(at + 1, end - at - 1)));
  }

  absl::StatusOr<NodePtr> ReadNumber() {
    const size_t at = at_;
    while (IsDigit(Here()) || Here() == '.') ++at_;
    const bool has_exponent = Here() == 'e' || Here() == 'E';
    if (has_exponent) {
      ++at_;
      if (Here() == '+' || Here() == '-') ++at_;
      while (IsDigit(Here())) ++at_;
    }
    const std::string_view digits = text_.substr(at, at_ - at);
    const char* end = digits.data() + digits.size();
    int64_t integer = 0;
    const auto read = std::from_chars(digits.data(), end, integer);
    if (read.ec == std::errc() && read.ptr == end) return MakeLiteral(at, Value(integer));
    double number = 0;
    const auto real = std::from_chars(digits.data(), end, number);
    if (real.ec != std::errc() || real.ptr != end || IsNameStart(Here())) {
      return ErrorAt(base_ + at, "\"" + std::string(digits) + "\" is no number");
    }
    return MakeLiteral(at, Value(number));
  }

  absl::StatusOr<NodePtr> ReadName() {
    const size_t at = at_;
    while (IsNamePart(Here())) ++at_;
    const std::string_view name = text_.substr(at, at_ - at);
    if (name.back() == '.' || name.find("..") != std::string_view::npos) {
      return ErrorAt(base_ + at, "\"" + std::string(name) + "\" is no name");
    }
    if (name == "true" || name == "false") return MakeLiteral(at, Value(name == "true"));
    SkipBlanks();
    if (!Take("(")) return Make(Node::Kind::kName, at, std::string(name), {});
    std::vector<NodePtr> arguments;
    SkipBlanks();
    if (Take(")")) return Make(Node::Kind::kCall, at, std::string(name), {});
    do {
      CD4ML_ASSIGN_OR_RETURN(NodePtr argument, ReadOr());
      arguments.push_back(std::move(argument));
      SkipBlanks();
    } while (Take(","));
    if (!Take(")")) return Error("the call of \"" + std::string(name) + "\" is not closed");
    return Make(Node::Kind::kCall, at, std::string(name), std::move(arguments));
  }

  NodePtr Make(Node::Kind kind, size_t at, std::string word, std::vector<NodePtr> operands) const {
    return std::make_shared<Node>(
        Node{kind, base_ + at, Value(), std::move(word), std::move(operands)});
  }
  NodePtr MakeLiteral(size_t at, Value value) const {
    return std::make_shared<Node>(Node{Node::Kind::kLiteral, base_ + at, std::move(value), "", {}});
  }

  absl::Status Error(const std::string& message) const { return ErrorAt(base_ + at_, message); }
  absl::Status Unexpected() const {
    if (at_ >= text_.size()) return Error("expression ends where a value is expected");
    return Error("unexpected \"" + std::string(1, text_[at_]) + "\"");
  }
  std::string Column(size_t at) const { return std::to_string(base_ + at + 1); }

  char Here() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void SkipBlanks() {
    while (IsBlank(Here())) ++at_;
  }
  char Peek() {
    SkipBlanks();
    return Here();
  }
  size_t Mark() {
    SkipBlanks();
    return at_;
  }
  bool Take(std::string_view symbol) {
    if (!text_.substr(at_).starts_with(symbol)) return false;
    at_ += symbol.size();
    return true;
  }
  bool TakeWord(std::string_view word) {
    const size_t end = at_ + word.size();
    if (!text_.substr(at_).starts_with(word)) return false;
    if (end < text_.size() && IsNamePart(text_[end])) return false;
    at_ = end;
    return true;
  }

  const std::string_view text_;
  const size_t base_;
  size_t at_ = 0;
  int depth_ = 0;
};

// Computes the value of a tree.
class Evaluator {
 public:
  Evaluator(const Scope& scope, std::map<std::string, Value>* trace)
      : scope_(scope), trace_(trace) {}

  absl::StatusOr<Value> Evaluate(const Node& node) {
    // A sum is as deep as it is long: it is computed from its first term on, and not by recursion.
    std::vector<const Node*> joined;
    const Node* first = &node;
    for (; IsJoined(*first); first = first->operands[0].get()) joined.push_back(first);
    absl::StatusOr<Value> value = EvaluateTerm(*first);
    for (; value.ok() && !joined.empty(); joined.pop_back()) value = Join(*joined.back(), *std::move(value));
    return value;
  }

 private:
  static bool IsJoined(const Node& node) {
    return node.kind == Node::Kind::kAnd || node.kind == Node::Kind::kOr || node.kind == Node::Kind::kArithmetic ||
           node.kind == Node::Kind::kCompare;
  }

  absl::StatusOr<Value> EvaluateTerm(const Node& node) {
    switch (node.kind) {
      case Node::Kind::kLiteral:
        return node.literal;
      case Node::Kind::kName:
        return LookUp(node);
      case Node::Kind::kCall:
        return Call(node);
      case Node::Kind::kNot: {
        CD4ML_ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operands[0]));
        CD4ML_RETURN_IF_ERROR(NeedsTruth(node, 0, operand));
        return Value(!operand.boolean());
      }
      case Node::Kind::kNegate: {
        CD4ML_ASSIGN_OR_RETURN(const Value operand, Evaluate(*node.operands[0]));
        CD4ML_RETURN_IF_ERROR(NeedsNumber(node, 0, operand));
        return Compute(node, "-", Value(int64_t{0}), operand);
      }
      case Node::Kind::kAnd:
      case Node::Kind::kOr:
      case Node::Kind::kArithmetic:
      case Node::Kind::kCompare:
        break;
    }
    return ErrorAt(node.offset, "unknown operation");
  }

  // Computes `node` from the value of its first operand.
  absl::StatusOr<Value> Join(const Node& node, Value left) {
    const bool joins_truth = node.kind == Node::Kind::kAnd || node.kind == Node::Kind::kOr;
    if (joins_truth) {
      CD4ML_RETURN_IF_ERROR(NeedsTruth(node, 0, left));
      if (left.boolean() == (node.kind == Node::Kind::kOr)) return left;
    } else if (node.kind == Node::Kind::kArithmetic) {
      CD4ML_RETURN_IF_ERROR(NeedsNumber(node, 0, left));
    }
    CD4ML_ASSIGN_OR_RETURN(Value right, Evaluate(*node.operands[1]));
    if (node.kind == Node::Kind::kCompare) return Compare(node, left, right);
    CD4ML_RETURN_IF_ERROR(joins_truth ? NeedsTruth(node, 1, right) : NeedsNumber(node, 1, right));
    return joins_truth ? right : Compute(node, node.word, left, right);
  }

  absl::StatusOr<Value> LookUp(const Node& node) {
    std::optional<Value> value;
    if (scope_.name) value = scope_.name(node.word);
    if (!value) {
      return ErrorAt(node.offset, "unknown name \"" + node.word + "\"" +
                                      DidYouMean(node.word, scope_.known_names));
    }
    if (trace_ != nullptr) (*trace_)[node.word] = *value;
    return *std::move(value);
  }

  absl::StatusOr<Value> Call(const Node& node) {
    std::vector<Value> arguments;
    for (const NodePtr& operand : node.operands) {
      CD4ML_ASSIGN_OR_RETURN(Value argument, Evaluate(*operand));
      arguments.push_back(std::move(argument));
    }
    std::optional<Value> value;
    if (scope_.call) value = scope_.call(node.word, arguments);
    if (!value) {
      return ErrorAt(node.offset, "unknown function \"" + node.word + "\" of " +
                                      std::to_string(arguments.size()) + " arguments");
    }
    return *std::move(value);
  }

  static absl::Status NeedsTruth(const Node& node, size_t index, const Value& value) {
    if (value.is_bool()) return absl::OkStatus();
    return ErrorAt(node.operands[index]->offset,
                   "\"" + node.word + "\" needs true or false, this is " + Described(value));
  }

  static absl::Status NeedsNumber(const Node& node, size_t index, const Value& value) {
    if (value.is_number()) return CheckNumber(*node.operands[index], value);
    return ErrorAt(node.operands[index]->offset,
                   "\"" + node.word + "\" needs a number, this is " + Described(value));
  }

  static absl::Status CheckNumber(const Node& node, const Value& value) {
    if (!value.is_number() || !std::isnan(value.number())) return absl::OkStatus();
    return ErrorAt(node.offset,
                   (node.kind == Node::Kind::kName ? "\"" + node.word + "\"" : "this") +
                       " is not a number (NaN)");
  }

  static absl::StatusOr<Value> Compute(const Node& node, std::string_view symbol, const Value& left,
                                       const Value& right) {
    const char op = symbol[0];
    const auto* a = std::get_if<int64_t>(&left.data);
    const auto* b = std::get_if<int64_t>(&right.data);
    if (op != '/' && a != nullptr && b != nullptr) {
      int64_t result = 0;
      const bool overflows = op == '+'   ? __builtin_add_overflow(*a, *b, &result)
                             : op == '-' ? __builtin_sub_overflow(*a, *b, &result)
                                         : __builtin_mul_overflow(*a, *b, &result);
      if (overflows) return ErrorAt(node.offset, "the result is too large");
      return Value(result);
    }
    const double x = left.number();
    const double y = right.number();
    if (op == '/' && y == 0) return ErrorAt(node.offset, "division by zero");
    return Value(op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : x / y);
  }

  static absl::StatusOr<Value> Compare(const Node& node, const Value& left, const Value& right) {
    CD4ML_RETURN_IF_ERROR(CheckNumber(*node.operands[0], left));
    CD4ML_RETURN_IF_ERROR(CheckNumber(*node.operands[1], right));
    const bool equality = node.word == "==" || node.word == "!=";
    int order = 0;
    if (left.is_number() && right.is_number()) {
      order = Order(left, right);
    } else if (left.is_string() && right.is_string()) {
      order = left.string().compare(right.string());
    } else if (equality && left.is_bool() && right.is_bool()) {
      order = left.boolean() == right.boolean() ? 0 : 1;
    } else {
      return ErrorAt(node.offset,
                     "cannot compare " + Described(left) + " with " + Described(right));
    }
    if (node.word == "==") return Value(order == 0);
    if (node.word == "!=") return Value(order != 0);
    if (node.word == "<") return Value(order < 0);
    if (node.word == "<=") return Value(order <= 0);
    if (node.word == ">") return Value(order > 0);
    return Value(order >= 0);
  }

  // Compares integers as integers: large ones are not exact as doubles.
  static int Order(const Value& left, const Value& right) {
    const auto* a = std::get_if<int64_t>(&left.data);
    const auto* b = std::get_if<int64_t>(&right.data);
    if (a != nullptr && b != nullptr) return *a < *b ? -1 : *a > *b ? 1 : 0;
    return left.number() < right.number() ? -1 : left.number() > right.number() ? 1 : 0;
  }

  static std::string Described(const Value& value) {
    return std::string(TypeName(value)) + (value.is_scalar() ? " " + ToJson(value) : "");
  }

  const Scope& scope_;
  std::map<std::string, Value>* trace_;
};

template <typename Visit>
void Walk(const Node& node, const Visit& visit) {
  visit(node);
  for (const NodePtr& operand : node.operands) Walk(*operand, visit);
}

constexpr std::string_view kOpen = "${{";
constexpr std::string_view kClose = "}}";

// Returns where the "}}" of the template stands whose expression begins at `at`; quoted text may
// contain it.
size_t FindClose(std::string_view text, size_t at) {
  char quote = '\0';
  for (; at < text.size(); ++at) {
    if (quote != '\0') {
      if (text[at] == quote) quote = '\0';
    } else if (text[at] == '\'' || text[at] == '"') {
      quote = text[at];
    } else if (text.substr(at).starts_with(kClose)) {
      return at;
    }
  }
  return std::string_view::npos;
}

}  // namespace

// Takes a text with templates apart: literal, expression, literal, ..., literal.
class TemplateReader {
 public:
  static absl::StatusOr<TemplateReader> Read(std::string_view text) {
    TemplateReader reader;
    size_t at = 0;
    for (size_t open; (open = text.find(kOpen, at)) != std::string_view::npos;) {
      reader.literals.emplace_back(text.substr(at, open - at));
      const size_t begin = open + kOpen.size();
      const size_t close = FindClose(text, begin);
      if (close == std::string_view::npos) return ErrorAt(open, "this \"${{\" has no \"}}\"");
      Expression expression;
      expression.text_ = std::string(text.substr(begin, close - begin));
      CD4ML_ASSIGN_OR_RETURN(expression.root_, Reader(expression.text_, begin).ReadAll());
      reader.expressions.push_back(std::move(expression));
      at = close + kClose.size();
    }
    reader.literals.emplace_back(text.substr(at));
    return reader;
  }

  std::vector<std::string> literals;
  std::vector<Expression> expressions;
};

absl::StatusOr<Expression> Expression::Parse(std::string_view text) {
  Expression expression;
  expression.text_ = std::string(text);
  CD4ML_ASSIGN_OR_RETURN(expression.root_, Reader(expression.text_, 0).ReadAll());
  return expression;
}

absl::StatusOr<Value> Expression::Evaluate(const Scope& scope,
                                           std::map<std::string, Value>* trace) const {
  return Evaluator(scope, trace).Evaluate(*root_);
}

std::vector<std::string> Expression::Names() const {
  std::vector<std::string> names;
  Walk(*root_, [&](const Node& node) {
    if (node.kind == Node::Kind::kName) names.push_back(node.word);
  });
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::vector<FunctionCall> Expression::Calls() const {
  std::vector<FunctionCall> calls;
  Walk(*root_, [&](const Node& node) {
    if (node.kind != Node::Kind::kCall) return;
    FunctionCall call{node.word, {}};
    for (const NodePtr& operand : node.operands) call.arguments.push_back(operand->literal);
    calls.push_back(std::move(call));
  });
  return calls;
}

bool HasTemplate(std::string_view text) { return text.find(kOpen) != std::string_view::npos; }

bool IsWholeTemplate(std::string_view text) {
  if (!text.starts_with(kOpen) || !text.ends_with(kClose)) return false;
  return FindClose(text, kOpen.size()) == text.size() - kClose.size();
}

absl::StatusOr<std::vector<Expression>> ParseTemplate(std::string_view text) {
  CD4ML_ASSIGN_OR_RETURN(TemplateReader reader, TemplateReader::Read(text));
  return std::move(reader.expressions);
}

absl::StatusOr<Value> ResolveTemplate(std::string_view text, const Scope& scope) {
  CD4ML_ASSIGN_OR_RETURN(const TemplateReader reader, TemplateReader::Read(text));
  if (IsWholeTemplate(text)) return reader.expressions[0].Evaluate(scope);
  std::string resolved = reader.literals[0];
  for (size_t i = 0; i < reader.expressions.size(); ++i) {
    CD4ML_ASSIGN_OR_RETURN(const Value value, reader.expressions[i].Evaluate(scope));
    if (!value.is_scalar()) {
      return absl::InvalidArgumentError(
          "column 1: a " + std::string(TypeName(value)) +
          " cannot stand inside a text: " + reader.expressions[i].text());
    }
    resolved += ToText(value) + reader.literals[i + 1];
  }
  return Value(std::move(resolved));
}

absl::Status CheckTemplate(std::string_view text) { return ParseTemplate(text).status(); }

}  // namespace cd4ml::core
