// A stage that computes: uses the processor for as many microseconds as it is told, and ends.
#include <cstdlib>
#include <ctime>

int main(int argc, char** argv) {
  const long wanted_us = argc == 2 ? std::atol(argv[1]) : 0;
  timespec used{};
  do {
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  } while (used.tv_sec * 1'000'000 + used.tv_nsec / 1'000 < wanted_us);
  return 0;
}
