"""What the model sees of a car: shared by training, evaluation and (through model.json) the price service in C++.

A category is replaced by the mean log price of its training rows, pulled towards the mean of all rows where there are few. So
one number does for 280 car models, and a model that nobody has seen yet is an average car instead of an error.
"""
import collections
import csv
import math
import zlib

import numpy

NUMBERS = ["age", "mileage", "power"]
CATEGORIES = ["brand", "car_model", "vehicle_type", "gearbox", "fuel", "damaged"]
MISSING = -1.0        # trees split it off by themselves; an imputed value would have to be explained to every other program
PULL_ROWS = 10        # this many average rows are mixed into every category

# What a client of the service knows about its car. Age is for the service to find out: it knows how old its prices are.
SERVICE_INPUT = ["brand", "model", "year", "listed", "mileage", "power", "vehicle_type", "gearbox", "fuel", "damaged"]


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def held_out(row):
    """True for the fifth of the rows that training must not see.

    By what the row says and not by where it stands: the same car is always on the same side, in every file and every run.
    """
    car = "|".join(value for name, value in row.items() if name != "line")
    return zlib.crc32(car.encode()) % 5 == 0


def learn_encodings(rows):
    """Returns for each category its known values, and the default that stands for all others."""
    log_prices = [math.log(float(row["price"])) for row in rows]
    mean = math.fsum(log_prices) / len(rows)
    encodings = []
    for name in CATEGORIES:
        groups = collections.defaultdict(list)
        for row, log_price in zip(rows, log_prices):
            groups[row[name]].append(log_price)
        values = {value: (math.fsum(group) + PULL_ROWS * mean) / (len(group) + PULL_ROWS)
                  for value, group in sorted(groups.items())}
        encodings.append({"name": name, "default": mean, "values": values})
    return encodings


def encode(rows, encodings):
    """Returns a row of features for each row: the numbers, then the categories. float32 is what the trees were grown on."""
    return numpy.array(
        [[float(row[name]) if row[name] != "" else MISSING for name in NUMBERS] +
         [encoding["values"].get(row[encoding["name"]], encoding["default"]) for encoding in encodings] for row in rows],
        dtype=numpy.float32)


def predict(model, rows):
    """Prices by the portable model: what service/price_service.cc does, for many cars at once."""
    features = encode(rows, model["categories"])
    log_price = numpy.full(len(rows), model["base"])
    for tree in model["trees"]:
        feature, threshold, left, right, value = (
            numpy.array(tree[name]) for name in ("feature", "threshold", "left", "right", "value"))
        node = numpy.zeros(len(rows), dtype=int)
        while (inner := numpy.flatnonzero(left[node] >= 0)).size:      # a leaf has no left child: -1
            at = node[inner]
            goes_left = features[inner, feature[at]] <= threshold[at]
            node[inner] = numpy.where(goes_left, left[at], right[at])
        log_price += value[node]
    return numpy.exp(log_price)


def service_input(row):
    """The request that a client would send for a row of clean.csv; what the row does not know, the request leaves out."""
    car = {name: row[name] for name in SERVICE_INPUT if row[name] not in ("", "unknown")}
    return {name: int(value) if name in ("year", "listed", "mileage", "power") else value for name, value in car.items()}
