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

LoadReport LoadBy(const ScriptedClient::Script& script, int64_t count, int& asked) {
  const std::unique_ptr<Clock> clock = os::MakeClock();
  return Load(*clock, [&] { return std::make_unique<ScriptedClient>(script, asked); }, {Asked()}, count, 1, {});
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
