// x
#include <gtest/gtest.h>
#include "cd4ml/os/os.h"
#include <condition_variable>
#include <mutex>
#include <map>
namespace cd4ml {
TEST(Keeper, Smoke) {
  char dir[] = "/tmp/keeper_test_XXXXXX"; ASSERT_TRUE(mkdtemp(dir));
  auto r = os::ConnectKeeper(dir, CD4ML_KEEPER);
  ASSERT_TRUE(r.ok()) << r.status();
  auto& runner = **r;
  std::mutex m; std::condition_variable cv; std::map<std::string, ProcessStatus> ended;
  runner.OnExit([&](const ProcessStatus& s) { std::lock_guard l(m); ended[s.id] = s; cv.notify_all(); });
  auto clock = os::MakeClock();
  for (int i = 0; i < 200; i++) {
  std::string id = "a" + std::to_string(i);
  auto t = std::chrono::steady_clock::now();
  auto st = runner.Start({.id = id, .argv = {"/bin/true"}, .env = {}, .dir = "/", .log = std::string(dir) + "/log"});
  ASSERT_TRUE(st.ok()) << st;
  auto t2 = std::chrono::steady_clock::now();
  std::unique_lock l(m); cv.wait(l, [&] { return ended.count(id); });
  auto t3 = std::chrono::steady_clock::now();
  EXPECT_EQ(ended[id].exit_code, 0) << ended[id].message;
  if (i % 20 == 0) std::cerr << (t2 - t).count() / 1000 << " us start, " << (t3 - t2).count() / 1000 << " us end\n";
  }
}
}
