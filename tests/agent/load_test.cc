// What counts of the answers under load, and how percentiles are taken.
#include "agent/load.h"

#include <numeric>

#include "cd4ml/os/os.h"

namespace cd4ml::agent {
namespace {

using ::testing::HasSubstr;

// Answers the n-th request as the test says.
class ScriptedClient : public HttpClient {
 public:
  using Script = std::function<absl::StatusOr<HttpResponse>(int n)>;
  ScriptedClient(Script script, int& asked) : script_(std::move(script)), asked_(asked) {}
  absl::StatusOr<HttpResponse> Send(const HttpRequest&) override { return script_(asked_++); }

 private:
  const Script script_;
  int& asked_;
};

HttpResponse Answer(double seconds, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.seconds = seconds;
  return response;
}

LoadReport LoadBy(const ScriptedClient::Script& script, int64_t count, int& asked, const Asked& what = Asked()) {
  const std::unique_ptr<Clock> clock = os::MakeClock();
  return Load(*clock, [&] { return std::make_unique<ScriptedClient>(script, asked); }, {what}, count, 1, {});
}

TEST(Load, WhatIsSentWhileWarmingUpIsNotMeasured) {
  int asked = 0;
  const LoadReport report = LoadBy([](int n) { return Answer(n < 10 ? 9 : n * 1e-3); }, 100, asked);
  EXPECT_EQ(asked, 110);
  ASSERT_EQ(report.seconds.size(), 100u);
  EXPECT_EQ(report.seconds.front(), 0.010);
  EXPECT_EQ(report.seconds.back(), 0.109);
  EXPECT_EQ(report.failed, 0);
}

TEST(Load, AnAnswerWithAnotherStatusIsAFailureAlsoWhileWarmingUp) {
  int asked = 0;
  const LoadReport report = LoadBy([](int n) { return Answer(0.001, n == 3 ? 500 : 200); }, 100, asked);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.failure, "answered with status 500 instead of 200");
}

TEST(Load, AnAnswerThatIsWrongIsAFailureHoweverQuickItCame) {
  int asked = 0, looked_at = 0;
  Asked one;
  one.good_type = "application/json";
  one.good_body = "6";
  one.breach = [&](const HttpResponse& response) {
    ++looked_at;
    return response.body == "7" ? "answered 7, the model said 6" : "";
  };
  const auto script = [](const std::string& type, const std::string& body) {
    return [=](int n) {
      HttpResponse response = Answer(0.001);
      response.headers["content-type"] = n % 10 == 5 ? type : "application/json";
      response.body = n % 10 == 5 ? body : "6";
      return response;
    };
  };
  const auto failed = [&](const std::string& type, const std::string& body) {
    asked = 0;
    return LoadBy(script(type, body), 20, asked, one);
  };
  EXPECT_EQ(failed("application/json", "6").failed, 0);
  EXPECT_EQ(looked_at, 0) << "what is the same again needs no second look";
  EXPECT_EQ(failed("text/html", "6").failed, 0);
  EXPECT_GT(looked_at, 0) << "the same text as something else is not the same";
  const LoadReport wrong = failed("application/json", "7");
  EXPECT_EQ(wrong.failed, 2);
  EXPECT_EQ(wrong.failure, "answered right without load, and now: answered 7, the model said 6");
}

TEST(Load, AServiceThatDoesNotAnswerIsNotAskedForEver) {
  int asked = 0;
  const LoadReport report = LoadBy([](int) { return absl::UnavailableError("nobody listens"); }, 1'000'000, asked);
  EXPECT_EQ(asked, 8);
  EXPECT_EQ(report.failed, 8);
  EXPECT_THAT(report.failure, HasSubstr("nobody listens"));
}

TEST(Percentile, IsTheSmallestValueThatSoManyDoNotExceed) {
  std::vector<double> hundred(100);
  std::iota(hundred.begin(), hundred.end(), 1);
  EXPECT_EQ(Percentile(hundred, 50), 50);
  EXPECT_EQ(Percentile(hundred, 95), 95);
  EXPECT_EQ(Percentile(hundred, 99), 99);
  EXPECT_EQ(Percentile({1, 2, 3}, 50), 2);
  EXPECT_EQ(Percentile({1, 2, 3}, 95), 3);
  EXPECT_EQ(Percentile({7}, 50), 7);
  hundred.push_back(101);
  EXPECT_EQ(Percentile(hundred, 99), 100);
}

}  // namespace
}  // namespace cd4ml::agent
