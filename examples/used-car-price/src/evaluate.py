"""Prices the held-out cars with the portable model, which is what will be served.

    evaluate.py --model model.json --data clean.csv --out eval.jsonl --metrics metrics.json

Every line of eval.jsonl is a car with its price, the estimate, and the request that a client would send for it: with that,
cd4ml asks the model that is live now about the same cars. The errors themselves are not computed here: cd4ml does that from
eval.jsonl, overall and for each car model, the same way for every project. Only what it cannot know is added: how much better the
model does on the rows that it was trained on.
"""
import argparse
import json

import numpy

import features


def r2(truth, estimate):
    return float(1 - numpy.sum((truth - estimate) ** 2) / numpy.sum((truth - truth.mean()) ** 2))


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--model", "--data", "--out", "--metrics"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()

    rows = features.read_rows(args.data)
    truth = numpy.array([float(row["price"]) for row in rows])
    estimate = features.predict(load(args.model), rows)
    held_out = numpy.array([features.held_out(row) for row in rows])

    with open(args.out, "w", encoding="utf-8") as file:
        for i in numpy.flatnonzero(held_out):
            car = {"line": rows[i]["line"], "car_model": rows[i]["car_model"], "price": float(truth[i]), "estimate": float(estimate[i]),
                   "input": features.service_input(rows[i])}
            file.write(json.dumps(car) + "\n")

    error = numpy.abs(estimate - truth) / truth
    metrics = {
        "r2": {"train": r2(truth[~held_out], estimate[~held_out])},
        "within_20_percent": float(numpy.mean(error[held_out] <= 0.2))}
    with open(args.metrics, "w", encoding="utf-8") as file:
        json.dump(metrics, file, indent=2)
        file.write("\n")
    print(f"{held_out.sum()} held-out cars priced; {metrics['within_20_percent']:.0%} of the prices are within 20 %")


if __name__ == "__main__":
    main()
