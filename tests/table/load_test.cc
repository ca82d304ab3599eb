// Which files are tables, which are not, and that every row of a table is counted.
#include <unistd.h>
#include <zlib.h>

#include "table/duckdb.h"
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::VerdictOutcome;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Load : public TableTest {
 protected:
  std::vector<std::string> BadRows() { return Judge(core::RowsRule{"t", {0, std::nullopt}}).rows; }
  // Returns the values of a column as rules show them.
  std::vector<std::string> Values(const std::string& column) {
    core::ColumnRule rule;
    rule.of = "t";
    rule.column = column;
    rule.in = {"no such value"};
    return Judge(rule).rows;
  }
};

TEST_F(Load, RefusesWhatIsNoTableAndSaysWhy) {
  EXPECT_EQ(Refusal("empty.csv", ""), "table \"t\": empty.csv: is empty");
  EXPECT_THAT(Refusal("blank.csv", "\n \r\n\t\n"), HasSubstr("is empty"));
  EXPECT_THAT(Refusal("mark.csv", "\xEF\xBB\xBF"), HasSubstr("is empty"));
  EXPECT_THAT(Refusal("zeros.csv", std::string("a,b\n1,\0\n", 8)),
              HasSubstr("zeros.csv: line 2: a zero byte"));
  EXPECT_THAT(Refusal("picture.csv", std::string("\x89PNG\r\n\x1A\n\0\0", 10)),
              HasSubstr("line 1: byte 0x89 is not utf-8"));
  EXPECT_THAT(Refusal("quote.csv", "\"a,b\n1,2\n"), HasSubstr("line 1: a quote is not closed"));
  EXPECT_THAT(Refusal("broken.parquet", "PAR1 but not really"), HasSubstr("broken.parquet: "));
  EXPECT_THAT(Refusal("empty.parquet", ""), HasSubstr("empty.parquet: "));
  EXPECT_THAT(Refusal("prose.jsonl", "Dear all,\nno data today\n"),
              HasSubstr("holds no table: line 1: not valid JSON"));
  EXPECT_THAT(Refusal("scalar.json", "[1, 2]"), HasSubstr("holds no JSON objects"));
  EXPECT_THAT(Refusal("cut.json", "[{\"a\": 1}, "), HasSubstr("not valid JSON"));
}

TEST_F(Load, RefusesWhatIsNotThere) {
  EXPECT_THAT(Message(Add(folder_ + "/nothing.csv")), HasSubstr("there is no file"));
  EXPECT_THAT(Message(Add("/dev/null")), HasSubstr("neither a file nor a folder"));
  std::filesystem::create_directory(folder_ + "/folder");
  Write("folder/readme.md", "x");
  EXPECT_THAT(Message(Add(folder_ + "/folder")), HasSubstr("holds no table"));
}

TEST_F(Load, RefusesTwoColumnsOfOneName) {
  EXPECT_EQ(Refusal("t.csv", "price,year,price\n1,2,3\n"),
            "table \"t\": t.csv: line 1: columns 1 and 3 are both named \"price\"");
}

TEST_F(Load, RefusesAStatedFormatThatMakesNoSense) {
  core::CsvFormat csv;
  csv.delimiter = ";;";
  EXPECT_THAT(Refusal("t.csv", "a\n1\n", csv), HasSubstr("\";;\" is not one character"));
  csv = {};
  csv.columns = {{"prize", "int"}};
  EXPECT_THAT(Refusal("t.csv", "price\n1\n", csv), HasSubstr("did you mean \"price\"?"));
  csv.columns = {{"price", "number"}};
  EXPECT_THAT(Refusal("t.csv", "price\n1\n", csv), HasSubstr("unknown type \"number\""));
  EXPECT_THAT(Refusal("t.csv", "price\n1\n", Encoded("utf8")),
              HasSubstr("did you mean \"utf-8\"?"));
}

TEST_F(Load, KeepsTheOldTableWhenItsReplacementIsRefused) {
  Table("a\n1\n2\n");
  EXPECT_FALSE(Add(Write("bad.csv", "")).ok());
  EXPECT_EQ(Rows(), 2);

  Table("a\n1\n");
  EXPECT_EQ(Rows(), 1);
}

TEST_F(Load, CountsRowsThatDoNotFitAndShowsThemWithTheirLine) {
  Table("a,b\n1,2\n3\n4,5,6\n\n\"x\ny\",7\n8,\"open\n9,10\n11,cut");

  EXPECT_EQ(Rows(), 7);
  EXPECT_THAT(BadRows(), ElementsAre("line 3: 1 of 2 fields: 3", "line 4: 3 of 2 fields: 4,5,6",
                                     "line 8: a quote is not closed: 8,\"open"));
}

TEST_F(Load, TakesLineBreaksMarksAndQuotedHeadersAsTheyCome) {
  Table("\xEF\xBB\xBF\"a;x\";\"say \"\"b\"\"\"\r\n1;\"two\r\nlines\"\r\n");

  EXPECT_EQ(Rows(), 1);
  EXPECT_THAT(Values("a;x"), ElementsAre("line 2: a;x = 1"));
  EXPECT_THAT(Values("say \"b\""), ElementsAre("line 2: say \"b\" = two\r\nlines"));
}

TEST_F(Load, TakesOneColumn) {
  Table("a\n1\n2\n");
  EXPECT_EQ(Rows(), 2);
}

TEST_F(Load, SaysWhereAHeaderWasTakenForARow) {
  Table("brand,2nd_owner\nbmw,yes\n");
  EXPECT_THAT(Judge(core::ColumnsRule{"t", true, {"brand", "2nd_owner"}}).message, HasSubstr("line 1 was taken for a row"));
  EXPECT_THAT(Column("brand", [](core::ColumnRule& rule) { rule.max_nulls = 0; }).message, HasSubstr("csv: {header: true}"));
  Table("brand,2nd_owner\nbmw,yes\n", "t", {.header = true});
  EXPECT_EQ(Judge(core::ColumnsRule{"t", true, {"brand", "2nd_owner"}}).outcome, VerdictOutcome::kPass);
  EXPECT_THAT(Refusal("empty.json", "{}"), HasSubstr("its objects are empty"));
}

TEST_F(Load, AnEmptyLineOfOneColumnIsAnEmptyValue) {
  Table("\na\n1\n\n\n3\n\n");
  EXPECT_EQ(Rows(), 4) << "what follows the last value is no row";
  const core::RuleResult empty = Column("a", [](core::ColumnRule& rule) { rule.max_nulls = 0; });
  EXPECT_THAT(empty.rows, ElementsAre("line 4: a = (empty)", "line 5: a = (empty)"));
  Table("a,b\n1,2\n\n3,4\n");
  EXPECT_EQ(Rows(), 2);
}

TEST_F(Load, NamesColumnsByPositionWhereThereIsNoHeader) {
  Table("bmw,2004\naudi,1999\n");
  EXPECT_THAT(Values("column2"), ElementsAre("line 1: column2 = 2004", "line 2: column2 = 1999"));

  core::CsvFormat csv;
  csv.header = true;
  Table("bmw,2004\naudi,1999\n", "t", csv);
  EXPECT_THAT(Values("2004"), ElementsAre("line 2: 2004 = 1999"));

  csv.header = false;
  Table("brand,year\naudi,1999\n", "t", csv);
  EXPECT_EQ(Rows(), 2);

  Table(",brand\n0,audi\n");  // As pandas writes its index.
  EXPECT_THAT(Values("column1"), ElementsAre("line 2: column1 = 0"));
}

TEST_F(Load, IsATableWithoutRowsWhenThereIsOnlyAHeader) {
  Table("price,year\n");
  EXPECT_EQ(Rows(), 0);
}

TEST_F(Load, ReadsEveryEncoding) {
  Table("name\nM\xFCller \x80\n", "t", Encoded("windows-1252"));
  EXPECT_THAT(Values("name"), ElementsAre("line 2: name = Müller €"));
  Table("name\nM\xFCller\n", "t", Encoded("latin-1"));
  EXPECT_THAT(Values("name"), ElementsAre("line 2: name = Müller"));
  Table(std::string("\xFF\xFEn\0\n\0\xE4\0", 8), "t", Encoded("utf-16"));
  EXPECT_THAT(Values("n"), ElementsAre("line 2: n = ä"));
}

TEST_F(Load, TakesATenMegabyteLine) {
  const std::string big(10 << 20, 'x');
  Table("a,b\n" + big + ",1\n2,3\n");

  EXPECT_EQ(Rows(), 2);
  EXPECT_LT(Values("a")[0].size(), 200u);
}

TEST_F(Load, RefusesMoreColumnsThanItCanKeep) {
  std::string header = "c0";
  for (int i = 1; i < 5000; ++i) header += ",c" + std::to_string(i);
  EXPECT_THAT(Refusal("wide.csv", header + "\n"), HasSubstr("more than 4096 columns"));
}

TEST_F(Load, TakesThousandsOfColumns) {
  std::string header = "x0", row = "0";
  for (int i = 1; i < 2000; ++i) {
    header += ",x" + std::to_string(i);
    row += "," + std::to_string(i);
  }
  Table(header + "\n" + row + "\n");
  EXPECT_THAT(Values("x1999"), ElementsAre("line 2: x1999 = 1999"));
}

TEST_F(Load, ReadsJsonLines) {
  const absl::Status added = Add(Write("t.jsonl",
                                       "{\"a\": 1, \"b\": \"x\"}\n{\"a\": 2.5, \"c\": null, \"d\": "
                                       "{\"e\": [1]}}\nnonsense\n[1]\n{\"a\": \"\\u0000\"}\n"));

  ASSERT_TRUE(added.ok()) << added;
  EXPECT_EQ(Rows(), 5);
  EXPECT_THAT(BadRows(),
              ElementsAre("line 3: not valid JSON: nonsense", "line 4: no JSON object: [1]",
                          HasSubstr("line 5: a zero byte in \"a\"")));
  EXPECT_THAT(Values("d"), ElementsAre("line 2: d = {\"e\":[1]}", HasSubstr("line 3"),
                                       HasSubstr("line 4"), HasSubstr("line 5")));
}

TEST_F(Load, ReadsJsonArraysAndObjectsPerLine) {
  ASSERT_TRUE(Add(Write("t.json", " [{\"a\": 1}, {\"b\": true}]")).ok());
  EXPECT_EQ(Rows(), 2);
  EXPECT_THAT(Values("b"), ElementsAre("row 2: b = true"));

  ASSERT_TRUE(Add(Write("u.json", "{\"a\": 1}\n{\"a\": 2}\n")).ok());
  EXPECT_EQ(Rows(), 2);
}

TEST_F(Load, ReadsGzip) {
  const std::string path = folder_ + "/t.csv.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  const std::string text = "a,b\n1,2\n3,4\n";
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  ASSERT_TRUE(Add(path).ok());
  EXPECT_EQ(Rows(), 2);

  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
  EXPECT_THAT(Message(Add(path)), HasSubstr("cannot be read to its end"));
}

TEST_F(Load, ReadsAFolderOfFilesWithTheSameColumns) {
  Write("f/b.csv", "y,x\n3,4\n");
  Write("f/a.csv", "x,y\n1,2\n");
  Write("f/deep/c.csv", "x,y\n5,6\n");
  Write("f/.hidden.csv", "z\n1\n");
  Write("f/_SUCCESS", "");
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  EXPECT_THAT(Values("x"),
              ElementsAre("a.csv line 2: x = 1", "b.csv line 2: x = 4", "c.csv line 2: x = 5"));

  Write("f/d.csv", "x\n5\n");
  EXPECT_THAT(Message(Add(folder_ + "/f")),
              HasSubstr("d.csv: has no column \"y\", which a.csv has"));
  Write("f/d.csv", "x,y,z\n5,6,7\n");
  EXPECT_THAT(Message(Add(folder_ + "/f")),
              HasSubstr("d.csv: has a column \"z\", which a.csv has not"));
  std::filesystem::remove(folder_ + "/f/d.csv");
  Write("f/d.jsonl", "{\"x\": 1}\n");
  EXPECT_THAT(Message(Add(folder_ + "/f")), HasSubstr("d.jsonl: is of another format than a.csv"));
}

TEST_F(Load, ReadsParquetWhateverItsNameIs) {
  auto database = Database::Open(
      {.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
  ASSERT_TRUE(database.ok()) << database.status();
  std::filesystem::create_directory(folder_ + "/f");
  for (const std::string name : {"a [x]*'.parquet", "b.parquet"}) {
    ASSERT_TRUE((*database)
                    ->Execute("COPY (SELECT i AS n, CASE WHEN i > 0 THEN '' || i END AS \"the "
                              "\"\"text\", i / 4 AS f, [i] AS l "
                              "FROM range(3) t(i)) TO " +
                              Literal(folder_ + "/f/" + name) + " (FORMAT parquet)")
                    .ok());
  }

  ASSERT_TRUE(Add(folder_ + "/f/a [x]*'.parquet").ok());
  EXPECT_EQ(Rows(), 3);
  EXPECT_THAT(Values("the \"text"), ElementsAre("row 2: the \"text = 1", "row 3: the \"text = 2"));
  EXPECT_THAT(Values("f"), ElementsAre("row 1: f = 0.0", "row 2: f = 0.25", "row 3: f = 0.5"));
  EXPECT_THAT(Values("l")[0], HasSubstr("[0]"));

  std::filesystem::copy_file(folder_ + "/f/b.parquet", folder_ + "/material");
  ASSERT_TRUE(Add(folder_ + "/material").ok());
  EXPECT_EQ(Rows(), 3);
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  EXPECT_EQ(Rows(), 6);
  EXPECT_THAT(Values("n")[5], "b.parquet row 3: n = 2");
}

// A file that has types is read as such, and must say the same as its text.
TEST_F(Load, JudgesParquetAsItsText) {
  auto database = Database::Open(
      {.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
  ASSERT_TRUE(database.ok()) << database.status();
  const std::string select =
      "SELECT i::INTEGER AS n, CASE WHEN i % 7 = 0 THEN 'nan'::DOUBLE WHEN i % 5 = 0 THEN -0.0::DOUBLE WHEN i % 3 = 0 THEN 0.0 "
      "ELSE i / 10 END AS f, (i / 10)::FLOAT AS half, i::UBIGINT + 9223372036854775807::UBIGINT AS huge, CASE WHEN i = 3 THEN "
      "'infinity'::TIMESTAMP WHEN i % 2 = 0 THEN TIMESTAMP '2025-01-01' + to_days(i::INTEGER) END AS t, DATE '2025-01-01' + "
      "i::INTEGER AS d, CASE WHEN i % 4 > 0 THEN (i % 4)::BIGINT END AS k, '' || i AS text, i / 4.0 AS dec FROM range(100) r(i)";
  ASSERT_TRUE((*database)->Execute("COPY (" + select + ") TO " + Literal(folder_ + "/t.parquet") + " (FORMAT parquet)").ok());
  ASSERT_TRUE((*database)->Execute("COPY (SELECT COLUMNS(*)::VARCHAR FROM (" + select + ")) TO " +
                                   Literal(folder_ + "/t.csv") + " (FORMAT csv, HEADER)").ok());
  const auto say = [this](const std::string& file) {
    std::string said;
    EXPECT_TRUE(Add(folder_ + "/" + file).ok());
    const auto add = [&](const core::RuleResult& result) {
      said += std::string(core::ToText(result.outcome)) + " " + result.observed + "; " + result.message + "\n";
    };
    for (const char* column : {"n", "f", "half", "huge", "t", "d", "k", "text", "dec"}) {
      for (int what = 0; what < 5; ++what) {
        core::ColumnRule rule;
        rule.of = "t";
        rule.column = column;
        rule.max_nulls = 0.5;
        if (what < 4) rule.type = std::vector{core::ColumnType::kInt, core::ColumnType::kFloat, core::ColumnType::kDate, core::ColumnType::kTimestamp}[what];
        if (what == 4) rule.value = {0.3, 50};
        add(Judge(rule));
      }
      core::UniqueRule unique;
      unique.of = "t";
      unique.columns = {column};
      add(Judge(unique));
      core::SqlRule sql;
      sql.of = "t";
      sql.predicate = std::string(column) + " IS NOT NULL";
      add(Judge(sql));
    }
    const auto profile = engine_->Profile("t");
    EXPECT_TRUE(profile.ok()) << profile.status();
    return said + ToJson(core::ToValue(*profile));
  };

  EXPECT_EQ(say("t.parquet"), say("t.csv"));
}

TEST_F(Load, TakesFilesWhoseTypesDifferByTheirText) {
  auto database = Database::Open(
      {.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
  ASSERT_TRUE(database.ok()) << database.status();
  std::filesystem::create_directory(folder_ + "/f");
  for (const std::string select : {"SELECT 1 AS a, 2.5::DOUBLE AS b", "SELECT 'text' AS b, 2::BIGINT AS a"}) {
    ASSERT_TRUE((*database)->Execute("COPY (" + select + ") TO " + Literal(folder_ + "/f/" + std::to_string(select.size()) +
                                     ".parquet") + " (FORMAT parquet)").ok());
  }
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  EXPECT_EQ(Rows(), 2);
  EXPECT_THAT(Column("b", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kFloat; }).message, HasSubstr("1 are no float"));
  EXPECT_EQ(Column("a", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kInt; }).outcome, VerdictOutcome::kPass);
}

TEST_F(Load, TellsTheFormatOfANamelessFileByItsFirstBytes) {
  ASSERT_TRUE(Add(Write("listings", "a,b\n1,2\n")).ok());
  EXPECT_EQ(Rows(), 1);
  ASSERT_TRUE(Add(Write("events", "{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n")).ok());
  EXPECT_EQ(Rows(), 3);
}

TEST_F(Load, CountsMoreRowsThanOneChunkHolds) {
  std::string text = "a,b\n";
  for (int i = 0; i < 5000; ++i) text += std::to_string(i) + (i % 1000 == 999 ? "\n" : ",x\n");
  Table(text);

  EXPECT_EQ(Rows(), 5000);
  EXPECT_EQ(BadRows().size(), 5u);
  EXPECT_EQ(Column("a",
                   [](core::ColumnRule& rule) {
                     rule.value = {0, 4999};
                     rule.max_bad_share = 0.001;
                   })
                .outcome,
            VerdictOutcome::kPass);
}

TEST_F(Load, SaysHowToGetAMissingLibrary) {
  const auto engine =
      OpenTableEngine({.libraries = {folder_ + "/libduckdb.so"}, .work_folder = folder_});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(engine.status()), AllOf(HasSubstr("run scripts/setup"), HasSubstr(folder_)));

  Write("libduckdb.so", "not a library");
  const auto broken =
      OpenTableEngine({.libraries = {folder_ + "/libduckdb.so"}, .work_folder = folder_});
  EXPECT_THAT(Message(broken.status()), HasSubstr("libduckdb.so"));

  const auto other = OpenTableEngine({.libraries = {"libz.so.1"}, .work_folder = folder_});
  EXPECT_THAT(Message(other.status()), HasSubstr("has no duckdb_"));
}

TEST(LibraryCandidates, LooksIntoTheProjectThenBesideTheProgramThenTheSystem) {
  EXPECT_THAT(LibraryCandidates("/x/libduckdb.so", "/p/build/bin"), ElementsAre("/x/libduckdb.so"));
  const std::vector<std::string> candidates = LibraryCandidates("", "/p/bin");
  ASSERT_EQ(candidates.size(), 4u);
  EXPECT_THAT(candidates[0], HasSubstr("/p/bin/.third_party/duckdb/"));
  EXPECT_THAT(candidates[1], HasSubstr("/p/.third_party/duckdb/"));
  EXPECT_EQ(candidates[2], "/p/bin/libduckdb.so");
  EXPECT_EQ(candidates[3], "libduckdb.so");
}

TEST(LibraryCandidates, NamesTheReleaseThatSetupInstalls) {
  std::ifstream file(CD4ML_SOURCE_DIR "/scripts/setup");
  const std::string script{std::istreambuf_iterator<char>(file), {}};
  const size_t at = script.find("duckdb_version=");
  ASSERT_NE(at, std::string::npos);
  const std::string version = script.substr(at + 15, script.find('\n', at) - at - 15);

  EXPECT_THAT(LibraryCandidates("", "/p")[0], HasSubstr("/duckdb/" + version + "/"));
}

}  // namespace
}  // namespace cd4ml::table
