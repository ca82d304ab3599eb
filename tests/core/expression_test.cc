// Expressions: what they mean, what they refuse, and where.
#include "cd4ml/core/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"

namespace cd4ml::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

Scope MakeScope() {
  Scope scope;
  scope.name = [](std::string_view name) -> std::optional<Value> {
    if (name == "params.gate.mae_max") return Value(1200.0);
    if (name == "params.depth") return Value(12);
    if (name == "run.lane") return Value("production");
    if (name == "flag") return Value(true);
    if (name == "nan") return Value(std::nan(""));
    if (name == "list") return Value(Value::List{1});
    if (name == "nothing") return Value();
    if (name == "report.0.f1_score") return Value(0.5);
    return std::nullopt;
  };
  scope.call = [](std::string_view function,
                  const std::vector<Value>& arguments) -> std::optional<Value> {
    if (function == "always" && arguments.empty()) return Value(true);
    if (function == "passed" && arguments.size() == 1) return Value(arguments[0] == Value("train"));
    return std::nullopt;
  };
  scope.known_names = {"params.gate.mae_max", "params.depth", "run.lane"};
  return scope;
}

// The value as JSON, or the error.
std::string Evaluated(std::string_view text) {
  const auto expression = Expression::Parse(text);
  if (!expression.ok()) return Message(expression.status());
  const auto value = expression->Evaluate(MakeScope());
  return value.ok() ? ToJson(*value) : Message(value.status());
}

TEST(Expression, ComputesWithThePrecedenceOfArithmetic) {
  EXPECT_EQ(Evaluated("1 + 2 * 3"), "7");
  EXPECT_EQ(Evaluated("(1 + 2) * 3"), "9");
  EXPECT_EQ(Evaluated("10 - 4 - 3"), "3");
  EXPECT_EQ(Evaluated("-2 * -3"), "6");
  EXPECT_EQ(Evaluated("- -2"), "2");
  EXPECT_EQ(Evaluated("1 / 2"), "0.5");
  EXPECT_EQ(Evaluated("2 * 0.5"), "1.0");
  EXPECT_EQ(Evaluated("1.5e3 + 1"), "1501.0");
  EXPECT_EQ(Evaluated("1e-3"), "0.001");
}

TEST(Expression, ComparesNumbersTextsAndTruth) {
  EXPECT_EQ(Evaluated("1 == 1.0"), "true");
  EXPECT_EQ(Evaluated("1 + 1 < 3"), "true");
  EXPECT_EQ(Evaluated("'a' < \"b\""), "true");
  EXPECT_EQ(Evaluated("run.lane == 'production'"), "true");
  EXPECT_EQ(Evaluated("run.lane != 'production'"), "false");
  EXPECT_EQ(Evaluated("flag == false"), "false");
  EXPECT_EQ(Evaluated("2 >= 2"), "true");
  EXPECT_EQ(Evaluated("2 > 2"), "false");
  EXPECT_EQ(Evaluated("9007199254740993 > 9007199254740992"), "true") << "integers are exact";
}

TEST(Expression, JoinsTruthInWordsAndInSymbols) {
  EXPECT_EQ(Evaluated("true and not false"), "true");
  EXPECT_EQ(Evaluated("false or true and false"), "false");
  EXPECT_EQ(Evaluated("!flag || flag && true"), "true");
  EXPECT_EQ(Evaluated("not (1 > 2)"), "true");
  EXPECT_EQ(Evaluated("passed('train') and always()"), "true");
  EXPECT_EQ(Evaluated("passed('test')"), "false");
}

TEST(Expression, LooksNoFurtherThanItMust) {
  EXPECT_EQ(Evaluated("true or unknown"), "true");
  EXPECT_EQ(Evaluated("false and 1 / 0 > 1"), "false");
}

TEST(Expression, ReadsNamesThatLookLikeWords) {
  EXPECT_EQ(Evaluated("report.0.f1_score"), "0.5");
  EXPECT_THAT(Evaluated("order"), HasSubstr("unknown name \"order\""));
  EXPECT_THAT(Evaluated("notable"), HasSubstr("unknown name \"notable\""));
  EXPECT_THAT(Evaluated("truest"), HasSubstr("unknown name \"truest\""));
}

TEST(Expression, NamesTheColumnOfWhatIsWrong) {
  EXPECT_EQ(Evaluated(""), "column 1: expression ends where a value is expected");
  EXPECT_EQ(Evaluated("1 +"), "column 4: expression ends where a value is expected");
  EXPECT_EQ(Evaluated("1 2"), "column 3: unexpected \"2\"");
  EXPECT_EQ(Evaluated("(1"), "column 3: the parenthesis of column 1 is not closed");
  EXPECT_EQ(Evaluated("1 < 2 < 3"), "column 7: unexpected \"<\"");
  EXPECT_EQ(Evaluated("a = 1"), "column 3: unexpected \"=\"");
  EXPECT_EQ(Evaluated("'abc"), "column 1: this text is not closed");
  EXPECT_EQ(Evaluated("1.2.3"), "column 1: \"1.2.3\" is no number");
  EXPECT_EQ(Evaluated("1x"), "column 2: unexpected \"x\"");
  EXPECT_EQ(Evaluated("a..b"), "column 1: \"a..b\" is no name");
  EXPECT_EQ(Evaluated("a."), "column 1: \"a.\" is no name");
  EXPECT_EQ(Evaluated("f(1"), "column 4: the call of \"f\" is not closed");
  EXPECT_EQ(Evaluated("f(,)"), "column 3: unexpected \",\"");
  EXPECT_EQ(Evaluated("params.dept"),
            "column 1: unknown name \"params.dept\"; did you mean \"params.depth\"?");
  EXPECT_EQ(Evaluated("1 + f(2)"), "column 5: unknown function \"f\" of 1 arguments");
}

TEST(Expression, RefusesTypesThatDoNotFit) {
  EXPECT_EQ(Evaluated("1 + 'a'"), "column 5: \"+\" needs a number, this is string \"a\"");
  EXPECT_EQ(Evaluated("1 and true"), "column 1: \"and\" needs true or false, this is int 1");
  EXPECT_EQ(Evaluated("!5"), "column 2: \"!\" needs true or false, this is int 5");
  EXPECT_EQ(Evaluated("'1' == 1"), "column 5: cannot compare string \"1\" with int 1");
  EXPECT_EQ(Evaluated("true < false"), "column 6: cannot compare bool true with bool false");
  EXPECT_EQ(Evaluated("nothing == 1"), "column 9: cannot compare null with int 1");
  EXPECT_EQ(Evaluated("list == list"), "column 6: cannot compare list with list");
}

TEST(Expression, RefusesNumbersThatAreNone) {
  EXPECT_EQ(Evaluated("1 / 0"), "column 3: division by zero");
  EXPECT_EQ(Evaluated("1 / 0.0"), "column 3: division by zero");
  EXPECT_EQ(Evaluated("nan < 1"), "column 1: \"nan\" is not a number (NaN)");
  EXPECT_EQ(Evaluated("not (nan > 1)"), "column 6: \"nan\" is not a number (NaN)")
      << "and must not pass a gate";
  EXPECT_EQ(Evaluated("1 + nan"), "column 5: \"nan\" is not a number (NaN)");
  EXPECT_EQ(Evaluated("9223372036854775807 + 1"), "column 21: the result is too large");
  EXPECT_EQ(Evaluated("-9223372036854775807 - 2"), "column 22: the result is too large");
  EXPECT_EQ(Evaluated("9223372036854775807 * 2"), "column 21: the result is too large");
}

TEST(Expression, BoundsLengthAndDepth) {
  EXPECT_THAT(Evaluated(std::string(5000, '1')), HasSubstr("longer than 4096"));
  EXPECT_THAT(Evaluated(std::string(2000, '(')), HasSubstr("nested too deeply"));
  EXPECT_THAT(Evaluated(std::string(4000, '!')), HasSubstr("nested too deeply"));
  EXPECT_THAT(Evaluated(std::string(4000, '-')), HasSubstr("nested too deeply"));
  std::string calls;
  for (int i = 0; i < 1000; ++i) calls += "f(";
  EXPECT_THAT(Evaluated(calls), HasSubstr("nested too deeply"));
  std::string sum = "1";
  while (sum.size() < 4090) sum += "+1";
  EXPECT_EQ(Evaluated(sum), std::to_string((sum.size() + 1) / 2)) << "a long sum is not deep";
  EXPECT_EQ(Evaluated(std::string(60, '(') + "1" + std::string(60, ')')), "1");
  std::string siblings = "(1)";
  for (int i = 0; i < 200; ++i) siblings += "+(1)";
  EXPECT_EQ(Evaluated(siblings), "201") << "depth is not counted up by what is closed";
}

TEST(Expression, TracesWhatItLookedUp) {
  std::map<std::string, Value> trace;

  const auto value =
      Expression::Parse("params.depth > 5 and run.lane == 'x'")->Evaluate(MakeScope(), &trace);

  EXPECT_EQ(*value, Value(false));
  EXPECT_THAT(trace,
              ElementsAre(Pair("params.depth", Value(12)), Pair("run.lane", Value("production"))));
}

TEST(Expression, ListsItsNamesAndCalls) {
  const Expression expression =
      *Expression::Parse("b.c + a > 1 and (passed('x') or failed(y)) and a > 2");

  EXPECT_THAT(expression.Names(), ElementsAre("a", "b.c", "y"));
  const std::vector<FunctionCall> calls = expression.Calls();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].function, "passed");
  EXPECT_THAT(calls[0].arguments, ElementsAre(Value("x")));
  EXPECT_EQ(calls[1].function, "failed");
  EXPECT_THAT(calls[1].arguments, ElementsAre(Value()));
}

std::string Resolved(std::string_view text) {
  const auto value = ResolveTemplate(text, MakeScope());
  return value.ok() ? ToJson(*value) : Message(value.status());
}

TEST(Template, KeepsTheTypeOfAWholeOneAndMakesTextOfOthers) {
  EXPECT_EQ(Resolved("${{ params.gate.mae_max }}"), "1200.0");
  EXPECT_EQ(Resolved("${{params.depth}}"), "12");
  EXPECT_EQ(Resolved("${{ list }}"), "[1]");
  EXPECT_EQ(Resolved(" ${{ params.depth }}"), "\" 12\"");
  EXPECT_EQ(Resolved("${{ params.depth }}${{ flag }}"), "\"12true\"");
  EXPECT_EQ(Resolved("a ${{ run.lane }} b"), "\"a production b\"");
  EXPECT_EQ(Resolved("no template"), "\"no template\"");
  EXPECT_EQ(Resolved("$ {{ x }} }}"), "\"$ {{ x }} }}\"");
  EXPECT_EQ(Resolved("${{ '}}' }}"), "\"}}\"") << "quoted text does not end it";
}

TEST(Template, NamesTheColumnInTheWholeText) {
  EXPECT_EQ(Resolved("abc ${{ 1 + }}"), "column 13: expression ends where a value is expected");
  EXPECT_EQ(Resolved("abc ${{ dept }}"), "column 9: unknown name \"dept\"");
  EXPECT_EQ(Resolved("abc ${{ 1 "), "column 5: this \"${{\" has no \"}}\"");
  EXPECT_THAT(Resolved("x ${{ list }}"), HasSubstr("a list cannot stand inside a text"));
  EXPECT_THAT(Resolved("x ${{ nothing }}"), HasSubstr("a null cannot stand inside a text"));
}

TEST(Template, KnowsItsForms) {
  EXPECT_TRUE(HasTemplate("a ${{ b"));
  EXPECT_FALSE(HasTemplate("${a} {{b}}"));
  EXPECT_TRUE(IsWholeTemplate("${{ a }}"));
  EXPECT_FALSE(IsWholeTemplate("${{ a }} ${{ b }}"));
  EXPECT_TRUE(IsWholeTemplate("${{ '}}' }}"));
  EXPECT_FALSE(IsWholeTemplate("${{ a"));
  EXPECT_FALSE(IsWholeTemplate("${{"));
  EXPECT_FALSE(IsWholeTemplate("${{}"));
  EXPECT_TRUE(CheckTemplate("${{ a + 1 }} and ${{ b }}").ok());
  EXPECT_THAT(Message(CheckTemplate("${{ a }} and ${{ + }}")), StartsWith("column 18: "));
}

}  // namespace
}  // namespace cd4ml::core
