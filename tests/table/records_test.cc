// Splitting CSV: quotes, line breaks, and that no line is ever lost.
#include "table/records.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cd4ml::table {
namespace {

// Returns the records of `text` as "line: field|field" or "line! problem: raw".
std::vector<std::string> Split(const std::string& text, char delimiter = ',') {
  std::string path = (std::filesystem::temp_directory_path() / "cd4ml_records_XXXXXX").string();
  close(mkstemp(path.data()));
  std::ofstream(path, std::ios::binary) << text;
  absl::StatusOr<TextFile> file = TextFile::Open(path, "utf-8");
  std::filesystem::remove(path);
  EXPECT_TRUE(file.ok());
  RecordReader reader(*std::move(file), delimiter);
  std::vector<std::string> records;
  Record record;
  while (true) {
    const absl::StatusOr<bool> more = reader.Next(record);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) return records;
    std::string shown = std::to_string(record.line);
    if (record.problem.empty()) {
      for (size_t i = 0; i < record.fields.size(); ++i)
        shown += (i == 0 ? ": " : "|") + std::string(record.fields[i]);
    } else {
      shown += "! " + record.problem + ": " + std::string(record.raw);
    }
    records.push_back(shown);
  }
}

using Strings = std::vector<std::string>;

TEST(Records, SplitsFieldsAndLines) {
  EXPECT_EQ(Split("a,b\n1,2\n3,4\n"), (Strings{"1: a|b", "2: 1|2", "3: 3|4"}));
  EXPECT_EQ(Split("a,b\n1,2"), (Strings{"1: a|b", "2: 1|2"}));
  EXPECT_EQ(Split(",\n,,\n"), (Strings{"1: |", "2: ||"}));
  EXPECT_EQ(Split("a;b\n", ';'), (Strings{"1: a|b"}));
  EXPECT_EQ(Split(""), Strings{});
}

TEST(Records, TakesAllThreeLineBreaksAndSkipsBlankLines) {
  EXPECT_EQ(Split("a\r\nb\r\n"), (Strings{"1: a", "2: b"}));
  EXPECT_EQ(Split("a\rb\r"), (Strings{"1: a", "2: b"}));
  EXPECT_EQ(Split("\n\na\n\r\n\r\nb\n\n"), (Strings{"3: a", "6: b"}));
  EXPECT_EQ(Split("a,\r\n,b"), (Strings{"1: a|", "2: |b"}));
}

TEST(Records, ReadsQuotedFields) {
  EXPECT_EQ(Split("\"a,b\",\"c\"\"d\",\"\"\n"), (Strings{"1: a,b|c\"d|"}));
  EXPECT_EQ(Split("\"\"\"\"\"\",\"\"\"\",x\n"), (Strings{"1: \"\"|\"|x"}));
  EXPECT_EQ(Split("\"two\nlines\",1\r\n\"three\r\nmore\rlines\",2\nnext,3\n"),
            (Strings{"1: two\nlines|1", "3: three\r\nmore\rlines|2", "6: next|3"}));
  EXPECT_EQ(Split("\"a\""), (Strings{"1: a"}));
  EXPECT_EQ(Split("ab\"c,d\"e\n"), (Strings{"1: ab\"c|d\"e"}));
}

TEST(Records, GivesOutWhatIsNoRecordLineByLine) {
  EXPECT_EQ(Split("a,b\n\"x,1\n2,3\n4,5\n"),
            (Strings{"1: a|b", "2! a quote is not closed: \"x,1", "3: 2|3", "4: 4|5"}));
  EXPECT_EQ(Split("a,b\n1,\"cut"), (Strings{"1: a|b", "2! a quote is not closed: 1,\"cut"}));
  EXPECT_EQ(Split("\"x\"y,1\r\n2,3\r\n"),
            (Strings{"1! text after a closing quote: \"x\"y,1", "2: 2|3"}));
  EXPECT_EQ(Split("\"x\n1,2\n3,\"y\n"), (Strings{"1! text after a closing quote: \"x", "2: 1|2",
                                                 "3! a quote is not closed: 3,\"y"}));
}

TEST(Records, ReadsLinesWithoutADelimiter) {
  EXPECT_EQ(Split("{\"a\": 1, \"b\": \"x\"}\r\n\n\"q\n", 0),
            (Strings{"1: {\"a\": 1, \"b\": \"x\"}", "3: \"q"}));
}

// The buffer is refilled every MiB: nothing may depend on where.
TEST(Records, DoesNotCareWhereTheBufferEnds) {
  for (const size_t offset : {0, 1, 2, 3, 4, 5, 6, 7, 8}) {
    const std::string long_field((1 << 20) - offset, 'x');
    EXPECT_EQ(Split(long_field + ",\"a\"\"b\"\r\n\"c\nd\",2\r\n"),
              (Strings{"1: " + long_field + "|a\"b", "2: c\nd|2"}))
        << offset;
    EXPECT_EQ(
        Split(long_field + ",1\r\n\"c\"d\r\n3,4"),
        (Strings{"1: " + long_field + "|1", "2! text after a closing quote: \"c\"d", "3: 3|4"}))
        << offset;
  }
}

TEST(Records, CutsALineThatIsTooLongAndGoesOnBehindIt) {
  const std::string endless(kRecordBytesMax + (3 << 20), 'x');

  const Strings records = Split("a,b\n" + endless + "\n1,2\n");

  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[1].substr(0, 24), "2! longer than 16 MiB: x");
  EXPECT_EQ(records[2], "3: 1|2");
}

// A quote that is never closed makes the scanner look ahead; it must not do so again for every
// line.
TEST(Records, StaysLinearWithAStrayQuote) {
  std::string text = "\"stray,1\n";
  for (int i = 0; i < 300'000; ++i)
    text += "some,\"\",more,text,of,a,long,file,with,empty,quotes\n";

  const Strings records = Split(text);

  EXPECT_EQ(records.size(), 300'001u);
  EXPECT_EQ(records.back().substr(0, 8), "300001: ");
}

TEST(SniffDelimiter, TakesTheOneThatSplitsMostEvenly) {
  EXPECT_EQ(SniffDelimiter("a,b,c\n1,2,3\n"), ',');
  EXPECT_EQ(SniffDelimiter("a;b;c\n1,5;2,5;3,5\n"), ';');
  EXPECT_EQ(SniffDelimiter("a\tb\n1,2\t3\n"), '\t');
  EXPECT_EQ(SniffDelimiter("a|b\n1|2\n"), '|');
  EXPECT_EQ(SniffDelimiter("\"a;b;c\",d\n\"x;y;z\",2\n"), ',');
  EXPECT_EQ(SniffDelimiter("one column\n1\n"), ',');
  EXPECT_EQ(SniffDelimiter(""), ',');
}

TEST(LooksLikeHeader, WantsNamesThatDoNotBeginLikeNumbersOrDates) {
  EXPECT_TRUE(LooksLikeHeader({"price", "year", "price"}));
  EXPECT_TRUE(LooksLikeHeader({"", "year", "", "-", "$5"}));
  EXPECT_FALSE(LooksLikeHeader({"bmw", "2004"}));
  EXPECT_FALSE(LooksLikeHeader({"bmw", "-.5"}));
  EXPECT_FALSE(LooksLikeHeader({"bmw", "2016-03-26"}));
}

}  // namespace
}  // namespace cd4ml::table
