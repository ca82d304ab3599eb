"""The rules of cars.cd4ml.yaml with Great Expectations, as far as it has them: FILE -> seconds, and what each found."""
import json
import logging
import sys
import time

import pandas

import great_expectations as gx
import great_expectations.expectations as gxe

logging.disable(logging.WARNING)
BRANDS = [f"brand{i}" for i in range(40)]
COLUMNS = ["id", "seen_at", "brand", "model", "price", "year", "power", "mileage", "fuel", "zip", "seller", "damage"]

began = time.monotonic()
cars = pandas.read_parquet(sys.argv[1]) if sys.argv[1].endswith(".parquet") else pandas.read_csv(sys.argv[1], keep_default_na=False,
                                                                                             na_values=[""])
cars["seen_at"] = cars.seen_at.astype(str)
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
batch = context.data_sources.add_pandas("cars").add_dataframe_asset("cars").add_batch_definition_whole_dataframe("all").get_batch(
    batch_parameters={"dataframe": cars})
# What a predicate over several columns says has no equal there (sane, driven), nor have segments.
rules = {
    "rows": gxe.ExpectTableRowCountToBeBetween(min_value=1000),
    "schema": gxe.ExpectTableColumnsToMatchSet(column_set=COLUMNS, exact_match=False),
    "id": gxe.ExpectColumnValuesToNotBeNull(column="id"),
    "id type": gxe.ExpectColumnValuesToBeOfType(column="id", type_="int64"),
    "copies": gxe.ExpectColumnValuesToBeUnique(column="id"),
    "price": gxe.ExpectColumnValuesToBeBetween(column="price", min_value=100, max_value=100_000, mostly=0.99),
    "year": gxe.ExpectColumnValuesToBeBetween(column="year", min_value=1950, max_value=2026, mostly=0.99),
    "power": gxe.ExpectColumnValuesToBeBetween(column="power", min_value=20, max_value=600),
    "power empty": gxe.ExpectColumnValuesToNotBeNull(column="power", mostly=0.8),
    "mileage": gxe.ExpectColumnValuesToBeBetween(column="mileage", min_value=0, max_value=400_000),
    "brand": gxe.ExpectColumnValuesToBeInSet(column="brand", value_set=BRANDS, mostly=0.99),
    "fuel": gxe.ExpectColumnValuesToBeInSet(column="fuel", value_set=["petrol", "diesel", "electric", "lpg"]),
    "seller": gxe.ExpectColumnValuesToBeInSet(column="seller", value_set=["private", "dealer"]),
    "zip": gxe.ExpectColumnValuesToMatchRegex(column="zip", regex="^Z[0-9]{5}$", mostly=0.99),
    "seen": gxe.ExpectColumnValuesToBeDateutilParseable(column="seen_at"),
    "lately": gxe.ExpectColumnValuesToMatchRegex(column="seen_at", regex="^2025-[0-9]{2}-[0-9]{2} [0-9:]{8}$"),
    "damage": gxe.ExpectColumnValuesToNotBeNull(column="damage", mostly=0.5),
    "worth": gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="price", column_B="power", mostly=0.99,
                                                         ignore_row_if="either_value_is_missing"),
    "again": gxe.ExpectCompoundColumnsToBeUnique(column_list=["seen_at", "zip", "price", "mileage", "model"], mostly=0.98),
}
found = {}
for name, rule in rules.items():
    result = batch.validate(rule, result_format="SUMMARY")
    found[name] = result.result.get("unexpected_count", result.result.get("observed_value"))
print(json.dumps({"seconds": time.monotonic() - began, "found": found}, default=str))
