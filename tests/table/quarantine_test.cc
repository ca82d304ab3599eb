// Bad rows as a file: which rows, by which rules, and that they can be read again.
#include <sstream>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using ::testing::HasSubstr;

class Quarantine : public TableTest {
 protected:
  core::Rule Named(const std::string& name, core::RuleBody body, bool blocks = true) {
    return {.name = name, .blocks = blocks, .body = std::move(body), .place = {}};
  }
  core::Rule ColumnNamed(const std::string& name, const std::string& column, void (*fill)(core::ColumnRule&),
                         const std::string& of = "t") {
    core::ColumnRule rule;
    rule.of = of;
    rule.column = column;
    fill(rule);
    return Named(name, rule);
  }
  core::Rule Sql(const std::string& name, const std::string& predicate) {
    core::SqlRule rule;
    rule.of = "t";
    rule.predicate = predicate;
    return Named(name, rule);
  }
  // Returns the file that was written.
  std::string Written(const std::vector<core::Rule>& rules, const std::string& file = "bad.csv") {
    const std::string path = folder_ + "/" + file;
    const absl::Status written = engine_->WriteBadRows("t", rules, path);
    EXPECT_TRUE(written.ok()) << written;
    std::ifstream in(path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
};

TEST_F(Quarantine, HoldsEveryRowThatBreaksARuleOnceWithItsLineAndTheRules) {
  Table("brand,price,year\nbmw,100,2004\naudi,-5,1999\nvw,abc,3000\n,700,2001\nopel,8,1900\n");

  EXPECT_EQ(Written({ColumnNamed("price", "price", [](core::ColumnRule& rule) { rule.value.min = 0; }),
                     Sql("year-sane", "year BETWEEN 1950 AND 2026"),
                     ColumnNamed("brand-known", "brand", [](core::ColumnRule& rule) { rule.max_nulls = 0; })}),
            "cd4ml_line,cd4ml_rules,cd4ml_problem,brand,price,year\n"
            "3,price,,audi,-5,1999\n"
            "4,price year-sane,,vw,abc,3000\n"
            "5,brand-known,,,700,2001\n"
            "6,year-sane,,opel,8,1900\n");
}

TEST_F(Quarantine, HoldsWhatDoesNotFitTheTableWithItsText) {
  Table("a,b\n1,2\n3\n4,5,6\n");

  EXPECT_EQ(Written({ColumnNamed("whole", "a", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kInt; })}),
            "cd4ml_line,cd4ml_rules,cd4ml_problem,a,b\n"
            "3,,1 of 2 fields: 3,,\n"
            "4,,\"3 of 2 fields: 4,5,6\",,\n");
}

TEST_F(Quarantine, IsWrittenAlsoWhenEveryRowIsGood) {
  Table("a\n1\n");
  EXPECT_EQ(Written({ColumnNamed("whole", "a", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kInt; })}),
            "cd4ml_line,cd4ml_rules,cd4ml_problem,a\n");
}

TEST_F(Quarantine, TakesWhatARuleTolerates) {
  Table("a,b\n1,\nx,\n3,\n");
  EXPECT_EQ(Written({ColumnNamed("mostly", "a",
                                 [](core::ColumnRule& rule) {
                                   rule.type = core::ColumnType::kInt;
                                   rule.max_bad_share = 0.9;
                                 }),
                     // Where some values may be empty, an empty one is no bad one.
                     ColumnNamed("sparse", "b", [](core::ColumnRule& rule) { rule.max_nulls = 1; })}),
            "cd4ml_line,cd4ml_rules,cd4ml_problem,a,b\n3,mostly,,x,\n");
}

TEST_F(Quarantine, DoesNotAskRulesAboutOtherTablesOrWholeOnes) {
  Table("a\n1\n1\n", "t");
  Table("b\nx\n", "u");
  core::UniqueRule unique;
  unique.of = "t";
  unique.columns = {"a"};
  EXPECT_EQ(Written({ColumnNamed("other", "b", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kInt; }, "u"),
                     Named("rows", core::RowsRule{"t", {5, std::nullopt}}), Named("copies", unique)}),
            "cd4ml_line,cd4ml_rules,cd4ml_problem,a\n");
}

TEST_F(Quarantine, NamesTheFileWhereThereAreSeveralAndKeepsTheirOrder) {
  Write("f/b.csv", "a\nx\n1\n");
  Write("f/a.csv", "a\n1\ny\n");
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  EXPECT_EQ(Written({ColumnNamed("whole", "a", [](core::ColumnRule& rule) { rule.type = core::ColumnType::kInt; })}),
            "cd4ml_file,cd4ml_line,cd4ml_rules,cd4ml_problem,a\na.csv,3,whole,,y\nb.csv,2,whole,,x\n");
}

TEST_F(Quarantine, KeepsTextsAsTheyAreAndCanBeReadAgain) {
  Table("\"the \"\"name\"\"\",n\n\"two\nlines, 'quoted'\",x\n\xC3\xA4;|\t\\,y\nfine,1\n");
  const core::Rule rule = ColumnNamed("whole", "n", [](core::ColumnRule& column) { column.type = core::ColumnType::kInt; });
  Written({rule});
  Written({rule}, "bad.parquet");
  for (const char* file : {"bad.csv", "bad.parquet"}) {
    const absl::Status added = Add(folder_ + "/" + file, {}, "again");
    ASSERT_TRUE(added.ok()) << added;
    core::ColumnRule same;
    same.of = "again";
    same.column = "the \"name\"";
    same.in = {"two\nlines, 'quoted'", "\xC3\xA4;|\t\\"};
    EXPECT_EQ(Judge(same).outcome, core::VerdictOutcome::kPass) << file << ": " << Judge(same).message;
    EXPECT_EQ(Rows("again"), 2);
  }
}

TEST_F(Quarantine, SaysWhatKeepsItFromBeingWritten) {
  Table("a\n1\n");
  EXPECT_THAT(Message(engine_->WriteBadRows("nowhere", {}, folder_ + "/bad.csv")),
              HasSubstr("there is no table \"nowhere\""));
  EXPECT_THAT(Message(engine_->WriteBadRows("t", {Sql("odd", "b > 1")}, folder_ + "/bad.csv")),
              HasSubstr("rule odd: \"t\" has no column \"b\""));
  EXPECT_FALSE(engine_->WriteBadRows("t", {}, folder_ + "/no/such/folder/bad.csv").ok());
}

}  // namespace
}  // namespace cd4ml::table
