"""What a profile says of a table is what pandas says, cell by cell."""
import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import numpy
import pandas

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = pathlib.Path(os.environ.get("CD4ML_USED_CARS", ROOT.parent / "shared/data/used-cars/autos.csv"))
QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
TOP, CATEGORY_MAX = 50, 200


def asked(*words) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=300)


def answer(*words) -> dict:
    done = asked(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def texts(path: pathlib.Path, encoding: str) -> pandas.DataFrame:
    """The table as it stands in the file: every cell a text, None where it is empty."""
    return pandas.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding).replace({"": None})


def number(text) -> float | None:
    """The nearest double, which pandas.to_numeric does not always give."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and "_" not in text else None


class ProfileTest(unittest.TestCase):
    def assert_near(self, ours: float, theirs: float, what: str) -> None:
        if not math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-300):
            self.fail(f"{what}: {ours!r}, pandas says {theirs!r}")

    def check_numbers(self, name: str, ours: dict, column: pandas.Series) -> None:
        numbers = column.map(number).dropna()
        self.assertEqual(ours["nulls"], len(column) - len(numbers), name)
        self.assertEqual(ours["distinct"], numbers.nunique(), name)
        self.assertEqual((ours["min"], ours["max"]), (numbers.min(), numbers.max()), name)
        self.assert_near(ours["mean"], math.fsum(numbers) / len(numbers), f"mean of {name}")
        if len(numbers) > 1:
            self.assert_near(ours["std"], numbers.std(), f"std of {name}")
        for share, quantile in zip(QUANTILES, ours["quantiles"]):
            self.assert_near(quantile, numbers.quantile(share), f"quantile {share} of {name}")
        # Bins: the borders are deciles that are values of the column, and every value is in the bin that it belongs to.
        ascending = numbers.sort_values().tolist()
        borders = sorted({ascending[max(0, math.ceil(len(ascending) * tenth / 10) - 1)] for tenth in range(1, 10)})
        self.assertEqual(ours["edges"], borders, name)
        counts = numpy.bincount(numpy.searchsorted(borders, numbers, side="left"), minlength=len(borders) + 1)
        self.assertEqual(ours["counts"], counts.tolist(), name)

    def check_texts(self, name: str, ours: dict, column: pandas.Series) -> None:
        counts = column.value_counts()
        self.assertEqual(ours["nulls"], column.isna().sum(), name)
        self.assertEqual(ours["distinct"], column.nunique(), name)
        usable = [(-count, value.encode()) for value, count in counts.items() if len(value.encode()) <= CATEGORY_MAX]
        top = {value.decode(): -count for count, value in sorted(usable)[:TOP]}
        self.assertEqual(ours["top"], top, name)
        self.assertEqual(ours["other"], counts.sum() - sum(top.values()), name)

    def check(self, path: pathlib.Path, encoding: str, numeric: set[str]) -> None:
        ours, table = answer("profile", path, encoding), texts(path, encoding)
        self.assertEqual(ours["rows"], len(table))
        self.assertEqual(set(ours["columns"]), set(table.columns))
        self.assertEqual({name for name, column in ours["columns"].items() if column["numeric"]}, numeric)
        for name, column in ours["columns"].items():
            self.assertEqual(column["rows"], len(table), name)
            (self.check_numbers if column["numeric"] else self.check_texts)(name, column, table[name])

    @unittest.skipUnless(REAL.exists(), f"{REAL} is not there")
    def test_the_real_listings(self):
        self.check(REAL, "windows-1252", {"yearOfRegistration", "powerPS", "monthOfRegistration", "nrOfPictures", "postalCode"})
        types = {name: column["type"] for name, column in answer("profile", REAL, "windows-1252")["columns"].items()}
        self.assertEqual((types["powerPS"], types["price"], types["lastSeen"]), ("BIGINT", "VARCHAR", "TIMESTAMP"))

    def test_a_table_of_everything_that_is_odd(self):
        chance = random.Random(7)
        rows = ["ties,constant,skewed,signed,tiny,huge,sparse,dirty,text,long,one"]
        for i in range(5_000):
            rows.append(",".join([
                str(chance.randrange(7)), "3.25", repr(chance.lognormvariate(0, 3)), repr(chance.gauss(-1e6, 1e-3)),
                repr(chance.random() * 1e-300), repr(chance.gauss(0, 1e100)), str(i) if chance.random() < 0.02 else "",
                "n/a" if chance.random() < 0.05 else str(chance.randrange(-5, 5)), f"\"word {min(chance.randrange(300), chance.randrange(300))}, \u00e4\"",
                "x" * chance.choice([1, 199, 200, 201, 5000]), "42" if i == 17 else ""]))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "odd.csv"
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")
            self.check(path, "utf-8", {"ties", "constant", "skewed", "signed", "tiny", "huge", "sparse", "dirty", "one"})

    def test_a_difference_is_that_of_the_two_profiles(self):
        with tempfile.TemporaryDirectory() as folder:
            before, after = pathlib.Path(folder) / "a.csv", pathlib.Path(folder) / "b.csv"
            before.write_text("n,gone\n" + "".join(f"{i},x\n" for i in range(100)))
            after.write_text("n,came\n" + "".join(f"{i + 50},x\n" for i in range(100)))
            columns = {column["name"]: column for column in answer("diff", before, after)["columns"]}
        self.assertEqual({name: column["change"] for name, column in columns.items()}, {"gone": "removed", "came": "added", "n": "same"})
        self.assertEqual((columns["n"]["mean_before"], columns["n"]["mean_after"]), (49.5, 99.5))
        # The deciles of 0..99 have 10 values each; 50..149 has none below 50, and 50 beyond them all. Nulls are another bin.
        was, now = numpy.array([10.0] * 10 + [0]), numpy.array([0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 50.0])
        extra = 0.5 * 12
        both = (was + now) / 200
        p, q = (was + extra * both) / (100 + extra), (now + extra * both) / (100 + extra)
        self.assert_near(columns["n"]["psi"], float(((q - p) * numpy.log(q / p)).sum()), "psi")

    def test_a_bad_table_is_refused_with_the_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bad.csv"
            path.write_bytes(b"name\nM\xfcller\n")
            done = asked("profile", path, "utf-8")
        self.assertEqual(done.returncode, 1)
        self.assertIn("line 2: byte 0xfc is not utf-8; state the file's encoding", done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    flags, rest = parser.parse_known_args()
    PROGRAM = os.path.abspath(flags.program)
    unittest.main(argv=[sys.argv[0], *rest])
