"""The model gate as one writes it with pandas, scikit-learn and numpy: prints one line of JSON.

    model_gate_peer.py FILE.csv ROUNDS

The bootstrap draws whole rows anew in every round, for the difference of the mean absolute errors; in slices too.
"""
import json
import sys
import time

import numpy
import pandas
from sklearn import metrics


def interval(difference, rounds, random):
    """The usual thing: rows drawn with replacement, a mean of each round."""
    n = len(difference)
    means = [difference[random.integers(0, n, n)].mean() for _ in range(rounds)]
    return numpy.quantile(means, [0.025, 0.975])


def main():
    rounds = int(sys.argv[2])
    began = time.perf_counter()
    rows = pandas.read_csv(sys.argv[1])
    read = time.perf_counter() - began

    def measure(part):
        for column in ("estimate", "champion"):
            for function in (metrics.mean_absolute_error, metrics.mean_squared_error, metrics.r2_score,
                             metrics.mean_absolute_percentage_error, metrics.median_absolute_error, metrics.max_error):
                function(part["price"], part[column])

    measure(rows)
    groups = [part for _, part in rows.groupby("car_model")]
    for part in groups:
        measure(part)
    measured = time.perf_counter() - began
    random = numpy.random.default_rng(1)
    for part in [rows, *groups]:
        difference = ((part["estimate"] - part["price"]).abs() - (part["champion"] - part["price"]).abs()).to_numpy()
        low, high = interval(difference, rounds, random)
        if part is rows:
            overall = (low, high)
    print(json.dumps({"seconds": time.perf_counter() - began, "read_s": read, "measure_s": measured, "low": overall[0],
                      "high": overall[1], "mae": metrics.mean_absolute_error(rows["price"], rows["estimate"])}))


if __name__ == "__main__":
    main()
