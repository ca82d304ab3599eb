// Tables at different widths: columns go by rank, rows never wrap.
#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_daemon.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

using ::testing::Each;
using ::testing::Le;
using ::testing::ResultOf;

struct Printed {
  std::string text;
  int hidden = 0;
};

Table MakeTable() {
  Table table(
      {{"RUN", 0}, {"STATE", 0}, {"STAGES", 2}, {"COMMIT", 3}, {"AGE", 1}, {"WHY", kOnlyWide}});
  table.Add({"used-car-price/2", {"✗ gate rejected", Style::kBad}, "3/7", "9f2c1aa", "2h", "mae"});
  table.Add({"churn/118", {"● running", Style::kBusy}, "2/6", "be0411c", "1d", ""});
  return table;
}

Printed PrintAt(const Table& table, size_t width, bool wide = false, bool color = false) {
  FakeDaemon daemon;
  FakeClock clock;
  FakeParser parser;
  std::ostringstream stream;
  const CliPorts ports{.connect = {},
                       .parser = parser,
                       .clock = clock,
                       .json = {},
                       .read_file = {},
                       .find_definitions = {},
                       .terminal_size = {},
                       .interrupted = {},
                       .new_key = {},
                       .out = {stream, false},
                       .err = {stream, false},
                       .environment = {},
                       .user = "",
                       .working_dir = "",
                       .version = ""};
  const Terminal terminal(ports.out, ports, color ? ColorMode::kAlways : ColorMode::kNever);
  const int hidden =
      table.Print(terminal, {.width = width, .headers = true, .wide = wide, .indent = ""});
  return {stream.str(), hidden};
}

TEST(Table, AlignsColumnsByDisplayWidth) {
  EXPECT_EQ(PrintAt(MakeTable(), 80).text,
            "RUN               STATE            STAGES  COMMIT   AGE\n"
            "used-car-price/2  ✗ gate rejected  3/7     9f2c1aa  2h\n"
            "churn/118         ● running        2/6     be0411c  1d\n");
}

TEST(Table, DropsTheLeastImportantColumnsAndCountsThem) {
  const Printed printed = PrintAt(MakeTable(), 40);

  EXPECT_EQ(printed.text,
            "RUN               STATE            AGE\n"
            "used-car-price/2  ✗ gate rejected  2h\n"
            "churn/118         ● running        1d\n");
  EXPECT_EQ(printed.hidden, 2);
}

TEST(Table, NeverExceedsTheWidth) {
  for (size_t width : {12u, 20u, 30u, 40u, 55u, 80u, 120u}) {
    EXPECT_THAT(SplitLines(PrintAt(MakeTable(), width).text),
                Each(ResultOf(DisplayWidth, Le(width))))
        << width;
  }
}

TEST(Table, DropsTheRightmostOfEqualColumnsFirst) {
  Table table({{"A", 0}, {"B", 1}, {"C", 1}});
  table.Add({"aaaa", "bbbb", "cccc"});

  EXPECT_EQ(PrintAt(table, 11).text, "A     B\naaaa  bbbb\n");
}

TEST(Table, ShowsEverythingWhenWide) {
  const Printed printed = PrintAt(MakeTable(), 20, /*wide=*/true);

  EXPECT_NE(printed.text.find("WHY"), std::string::npos);
  EXPECT_NE(printed.text.find("used-car-price/2  ✗ gate rejected  3/7"), std::string::npos);
  EXPECT_EQ(printed.hidden, 0);
}

TEST(Table, MakesHostileCellsHarmless) {
  Table table({{"NAME", 0}, {"STATE", 0}});
  table.Add({"evil\x1b[2J\r\nname", "\x1b]0;owned\x07idle"});

  EXPECT_EQ(PrintAt(table, 80).text, "NAME   STATE\n name  idle\n");
}

TEST(Table, ColoursCellsWithoutDisturbingTheAlignment) {
  const std::string text = PrintAt(MakeTable(), 80, false, /*color=*/true).text;

  EXPECT_NE(text.find("\x1b[31m✗ gate rejected\x1b[0m  3/7"), std::string::npos);
}

}  // namespace
}  // namespace cd4ml::cli
