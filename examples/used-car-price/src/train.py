"""Trains the price model and writes it in a form that needs no Python to read.

    train.py --data clean.csv --out model

model/model.json    the trees and the encodings: everything that the price service needs
model/probe.jsonl   cars with the prices of the model as it was trained, for proof that whatever is shipped answers the same
model/metrics.json  what the training says of itself
"""
import argparse
import json
import pathlib

import numpy
import yaml
from sklearn.ensemble import GradientBoostingRegressor

import features

PROBES = 500


def portable(model, encodings, as_of):
    """The trained model as plain numbers. Leaf values carry the learning rate, so a price is exp(base + one leaf of each tree)."""
    trees = []
    for (regressor,) in model.estimators_:
        tree = regressor.tree_
        trees.append({
            "feature": tree.feature.tolist(), "threshold": tree.threshold.tolist(),
            "left": tree.children_left.tolist(), "right": tree.children_right.tolist(),
            "value": (model.learning_rate * tree.value[:, 0, 0]).tolist()})
    return {"format": 1, "as_of": as_of, "numbers": features.NUMBERS, "missing": features.MISSING, "categories": encodings,
            "base": float(model.init_.constant_[0, 0]), "trees": trees}


def probes(rows):
    """Held-out cars, and the edges that real ones may not hold: a car with nothing known but the needful, unknown makes."""
    bare = {**rows[0], "power": "", "vehicle_type": "unknown", "gearbox": "unknown", "fuel": "unknown", "damaged": "unknown"}
    unheard_of = {**rows[0], "brand": "tatra", "model": "613", "car_model": "tatra 613"}
    return [*rows[:PROBES], {**bare, "line": "bare"}, {**unheard_of, "line": "unheard-of"}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--params", default="params.yaml")
    args = parser.parse_args()
    with open(args.params, encoding="utf-8") as file:
        params = yaml.safe_load(file)["train"]

    rows = features.read_rows(args.data)
    held_out = [row for row in rows if features.held_out(row)]
    rows = [row for row in rows if not features.held_out(row)]
    encodings = features.learn_encodings(rows)

    # The log of the price: 500 EUR too much are a trifle for one car and the price of another. Huber: listings lie at times.
    # One thread and a seed: the same rows and parameters give the same bytes.
    model = GradientBoostingRegressor(
        loss="huber", n_estimators=params["n_estimators"], max_depth=params["max_depth"],
        learning_rate=params["learning_rate"], min_samples_leaf=params["min_samples_leaf"],
        subsample=0.7, max_features=0.5, random_state=params["seed"])
    model.fit(features.encode(rows, encodings), numpy.log([float(row["price"]) for row in rows]))

    args.out.mkdir(parents=True, exist_ok=True)
    as_of = max(int(row["listed"]) for row in rows)
    (args.out / "model.json").write_text(json.dumps(portable(model, encodings, as_of), separators=(",", ":")) + "\n")

    probe_rows = probes(held_out)
    prices = numpy.exp(model.predict(features.encode(probe_rows, encodings)))
    with open(args.out / "probe.jsonl", "w", encoding="utf-8") as file:
        for row, price in zip(probe_rows, prices):
            probe = {"id": row["line"], "input": features.service_input(row), "prediction": float(price)}
            file.write(json.dumps(probe) + "\n")

    metrics = {"train_rows": len(rows), "held_out_rows": len(held_out), "loss": float(model.train_score_[-1])}
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"{len(rows)} rows, {model.n_estimators_} trees of depth {model.max_depth}, loss {metrics['loss']:.4f}")


if __name__ == "__main__":
    main()
