"""Turns raw listings into rows a model may learn from, and says of every other row why not.

    clean.py --in listings.csv --out clean.csv --rejects rejects.csv

Nothing is dropped in silence: rows read = rows clean + rows rejected. Rejects keep their original columns, so that a person
can look at them and the data gate can ask for the rejected share of each brand.
"""
import argparse
import collections
import csv
import re

# The marketplace exports what its pages showed: Windows-1252, not UTF-8 and not Latin-1 (the euro sign and the dashes differ).
ENCODING = "windows-1252"

RAW_COLUMNS = [
    "dateCrawled", "name", "seller", "offerType", "price", "abtest", "vehicleType", "yearOfRegistration", "gearbox",
    "powerPS", "model", "odometer", "monthOfRegistration", "fuelType", "brand", "notRepairedDamage", "dateCreated",
    "nrOfPictures", "postalCode", "lastSeen"]
CLEAN_COLUMNS = [
    "line", "seen", "price", "listed", "year", "age", "mileage", "power", "brand", "model", "car_model", "vehicle_type",
    "gearbox", "fuel", "damaged"]

# A listing that differs only in these is the same car, put up again or crawled twice.
NOT_PART_OF_THE_CAR = {"dateCrawled", "dateCreated", "lastSeen", "abtest", "nrOfPictures"}

PRICE_EUR = range(200, 150_001)   # below: "make me an offer"; above: typing errors and collectors' pieces
AGE_MAX_YEARS = 40                # older cars gain value with age; that is another market
POWER_PS = range(20, 601)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


class Rejected(ValueError):
    """The reason, in words that are the same for all rows that share it (so that they can be counted)."""


def read_listings(path):
    """Yields (line, row) for every record, also for one that is cut off: its missing fields are empty."""
    # A byte that the code page does not know can only stand in a free text, which no rule reads: not worth a row.
    with open(path, encoding=ENCODING, errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = set(RAW_COLUMNS) - set(header)
        if missing:
            raise SystemExit(f"{path}: no column {', '.join(sorted(missing))}; is this a listings file?")
        for fields in reader:
            yield reader.line_num, dict(zip(header, fields + [""] * (len(header) - len(fields))))


def digits(text):
    """The number in texts such as `$5,000` and `150,000km`, or None when there is none."""
    text = text.strip("$km").replace(",", "")
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def clean_row(line, row):
    """Returns the clean form of one raw row, or raises Rejected."""
    # lastSeen is the last column: of a row that was cut off, it is not a whole timestamp any more.
    if not (TIMESTAMP.fullmatch(row["dateCrawled"]) and TIMESTAMP.fullmatch(row["lastSeen"])):
        raise Rejected("cut off")
    if row["seller"] != "privat" or row["offerType"] != "Angebot":
        raise Rejected("not a private offer")

    price, mileage = digits(row["price"]), digits(row["odometer"])
    year, power = digits(row["yearOfRegistration"]), digits(row["powerPS"])
    if price not in PRICE_EUR:
        raise Rejected("price not plausible")
    if mileage is None or mileage < 0:
        raise Rejected("mileage not plausible")
    listed = int(row["dateCrawled"][:4])
    age = None if year is None else listed - year
    if age is None or age < 0:
        raise Rejected("registered after it was listed")
    if age > AGE_MAX_YEARS:
        raise Rejected("too old")
    if power == 0:
        power = None              # the form's way of saying "not given"; the model can live with that
    elif power not in POWER_PS:
        raise Rejected("power not plausible")

    model = row["model"]
    if not model and row["brand"] == "sonstige_autos":
        model = "andere"          # "other makes" have no models on this marketplace: not a defect of the row
    if not model:
        raise Rejected("no model")

    return {
        "line": line, "seen": row["dateCrawled"], "price": price, "listed": listed, "year": year, "age": age, "mileage": mileage,
        "power": "" if power is None else power,
        "brand": row["brand"], "model": model, "car_model": f"{row['brand']} {model}",
        "vehicle_type": row["vehicleType"] or "unknown", "gearbox": row["gearbox"] or "unknown",
        "fuel": row["fuelType"] or "unknown", "damaged": row["notRepairedDamage"] or "unknown"}


def clean_listings(path):
    """Yields (row, None) for a clean row and (raw row, reason) for a rejected one."""
    seen = set()
    for line, raw in read_listings(path):
        car = tuple(value for name, value in raw.items() if name not in NOT_PART_OF_THE_CAR)
        try:
            if car in seen:
                raise Rejected("a copy")
            seen.add(car)
            yield clean_row(line, raw), None
        except Rejected as rejected:
            yield {"line": line, **raw}, str(rejected)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="source", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rejects", required=True)
    args = parser.parse_args()

    reasons = collections.Counter()
    with open(args.out, "w", encoding="utf-8", newline="") as out, \
            open(args.rejects, "w", encoding="utf-8", newline="") as rejects:
        clean_writer = csv.DictWriter(out, CLEAN_COLUMNS, lineterminator="\n")
        rejects_writer = csv.DictWriter(rejects, ["line", "reason", *RAW_COLUMNS], extrasaction="ignore",
                                        lineterminator="\n")
        clean_writer.writeheader()
        rejects_writer.writeheader()
        for row, reason in clean_listings(args.source):
            reasons[reason or "clean"] += 1
            if reason is None:
                clean_writer.writerow(row)
            else:
                rejects_writer.writerow({**row, "reason": reason})

    print(f"{sum(reasons.values())} rows read, {reasons['clean']} clean")
    for reason, count in reasons.most_common():
        if reason != "clean":
            print(f"{count:6} rejected: {reason}")


if __name__ == "__main__":
    main()
