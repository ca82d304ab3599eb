// Sixty and more tables that somebody has once delivered: each is refused with the reason, or loaded with every row counted.
// None may hang, crash, or lose a row in silence.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include <functional>
#include <set>

#include "table/duckdb.h"
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::VerdictOutcome;
using ::testing::HasSubstr;

class Place;

// What came of a table.
struct Expected {
  std::string refusal;       // Part of the reason; empty: it is a table.
  int64_t rows = 0;          // All of them.
  int64_t misfits = 0;       // Those of them that do not fit.
  std::string rule;          // A rule that has to say no: COLUMN=TYPE, COLUMN~PATTERN, "columns: a b", or "".
  std::string finds;         // Part of what it says.
};

struct BadTable {
  std::string name;
  // Makes the table and returns its path.
  std::function<std::string(Place&)> make;
  Expected expected;
  std::string encoding = "utf-8", delimiter;
};

// A folder to make bad things in.
class Place {
 public:
  explicit Place(std::string folder) : folder_(std::move(folder)) {}

  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories(std::filesystem::path(At(name)).parent_path());
    std::ofstream(At(name), std::ios::binary) << bytes;
    return At(name);
  }
  // Writes `times` copies of `piece`, compressed, without ever having all of it.
  std::string Gzip(const std::string& name, const std::string& piece, int times = 1, const std::string& head = "") {
    gzFile file = gzopen(At(name).c_str(), "wb9");
    gzwrite(file, head.data(), static_cast<unsigned>(head.size()));
    for (int i = 0; i < times; ++i) gzwrite(file, piece.data(), static_cast<unsigned>(piece.size()));
    gzclose(file);
    return At(name);
  }
  std::string Parquet(const std::string& name, const std::string& select) {
    auto database = Database::Open({.libraries = LibraryCandidates(Stated(), CD4ML_SOURCE_DIR), .work_folder = folder_});
    std::filesystem::create_directories(std::filesystem::path(At(name)).parent_path());
    const absl::Status made =
        (*database)->Execute("COPY (" + select + ") TO " + Literal(At(name)) + " (FORMAT parquet)");
    EXPECT_TRUE(made.ok()) << made;
    return At(name);
  }
  std::string Link(const std::string& name, const std::string& target) {
    std::filesystem::create_directories(std::filesystem::path(At(name)).parent_path());
    std::filesystem::create_symlink(target, At(name));
    return At(name);
  }
  std::string Fifo(const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(At(name)).parent_path());
    EXPECT_EQ(mkfifo(At(name).c_str(), 0600), 0);
    return At(name);
  }
  std::string Socket(const std::string& name) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    At(name).copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(fd);
    return At(name);
  }

 private:
  static std::string Stated() {
    const char* stated = std::getenv("CD4ML_DUCKDB");
    return stated == nullptr ? "" : stated;
  }
  const std::string folder_;
};

std::function<std::string(Place&)> File(std::string name, std::string bytes) {
  return [name = std::move(name), bytes = std::move(bytes)](Place& place) { return place.Write(name, bytes); };
}

std::string Repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

std::string Wide(int columns, const std::string& prefix) {
  std::string line = prefix + "0";
  for (int i = 1; i < columns; ++i) line += "," + prefix + std::to_string(i);
  return line + "\n";
}

std::string Utf16(const std::string& ascii) {
  std::string bytes;
  for (const char c : ascii) bytes += std::string{c, '\0'};
  return bytes;
}

const std::vector<BadTable>& BadTables() {
  using namespace std::string_literals;
  static const std::vector<BadTable> kTables = {
      // --- nothing in it ---
      {"empty", File("t.csv", ""), {.refusal = "is empty"}},
      {"only newlines", File("t.csv", Repeated("\n\r\n\r", 1000)), {.refusal = "is empty"}},
      {"only blanks", File("t.csv", Repeated(" \t ", 100)), {.refusal = "is empty"}},
      {"only a mark", File("t.csv", "\xEF\xBB\xBF"), {.refusal = "is empty"}},
      {"empty gzip", [](Place& place) { return place.Gzip("t.csv.gz", ""); }, {.refusal = "is empty"}},
      {"header only", File("t.csv", "price,year\n"), {.rows = 0}},
      {"header only, no line end", File("t.csv", "price,year"), {.rows = 0}},
      {"only delimiters", File("t.csv", ",,\n,,\n"), {.rows = 1, .rule = "columns: price", .finds = "missing: price"}},
      {"empty parquet", File("t.parquet", ""), {.refusal = "t.parquet: "}},
      {"parquet without rows", [](Place& place) { return place.Parquet("t.parquet", "SELECT 1 AS a WHERE false"); }, {.rows = 0}},
      {"empty JSON lines", File("t.jsonl", "\n\n"), {.refusal = "is empty"}},
      {"empty JSON array", File("t.json", "[]"), {.refusal = "holds no JSON objects"}},
      {"JSON objects without members", File("t.jsonl", "{}\n{}\n"), {.refusal = "holds no table"}},

      // --- lines that do not fit ---
      {"ragged", File("t.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n"), {.rows = 4, .misfits = 2}},
      {"cut off in a line", File("t.csv", "a,b\n1,2\n3"), {.rows = 2, .misfits = 1}},
      {"cut off in a quote", File("t.csv", "a,b\n1,2\n3,\"so"), {.rows = 2, .misfits = 1}},
      {"a quote that swallows the rest", File("t.csv", "a,b\n1,\"x\n" + Repeated("2,3\n", 1000)), {.rows = 1001, .misfits = 1}},
      {"text behind a closing quote", File("t.csv", "a,b\n1,\"x\"y\n2,3\n"), {.rows = 2, .misfits = 1}},
      {"a quote in the header", File("t.csv", "\"a,b\n1,2\n"), {.refusal = "line 1: a quote is not closed"}},
      {"thousands separators without quotes", File("t.csv", "a,price\n1,5,000\n2,600\n"), {.rows = 2, .misfits = 1}},
      {"blank lines between rows", File("t.csv", "a,b\n\n1,2\n\n\n3,4\n"), {.rows = 2}},
      {"a trailing delimiter on rows alone", File("t.csv", "a,b\n1,2,\n3,4,\n"), {.rows = 2, .misfits = 2}},
      {"old Macintosh line ends", File("t.csv", "a,b\r1,2\r3,4\r"), {.rows = 2}},
      {"all line ends at once", File("t.csv", "a,b\r\n1,2\n3,4\r5,6"), {.rows = 3}},
      {"a cell of 17 MiB", File("t.csv", "a,b\n1," + std::string(17 << 20, 'x') + "\n2,3\n"), {.rows = 2, .misfits = 1}},
      {"a repeated header", File("t.csv", "a,b\n1,2\na,b\n3,4\n"), {.rows = 3, .rule = "a=int", .finds = "1 are no int"}},

      // --- names ---
      {"two columns of one name", File("t.csv", "price,year,price\n1,2,3\n"), {.refusal = "columns 1 and 3 are both named"}},
      {"columns without names", File("t.csv", ",,c\n1,2,3\n"), {.rows = 1, .rule = "columns: a c", .finds = "missing: a"}},
      {"names that differ in case only", File("t.csv", "Price,price\n1,x\n"), {.rows = 1, .rule = "price=int", .finds = "1 are no int"}},
      {"no header", File("t.csv", "1,2\n3,4\n"), {.rows = 2, .rule = "columns: price", .finds = "missing: price"}},
      {"10,000 columns", File("t.csv", Wide(10'000, "c") + Wide(10'000, "")), {.refusal = "more than 4096 columns"}},
      {"4,096 columns", File("t.csv", Wide(4'096, "c") + Wide(4'096, "")), {.rows = 1}},
      {"another column in every line of JSON",
       [](Place& place) {
         std::string text;
         for (int i = 0; i < 5'000; ++i) text += "{\"k" + std::to_string(i) + "\": 1}\n";
         return place.Write("t.jsonl", text);
       },
       {.refusal = "t.jsonl: more than 4096 columns"}},
      {"another column in every line of JSON, but not too many",
       [](Place& place) {
         std::string text;
         for (int i = 0; i < 1'500; ++i) text += "{\"k" + std::to_string(i) + "\": 1}\n";
         return place.Write("t.jsonl", text);
       },
       {.rows = 1'500, .rule = "k7=date", .finds = "1 are no date"}},
      {"a name that is SQL", File("t.csv", "\"a\"\"; DROP TABLE t0; --\",b\n1,2\n"), {.rows = 1}},
      {"a huge name", File("t.csv", std::string(100'000, 'n') + ",b\n1,2\n"), {.rows = 1}},

      // --- delimiters ---
      {"another delimiter than stated", File("t.csv", "a,b\n1,2\n"), {.rows = 1, .rule = "columns: a b", .finds = "missing: a"}, "utf-8", ";"},
      {"semicolons, not stated", File("t.csv", "a;b\n1;2,5\n"), {.rows = 1, .rule = "b=float", .finds = "1 are no float"}},
      {"a web page", File("t.csv", "<!DOCTYPE html>\n<html><body>404</body></html>\n"), {.rows = 1, .rule = "columns: price", .finds = "missing: price"}},
      {"a pointer of a large-file store", File("t.csv", "version https://example.org/v1\noid sha256:12ab\nsize 5\n"),
       {.rows = 2, .rule = "columns: price", .finds = "missing: price"}},

      // --- encodings ---
      {"mixed encodings", File("t.csv", "name\nM\xC3\xBCller\nM\xFCller\n"), {.refusal = "line 3: byte 0xfc is not utf-8"}},
      {"a broken character at the end", File("t.csv", "name\nM\xC3"), {.refusal = "line 2: byte 0xc3 is not utf-8"}},
      {"an overlong character", File("t.csv", "name\n\xC0\xAF\n"), {.refusal = "byte 0xc0 is not utf-8"}},
      {"half a surrogate", File("t.csv", "name\n\xED\xA0\x80\n"), {.refusal = "byte 0xed is not utf-8"}},
      {"UTF-16, not stated", File("t.csv", "\xFF\xFE" + Utf16("a,b\n1,2\n")), {.refusal = "the mark of utf-16; state that encoding"}},
      {"UTF-16 without a mark, not stated", File("t.csv", Utf16("a,b\n1,2\n")), {.refusal = "line 1: a zero byte"}},
      {"UTF-16 with half a character", File("t.csv", "\xFF\xFE" + Utf16("a\n1\n") + "2"), {.refusal = "half a character at the end"}, "utf-16"},
      {"two marks", File("t.csv", "\xEF\xBB\xBF\xEF\xBB\xBF" "a,b\n1,2\n"), {.rows = 1, .rule = "columns: a b", .finds = "missing: a"}},
      {"a mark within the file", File("t.csv", "a,b\n1,2\n\xEF\xBB\xBF" "3,4\n"), {.rows = 2, .rule = "a=int", .finds = "1 are no int"}},
      {"stated UTF-16, is UTF-8", File("t.csv", "ab,cd\n12,34\n"), {.refusal = "is not utf-16"}, "utf-16"},
      {"control characters of Latin-1", File("t.csv", "name\nx\x85y\n"), {.refusal = "is it windows-1252?"}, "latin-1"},
      {"an unknown encoding", File("t.csv", "a\n1\n"), {.refusal = "unknown encoding \"ebcdic\""}, "ebcdic"},
      {"zero bytes", File("t.csv", "a,b\n1,\0\n"s), {.refusal = "line 2: a zero byte"}},
      {"a picture", File("t.csv", "\x89PNG\r\n\x1A\n\0\0"s), {.refusal = "byte 0x89 is not utf-8"}},
      {"a spreadsheet", File("t.csv", "PK\x03\x04\x14\0\x06\0"s), {.refusal = "line 1: a zero byte"}},

      // --- values ---
      {"dates in two forms", File("t.csv", "day\n2016-03-26\n26.03.2016\n"), {.rows = 2, .rule = "day=date", .finds = "1 are no date"}},
      {"a day that there is not", File("t.csv", "day\n2016-02-30\n"), {.rows = 1, .rule = "day=date", .finds = "1 are no date"}},
      {"numbers and texts", File("t.csv", "n\n1\ntwo\n3\n"), {.rows = 3, .rule = "n=int", .finds = "1 are no int"}},
      {"NaN and infinity", File("t.csv", "n\nNaN\ninf\n-Infinity\n1\n"), {.rows = 4, .rule = "n=float", .finds = "3 are no float"}},
      {"numbers that are too large", File("t.csv", "n\n99999999999999999999\n1e400\n1\n"), {.rows = 3, .rule = "n=int", .finds = "2 are no int"}},
      {"the smallest numbers there are", File("t.csv", "n\n4.9e-324\n-4.9e-324\n"), {.rows = 2}},
      {"thousands separators in quotes", File("t.csv", "n\n\"5,000\"\n6\n"), {.rows = 2, .rule = "n=int", .finds = "1 are no int"}},
      {"numbers as programs write them", File("t.csv", "n\n1_000\n0x1F\n1\n"), {.rows = 3, .rule = "n=int", .finds = "2 are no int"}},
      {"blanks around values", File("t.csv", "n\n 1\n2 \n\t3\n"), {.rows = 3, .rule = "n~[0-9]+", .finds = "3 do not match"}},

      // --- JSON ---
      {"lines that are no JSON", File("t.jsonl", "{\"a\": 1}\n{\"a\": \n'b'\n{\"a\": 2}\n"), {.rows = 4, .misfits = 2}},
      {"arrays among objects", File("t.jsonl", "{\"a\": 1}\n[1, 2]\n3\nnull\n"), {.rows = 4, .misfits = 3}},
      {"nested without end", File("t.jsonl", "{\"a\": 1}\n{\"a\": " + Repeated("[", 100'000) + "\n"), {.rows = 2, .misfits = 1}},
      {"values of every kind in one member", File("t.jsonl", "{\"a\": 1}\n{\"a\": \"x\"}\n{\"a\": null}\n{\"a\": {\"b\": []}}\n{\"a\": true}\n"),
       {.rows = 5, .rule = "a=int", .finds = "3 are no int"}},
      {"an array that is cut off", File("t.json", "[{\"a\": 1}, {\"a\""), {.refusal = "not valid JSON"}},
      {"an array of numbers", File("t.json", "[1, 2, 3]"), {.refusal = "holds no JSON objects"}},
      {"a zero byte, escaped", File("t.jsonl", "{\"a\": \"\\u0000\"}\n{\"a\": 1}\n"), {.rows = 2, .misfits = 1}},

      // --- compressed ---
      {"gzip that is cut off",
       [](Place& place) {
         const std::string path = place.Gzip("t.csv.gz", "a,b\n1,2\n", 1000);
         std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
         return path;
       },
       {.refusal = "cannot be read to its end"}},
      {"gzip with a wrong sum",
       [](Place& place) {
         const std::string path = place.Gzip("t.csv.gz", "a,b\n1,2\n");
         std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
         file.seekp(-8, std::ios::end);
         file.write("\1\2\3\4", 4);
         return path;
       },
       {.refusal = "cannot be read to its end"}},
      {"named gzip, is none", File("t.csv.gz", "a,b\n1,2\n"), {.rows = 1}},
      {"gzip, not named so", [](Place& place) { return place.Gzip("t.csv", "1,2\n", 2, "a,b\n"); }, {.rows = 2}},
      {"a bomb of rows", [](Place& place) { return place.Gzip("t.csv.gz", Repeated(std::string(4'000, '7') + ",8\n", 250), 200, "a,b\n"); },
       {.refusal = "expands to more than 300 times its size"}},
      {"a bomb of one line", [](Place& place) { return place.Gzip("t.csv.gz", std::string(1 << 20, 'x'), 200, "a,b\n"); },
       {.refusal = "expands to more than 300 times its size"}},
      {"a bomb of an open quote", [](Place& place) { return place.Gzip("t.csv.gz", std::string(1 << 20, '\n'), 200, "a,b\n1,\"\n"); },
       {.refusal = "expands to more than 300 times its size"}},
      {"a bomb of zeros", [](Place& place) { return place.Gzip("t.csv.gz", std::string(1 << 20, '\0'), 200); }, {.refusal = "a zero byte"}},
      {"a bomb of JSON", [](Place& place) { return place.Gzip("t.json.gz", std::string(1 << 20, ' '), 200, "["); },
       {.refusal = "expands to more than 300 times its size"}},

      // --- Parquet ---
      {"no Parquet, named so", File("t.parquet", "a,b\n1,2\n"), {.refusal = "t.parquet: "}},
      {"Parquet that is cut off",
       [](Place& place) {
         const std::string path = place.Parquet("t.parquet", "SELECT i AS a FROM range(1000) r(i)");
         std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
         return path;
       },
       {.refusal = "t.parquet: "}},
      {"Parquet with a broken end",
       [](Place& place) {
         const std::string path = place.Parquet("t.parquet", "SELECT i AS a FROM range(1000) r(i)");
         std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
         file.seekp(-8, std::ios::end);   // Where the footer's length stands.
         file.write("\xff\xff\xff\x7f", 4);
         return path;
       },
       {.refusal = "t.parquet: "}},
      {"Parquet with nested columns", [](Place& place) { return place.Parquet("t.parquet", "SELECT {'b': [1, 2]} AS a, MAP {'k': 1} AS m"); },
       {.rows = 1}},

      // --- folders ---
      {"an empty folder", [](Place& place) { std::filesystem::create_directory(place.At("f")); return place.At("f"); }, {.refusal = "holds no table"}},
      {"a folder without tables", [](Place& place) { place.Write("f/readme.md", "x"); return place.At("f"); }, {.refusal = "holds no table"}},
      {"a folder named like a file", [](Place& place) { std::filesystem::create_directory(place.At("t.csv")); return place.At("t.csv"); },
       {.refusal = "holds no table"}},
      {"a folder with other columns", [](Place& place) { place.Write("f/a.csv", "a,b\n1,2\n"); place.Write("f/b.csv", "a,c\n1,2\n"); return place.At("f"); },
       {.refusal = "b.csv: has a column \"c\", which a.csv has not"}},
      {"a folder with other formats", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Write("f/b.jsonl", "{\"a\": 1}\n"); return place.At("f"); },
       {.refusal = "b.jsonl: is of another format than a.csv"}},
      {"a folder with an empty file", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Write("f/b.csv", ""); return place.At("f"); },
       {.refusal = "b.csv: is empty"}},
      {"a folder with a pipe", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Fifo("f/b.csv"); return place.At("f"); },
       {.refusal = "\"b.csv\" is neither a file nor a folder"}},
      {"a folder with a link to nothing", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Link("f/b.csv", "gone.csv"); return place.At("f"); },
       {.refusal = "\"b.csv\" is a link that leads to no file"}},
      {"a folder with a link to itself", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Link("f/again", "."); return place.At("f"); },
       {.refusal = "\"again\" is a link to a folder, which is not followed"}},
      {"a folder with a circle of links", [](Place& place) { place.Write("f/a.csv", "a\n1\n"); place.Link("f/b.csv", "c.csv"); place.Link("f/c.csv", "b.csv"); return place.At("f"); },
       {.refusal = "is a link that leads to no file"}},

      // --- what is no file ---
      {"nothing", [](Place& place) { return place.At("nothing.csv"); }, {.refusal = "there is no file"}},
      {"a circle of links", [](Place& place) { place.Link("a.csv", "b.csv"); return place.Link("b.csv", "a.csv"); },
       {.refusal = "cannot be looked at"}},
      {"a pipe", [](Place& place) { return place.Fifo("t.csv"); }, {.refusal = "is neither a file nor a folder"}},
      {"a socket", [](Place& place) { return place.Socket("t.csv"); }, {.refusal = "is neither a file nor a folder"}},
      {"zeros without end", [](Place& place) { return place.Link("t.csv", "/dev/zero"); }, {.refusal = "is neither a file nor a folder"}},
      {"a file that cannot be read", [](Place& place) { return place.Link("t.csv", "/proc/self/mem"); }, {.refusal = "cannot be read to its end"}},
  };
  return kTables;
}

class BadTablesTest : public TableTest, public ::testing::WithParamInterface<size_t> {
 protected:
  core::RuleResult JudgeText(const std::string& rule) {
    if (rule.starts_with("columns: ")) {
      core::ColumnsRule columns;
      columns.of = "t";
      columns.exactly = false;
      std::istringstream names(rule.substr(9));
      for (std::string name; names >> name;) columns.columns.push_back(name);
      return Judge(columns);
    }
    const size_t at = rule.find_first_of("=~");
    core::ColumnRule column;
    column.of = "t";
    column.column = rule.substr(0, at);
    const std::string wanted = rule.substr(at + 1);
    if (rule[at] == '~') column.pattern = wanted;
    if (rule[at] == '=') {
      column.type = wanted == "int"     ? core::ColumnType::kInt
                    : wanted == "float" ? core::ColumnType::kFloat
                                        : core::ColumnType::kDate;
    }
    return Judge(column);
  }
};

TEST_P(BadTablesTest, HasItsVerdict) {
  const BadTable& bad = BadTables()[GetParam()];
  SCOPED_TRACE(bad.name);
  Place place(folder_);
  core::CsvFormat csv;
  csv.encoding = bad.encoding;
  csv.delimiter = bad.delimiter;
  const Expected& expected = bad.expected;

  const absl::Status added = Add(bad.make(place), csv);

  if (!expected.refusal.empty()) {
    EXPECT_TRUE(absl::IsInvalidArgument(added) || absl::IsResourceExhausted(added)) << added;
    EXPECT_THAT(Message(added), HasSubstr(expected.refusal));
    Table("a\n1\n", "other");   // The engine goes on.
    return;
  }
  ASSERT_TRUE(added.ok()) << added;
  EXPECT_EQ(Rows(), expected.rows);
  const core::RuleResult rows = Judge(core::RowsRule{"t", {0, std::nullopt}});
  if (expected.misfits > 0) {
    EXPECT_THAT(rows.message, HasSubstr("; " + std::to_string(expected.misfits) + " of them do not fit the table"));
  } else {
    EXPECT_THAT(rows.message, ::testing::Not(HasSubstr("do not fit")));
  }
  if (!expected.rule.empty()) {
    const core::RuleResult judged = JudgeText(expected.rule);
    EXPECT_EQ(judged.outcome, VerdictOutcome::kFail) << judged.message;
    EXPECT_THAT(judged.message, HasSubstr(expected.finds));
  }
  const absl::StatusOr<core::TableProfile> profile = engine_->Profile("t");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->rows, expected.rows);
  EXPECT_TRUE(core::ProfileFromValue(core::ToValue(*profile)).ok());
}

INSTANTIATE_TEST_SUITE_P(All, BadTablesTest, ::testing::Range(size_t{0}, BadTables().size()),
                         [](const auto& test) {
                           std::string name = std::to_string(test.param) + "_";
                           for (const char c : BadTables()[test.param].name) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(BadTables, AreAtLeastSixtyDifferentOnes) {
  std::set<std::string> names;
  for (const BadTable& bad : BadTables()) names.insert(bad.name);
  EXPECT_EQ(names.size(), BadTables().size());
  EXPECT_GE(names.size(), 60u);
}

// Larger than the memory that its engine may take, and nothing like a bomb.
class LargeTables : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 1'500'000;

  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / "cd4ml_spill_XXXXXX").string();
    folder_ = mkdtemp(folder_.data());
    std::ofstream(folder_ + "/small.csv") << "a,b\n1,2\n";
    std::ofstream file(folder_ + "/t.csv");
    file << "a,b\n";
    for (int64_t i = 0; i < kRows; ++i) file << i * 7919 << ",a text that is long enough to need room " << i << "\n";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<TableEngine> OpenEngine(int64_t memory_max, int64_t disk_max) {
    const char* stated = std::getenv("CD4ML_DUCKDB");
    auto engine = OpenTableEngine({.libraries = LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
                                   .work_folder = folder_,
                                   .memory_max = memory_max,
                                   .disk_max = disk_max});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  absl::Status Add(TableEngine& engine, const std::string& name) {
    return engine.AddTable({.name = name, .path = folder_ + "/" + name + ".csv", .csv = std::nullopt});
  }
  // Returns how many bytes lie in the folder beside the tables themselves.
  int64_t Spilled() const {
    int64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file() && entry.path().extension() != ".csv") bytes += static_cast<int64_t>(entry.file_size());
    }
    return bytes;
  }

  std::string folder_;
};

TEST_F(LargeTables, TakeNoMoreOfTheDiskThanTheyMay) {
  for (const int64_t memory : {32 << 20, 64 << 20}) {   // Kept in a file from the beginning, and spilled out of memory.
    const auto engine = OpenEngine(memory, /*disk_max=*/8 << 20);
    ASSERT_TRUE(Add(*engine, "small").ok());

    const absl::Status added = Add(*engine, "t");

    EXPECT_EQ(added.code(), absl::StatusCode::kResourceExhausted) << added;
    EXPECT_THAT(Message(added), HasSubstr("t.csv: the rows cannot be kept"));
    const absl::StatusOr<core::TableProfile> other = engine->Profile("small");
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(other->columns.at("b").max, 2);
  }
  EXPECT_EQ(Spilled(), 0);
}

TEST_F(LargeTables, LieCompressedInTheWorkFolderAndGoWithTheEngine) {
  {
    const auto engine = OpenEngine(/*memory_max=*/32 << 20, /*disk_max=*/0);
    ASSERT_TRUE(Add(*engine, "small").ok());
    ASSERT_TRUE(Add(*engine, "t").ok());

    core::UniqueRule unique;
    unique.of = "t";
    unique.columns = {"a"};
    const core::RuleResult judged = engine->Judge({.name = "unique", .by = {}, .body = unique, .place = {}}, {});

    EXPECT_THAT(judged.observed, HasSubstr("0 of 1500000 rows")) << judged.message;
    const absl::StatusOr<core::TableProfile> other = engine->Profile("small");
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_EQ(other->columns.at("b").max, 2);
    EXPECT_GT(Spilled(), 1 << 20);
    EXPECT_LT(Spilled(), static_cast<int64_t>(std::filesystem::file_size(folder_ + "/t.csv")));
  }
  EXPECT_EQ(Spilled(), 0);
}

}  // namespace
}  // namespace cd4ml::table
