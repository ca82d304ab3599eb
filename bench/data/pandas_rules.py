"""The rules of cars.cd4ml.yaml with pandas: FILE -> seconds, and what each rule found."""
import json
import sys
import time

import pandas

BRANDS = [f"brand{i}" for i in range(40)]
COLUMNS = ["id", "seen_at", "brand", "model", "price", "year", "power", "mileage", "fuel", "zip", "seller", "damage"]

began = time.monotonic()
cars = pandas.read_parquet(sys.argv[1]) if sys.argv[1].endswith(".parquet") else pandas.read_csv(sys.argv[1], keep_default_na=False,
                                                                                             na_values=[""])
found = {}
found["rows"] = len(cars)
found["schema"] = len(set(COLUMNS) - set(cars.columns))
found["id"] = int(pandas.to_numeric(cars.id, errors="coerce").isna().sum())
found["copies"] = int(cars.duplicated(["id"]).sum())
found["price"] = int((~cars.price.between(100, 100_000)).sum())
found["year"] = int((~cars.year.between(1950, 2026)).sum())
found["power"] = int((cars.power.notna() & ~cars.power.between(20, 600)).sum())
found["power empty"] = int(cars.power.isna().sum())
found["mileage"] = int((~cars.mileage.between(0, 400_000)).sum())
found["brand"] = int((~cars.brand.isin(BRANDS)).sum())
found["fuel"] = int((~cars.fuel.isin(["petrol", "diesel", "electric", "lpg"])).sum())
found["seller"] = int((~cars.seller.isin(["private", "dealer"])).sum())
found["zip"] = int((~cars.zip.astype(str).str.fullmatch("Z[0-9]{5}")).sum())
found["seen"] = int(pandas.to_datetime(cars.seen_at, errors="coerce").isna().sum())
found["lately"] = int((~cars.seen_at.astype(str).str.fullmatch("2025-[0-9]{2}-[0-9]{2} [0-9:]{8}")).sum())
found["damage"] = int(cars.damage.isna().sum())
found["sane"] = int((~((cars.price > 0) & (cars.year <= 2026))).sum())
found["worth"] = int((~(cars.power.isna() | (cars.power < cars.price))).sum())
found["driven"] = int((~((cars.mileage < 290_000) | (cars.year < 2025))).sum())
segments = cars.groupby(["brand", "model"]).size()
found["segments"] = int((segments >= 5).sum())
found["again"] = int(cars.duplicated(["seen_at", "zip", "price", "mileage", "model"]).sum())
print(json.dumps({"seconds": time.monotonic() - began, "found": found}))
