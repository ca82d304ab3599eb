// Seven ways in which a file of listings goes wrong: each is found by the rule that is named for it, and the file as
// it was passes them all. On invented listings everywhere, and on the real ones where they are there.
#include <set>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using enum core::VerdictOutcome;

using Fields = std::vector<std::string>;

const std::string kExample = CD4ML_SOURCE_DIR "/examples/used-car-price/src/";
const std::string kRealFile = CD4ML_SOURCE_DIR "/../shared/data/used-cars/autos.csv";
constexpr Duration kDay{86'400'000};

// A file of listings that can be changed; the first row has the names.
struct Listings {
  std::vector<Fields> rows;

  static Listings Parse(const std::string& text) {
    Listings listings;
    Fields row(1);
    bool quoted = false;
    for (const char c : text) {
      if (c == '"') {
        quoted = !quoted;  // A doubled one within quotes is not written by either maker of these files.
      } else if (quoted || (c != ',' && c != '\n')) {
        row.back() += c;
      } else if (c == ',') {
        row.emplace_back();
      } else {
        listings.rows.push_back(std::exchange(row, Fields(1)));
      }
    }
    if (row != Fields(1)) listings.rows.push_back(row);
    return listings;
  }

  std::string Text() const {
    std::string text;
    for (const Fields& row : rows) {
      for (size_t i = 0; i < row.size(); ++i) {
        const bool quote = row[i].find(',') != std::string::npos;
        text += (i == 0 ? "" : ",") + (quote ? "\"" + row[i] + "\"" : row[i]);
      }
      text += "\n";
    }
    return text;
  }

  size_t Column(const std::string& name) const {
    const auto found = std::find(rows[0].begin(), rows[0].end(), name);
    return static_cast<size_t>(found - rows[0].begin());
  }

  // Calls `change` with the values of `columns` of every row.
  template <typename Change>
  void Each(const std::vector<std::string>& columns, const Change& change) {
    std::vector<size_t> at;
    for (const std::string& name : columns) at.push_back(Column(name));
    for (size_t i = 1; i < rows.size(); ++i) {
      std::vector<std::string*> values;
      for (const size_t column : at) values.push_back(&rows[i][column]);
      change(values);
    }
  }

  // Removes rows of one car model but for the first `left`.
  void Thin(const std::string& model, int left) {
    const size_t column = Column("model");
    std::erase_if(rows, [&](const Fields& row) { return row[column] == model && left-- <= 0; });
  }
};

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a file of listings must be like, before and after it was cleaned.
std::vector<core::Rule> Rules() {
  std::vector<core::Rule> rules;
  const auto add = [&](std::string name, core::RuleBody body, std::vector<std::string> by = {}) {
    rules.push_back({.name = std::move(name), .by = std::move(by), .body = std::move(body), .place = {}});
  };
  add("schema", core::ColumnsRule{"listings", false,
                                  {"dateCrawled", "name", "seller", "offerType", "price", "vehicleType",
                                   "yearOfRegistration", "gearbox", "powerPS", "model", "odometer", "fuelType",
                                   "brand", "notRepairedDamage", "lastSeen"}});
  add("price-written", core::ColumnRule{.of = "listings", .column = "price",
                                        .pattern = R"(\$[0-9]{1,3}(,[0-9]{3})*)", .max_bad_share = 0.001});
  add("gearbox", core::ColumnRule{.of = "listings", .column = "gearbox", .in = {"manuell", "automatik"}});
  add("copies", core::UniqueRule{"listings", true,
                                 {"dateCrawled", "dateCreated", "lastSeen", "abtest", "nrOfPictures"}, 0.01});
  add("year-of-each-brand",
      core::ColumnRule{.of = "listings", .column = "yearOfRegistration", .type = core::ColumnType::kInt,
                       .value = {1900, 2018}, .max_bad_share = 0.05},
      {"brand"});
  add("gearbox-lately",
      core::StatRule{.of = "listings", .stat = core::Statistic::kNulls, .column = "gearbox",
                     .window_column = "dateCrawled", .window_last = 3 * kDay, .versus = "rest",
                     .max_change = {.abs = 0.05, .rel = std::nullopt}, .min_samples = 200});
  add("same-currency",
      core::StatRule{.of = "clean", .stat = core::Statistic::kMedian, .column = "price", .window_column = "seen",
                     .window_last = 3 * kDay, .versus = "rest", .max_change = {.abs = std::nullopt, .rel = 0.25},
                     .min_samples = 200});
  core::SegmentsRule segments;
  segments.of = "clean";
  segments.by = {"car_model"};
  segments.rows_min = 30;
  segments.coverage_min = 0.8;
  segments.lost_versus = "last_accepted";
  add("car-models", segments);
  return rules;
}

class Corruption : public TableTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    std::string file = folder_ + "/original.csv";
    if (GetParam() == std::string("Real")) {
      if (!std::filesystem::exists(kRealFile)) GTEST_SKIP() << kRealFile << " is not there";
      file = kRealFile;
    } else if (Original().rows.empty()) {
      ASSERT_EQ(Run("market.py generate --rows 6000 --seed 1 --out " + file), 0);
    }
    if (!Original().rows.empty()) {
      listings_ = Original();
      baselines_ = Accepted();
      return;
    }
    listings_ = Listings::Parse(Bytes(file));
    ASSERT_THAT(Broken(), IsEmpty()) << "the file as it is";
    // From now on this one is what was accepted last.
    core::TableProfile profile;
    for (const core::Rule& rule : Rules()) {
      if (const auto* segments = std::get_if<core::SegmentsRule>(&rule.body))
        profile.segments = *engine_->QualifyingSegments(*segments);
    }
    ASSERT_GT(profile.segments.size(), 25u);
    baselines_["last_accepted.clean"] = {std::move(profile), "listings/1 clean"};
    ASSERT_THAT(BrokenOf("clean"), IsEmpty()) << "the same file again";
    Original() = listings_;
    Accepted() = baselines_;
  }

  // Making, cleaning and judging the file as it is takes longer than each test.
  Listings& Original() {
    static std::map<std::string, Listings> originals;
    return originals[GetParam()];
  }
  std::map<std::string, Baseline>& Accepted() {
    static std::map<std::string, std::map<std::string, Baseline>> accepted;
    return accepted[GetParam()];
  }

  static int Run(const std::string& command) {
    return std::system(("/usr/bin/python3 " + kExample + command + " > /dev/null 2>&1").c_str());
  }

  // Returns the rules about the listings that do not pass.
  std::set<std::string> BrokenRaw() {
    const absl::Status added = Add(Write("listings.csv", listings_.Text()), Encoded("windows-1252"), "listings");
    EXPECT_TRUE(added.ok()) << added;
    return BrokenOf("listings");
  }
  // Returns the rules that do not pass, with those about what is left of the listings when they are cleaned.
  std::set<std::string> Broken() {
    std::set<std::string> broken = BrokenRaw();
    EXPECT_EQ(Run("clean.py --in " + folder_ + "/listings.csv --out " + folder_ + "/clean.csv --rejects " + folder_ +
                  "/rejects.csv"),
              0);
    EXPECT_TRUE(Add(folder_ + "/clean.csv", {}, "clean").ok());
    broken.merge(BrokenOf("clean"));
    return broken;
  }
  std::set<std::string> BrokenOf(const std::string& table) {
    std::set<std::string> broken;
    for (const core::Rule& rule : Rules()) {
      if (core::Subject(rule.body) != table) continue;
      const core::RuleResult result = Judge(rule);
      if (result.outcome == kPass) continue;
      broken.insert(rule.name);
      found_[rule.name] = result;
    }
    return broken;
  }

  Listings listings_;
  std::map<std::string, core::RuleResult> found_;
};

TEST_P(Corruption, AChangeOfCurrencyLateInTheWindow) {
  const std::string from = GetParam() == std::string("Real") ? "2016-04-04" : "2016-03-28";
  listings_.Each({"dateCrawled", "price"}, [&](const std::vector<std::string*>& row) {
    if (*row[0] < from) return;
    std::string digits = *row[1];
    std::erase_if(digits, [](char c) { return c == '$' || c == ','; });
    std::string mark = std::to_string(std::llround(std::stod(digits) * 1.95583));
    for (auto at = static_cast<ptrdiff_t>(mark.size()) - 3; at > 0; at -= 3) mark.insert(static_cast<size_t>(at), ",");
    *row[1] = "$" + mark;
  });
  EXPECT_THAT(Broken(), Contains("same-currency"));
  EXPECT_GT(*found_["same-currency"].observed_number, 1.5 * *found_["same-currency"].baseline_number);
}

TEST_P(Corruption, OneCarModelIsGoneAndOneDownToAFewRows) {
  listings_.Thin("polo", 0);
  listings_.Thin("corsa", 5);
  EXPECT_THAT(Broken(), ::testing::ElementsAre("car-models"));
  EXPECT_THAT(found_["car-models"].rows[0], ::testing::MatchesRegex("lost: opel corsa, [1-5] rows"));
  EXPECT_EQ(found_["car-models"].rows[1], "lost: volkswagen polo, 0 rows");
}

TEST_P(Corruption, ColumnsAreShuffledAndOneIsRenamed) {
  for (Fields& row : listings_.rows) std::rotate(row.begin(), row.begin() + 7, row.end());
  EXPECT_THAT(BrokenRaw(), IsEmpty()) << "an order means nothing";
  listings_.rows[0][listings_.Column("odometer")] = "mileage";
  EXPECT_THAT(BrokenRaw(), Contains("schema"));
  EXPECT_EQ(found_["schema"].rows[0], "missing: odometer");
}

TEST_P(Corruption, ColumnsAreShuffledUnderTheirNames) {
  for (size_t i = 1; i < listings_.rows.size(); ++i) {
    Fields& row = listings_.rows[i];
    std::rotate(row.begin(), row.begin() + 1, row.end());
  }
  EXPECT_THAT(BrokenRaw(), ::testing::IsSupersetOf({"price-written", "gearbox", "year-of-each-brand"}));
}

TEST_P(Corruption, CopiesWithNewTimes) {
  const size_t crawled = listings_.Column("dateCrawled");
  const size_t seen = listings_.Column("lastSeen");
  const size_t rows = listings_.rows.size() - 2;
  for (size_t i = 1; i < rows; i += 50) {
    Fields copy = listings_.rows[i];
    copy[crawled].replace(11, 8, "12:34:56");
    copy[seen].replace(11, 8, "23:45:01");
    listings_.rows.push_back(copy);
  }
  EXPECT_THAT(BrokenRaw(), ::testing::ElementsAre("copies"));
}

TEST_P(Corruption, YearAndPowerAreSwappedForOneBrand) {
  listings_.Each({"brand", "yearOfRegistration", "powerPS"}, [](const std::vector<std::string*>& row) {
    if (*row[0] == "skoda") std::swap(*row[1], *row[2]);
  });
  EXPECT_THAT(BrokenRaw(), Contains("year-of-each-brand"));
  EXPECT_EQ(found_["year-of-each-brand"].rows.size(), 1u);
  EXPECT_TRUE(found_["year-of-each-brand"].rows[0].starts_with("skoda: "));
}

TEST_P(Corruption, PointsForCommasInPrices) {
  int row_number = 0;
  listings_.Each({"price"}, [&](const std::vector<std::string*>& row) {
    if (++row_number % 100 == 0) std::replace(row[0]->begin(), row[0]->end(), ',', '.');
  });
  EXPECT_THAT(BrokenRaw(), Contains("price-written"));
}

TEST_P(Corruption, AFieldIsLostFromADateOn) {
  const std::string from = GetParam() == std::string("Real") ? "2016-04-05" : "2016-03-29";
  listings_.Each({"dateCrawled", "gearbox"}, [&](const std::vector<std::string*>& row) {
    if (*row[0] >= from) row[1]->clear();
  });
  EXPECT_THAT(BrokenRaw(), ::testing::ElementsAre("gearbox-lately"));
}

INSTANTIATE_TEST_SUITE_P(Of, Corruption, ::testing::Values("Invented", "Real"),
                         [](const auto& of) { return std::string(of.param); });

}  // namespace
}  // namespace cd4ml::table
