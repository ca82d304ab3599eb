"""What the stages rely on: python3 -m unittest discover -s tests"""
import csv
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))
import clean
import features
import market


def raw(**changes):
    row = dict.fromkeys(clean.RAW_COLUMNS, "")
    row.update(dateCrawled="2016-03-26 17:47:46", seller="privat", offerType="Angebot", price="$5,000",
               yearOfRegistration="2004", powerPS="158", model="golf", odometer="150,000km", brand="volkswagen",
               lastSeen="2016-04-06 06:45:54")
    return {**row, **changes}


class Cleaning(unittest.TestCase):
    def test_reads_prices_and_mileages_as_they_are_shown(self):
        row = clean.clean_row(2, raw())
        self.assertEqual((row["price"], row["mileage"], row["age"], row["power"]), (5000, 150000, 12, 158))

    def test_says_why_a_row_is_rejected(self):
        for changes, reason in [({"price": "$0"}, "price not plausible"), ({"price": "$11,111,111"}, "price not plausible"),
                                ({"yearOfRegistration": "9999"}, "registered after it was listed"),
                                ({"yearOfRegistration": "1800"}, "too old"), ({"powerPS": "14009"}, "power not plausible"),
                                ({"model": ""}, "no model"), ({"lastSeen": "2016-04-0"}, "cut off")]:
            with self.subTest(reason), self.assertRaisesRegex(clean.Rejected, reason):
                clean.clean_row(2, raw(**changes))

    def test_keeps_a_car_whose_power_is_not_given(self):
        self.assertEqual(clean.clean_row(2, raw(powerPS="0"))["power"], "")


class Market(unittest.TestCase):
    def test_same_seed_gives_the_same_text(self):
        self.assertEqual(market.generate(200, seed=1, drift=0), market.generate(200, seed=1, drift=0))

    def test_standing_still_changes_nothing(self):
        text = market.generate(200, seed=1, drift=0)
        self.assertEqual(market.shift(text, drift=0, seed=2), text)

    def test_moving_keeps_every_row(self):
        text = market.generate(200, seed=1, drift=0)
        moved = market.shift(text, drift=1, seed=2)
        self.assertEqual(len(list(csv.reader(moved.splitlines()))), 201)
        self.assertNotEqual(moved, text)


class Features(unittest.TestCase):
    def test_unseen_category_counts_as_an_average_car(self):
        rows = [{name: "a" for name in features.CATEGORIES} | {"price": price} for price in ("100", "10000")]
        encodings = features.learn_encodings(rows)
        stranger = dict.fromkeys(features.CATEGORIES, "b") | {"age": "1", "mileage": "2", "power": ""}
        encoded = features.encode([stranger], encodings)[0]
        self.assertEqual(encoded[2], features.MISSING)
        self.assertAlmostEqual(float(encoded[3]), 6.907755, places=5)      # the log of 1,000


if __name__ == "__main__":
    unittest.main()
