"""Gates as people try them out and show them: judged on files without a daemon, and as the pages of real runs."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as xml

import stack
from stack import StackTest

PIPELINE = """format: 1
pipeline: cars
params: {file: params.yaml}
materials: {listings: {data: listings.csv}}
stages:
  data:
    kind: data_gate
    inputs: {raw: listings}
    run: cp "$CD4ML_IN_RAW" clean.csv
    outputs: {clean: {path: clean.csv, type: dataset}}
    rules:
      rows: {of: raw, rows: {min: 3}}
      price: {of: clean, column: price, min: 0, max: "${{ params.price_max }}"}
      drift: {of: clean, drift: psi, columns: [price], versus: champion.train_data, max: 0.25, severity: warn}
  model:
    kind: model_gate
    needs: [data]
    run: |
      cp given.csv predictions.csv
      echo '{"score": 0.9}' > metrics.json
    metrics: [metrics.json]
    goals: {mae: min}
    predictions: {file: predictions.csv, truth: y, prediction: y_hat, slices: [brand]}
    rules:
      mae: {metric: mae, max: 5}
      score: {metric: score, min: 0.8}
      steady: {metric: mae, versus: last_passed, worse_by: {rel: 0.1}}
      by-brand: {metric: mae, max: 5, slice: brand, min_samples: 2}
  tests:
    kind: model_gate
    needs: [model]
    run: cat junit.txt > junit.xml; exit 1
    verdict: {junit: junit.xml}
"""
GOOD = "price,brand\n" + "".join(f"{1000 + i},{'bmw' if i % 2 else 'vw'}\n" for i in range(200))
PREDICTIONS = "y,y_hat,brand\n10,11,bmw\n20,19,bmw\n30,33,vw\n40,40,vw\n"
JUNIT = '<testsuite name="price"><testcase name="a"/><testcase name="b"><failure message="3 &lt; 2"/></testcase></testsuite>'


def parse_page(text: str) -> xml.Element:
    """Fails unless a page is one well-formed document that runs nothing and loads nothing."""
    head, body = text.split("\n", 1)
    assert head == "<!DOCTYPE html>", head
    root = xml.fromstring(body)
    for element in root.iter():
        assert element.tag not in ("script", "img", "link", "iframe", "object", "a"), element.tag
        assert not any(name.startswith("on") or name in ("src", "href") for name in element.attrib), element.attrib
    return root


class Offline(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-gate-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.write({"cars.cd4ml.yaml": PIPELINE, "params.yaml": "price_max: 5000\n", "autos.csv": GOOD,
                    "predictions.csv": PREDICTIONS, "metrics.json": '{"score": 0.9}', "junit.xml": JUNIT})

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.dir / name).write_text(text)

    def judge(self, *arguments: str, expect: int) -> subprocess.CompletedProcess:
        # No daemon listens there.
        done = subprocess.run([stack.BIN / "cd4ml", "gate", "test", "cars.cd4ml.yaml", *arguments], cwd=self.dir, text=True,
                              capture_output=True, timeout=stack.PATIENCE,
                              env={**os.environ, "CD4ML_SERVER": "127.0.0.1:1", "COLUMNS": "200"})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def rules(self, *arguments: str, expect: int) -> dict:
        verdict = json.loads(self.judge(*arguments, "-o", "json", expect=expect).stdout)
        return {rule["name"]: rule for rule in verdict["rules"]}

    def test_data_rules_are_judged_on_the_files_given(self):
        done = self.judge("--stage", "data", "--data", "raw=autos.csv", "--data", "clean=autos.csv", expect=0)
        self.assertIn("GATE data  ✔ passed", done.stdout)

        self.write({"bad.csv": GOOD.replace("1007,", "-1,").replace("1011,", "99999,")})
        rules = self.rules("--stage", "data", "--data", "listings=autos.csv", "--data", "clean=bad.csv", expect=11)
        self.assertEqual(rules["rows"]["outcome"], "VERDICT_OUTCOME_PASS")
        self.assertEqual(rules["price"]["outcome"], "VERDICT_OUTCOME_FAIL")
        self.assertEqual(len(rules["price"]["rows"]), 2, rules["price"])

    def test_parameters_come_from_the_files_and_the_command_line(self):
        tables = ("--stage", "data", "--data", "raw=autos.csv", "--data", "clean=autos.csv")
        self.judge(*tables, "-p", "price_max=1100", expect=11)
        self.write({"params.yaml": "price_max: 1100\n"})
        self.judge(*tables, expect=11)
        self.judge(*tables, "-p", "price_max=1200", expect=0)

    def test_a_table_that_was_not_given_or_cannot_be_read_blocks(self):
        rules = self.rules("--stage", "data", "--data", "raw=autos.csv", expect=11)
        self.assertEqual(rules["price"]["outcome"], "VERDICT_OUTCOME_ERROR")
        self.assertIn("say --data clean=PATH", rules["price"]["message"])
        self.write({"empty.csv": ""})
        self.rules("--stage", "data", "--data", "raw=empty.csv", "--data", "clean=autos.csv", expect=11)
        # What the gate writes itself is found where it writes it.
        self.write({"clean.csv": GOOD})
        self.judge("--stage", "data", "--data", "raw=autos.csv", expect=0)

    def test_a_table_or_its_profile_is_the_baseline(self):
        self.write({"moved.csv": GOOD.replace(",bmw", "00,bmw").replace(",vw", "00,vw")})
        tables = ("--stage", "data", "--data", "raw=moved.csv", "--data", "clean=moved.csv", "-p", "price_max=1000000")
        self.assertIn("no baseline", self.rules(*tables, expect=0)["drift"]["observed"])
        rules = self.rules(*tables, "--baseline", "autos.csv", "--report", "gate.html", expect=0)
        self.assertEqual(rules["drift"]["outcome"], "VERDICT_OUTCOME_WARN", rules["drift"])
        self.assertEqual(rules["drift"]["baseline"], "autos.csv")
        page = (self.dir / "gate.html").read_text()
        parse_page(page)
        for text in ("Drift by column", "Table clean", "autos.csv, 200 rows"):
            self.assertIn(text, page)
        self.judge(*tables, "--baseline", "nowhere.csv", expect=4)

    def test_model_rules_are_judged_on_metrics_and_predictions(self):
        rules = self.rules("--stage", "model", expect=0)
        self.assertEqual(rules["mae"]["observed_number"], 1.25)
        self.write({"before.json": '{"mae": 1.0}'})
        rules = self.rules("--stage", "model", "--baseline", "before.json", "--report", "gate.html", expect=11)
        self.assertEqual(rules["steady"]["outcome"], "VERDICT_OUTCOME_FAIL")
        self.assertEqual(rules["steady"]["baseline"], "before.json")
        self.assertIn("a sample of 4 of 4 rows", (self.dir / "gate.html").read_text())
        self.write({"other.csv": PREDICTIONS.replace("40,40", "40,60")})
        rules = self.rules("--stage", "model", "--predictions", "other.csv", expect=11)
        self.assertEqual(rules["by-brand"]["outcome"], "VERDICT_OUTCOME_FAIL")
        self.write({"m.json": '{"score": NaN}'})
        rules = self.rules("--stage", "model", "--metrics", "m.json", expect=11)
        self.assertEqual(rules["score"]["outcome"], "VERDICT_OUTCOME_ERROR")
        (self.dir / "predictions.csv").unlink()
        self.assertIn("--predictions FILE", self.rules("--stage", "model", expect=11)["mae"]["message"])

    def test_the_champions_answers_in_the_predictions_are_the_champion(self):
        self.write({"cars.cd4ml.yaml": PIPELINE.replace("stages:\n", "environments: {production: {}}\nstages:\n", 1)
                    .replace("    goals:", "    champion: {environment: production}\n    goals:")
                    .replace("slices: [brand]}", "slices: [brand], champion: was}")
                    .replace("      steady: {metric: mae, versus: last_passed", "      steady: {metric: mae, versus: champion")})
        rules = self.rules("--stage", "model", expect=0)
        self.assertEqual(rules["steady"]["observed"], "no baseline", "the column is not there")
        self.write({"predictions.csv": "y,y_hat,brand,was\n10,11,bmw,10\n20,19,bmw,20\n30,33,vw,30\n40,40,vw,40\n"})
        rules = self.rules("--stage", "model", expect=11)
        self.assertEqual(rules["steady"]["outcome"], "VERDICT_OUTCOME_FAIL", rules["steady"])
        self.assertIn("was", rules["steady"]["baseline"])

    def test_files_that_are_not_there_or_not_needed_are_told(self):
        self.judge("--stage", "model", "--metrics", "nowhere.json", expect=4)
        self.judge("--stage", "model", "--predictions", "nowhere.csv", expect=4)
        self.judge("--stage", "data", "--data", "raw=nowhere.csv", expect=4)
        self.write({"before.json": '{"mae": 1.0}', "autos.csv": GOOD})
        self.judge("--stage", "tests", "--baseline", "before.json", expect=2)

    def test_a_verdict_of_the_gates_own_is_read(self):
        rules = self.rules("--stage", "tests", expect=11)
        self.assertEqual(rules["price"]["observed"], "1 failed of 2 tests")
        (self.dir / "junit.xml").unlink()
        self.assertIn("was not written", self.rules("--stage", "tests", expect=11)["junit"]["message"])


class Pages(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        (self.stack.data / "listings.csv").write_text(GOOD)
        self.stack.commit({"cars.cd4ml.yaml": PIPELINE, "params.yaml": "price_max: 5000\n", "given.csv": PREDICTIONS, "junit.txt": JUNIT})
        self.stack.cli("pipeline", "add", str(self.stack.repo))

    def page(self, *arguments: str) -> str:
        file = self.stack.dir / "gate.html"
        self.stack.cli("gate", "report", *arguments, "--out", str(file))
        text = file.read_text()
        parse_page(text)
        return text

    def test_every_gate_of_a_run_has_a_page(self):
        self.stack.cli("run", "start", "cars", "--wait", expect=11)
        tests = self.page("cars/1")
        self.assertIn("✗ rejected", tests)
        self.assertIn("b: 3 &lt; 2", tests)
        data = self.page("cars/1", "data")
        self.assertIn("✔ passed", data)
        self.assertIn("Table clean", data)
        self.assertIn("mae by brand", self.page("cars/1", "model"))
        shown = self.stack.cli("run", "show", "cars/1")
        self.assertIn("price: b: 3 < 2", shown)
        self.assertIn("has no stage", self.stack.cli("gate", "report", "cars/1", "gone", expect=4))

    def test_a_page_is_no_version_and_changes_neither_reuse_nor_comparison(self):
        self.stack.cli("run", "start", "cars", "--wait", expect=11)
        self.stack.cli("run", "start", "cars", "--wait", expect=11)
        self.assertIn("Table clean", self.page("cars/2", "data"))   # Taken over with the result.
        # The second run's model gate compares with the first's, which compared with nothing.
        self.assertIn("reused from cars/1: data\n", self.stack.cli("run", "show", "cars/2"))
        self.stack.cli("run", "start", "cars", "--wait", expect=11)
        self.assertRegex(self.stack.cli("run", "show", "cars/3"), r"reused from cars/1: data.*\n.*reused from cars/2: model|reused from .*data, model")
        self.assertEqual(self.stack.query("SELECT count(*) FROM version WHERE name LIKE '%gate-report%'"), [(0,)])
        self.assertNotIn("gate-report", self.stack.cli("run", "diff", "cars/1", "cars/2", "--all"))


class Materials(StackTest):
    def test_a_material_is_compared_with_the_version_that_was_accepted_last(self):
        self.stack.start_agent()
        self.stack.register("""format: 1
pipeline: intake
defaults: {runtime: host}
materials: {listings: {data: listings.csv}}
stages:
  check:
    kind: data_gate
    rules: {moved: {of: listings, stat: median, column: price, versus: last_accepted, max_change: {rel: 0.1}}}
""")

        def judge(first: int, expect: int) -> dict:
            (self.stack.data / "listings.csv").write_text("price\n" + "".join(f"{first + i}\n" for i in range(101)))
            self.stack.cli("run", "start", "intake", "--wait", expect=expect)
            newest = max(number for (number,) in self.stack.query("SELECT number FROM run"))
            return self.stack.stage(f"intake/{newest}", "check")["attempts"][-1]["outcome"]["verdict"]["rules"][0]

        self.assertIn("no last_accepted to compare with yet", judge(1000, expect=0)["message"])
        self.assertEqual(judge(2000, expect=11)["baseline_number"], 1050)
        # What was rejected is no baseline, what was accepted is.
        self.assertEqual(judge(1080, expect=0)["baseline_number"], 1050)
        rule = judge(1150, expect=0)
        self.assertEqual((rule["baseline_number"], rule["baseline"][:23]), (1130, "intake/3 check.listings"))
        self.assertEqual(self.stack.query("SELECT count(*) FROM version WHERE name LIKE '%check.listings%'"), [(0,)])


if __name__ == "__main__":
    stack.main()
