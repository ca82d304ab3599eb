"""Holds cd4ml's metrics against scikit-learn's, numpy's and SciPy's, on random and on nasty samples, to 1e-12 relative.

    metrics_test.py --program PATH

Where they raise, warn that a value is 0 by convention, or give a number for nothing, cd4ml says NaN: `no_value` below
lists when. Intervals are compared with a bootstrap that draws whole rows, as scipy.stats.bootstrap does it.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import unittest
import warnings

import numpy
import scipy.stats
from sklearn import metrics as sk

PROGRAM = ""
NAN = float("nan")


def run(samples: list[dict]) -> list[dict]:
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    done = subprocess.run([PROGRAM], input=text, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [{name: NAN if value == "NaN" else value for name, value in answer.items()} for answer in answers]


def regression(y, p, w):
    """What must come out. numpy's sum of numbers that cancel is less exact than ours, so the bias is added up exactly."""
    error = p - y
    size = numpy.abs(error)
    weights = numpy.ones(len(y)) if w is None else w
    wanted = {
        "mae": sk.mean_absolute_error(y, p, sample_weight=w),
        "rmse": math.sqrt(sk.mean_squared_error(y, p, sample_weight=w)),
        "mape": NAN,
        "r2": NAN if len(set(y)) < 2 else sk.r2_score(y, p, sample_weight=w),
        "bias": math.fsum(error * weights) / math.fsum(weights),
        "median_ae": sk.median_absolute_error(y, p, sample_weight=w),
        "max_error": sk.max_error(y, p)}
    if abs(y).min() > 1e-15:
        wanted["mape"] = sk.mean_absolute_percentage_error(y, p, sample_weight=w)
    elif abs(y).min() > 0:      # scikit-learn divides by 2.2e-16 at least.
        wanted["mape"] = numpy.average(size / abs(y), weights=w)
    for percent in (50, 90, 95, 99):
        if w is None:
            wanted[f"p{percent}_ae"] = numpy.quantile(size, percent / 100)
        else:
            order = numpy.argsort(size, kind="stable")
            reached = numpy.cumsum(w[order])
            at = numpy.searchsorted(reached, percent / 100 * reached[-1])
            wanted[f"p{percent}_ae"] = size[order][min(at, len(size) - 1)]
    return wanted


def calibration_error(y, score, w):
    bins = numpy.searchsorted(numpy.linspace(0, 1, 11)[1:-1], score)
    return sum(abs((w * (score - y))[bins == b].sum()) for b in range(10)) / w.sum()


def classification(y, p, score, w):
    labels = sorted(set(y) | set(p))
    share = {"zero_division": 0, "sample_weight": w}
    wanted = {"accuracy": sk.accuracy_score(y, p, sample_weight=w),
              "balanced_accuracy": sk.balanced_accuracy_score(y, p, sample_weight=w)}
    weights = numpy.ones(len(y)) if w is None else w
    functions = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    for name, function in functions.items():
        for average in ("macro", "weighted"):
            wanted[f"{name}.{average}"] = function(y, p, average=average, **share)
        for label, value in zip(labels, function(y, p, labels=labels, average=None, **share)):
            of = {"precision": p == label, "recall": y == label, "f1": (p == label) | (y == label)}[name]
            no_value = not weights[of].sum() > 0      # scikit-learn warns and returns 0.
            wanted[f"{name}.{label}"] = NAN if no_value else value
    if "1" in labels:
        for name in functions:
            wanted[name] = wanted[f"{name}.1"]
        negative = weights * (y != "1")
        wanted["positive_rate"] = numpy.average(p == "1", weights=w)
        wanted["false_positive_rate"] = numpy.average(p == "1", weights=negative) if negative.sum() > 0 else NAN
    if len(labels) <= 20:
        matrix = sk.confusion_matrix(y, p, labels=labels, sample_weight=w)
        for i, truth in enumerate(labels):
            for j, predicted in enumerate(labels):
                wanted[f"confusion.{truth}.{predicted}"] = matrix[i, j]
    if score is not None and "1" in labels:
        truth = (y == "1").astype(int)
        both = len(set(truth)) == 2                   # Otherwise scikit-learn raises.
        wanted["auc"] = sk.roc_auc_score(truth, score, sample_weight=w) if both else NAN
        wanted["log_loss"] = sk.log_loss(truth, score, labels=[0, 1], sample_weight=w)
        wanted["brier"] = numpy.average((truth - score) ** 2, weights=w)
        if both:
            numpy.testing.assert_allclose(wanted["brier"], sk.brier_score_loss(truth, score, sample_weight=w), rtol=1e-12)
        wanted["calibration_error"] = calibration_error(truth, score, weights)
    return wanted


def ranking(y, p, group, cutoffs=(1, 3, 5, 10)):
    wanted = {name: [] for name in ["ndcg", "map", "mrr", *(f"{of}@{k}" for k in cutoffs for of in ("ndcg", "precision"))]}
    for one in sorted(set(group)):
        gains, scores = y[group == one], p[group == one]
        relevant = gains > 0
        # Of one document scikit-learn's function makes an error.
        ndcg = (lambda k: sk.ndcg_score([gains], [scores], k=k)) if len(gains) > 1 else (lambda k: float(gains[0] > 0))
        wanted["ndcg"].append(ndcg(None))
        wanted["map"].append(sk.average_precision_score(relevant, scores) if relevant.any() else 0.0)
        ranks = scipy.stats.rankdata(-scores, method="max")
        wanted["mrr"].append(1 / ranks[relevant].min() if relevant.any() else 0.0)
        for k in cutoffs:
            wanted[f"ndcg@{k}"].append(ndcg(k))
            first, last = scipy.stats.rankdata(-scores, method="min"), ranks
            within = numpy.clip((k - first + 1) / (last - first + 1), 0, 1)     # The share of a tie that lies within.
            wanted[f"precision@{k}"].append(float((within * relevant).sum() / k))
    return {name: math.fsum(values) / len(values) for name, values in wanted.items()}


class Metrics(unittest.TestCase):
    def compare(self, samples: list[tuple[dict, dict]]):
        for (sample, wanted), answer in zip(samples, run([sample for sample, _ in samples])):
            about = json.dumps(sample)[:300]
            asked = {name: value for name, value in answer.items() if name.startswith("asked ")}
            self.assertEqual(set(answer) - set(asked), set(wanted), about)
            for name, value in wanted.items():
                numpy.testing.assert_allclose(answer[name], value, rtol=1e-12, atol=0, equal_nan=True,
                                              err_msg=f"{name} of {about}")
                if "asked " + name in asked:
                    numpy.testing.assert_allclose(answer["asked " + name], value, rtol=1e-12, atol=1e-300, equal_nan=True,
                                                  err_msg=f"{name}, asked for, of {about}")

    def test_regression(self):
        random = numpy.random.default_rng(1)
        cases = []
        for n in (1, 2, 3, 10, 101, 5000):
            y, p = random.normal(1000, 300, n), random.normal(1000, 300, n)
            cases += [(y, p), (y, y), (y, y + 1e-9), (random.lognormal(8, 2, n), random.lognormal(8, 2, n)),
                      (numpy.round(y, -2), numpy.round(p, -2)), (numpy.full(n, 7.0), p), (y, numpy.full(n, 7.0)),
                      (y + 1e9, p + 1e9), (y * 1e-100, p * 1e-100), (y * 1e140, p * 1e140), (-y, p),
                      (random.integers(0, 3, n).astype(float), random.integers(0, 3, n).astype(float))]
        samples = []
        for y, p in cases:
            for w in (None, random.uniform(0, 5, len(y)), random.integers(1, 4, len(y)).astype(float)):
                sample = {"task": "regression", "truth": list(y), "prediction": list(p),
                          "ask": ["mae", "rmse", "bias", "r2", "median_ae", "p90_ae"]}
                if w is not None:
                    sample["weight"] = list(w)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    samples.append((sample, regression(y, p, w)))
        self.compare(samples)

    def test_classification(self):
        random = numpy.random.default_rng(2)
        samples = []
        for n in (1, 3, 40, 500):
            for classes in (["0", "1"], ["1"], ["0"], ["cat", "dog", "owl", "1"], [str(i) for i in range(30)]):
                y = random.choice(classes, n)
                for p in (y, random.choice(classes, n), numpy.full(n, classes[0]), numpy.where(random.random(n) < 0.7, y, "0")):
                    for score in (None, random.random(n), random.integers(0, 11, n) / 10, numpy.full(n, 0.5),
                                  random.integers(0, 2, n).astype(float)):
                        if score is not None and len(classes) > 2:
                            continue
                        for w in (None, random.uniform(0, 5, n)):
                            sample = {"task": "classification", "truth": list(y), "prediction": list(p),
                                      "ask": ["accuracy", "balanced_accuracy", "f1.macro", "precision.weighted", "f1",
                                              "recall.1", "auc", "log_loss", "calibration_error", "false_positive_rate"]}
                            if score is not None:
                                sample["score"] = list(score)
                            if w is not None:
                                sample["weight"] = list(w)
                            with warnings.catch_warnings():
                                warnings.simplefilter("ignore")
                                samples.append((sample, classification(y, p, score, w)))
        self.compare(samples)

    def test_auc_is_the_statistic_of_mann_and_whitney(self):
        random = numpy.random.default_rng(3)
        for digits in (1, 2, 15):
            y, score = random.integers(0, 2, 999), numpy.round(random.random(999), digits)
            u = scipy.stats.mannwhitneyu(score[y == 1], score[y == 0]).statistic
            [answer] = run([{"task": "classification", "truth": [str(v) for v in y], "prediction": [str(v) for v in y],
                             "score": list(score)}])
            numpy.testing.assert_allclose(answer["auc"], u / ((y == 1).sum() * (y == 0).sum()), rtol=1e-12)

    def test_ranking(self):
        random = numpy.random.default_rng(4)
        samples = []
        for n, groups in ((1, 1), (7, 1), (40, 6), (600, 50), (100, 100)):
            group = random.integers(0, groups, n)
            group = numpy.unique(group, return_inverse=True)[1]
            for y in (random.integers(0, 2, n), random.integers(0, 5, n), numpy.zeros(n), numpy.ones(n), random.random(n)):
                for p in (random.random(n), random.integers(0, 3, n), numpy.zeros(n), y, -numpy.asarray(y, float)):
                    y, p = numpy.asarray(y, float), numpy.asarray(p, float)
                    wanted = ranking(y, p, group)
                    samples.append(({"task": "ranking", "truth": list(y), "prediction": list(p),
                                     "group": [int(g) for g in group], "ask": ["ndcg", "ndcg@3", "map", "precision@5"]}, wanted))
        self.compare(samples)

    def test_a_cutoff_that_nobody_lists(self):
        random = numpy.random.default_rng(5)
        y, p, group = random.integers(0, 4, 500).astype(float), random.integers(0, 9, 500).astype(float), random.integers(0, 20, 500)
        [answer] = run([{"task": "ranking", "truth": list(y), "prediction": list(p), "group": [int(g) for g in group],
                         "ask": ["ndcg@7", "precision@7", "recall@7"]}])
        wanted = ranking(y, p, group, (7,))
        for name in ("ndcg@7", "precision@7"):
            numpy.testing.assert_allclose(answer["asked " + name], wanted[name], rtol=1e-12)
        self.assertEqual(answer["asked recall@7"], "unknown")

    def test_a_row_without_a_number_makes_every_metric_nan(self):
        random = numpy.random.default_rng(6)
        y, p, w = random.random(20), random.random(20), random.random(20)
        whole = {"task": "regression", "truth": list(y), "prediction": list(p), "weight": list(w)}
        for column in ("truth", "prediction", "weight"):
            broken = {**whole, column: [None, *whole[column][1:]]}
            [full, answer] = run([whole, broken])
            self.assertEqual(set(answer), set(full))
            self.assertTrue(all(math.isnan(value) for value in answer.values()), answer)
        [answer] = run([{**whole, "weight": [0.0] * 20}])
        self.assertTrue(all(math.isnan(value) for value in answer.values()), answer)


def row_bootstrap(n, difference, rounds=2000):
    """`difference` takes how often each row was drawn."""
    random = numpy.random.default_rng(7)
    found = [difference(numpy.bincount(random.integers(0, n, n), minlength=n).astype(float)) for _ in range(rounds)]
    return numpy.quantile(found, [0.025, 0.975])


def weighted_auc(truth, score):
    """A function of weights: sorted once, for scores without ties."""
    order = numpy.argsort(score)
    positive = truth[order] == 1

    def auc(w):
        w = w[order]
        below = numpy.cumsum(numpy.where(positive, 0, w))
        return (w * below)[positive].sum() / (w[positive].sum() * below[-1])
    return auc


class Intervals(unittest.TestCase):
    """The interval agrees with one from whole rows drawn anew for every round: within a tenth of its width at either end.

    Of a quantile, which few rows know badly, it does so when there are more.
    """

    def check(self, sample, metric, n, difference, tolerance=0.1):
        [answer] = run([{**sample, "interval": metric}])
        low, high = row_bootstrap(n, difference)
        for end, wanted in ((answer["low"], low), (answer["high"], high)):
            self.assertLess(abs(end - wanted), tolerance * (high - low), f"{metric}, n={n}: {answer['low']} .. {answer['high']}, "
                                                                   f"must be {low} .. {high}")

    def test_regression(self):
        random = numpy.random.default_rng(8)
        for n in (200, 4000):       # Rows themselves, and blocks of them.
            y = random.lognormal(8, 0.7, n)
            noise = random.normal(0, 0.2, n)
            p, c = y * numpy.exp(noise), y * numpy.exp(noise + random.normal(0.02, 0.05, n))
            for weight in (None, random.uniform(0.5, 2, n)):
                sample = {"task": "regression", "truth": list(y), "prediction": list(p), "champion": list(c)}
                if weight is not None:
                    sample["weight"] = list(weight)
                for metric in ("mae", "rmse", "bias", "r2"):
                    self.check(sample, metric, n, lambda drawn: regression_of(metric, y, p, weight, drawn)
                               - regression_of(metric, y, c, weight, drawn))
            sizes = abs(p - y), abs(c - y)
            self.check({"task": "regression", "truth": list(y), "prediction": list(p), "champion": list(c)}, "p90_ae", n,
                       lambda drawn: numpy.subtract(*(numpy.quantile(numpy.repeat(size, drawn.astype(int)), 0.9) for size in sizes)),
                       tolerance=0.2 if n < 1000 else 0.1)

    def test_classification(self):
        random = numpy.random.default_rng(9)
        for n in (300, 3000):
            truth = (random.random(n) < 0.3).astype(int)
            common = truth + random.normal(0, 0.8, n)
            scores = [1 / (1 + numpy.exp(-(common + random.normal(0, 0.4, n)))) for _ in range(2)]
            labels = [(score > 0.6).astype(int) for score in scores]
            text = [[str(v) for v in column] for column in (truth, *labels)]
            sample = {"task": "classification", "truth": text[0], "prediction": text[1], "champion": text[2],
                      "score": list(scores[0]), "champion_score": list(scores[1])}
            aucs = [weighted_auc(truth, score) for score in scores]
            self.assertAlmostEqual(aucs[0](numpy.ones(n)), sk.roc_auc_score(truth, scores[0]), 12)

            def precision(label, i, w):
                return w[(labels[i] == label) & (truth == label)].sum() / w[labels[i] == label].sum()
            functions = {
                "accuracy": lambda i, w: numpy.average(truth == labels[i], weights=w),
                "f1": lambda i, w: 2 * w[(labels[i] & truth) == 1].sum() / (w[labels[i] == 1].sum() + w[truth == 1].sum()),
                "precision.macro": lambda i, w: (precision(0, i, w) + precision(1, i, w)) / 2,
                "brier": lambda i, w: numpy.average((truth - scores[i]) ** 2, weights=w),
                "auc": lambda i, w: aucs[i](w)}
            for metric, function in functions.items():
                self.check(sample, metric, n, lambda drawn: function(0, drawn) - function(1, drawn))

    def test_ranking_draws_groups(self):
        random = numpy.random.default_rng(10)
        group = numpy.repeat(numpy.arange(120), 8)
        y = random.integers(0, 2, 960).astype(float)
        p, c = (y + random.normal(0, spread, 960) for spread in (0.8, 0.9))
        values = [numpy.array([sk.ndcg_score([y[group == g]], [x[group == g]]) for g in range(120)]) for x in (p, c)]
        self.check({"task": "ranking", "truth": list(y), "prediction": list(p), "champion": list(c),
                    "group": [int(g) for g in group]}, "ndcg", 120,
                   lambda drawn: numpy.average(values[0] - values[1], weights=drawn))


def regression_of(metric, y, p, weight, drawn):
    error, w = p - y, drawn if weight is None else weight * drawn
    if metric == "mae":
        return numpy.average(abs(error), weights=w)
    if metric == "rmse":
        return math.sqrt(numpy.average(error ** 2, weights=w))
    if metric == "bias":
        return numpy.average(error, weights=w)
    return 1 - (w * error ** 2).sum() / (w * (y - numpy.average(y, weights=w)) ** 2).sum()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    flags, rest = parser.parse_known_args()
    PROGRAM = os.path.abspath(flags.program)
    unittest.main(argv=[sys.argv[0], *rest])
