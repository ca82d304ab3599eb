"""The rules of cars.cd4ml.yaml with pandera, as far as it has them: FILE -> seconds, and how many rows each check found."""
import json
import sys
import time

import pandas
import pandera.pandas as pandera
from pandera.pandas import Check, Column

BRANDS = [f"brand{i}" for i in range(40)]

began = time.monotonic()
cars = pandas.read_parquet(sys.argv[1]) if sys.argv[1].endswith(".parquet") else pandas.read_csv(sys.argv[1], keep_default_na=False,
                                                                                             na_values=[""])
cars["seen_at"] = cars.seen_at.astype(str)


def column(name: str, *checks, **options):
    return Column(None, [Check(check, name=name) for check in checks], **{"nullable": True, **options})


schema = pandera.DataFrameSchema(
    {"id": Column(int, nullable=False, unique=True),
     "price": column("price", lambda s: s.between(100, 100_000)),
     "year": column("year", lambda s: s.between(1950, 2026)),
     "power": column("power", lambda s: s.between(20, 600) | s.isna()),
     "mileage": column("mileage", lambda s: s.between(0, 400_000)),
     "brand": column("brand", lambda s: s.isin(BRANDS)),
     "fuel": column("fuel", lambda s: s.isin(["petrol", "diesel", "electric", "lpg"])),
     "seller": column("seller", lambda s: s.isin(["private", "dealer"])),
     "zip": column("zip", lambda s: s.str.fullmatch("Z[0-9]{5}")),
     "seen_at": column("seen_at", lambda s: pandas.to_datetime(s, errors="coerce").notna(),
                       lambda s: s.str.fullmatch("2025-[0-9]{2}-[0-9]{2} [0-9:]{8}")),
     "damage": column("damage", lambda s: s.isna().mean() <= 0.5),
     "model": column("model")},
    checks=[Check(lambda d: len(d) >= 1000),
            Check(lambda d: (d.price > 0) & (d.year <= 2026), name="sane"),
            Check(lambda d: d.power.isna() | (d.power < d.price), name="worth"),
            Check(lambda d: (d.mileage < 290_000) | (d.year < 2025), name="driven"),
            Check(lambda d: (d.groupby(["brand", "model"]).size() >= 5).any()),
            Check(lambda d: d.duplicated(["seen_at", "zip", "price", "mileage", "model"]).mean() <= 0.02)])
found: dict = {}
try:
    schema.validate(cars, lazy=True)
except pandera.errors.SchemaErrors as errors:
    cases = errors.failure_cases
    # A check of the whole table lists every column of a row that breaks it.
    for check, rows in cases.groupby("check")["index"].nunique().items():
        found[str(check)] = int(rows)
print(json.dumps({"seconds": time.monotonic() - began, "found": found}))
