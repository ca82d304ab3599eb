"""What the record of real runs answers: what differs, what came of some data, and whether a run can be made again."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import unittest

import stack
from stack import StackTest, wait_for

# The trainer writes the same bytes for the same seed and data; without a seed it writes others each time, whose error is
# the same up to a thousandth.
PIPELINE = """format: 1
pipeline: cars
params: {file: params.yaml}
materials: {listings: {data: listings.csv}}
stages:
  clean:
    inputs: {listings: listings}
    run: tail -n +2 "$CD4ML_IN_LISTINGS" | sort > clean.csv
    outputs: {clean: {path: clean.csv, type: dataset}}
  train:
    inputs: {clean: clean.clean}
    run: /usr/bin/python3 train.py "$CD4ML_IN_CLEAN" "$CD4ML_PARAM_SEED"
    outputs: {model: {path: model.json, type: model}}
    metrics: [metrics.json]
  package:
    kind: package
    inputs: {model: train.model}
    run: cp "$CD4ML_IN_MODEL" package.json
    outputs: {service: {path: package.json, type: deployable}}
"""
TRAINER = """import json, random, sys
chance = random.Random(None if sys.argv[2] == "0" else int(sys.argv[2]))
rows = [float(line) for line in open(sys.argv[1])]
noise = chance.random()
json.dump({"mean": sum(rows) / len(rows), "noise": noise}, open("model.json", "w"))
json.dump({"mae": 100 + len(rows) + noise / 1000}, open("metrics.json", "w"))
"""


class Records(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()

    def register(self, seed: int) -> str:
        self.data = self.stack.data / "listings.csv"
        self.data.write_text("price\n3\n1\n2\n")
        commit = self.stack.commit({"params.yaml": f"seed: {seed}\n", "train.py": TRAINER, "cars.cd4ml.yaml": PIPELINE})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.stack.cli("run", "start", "cars", "--wait")
        return commit

    def reproduce(self, run: str, *flags: str, expect: int) -> dict:
        done = self.stack.run("run", "reproduce", run, *flags, "-o", "json")
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def runs(self) -> int:
        return self.stack.query("SELECT COUNT(*) FROM run")[0][0]

    def stored(self) -> list[pathlib.Path]:
        """The files in which the daemon keeps the data of run 1."""
        (digest,), = self.stack.query("SELECT artifact FROM version WHERE kind = 'data'")
        return [path for path in (self.stack.dir / "daemon" / "blobs").rglob("*")
                if path.is_file() and digest.endswith(path.name) and len(path.name) > 50]

    def test_a_run_is_made_again_to_the_byte_and_stays_as_it_was(self):
        self.register(seed=7)
        before = self.stack.query("SELECT * FROM run_event WHERE run = 1 ORDER BY id")

        found = self.reproduce("cars/1", expect=0)

        self.assertEqual(found["sameness"], "SAMENESS_IDENTICAL")
        self.assertEqual((found["original"], found["rebuilt"], found["outputs"]), ("cars/1", "cars/2", 3))
        self.assertEqual(self.stack.query("SELECT * FROM run_event WHERE run = 1 ORDER BY id"), before)
        again = self.stack.ask("run", "show", "cars/2")
        self.assertEqual((again["retry_of"], again["trigger"]["kind"]), ("cars/1", "TRIGGER_KIND_REPRODUCE"))
        for stage in again["stages"]:       # Nothing was taken over, although the same had been made before.
            self.assertEqual((len(stage["attempts"]), stage.get("carried")), (1, None))

    def test_it_is_made_again_with_the_commit_and_the_parameters_of_then(self):
        self.register(seed=7)
        self.stack.cli("run", "start", "cars", "--param", "seed=8", "--wait")
        self.stack.commit({"params.yaml": "seed: 9\n", "train.py": "raise SystemExit(1)\n"})
        self.assertEqual(self.reproduce("cars/2", expect=0)["sameness"], "SAMENESS_IDENTICAL")
        self.assertEqual(self.reproduce("cars/1", expect=0)["sameness"], "SAMENESS_IDENTICAL")

    def test_an_unseeded_trainer_is_found_and_named(self):
        self.register(seed=0)

        different = self.reproduce("cars/1", expect=14)
        self.assertEqual((different["sameness"], different["stage"]), ("SAMENESS_DIFFERENT", "train"))
        told = self.stack.run("run", "reproduce", "cars/1", "--verify", "bytes")
        self.assertEqual(told.returncode, 14)
        self.assertIn('train: its output "model"', told.stdout)
        self.assertIn("DIFFERENT", told.stdout.splitlines()[-1])

        within = self.reproduce("cars/1", "--verify", "metrics:0.001", expect=0)
        self.assertEqual((within["sameness"], within["stage"], within["metrics"]), ("SAMENESS_EQUIVALENT", "train", 1))
        beyond = self.reproduce("cars/1", "--verify", "metrics:1e-12", expect=14)
        self.assertIn("beyond the tolerance", beyond["why"])

    def test_data_that_was_altered_is_refused_and_named(self):
        self.register(seed=7)
        (digest,), = self.stack.query("SELECT digest FROM version WHERE kind = 'data'")
        good = self.data.read_bytes()
        stored = self.stored()
        self.assertNotEqual(stored, [])
        for path in stored:
            path.chmod(0o600)
            path.write_bytes(b"price\n3\n1\n9\n")
        self.data.write_bytes(b"price\n3\n1\n9\n")

        refused = self.stack.run("run", "reproduce", "cars/1")

        self.assertEqual(refused.returncode, 6, refused.stdout + refused.stderr)
        self.assertIn(f"data:cars/listings@{digest}", refused.stderr)
        self.assertIn("no longer matches", refused.stderr)
        self.assertEqual(self.runs(), 1)

        # Its source as it was then is as good as what was stored.
        self.data.write_bytes(good)
        for path in stored:
            path.unlink(missing_ok=True)
        self.assertEqual(self.reproduce("cars/1", expect=0)["sameness"], "SAMENESS_IDENTICAL")

    def test_a_commit_that_is_gone_is_refused_and_named(self):
        commit = self.register(seed=7)
        self.stack.git("checkout", "-q", "--orphan", "other")
        self.stack.git("commit", "-q", "-m", "forced")
        self.stack.git("branch", "-q", "-D", "main")
        self.stack.git("reflog", "expire", "--expire=now", "--all")
        self.stack.git("gc", "-q", "--prune=now")

        refused = self.stack.run("run", "reproduce", "cars/1")

        self.assertEqual(refused.returncode, 6, refused.stdout + refused.stderr)
        self.assertIn(f"commit {commit} is no longer in", refused.stderr)
        self.assertEqual(refused.stderr.count(commit), 1, refused.stderr)
        self.assertEqual(self.runs(), 1)

    def test_the_difference_of_two_runs_is_all_that_differs_and_no_more(self):
        first = self.register(seed=7)
        second = self.stack.commit({"train.py": TRAINER.replace("100 +", "200 +")}, message="Worse")
        self.data.write_text("price\n3\n1\n2\n4\n")
        self.stack.cli("run", "start", "cars", "--param", "seed=8", "--wait")

        found = self.stack.ask("diff", "cars/1", "cars/2")

        self.assertEqual(found["changed_paths"], ["train.py"])
        by_name = {(d["kind"].removeprefix("DIFFERENCE_KIND_").lower(), d["name"]): d for d in found["differences"]}
        self.assertEqual({name for name in by_name if name[0] != "time"},
                         {("code", "commit"), ("data", "listings"), ("params", "seed"), ("output", "clean.clean"),
                          ("output", "train.model"), ("output", "package.service"), ("metric", "train.mae")})
        commit = by_name["code", "commit"]
        self.assertEqual((commit["before"]["value"], commit["after"]["value"], commit["after"]["note"]), (first, second, "Worse"))
        seed = by_name["params", "seed"]
        self.assertEqual((seed["before"], seed["after"]), ({"value": 7, "note": "params.yaml"}, {"value": 8, "note": "trigger"}))
        self.assertGreater(by_name["metric", "train.mae"]["after"]["value"], 200)
        self.assertTrue(all(len(line) <= 80 for line in self.narrow("diff", "cars/1", "cars/2").splitlines()))

    def test_a_verdict_is_not_taken_over_when_a_material_is_read_in_another_way(self):
        (self.stack.data / "rows.csv").write_text("code\n007\n8\n")
        gate = """format: 1
pipeline: p
materials:
  rows: {{data: rows.csv{csv}}}
stages:
  check:
    kind: data_gate
    code: [README]
    inputs: {{rows: rows}}
    rules: {{few: {{of: rows, rows: {{max: 2}}}}}}
"""
        def run(csv: str, expect: int) -> dict:
            self.stack.commit({"p.cd4ml.yaml": gate.format(csv=csv), "README": "the same", "other": f"{csv} {expect}"})
            self.stack.cli("pipeline", "add", str(self.stack.repo))
            self.stack.cli("run", "start", "p", "--wait", expect=expect)
            return self.stack.ask("run", "show", "p/latest")["stages"][0]

        self.assertIsNone(run("", expect=0).get("carried"))
        self.assertIsNotNone(run(" ", expect=0).get("carried"))
        self.assertIsNone(run(", csv: {header: false}", expect=11).get("carried"))
        self.assertIn("csv of rows", self.stack.cli("why", "p/3/check"))

    def test_a_run_that_performed_nothing_is_known_and_leads_to_who_made_its_results(self):
        first = self.register(seed=7)
        self.stack.git("commit", "-q", "--allow-empty", "-m", "Nothing else")
        second = self.stack.git("rev-parse", "HEAD")
        self.stack.cli("run", "start", "cars", "--wait")
        self.assertEqual(self.stack.query("SELECT COUNT(*) FROM attempt")[0][0], 3)

        self.assertEqual(self.stack.ask("lineage", "cars/2", "--up")["root"], "cars/1/package/1")
        self.assertEqual(len(self.stack.cli("provenance", "export", "cars/2").splitlines()), 1)
        self.assertEqual(self.stack.ask("impact", "cars/listings")["runs"], ["cars/1", "cars/2"])
        self.assertEqual(self.stack.ask("impact", first)["runs"], ["cars/1", "cars/2"], "what it made is in both")
        self.assertEqual(self.stack.ask("impact", second[:9])["runs"], ["cars/2"])
        self.assertIn("Nothing else", self.stack.cli("impact", second))
        self.assertIn("cars/2 took over every result", self.stack.cli("lineage", second, "--down", expect=6))

    def test_an_event_that_was_changed_is_neither_shown_nor_signed(self):
        self.register(seed=7)
        self.stack.cli("provenance", "export", "cars/1/train")
        with sqlite3.connect(self.stack.dir / "daemon" / "cd4ml.db") as store:
            store.execute("DROP TRIGGER run_event_is_never_changed")
            store.execute("UPDATE run_event SET payload = replace(payload, '\"seed\":7', '\"seed\":8') WHERE seq = 1")
            self.assertEqual(store.total_changes, 1)
        for words in (("provenance", "export", "cars/1/train"), ("run", "show", "cars/1"), ("run", "reproduce", "cars/1"),
                      ("lineage", "cars/1", "--up")):
            refused = self.stack.run(*words)
            self.assertNotEqual(refused.returncode, 0, words)
            self.assertIn("is not as it was written", refused.stderr, words)
            self.assertEqual(refused.stdout, "", words)

    def test_a_retry_has_the_parameters_of_its_run(self):
        self.stack.commit({"params.yaml": "train: {a: 1, b: 2}\nother: 1\n", "p.cd4ml.yaml": """format: 1
pipeline: p
params: {file: params.yaml}
stages:
  all: {run: cat "$CD4ML_PARAMS" > all.txt, outputs: {all: {path: all.txt}}}
  told: {params: [train], env: {O: "${{ params.other }}"}, run: echo $O > told.txt, outputs: {told: {path: told.txt}}}
  train: {params: [train], run: cat params.yaml; cat params.yaml > train.txt, outputs: {train: {path: train.txt}}}
  once: {params: [train], if: "${{ params.other <= 1 }}", run: "true"}
  fail: {needs: [all, told, train], run: exit 3}
"""})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.stack.cli("run", "start", "p", "-p", 'train={"a":5}', "--wait", expect=10)
        self.assertNotIn("other", self.stack.cli("run", "logs", "p/1", "train"))

        def retried(number: int, *words: str) -> tuple[dict, set[str]]:
            self.stack.cli("run", "retry", "p/1", *words, "--wait", expect=10)
            run = self.stack.ask("run", "show", f"p/{number}")
            return run["pins"]["params"], {stage["plan"]["name"] for stage in run["stages"] if stage.get("carried")}

        self.assertEqual(retried(2), ({"train": {"a": 5}, "other": 1}, {"all", "told", "train", "once"}))
        self.assertEqual(retried(3, "-p", "other=2"), ({"train": {"a": 5}, "other": 2}, {"train"}))
        self.assertEqual(self.stack.query("SELECT state FROM stage_run WHERE run = 3 AND name = 'once'"), [("skipped",)])

    def narrow(self, *arguments: str) -> str:
        """What a terminal of 80 columns shows."""
        environment = {**os.environ, "CD4ML_SERVER": self.stack.server, "COLUMNS": "80"}
        return subprocess.run([stack.BIN / "cd4ml", *arguments], check=True, capture_output=True, text=True,
                              env=environment).stdout

    def test_the_demos_champion_is_made_again_and_its_data_and_commit_lead_to_its_customers(self):
        repo, market = self.stack.repo, self.stack.data / "listings.csv"
        shutil.copytree(stack.ROOT / "examples" / "used-car-price", repo, dirs_exist_ok=True)
        commit = self.stack.commit({})
        self.example("market.py", "generate", "--rows", 12000, "--seed", 1, "--out", market)
        self.stack.cli("pipeline", "add", str(repo))
        self.stack.cli("run", "start", "used-car-price", "--wait")
        live = self.stack.ask("deploy", "list")
        endpoint = self.stack.query("SELECT endpoint FROM deployment")[0][0]
        self.example("traffic.py", "--url", endpoint, "--from", market, "--count", 50)
        wait_for("the predictions to be recorded", lambda: self.stack.query("SELECT COUNT(*) FROM prediction")[0][0] >= 50)

        found = self.reproduce("used-car-price/1", "--verify", "bytes", expect=0)

        self.assertEqual(found["sameness"], "SAMENESS_IDENTICAL")
        self.assertEqual((found["outputs"], found["left_out"]), (5, ["release", "watch"]))
        self.assertEqual(self.stack.ask("deploy", "list"), live)
        self.assertEqual(self.stack.query("SELECT COUNT(*) FROM deployment"), [(1,)])

        for reference in ("listings.csv", "used-car-price/listings", commit[:7]):
            impact = self.stack.ask("impact", reference)
            self.assertEqual(impact["runs"], ["used-car-price/1", "used-car-price/2"], reference)
            self.assertEqual([m["made_by"]["run"] for m in impact["models"]], ["used-car-price/1", "used-car-price/2"])
            deployment, = impact["deployments"]
            self.assertEqual(deployment["deployment"]["id"], "used-car-price/1/release")
            self.assertGreaterEqual(int(deployment["predictions"]), 50)
        self.assertIn("1 deployment (1 live)", self.narrow("impact", "listings.csv"))

        # Every way in that lineage is promised to know.
        prediction = self.stack.query("SELECT key FROM prediction")[0][0]
        (model,), = self.stack.query("SELECT DISTINCT digest FROM version WHERE kind = 'model'")
        for reference, direction in ((commit, "--down"), ("listings.csv", "--down"), (model, "--up"), (model, "--down"),
                                     ("used-car-price/1/release", "--up"), ("production", "--up"), (prediction, "--up")):
            self.assertGreater(len(self.stack.ask("lineage", reference, direction)["edges"]), 3, reference)
        self.assertIn("digraph", self.stack.cli("lineage", "listings.csv", "--down", "--format", "dot"))
        self.assertIn("flowchart", self.stack.cli("lineage", prediction, "--format", "mermaid"))

    def example(self, script: str, *arguments: object) -> None:
        subprocess.run(["/usr/bin/python3", "-B", self.stack.repo / "src" / script, *map(str, arguments)], check=True,
                       capture_output=True)


if __name__ == "__main__":
    stack.main()
