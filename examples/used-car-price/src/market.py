"""An invented used-car market: listings to learn from, and a market that moves, without anybody's data.

    market.py generate --rows 12000 --seed 1 --out listings.csv [--drift D]
    market.py shift --in listings.csv --drift 1 --seed 2 --out moved.csv

The files have the columns of a real German marketplace's export and are dirty in the same ways: made for trying how a pipeline
behaves when data is as it is. The same arguments give the same bytes. `shift` also takes real exports of that shape.
"""
import argparse
import csv
import io
import math
import random

from clean import ENCODING, RAW_COLUMNS, digits

# weight, brand, model, new price in EUR, usual power in PS, body, share of its value that it loses in a year
CARS = [
    (100, "volkswagen", "golf", 24000, 105, "limousine", .115), (68, "bmw", "3er", 36000, 150, "limousine", .125),
    (45, "volkswagen", "polo", 16000, 75, "kleinwagen", .115), (43, "opel", "corsa", 14500, 75, "kleinwagen", .150),
    (37, "volkswagen", "passat", 31000, 130, "kombi", .140), (36, "opel", "astra", 21000, 101, "limousine", .160),
    (33, "audi", "a4", 36000, 143, "kombi", .125), (30, "mercedes_benz", "c_klasse", 38000, 156, "limousine", .120),
    (29, "bmw", "5er", 50000, 190, "limousine", .140), (23, "mercedes_benz", "e_klasse", 52000, 177, "limousine", .125),
    (22, "audi", "a3", 28000, 110, "limousine", .110), (21, "audi", "a6", 48000, 180, "kombi", .145),
    (20, "ford", "focus", 20000, 100, "kombi", .160), (19, "renault", "twingo", 11500, 60, "kleinwagen", .165),
    (18, "volkswagen", "transporter", 36000, 105, "bus", .085), (17, "ford", "fiesta", 14500, 75, "kleinwagen", .150),
    (16, "peugeot", "2_reihe", 15000, 75, "kleinwagen", .155), (15, "smart", "fortwo", 12500, 61, "kleinwagen", .120),
    (14, "mercedes_benz", "a_klasse", 25000, 95, "limousine", .135), (14, "bmw", "1er", 28000, 130, "limousine", .110),
    (13, "opel", "vectra", 25000, 125, "limousine", .180), (13, "ford", "mondeo", 27000, 130, "kombi", .165),
    (12, "renault", "clio", 14500, 75, "kleinwagen", .155), (12, "volkswagen", "touran", 27000, 105, "bus", .120),
    (11, "fiat", "punto", 13500, 65, "kleinwagen", .170), (10, "renault", "megane", 19500, 105, "kombi", .175),
    (10, "opel", "zafira", 24000, 120, "bus", .150), (9, "ford", "ka", 11000, 65, "kleinwagen", .170),
    (9, "seat", "ibiza", 15000, 75, "kleinwagen", .135), (8, "peugeot", "3_reihe", 20000, 110, "limousine", .165),
    (8, "skoda", "octavia", 23000, 105, "kombi", .120), (8, "volkswagen", "lupo", 12500, 54, "kleinwagen", .125),
    (8, "bmw", "x_reihe", 55000, 218, "suv", .115), (7, "mercedes_benz", "clk", 45000, 184, "cabrio", .105),
    (7, "mini", "cooper", 23000, 116, "kleinwagen", .095), (7, "skoda", "fabia", 14500, 75, "kleinwagen", .125),
    (6, "seat", "leon", 21000, 110, "limousine", .125), (6, "nissan", "micra", 13500, 65, "kleinwagen", .150),
    (5, "mazda", "3_reihe", 20000, 105, "limousine", .135), (5, "honda", "civic", 20000, 110, "limousine", .125),
    (4, "porsche", "911", 92000, 320, "coupe", .055), (4, "mercedes_benz", "slk", 42000, 163, "cabrio", .085),
    (4, "mazda", "mx_reihe", 23000, 126, "cabrio", .080), (4, "toyota", "yaris", 14500, 80, "kleinwagen", .115),
    # Too rare to price well: the data gate sees them as segments below its minimum.
    (1, "audi", "tt", 38000, 190, "coupe", .090), (1, "subaru", "forester", 27000, 147, "suv", .115),
    (1, "lancia", "ypsilon", 13500, 69, "kleinwagen", .160), (1, "daihatsu", "cuore", 9500, 58, "kleinwagen", .135),
    (1, "saab", "900", 29000, 150, "cabrio", .110), (1, "jaguar", "x_type", 36000, 196, "limousine", .170),
    (1, "lada", "niva", 10500, 80, "suv", .090), (1, "jeep", "wrangler", 33000, 177, "suv", .070)]

EXTRAS = ["Klimaanlage", "TÜV_neu", "Scheckheftgepflegt", "1._Hand", "Bastlerfahrzeug", "sehr_gepflegt", "8x_bereift",
          "VB_–_kein_Tausch", "Preis_in_€", "„Liebhaber“", "AHK", "!!!TOP!!!", "Navi/Xenon", "schönes_Auto"]
# The odometer is a list to choose from; everything above the last step is the last step.
MILEAGES = [5_000, *range(10_000, 100_000, 10_000), 100_000, 125_000, 150_000]
LISTED_IN = 2016


def odometer(mileage):
    """The first step of the marketplace's list that is not below the true mileage."""
    return next((step for step in MILEAGES if step >= mileage), MILEAGES[-1])


def listing(rng):
    """One tidy listing, with the price that the invented market would pay."""
    _, brand, model, new_price, usual_power, body, loss = rng.choices(CARS, [car[0] for car in CARS])[0]
    age = min(int(rng.gammavariate(3.4, 3.4)), 34)
    driven = rng.lognormvariate(math.log(14_500), .35) * (age + .5)
    power = round(usual_power * rng.choice([.8, 1, 1, 1, 1.25, 1.6]))
    diesel = rng.random() < (.15 if body == "kleinwagen" else .45)
    automatic = rng.random() < (.45 if new_price > 30_000 else .08)
    damaged = rng.random() < .11

    # Effects that depend on each other, as in life: kilometres cost an old car less than a young one and a diesel less than a
    # petrol engine, and damage is worse the older the car is. A model that cannot see pairs of features stays visibly behind.
    price = new_price * (power / usual_power) ** (1.1 if age < 10 else .3) * (1 - loss) ** age
    price *= math.exp(-min(driven, 250_000) / 100_000 * (.16 if diesel else .28) * (1.5 if age < 8 else .7))
    price *= (1.10 if automatic and new_price > 30_000 else .94 if automatic else 1)
    price *= (.75 if age < 8 else .40) if damaged else 1
    price *= rng.lognormvariate(0, .17)
    price = max(round(price / 50) * 50 - rng.choice([0, 0, 1, 10]), 150)

    day, postal_code = rng.randrange(1, 31), rng.randrange(1_067, 99_998)
    crawled = f"{LISTED_IN}-03-{day:02} {rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    return {
        "dateCrawled": crawled, "name": "_".join([brand.title(), model.title(), *rng.sample(EXTRAS, rng.randrange(3))]),
        "seller": "privat", "offerType": "Angebot", "price": price, "abtest": rng.choice(["test", "control"]),
        "vehicleType": body, "yearOfRegistration": LISTED_IN - age, "gearbox": "automatik" if automatic else "manuell",
        "powerPS": power, "model": model, "odometer": odometer(driven), "monthOfRegistration": rng.randrange(13),
        "fuelType": "diesel" if diesel else rng.choices(["benzin", "lpg"], [40, 1])[0], "brand": brand,
        "notRepairedDamage": "ja" if damaged else "nein", "dateCreated": f"{crawled[:10]} 00:00:00", "nrOfPictures": 0,
        "postalCode": postal_code, "lastSeen": f"{LISTED_IN}-04-{rng.randrange(1, 8):02} {crawled[11:]}"}


def soil(row, rng):
    """Makes a listing as dirty as its like are in the wild, in about the shares of a real export."""
    for column, share in [("vehicleType", .10), ("gearbox", .05), ("model", .05), ("fuelType", .09), ("notRepairedDamage", .20)]:
        if rng.random() < share:
            row[column] = ""
    for column, share, values in [
            ("price", .03, [0]), ("price", .018, [1, 50, 111, 150]), ("price", .0005, [11_111_111, 999_999, 12_345_678]),
            ("yearOfRegistration", .035, [2017, 2017, 2018]), ("yearOfRegistration", .001, [1800, 1910, 5000, 9999]),
            ("powerPS", .08, [0]), ("powerPS", .002, [1, 5, 1_001, 1_799, 6_512, 14_009]),
            ("seller", .0002, ["gewerblich"]), ("offerType", .0002, ["Gesuch"])]:
        if rng.random() < share:
            row[column] = rng.choice(values)


def move(row, drift, rng):
    """Moves one listing as the market of 2021 moved: no new cars to be had, so the money of before buys an older car.

    At drift 1 a car is 4 years older on average, has been driven further and costs 3 % more. Dirt stays as dirty as it was.
    """
    years, steps = round(drift * rng.uniform(3, 5)), round(drift * rng.uniform(1, 2))
    year, mileage, price = (digits(str(row[column])) for column in ("yearOfRegistration", "odometer", "price"))
    if year is not None and 1950 <= year <= LISTED_IN:
        row["yearOfRegistration"] = year - years
    if mileage in MILEAGES:
        row["odometer"] = MILEAGES[max(0, min(MILEAGES.index(mileage) + steps, len(MILEAGES) - 1))]
    if price is not None and price < 1_000_000:
        row["price"] = round(price * (1 + .03 * drift))


def as_shown(row):
    """The texts of a listing: the export holds what the marketplace's pages displayed."""
    price, mileage = digits(str(row["price"])), digits(str(row["odometer"]))
    return {**row, "price": row["price"] if price is None else f"${price:,}",
            "odometer": row["odometer"] if mileage is None else f"{mileage:,}km"}


def generate(rows, seed, drift):
    """The text of a new listings file. As in the export that it imitates, the last line is cut off."""
    rng = random.Random(seed)
    listings = []
    while len(listings) < rows:
        row = listing(rng)
        move(row, drift, rng)
        soil(row, rng)
        listings.append(row)
        if rng.random() < .002 and len(listings) < rows:      # put up a second time
            listings.append({**row, "dateCrawled": f"{LISTED_IN}-03-31 12:00:00"})
    out = io.StringIO()
    writer = csv.DictWriter(out, RAW_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(as_shown, listings))
    return out.getvalue()[:-len("00:00:00\n")]


def shift(text, drift, seed):
    """The text of a listings file whose market has moved. A last line that is cut off stays so."""
    rng = random.Random(seed)
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    out = io.StringIO()
    writer = csv.DictWriter(out, reader.fieldnames, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in reader:
        move(row, drift, rng)
        writer.writerow(as_shown(row))
    return out.getvalue() if text.endswith("\n") else out.getvalue().rstrip("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("generate", help="invent a market")
    command.add_argument("--rows", type=int, default=12_000)
    command.add_argument("--drift", type=float, default=0.0)
    command = commands.add_parser("shift", help="move a market that there is")
    command.add_argument("--in", dest="source", required=True)
    command.add_argument("--drift", type=float, default=1.0)
    for command in commands.choices.values():
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--out", required=True)
    args = parser.parse_args()

    # surrogateescape: bytes that the code page does not know come out as they went in.
    if args.command == "generate":
        text = generate(args.rows, args.seed, args.drift)
    else:
        with open(args.source, encoding=ENCODING, errors="surrogateescape", newline="") as file:
            text = shift(file.read(), args.drift, args.seed)
    with open(args.out, "w", encoding=ENCODING, errors="surrogateescape", newline="") as file:
        file.write(text)


if __name__ == "__main__":
    main()
