// The agent's decisions, one event after another, without threads, clocks or messages.
#include "agent/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace cd4ml::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using Answer = FinishAnswered::Answer;

core::AttemptId Id(int number) { return {"shop/1", "train", number}; }

DesiredState Want(int64_t revision, std::vector<int> numbers) {
  DesiredState desired;
  desired.revision = revision;
  for (int number : numbers) {
    Task task;
    task.attempt = Id(number);
    desired.leases.push_back(std::make_shared<const Task>(std::move(task)));
  }
  return desired;
}

// Says what the actions are in short words, so that a test reads as a story.
std::vector<std::string> Words(const std::vector<SessionAction>& actions) {
  std::vector<std::string> words;
  for (const SessionAction& action : actions) {
    std::visit(
        [&](const auto& one) {
          using T = std::decay_t<decltype(one)>;
          if constexpr (std::is_same_v<T, OpenSession>) words.push_back("open");
          if constexpr (std::is_same_v<T, StartAttempt>)
            words.push_back("start " + std::to_string(one.task.attempt.number));
          if constexpr (std::is_same_v<T, StopAttempt>)
            words.push_back("stop " + std::to_string(one.attempt.number));
          if constexpr (std::is_same_v<T, DropAttempt>)
            words.push_back("drop " + std::to_string(one.attempt.number));
          if constexpr (std::is_same_v<T, SendFinish>)
            words.push_back("finish " + std::to_string(one.attempt.number));
          if constexpr (std::is_same_v<T, ForgetAttempt>)
            words.push_back("forget " + std::to_string(one.attempt.number));
          if constexpr (std::is_same_v<T, ReconcileServices>) words.push_back("services");
          if constexpr (std::is_same_v<T, SendReport>) {
            std::string held;
            for (const HeldLease& lease : one.held) {
              held += " " + std::to_string(lease.attempt.number) + (lease.started ? "+" : "");
            }
            words.push_back("report" + held + (one.draining ? " draining" : ""));
          }
        },
        action);
  }
  return words;
}

class SessionTest : public ::testing::Test {
 protected:
  std::vector<std::string> On(const SessionEvent& event) {
    return Words(session_.Handle(event, now_, random_));
  }
  // Also what is told together, a moment later.
  std::vector<std::string> AllOn(const SessionEvent& event) {
    std::vector<std::string> words = On(event);
    now_ += Duration(20);
    for (std::string& word : On(TimePassed{})) words.push_back(std::move(word));
    return words;
  }
  void Open() {
    On(TimePassed{});
    On(SessionOpened{"s1", Duration(5'000)});
    On(ReportAnswered{true});
  }

  Session session_;
  Duration now_{1'000'000};
  double random_ = 0.5;
};

TEST_F(SessionTest, ASessionThatBeginsAfterItsEndIsNone) {
  On(TimePassed{});
  On(SessionEnded{});

  EXPECT_THAT(AllOn(SessionOpened{"s1", Duration(5'000), Duration(30'000)}), Not(Contains("report")));
  EXPECT_FALSE(session_.is_open());
}

TEST_F(SessionTest, OpensASessionAtOnceAndReportsWhatItHoldsWhenItIsThere) {
  EXPECT_THAT(On(TimePassed{}), ElementsAre("open"));
  EXPECT_THAT(On(TimePassed{}), IsEmpty());
  EXPECT_THAT(On(SessionOpened{"s1"}), ElementsAre("report"));
}

TEST_F(SessionTest, StartsWhatIsDesiredOnceAndReportsItSoon) {
  Open();
  EXPECT_THAT(On(DesiredArrived{Want(1, {1, 2})}), ElementsAre("start 1", "start 2", "services"));
  EXPECT_EQ(session_.NextDeadline(), now_ + Duration(20));
  EXPECT_THAT(AllOn(DesiredArrived{Want(1, {1, 2})}), ElementsAre("services", "report 1 2"));
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(AttemptBegan{Id(2)}), ElementsAre("report 1 2+"));
}

TEST_F(SessionTest, AStageThatEndsAtOnceIsToldOfByItsResultAlone) {
  Open();
  EXPECT_THAT(On(DesiredArrived{Want(1, {1})}), ElementsAre("start 1", "services"));
  EXPECT_THAT(On(AttemptBegan{Id(1)}), IsEmpty());
  EXPECT_THAT(On(AttemptEnded{Id(1)}), IsEmpty());
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
  EXPECT_THAT(AllOn(FinishAnswered{Id(1), Answer::kAccepted, 2}), ElementsAre("forget 1", "report"));
}

TEST_F(SessionTest, SendsOneReportAtATimeAndTheLatestStateAfterIt) {
  Open();
  EXPECT_THAT(AllOn(DesiredArrived{Want(1, {1})}), ElementsAre("start 1", "services", "report 1"));
  EXPECT_THAT(AllOn(AttemptBegan{Id(1)}), IsEmpty());
  EXPECT_THAT(On(ReportAnswered{true}), ElementsAre("report 1+"));
  EXPECT_THAT(On(ReportAnswered{true}), IsEmpty());
}

TEST_F(SessionTest, ReportsAtLeastOncePerHeartbeat) {
  Open();
  now_ += Duration(4'999);
  EXPECT_THAT(On(TimePassed{}), IsEmpty());
  EXPECT_EQ(session_.NextDeadline(), Duration(1'005'000));
  now_ += Duration(1);
  EXPECT_THAT(On(TimePassed{}), ElementsAre("report"));
}

TEST_F(SessionTest, FinishesAfterTheLogIsDeliveredAndForgetsAfterTheAnswer) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(AttemptEnded{Id(1)}), ElementsAre("report 1+"));
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(FinishAnswered{Id(1), Answer::kAccepted, 2}), ElementsAre("forget 1", "report"));
}

TEST_F(SessionTest, AnOlderDesiredStateDoesNotStartAFinishedAttemptAgain) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(AttemptEnded{Id(1)});
  On(LogDelivered{Id(1)});
  On(FinishAnswered{Id(1), Answer::kAccepted, 3});

  EXPECT_THAT(On(DesiredArrived{Want(2, {1})}), ElementsAre("services"));
  EXPECT_THAT(On(DesiredArrived{Want(3, {})}), ElementsAre("services"));
}

TEST_F(SessionTest, ADesiredStateThatWasOvertakenIsNotLookedAt) {
  Open();
  On(DesiredArrived{Want(5, {1})});
  On(AttemptEnded{Id(1)});
  On(LogDelivered{Id(1)});
  On(FinishAnswered{Id(1), Answer::kAccepted, 6});
  EXPECT_THAT(On(DesiredArrived{Want(7, {})}), ElementsAre("services"));
  EXPECT_THAT(On(DesiredArrived{Want(5, {1})}), IsEmpty());
  On(SessionEnded{});
  now_ = *session_.NextDeadline();
  On(TimePassed{});
  On(SessionOpened{"s2"});
  EXPECT_THAT(On(DesiredArrived{Want(1, {2})}), ElementsAre("start 2", "services"));
}

TEST_F(SessionTest, StopsWhatIsNoLongerDesiredAndReportsItsOutcome) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(ReportAnswered{true});
  EXPECT_THAT(On(DesiredArrived{Want(2, {})}), ElementsAre("stop 1", "services"));
  EXPECT_THAT(On(DesiredArrived{Want(3, {})}), ElementsAre("services"));
  EXPECT_THAT(AllOn(AttemptEnded{Id(1)}), ElementsAre("report 1+"));
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
}

TEST_F(SessionTest, AStaleAttemptIsKilledAndDroppedWithoutAReport) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(AttemptStale{Id(1)}), ElementsAre("drop 1", "report"));
  EXPECT_THAT(On(AttemptStale{Id(1)}), IsEmpty());
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(AttemptEnded{Id(1)}), ElementsAre("forget 1", "report"));
}

TEST_F(SessionTest, AFinishThatIsRefusedAsStaleDropsTheOutcome) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(AttemptEnded{Id(1)});
  On(LogDelivered{Id(1)});
  On(ReportAnswered{true});
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(FinishAnswered{Id(1), Answer::kStale, 0}), ElementsAre("forget 1", "report"));
}

TEST_F(SessionTest, GoesOnWhileTheDaemonIsAwayAndFinishesInTheNextSession) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  EXPECT_THAT(On(SessionEnded{}), IsEmpty());
  EXPECT_THAT(On(AttemptEnded{Id(1)}), IsEmpty());
  now_ = *session_.NextDeadline();
  EXPECT_THAT(On(TimePassed{}), ElementsAre("open"));
  EXPECT_THAT(On(SessionOpened{"s2"}), ElementsAre("report 1+"));
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
}

TEST_F(SessionTest, SendsAFinishWithoutAnswerAgainWithTheHeartbeat) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(AttemptEnded{Id(1)});
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
  On(ReportAnswered{true});
  On(ReportAnswered{true});
  EXPECT_THAT(On(FinishAnswered{Id(1), Answer::kNoAnswer, 0}), IsEmpty());
  now_ += Duration(5'000);
  EXPECT_THAT(On(TimePassed{}), ElementsAre("finish 1", "report 1+"));
}

TEST_F(SessionTest, AFinishThatIsRefusedAgainAndAgainIsNotSentMoreOftenBecauseAReportIsUnderWay) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(AttemptEnded{Id(1)});
  ASSERT_EQ(On(LogDelivered{Id(1)}).front(), "finish 1");
  now_ += Duration(5'000);
  On(TimePassed{});   // The heartbeat, whose report gets no answer; the result goes with it once more.

  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(On(FinishAnswered{Id(1), FinishAnswered::Answer::kNoAnswer, 0}).empty());
  }
  EXPECT_EQ(session_.NextDeadline(), now_ + Duration(5'000));
  now_ += Duration(5'000);
  EXPECT_EQ(On(TimePassed{}), std::vector<std::string>{"finish 1"});
}

TEST_F(SessionTest, AnAttemptIsDroppedWhenItIsStaleAndNotWhenItsSessionIsOver) {
  Open();
  On(DesiredArrived{Want(1, {1})});
  On(AttemptEnded{Id(1)});
  On(LogDelivered{Id(1)});
  On(FinishAnswered{Id(1), Answer::kUnknown, 0});
  On(SessionEnded{});
  now_ = *session_.NextDeadline();
  On(TimePassed{});
  EXPECT_THAT(On(SessionOpened{"s2"}), ElementsAre("finish 1", "report 1+"));
  EXPECT_THAT(On(FinishAnswered{Id(1), Answer::kUnknown, 0}), IsEmpty());
  EXPECT_THAT(On(FinishAnswered{Id(1), Answer::kStale, 0}), ElementsAre("forget 1"));
}

TEST_F(SessionTest, ARefusedReportOpensAnotherSession) {
  Open();
  now_ += Duration(5'000);
  On(TimePassed{});
  random_ = 0;
  EXPECT_THAT(On(ReportAnswered{false}), ElementsAre("open"));
}

TEST_F(SessionTest, BacksOffWithFullJitterWithinAThirdOfWhatTheDaemonWaits) {
  On(TimePassed{});
  random_ = 0.999;
  std::vector<int64_t> waits;
  for (int i = 0; i < 9; ++i) {
    On(SessionEnded{});
    waits.push_back((*session_.NextDeadline() - now_).count());
    now_ = *session_.NextDeadline();
    EXPECT_THAT(On(TimePassed{}), ElementsAre("open"));
  }
  EXPECT_THAT(waits, ElementsAre(499, 999, 1998, 3996, 7992, 9990, 9990, 9990, 9990));
}

TEST_F(SessionTest, BacksOffUpToThirtySecondsWhereTheDaemonWaitsLong) {
  On(TimePassed{});
  On(SessionOpened{"s1", Duration(5'000), Duration(600'000)});
  for (int i = 0; i < 12; ++i) {
    On(SessionEnded{});
    now_ = *session_.NextDeadline();
    On(TimePassed{});
  }
  random_ = 0.999;
  On(SessionEnded{});
  EXPECT_EQ(*session_.NextDeadline() - now_, Duration(29'970));
}

TEST_F(SessionTest, ASessionOfSomeLengthMakesTheNextWaitShortAndOneThatEndsAtOnceDoesNot) {
  random_ = 0.999;
  On(TimePassed{});
  for (const int64_t expected : {499, 999, 1998}) {
    On(SessionOpened{"superseded at once"});
    On(SessionEnded{});
    EXPECT_EQ((*session_.NextDeadline() - now_).count(), expected);
    now_ = *session_.NextDeadline();
    On(TimePassed{});
  }
  On(SessionOpened{"s"});
  now_ += Duration(5'000);
  On(SessionEnded{});
  EXPECT_EQ((*session_.NextDeadline() - now_).count(), 499);
}

TEST_F(SessionTest, ARefusedAgentGoesOnTryingSlowly) {
  random_ = 0.999;
  On(TimePassed{});
  On(SessionEnded{.refused = true});
  EXPECT_EQ((*session_.NextDeadline() - now_).count(), 9'990);
  now_ = *session_.NextDeadline();
  EXPECT_THAT(On(TimePassed{}), ElementsAre("open"));
  EXPECT_THAT(On(SessionOpened{"after the upgrade"}), ElementsAre("report"));
}

TEST_F(SessionTest, ADrainingAgentIsDoneWhenTheDaemonKnowsAndHasAnsweredForEverything) {
  Open();
  AllOn(DesiredArrived{Want(1, {1})});
  On(ReportAnswered{true});
  EXPECT_THAT(AllOn(DrainAsked{}), ElementsAre("report 1 draining"));
  EXPECT_THAT(On(AttemptEnded{Id(1)}), IsEmpty());
  EXPECT_THAT(On(LogDelivered{Id(1)}), ElementsAre("finish 1"));
  On(FinishAnswered{Id(1), Answer::kAccepted, 2});
  EXPECT_FALSE(session_.drained());  // A lease may have been granted meanwhile.
  On(ReportAnswered{true});
  EXPECT_TRUE(session_.drained());
}

TEST_F(SessionTest, ADrainingAgentFinishesWhatWasGrantedBeforeTheDaemonKnew) {
  Open();
  EXPECT_THAT(AllOn(DrainAsked{}), ElementsAre("report draining"));
  EXPECT_THAT(On(DesiredArrived{Want(1, {1})}), ElementsAre("start 1", "services"));
  EXPECT_THAT(AllOn(ReportAnswered{true}), ElementsAre("report 1 draining"));
  EXPECT_FALSE(session_.drained());
}

TEST_F(SessionTest, TheNextDaemonIsToldOfTheDrainingToo) {
  Open();
  AllOn(DrainAsked{});
  On(ReportAnswered{true});
  EXPECT_TRUE(session_.drained());
  On(SessionEnded{});
  EXPECT_FALSE(session_.drained());
  now_ = *session_.NextDeadline();
  On(TimePassed{});
  EXPECT_THAT(On(SessionOpened{"s2"}), ElementsAre("report draining"));
}

TEST_F(SessionTest, ANameOfADroppedAttemptIsFreeInTheNextSession) {
  session_.Found(Id(1), /*ended=*/false);
  On(TimePassed{});
  EXPECT_THAT(On(AttemptStale{Id(1)}), ElementsAre("drop 1"));
  EXPECT_THAT(On(AttemptEnded{Id(1)}), ElementsAre("forget 1"));
  On(SessionOpened{"s1"});
  EXPECT_THAT(On(DesiredArrived{Want(1, {1})}), ElementsAre("start 1", "services"));
}

TEST_F(SessionTest, AttemptsFoundOnDiskAreHeldAndAreNotStarted) {
  session_.Found(Id(1), /*ended=*/false);
  session_.Found(Id(2), /*ended=*/true);
  On(TimePassed{});
  EXPECT_THAT(On(SessionOpened{"s1"}), ElementsAre("report 1+ 2+"));
  EXPECT_THAT(On(DesiredArrived{Want(1, {1, 2})}), ElementsAre("services"));
  EXPECT_THAT(On(LogDelivered{Id(2)}), ElementsAre("finish 2"));
}

TEST_F(SessionTest, AnAttemptThatWasFoundAndIsNoLongerDesiredIsStopped) {
  session_.Found(Id(1), /*ended=*/false);
  Open();
  EXPECT_THAT(On(DesiredArrived{Want(1, {})}), ElementsAre("stop 1", "services"));
}

// Random histories: whatever comes in whatever order, no attempt is started twice or finished
// before its end.
TEST(Session, NeverStartsAnAttemptTwiceWhateverHappens) {
  for (unsigned seed = 0; seed < 2'000; ++seed) {
    std::mt19937 random(seed);
    Session session;
    Duration now(0);
    int64_t revision = 0;
    std::set<int> started, ended, answered, over;  // `over`: answered in an earlier session.
    const auto handle = [&](const SessionEvent& event) {
      for (const SessionAction& action : session.Handle(event, now, 0.5)) {
        if (const auto* start = std::get_if<StartAttempt>(&action)) {
          ASSERT_TRUE(started.insert(start->task.attempt.number).second) << "seed " << seed;
        }
        if (const auto* finish = std::get_if<SendFinish>(&action)) {
          ASSERT_TRUE(ended.contains(finish->attempt.number)) << "seed " << seed;
        }
      }
    };
    for (int step = 0; step < 60; ++step) {
      now += Duration(random() % 2'000);
      const int number = 1 + static_cast<int>(random() % 4);
      switch (random() % 9) {
        case 0:
          over = answered;
          handle(SessionOpened{"s"});
          break;
        case 1:
          handle(SessionEnded{});
          break;
        case 2: {
          // The daemon never desires again what it has taken the outcome of; older states of the
          // same session may still arrive.
          std::vector<int> wanted;
          for (int i = 1; i <= 4; ++i) {
            if (over.contains(i) || random() % 2 == 0) continue;
            if (!answered.contains(i) || random() % 4 == 0) wanted.push_back(i);
          }
          const bool is_old = std::any_of(wanted.begin(), wanted.end(),
                                          [&](int i) { return answered.contains(i); });
          handle(DesiredArrived{Want(is_old ? revision - 1 : ++revision, wanted)});
          break;
        }
        case 3:
          handle(AttemptBegan{Id(number)});
          break;
        case 4:
          if (started.contains(number) && ended.insert(number).second)
            handle(AttemptEnded{Id(number)});
          break;
        case 5:
          if (ended.contains(number)) handle(LogDelivered{Id(number)});
          break;
        case 6:
          if (ended.contains(number) && answered.insert(number).second) {
            handle(FinishAnswered{Id(number), Answer::kAccepted, 1'000'000});
          }
          break;
        case 7:
          handle(ReportAnswered{random() % 4 != 0});
          break;
        default:
          handle(TimePassed{});
          break;
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cd4ml::agent
