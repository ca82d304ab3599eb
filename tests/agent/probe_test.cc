// Probe sets: what is asked, what has to come back, and sets that would compare nothing.
#include "agent/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

using ::testing::HasSubstr;

core::ProbeRule Probe(const std::string& pointer = "/price") {
  core::ProbeRule probe;
  probe.body = "row.input";
  probe.equals = "row.prediction";
  probe.answer_pointer = pointer;
  return probe;
}

HttpResponse Answer(std::string body) {
  HttpResponse response;
  response.status = 200;
  response.headers["content-type"] = "application/json";
  response.body = std::move(body);
  return response;
}

TEST(ProbeSet, EveryLineIsAQuestion) {
  const auto questions = ReadProbeSet("{\"input\": {\"x\": 1}, \"prediction\": 2}\n\n{\"input\": 3, \"prediction\": null}\n", Probe());
  ASSERT_TRUE(questions.ok()) << questions.status();
  ASSERT_EQ(questions->size(), 2u);
  EXPECT_EQ(ToJson(*questions->at(0).sent), "{\"x\":1}");
  EXPECT_EQ(questions->at(0).expected, Value(2));
  EXPECT_TRUE(questions->at(1).expected.is_null()) << "one row without an answer is one that the model refuses";
}

TEST(ProbeSet, OneThatComparesNothingIsAnError) {
  const auto why = [](const std::string& text) { return Message(ReadProbeSet(text, Probe()).status()); };
  EXPECT_EQ(why("{\"input\": 1, \"prediction\": null}\n{\"input\": 2, \"prediction\": null}\n"),
            "\"row.prediction\" is null in every row of the probe set, so nothing would be compared");
  EXPECT_EQ(why("\n \n"), "there is nothing in the probe set");
  EXPECT_THAT(why("{\"input\": 1}\n"), HasSubstr("line 1 of the probe set: "));
  EXPECT_THAT(why("{\"input\": 1, \"prediction\": 1}\nprice\n"), HasSubstr("line 2 of the probe set: "));
}

TEST(ProbeAnswer, NullEqualsNullAndNothingElse) {
  EXPECT_EQ(AnswerBreach(Probe(), Value(), Answer(R"({"price": null})")), "");
  EXPECT_EQ(AnswerBreach(Probe(), Value(), Answer(R"({"price": 0})")), "answered 0, the model said null");
  EXPECT_EQ(AnswerBreach(Probe(), Value(), Answer("{}")), "the answer has no /price: {}") << "to say nothing is not to say null";
  EXPECT_EQ(AnswerBreach(Probe(), Value(2.0), Answer(R"({"price": null})")), "answered null, the model said 2.0");
  EXPECT_EQ(MessageBreach(Probe(), Value(), Value(Value::Map{{"price", Value()}})), "");
}

}  // namespace
}  // namespace cd4ml::agent
