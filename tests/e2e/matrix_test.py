"""A stage with a matrix, on the real programs: every cell is a stage, and the winner is what others use."""
import json
import os

import stack
from stack import StackTest, wait_for

# What the trainer reads is the parameter file, and what it says it trained is that and the variable.
PIPELINE = """format: 1
pipeline: cars
params: {{file: params.yaml}}
materials: {{listings: {{data: listings.csv}}}}
environments: {{shop: {{}}}}
stages:
  clean:
    inputs: {{listings: listings}}
    code: [cars.cd4ml.yaml]
    params: [train]
    run: sort "$CD4ML_IN_LISTINGS" > clean.csv
    outputs: {{clean: {{path: clean.csv, type: dataset}}}}
  train:
    kind: train
    inputs: {{clean: clean.clean}}
    code: [train.py]
    params: [train]
    matrix:
      train.algorithm: [ridge, forest]
      train.depth: {depths}
      exclude: [{{train.algorithm: ridge, train.depth: 8}}]
      {options}
    env: {{DEPTH: "${{{{ params.train.depth }}}}"}}
    run: /usr/bin/python3 train.py "{dir}"
    outputs: {{model: {{path: model.json, type: model}}}}
    metrics: [metrics.json]
    goals: {{mae: min}}
  package:
    kind: package
    inputs: {{model: train.model}}
    code: [package.sh]
    run: sh package.sh
    outputs: {{service: {{path: service.json, type: deployable}}}}
  release:
    kind: deploy
    environment: shop
    deploy: package.service
    apply: cp service.json "{dir}/live.json"
"""
BEST = "max_parallel: 2\n      select: {metric: mae}"
TRAINER = """import json, os, pathlib, sys, yaml
there = pathlib.Path(sys.argv[1])
name = os.environ["CD4ML_STAGE"]
with open(there / "starts", "a") as starts:
    starts.write(name + "\\n")
pipe = there / name
if pipe.exists():
    open(pipe).readline()
params = yaml.safe_load(open("params.yaml"))["train"]
algorithm, depth = params["algorithm"], params["depth"]
assert str(depth) == os.environ["CD4ML_PARAM_TRAIN_DEPTH"] == os.environ["DEPTH"], params
broken = there / "broken"
if broken.exists() and name in broken.read_text().split():
    sys.exit(3)
mae = {"ridge": 200, "forest": 150}[algorithm] - depth + params["handicap"]
if (there / "nan").exists():
    mae = float("nan")
json.dump({"algorithm": algorithm, "depth": depth}, open("model.json", "w"))
json.dump({"mae": mae}, open("metrics.json", "w"))
print("trained", name)
"""
PARAMS = "train:\n  algorithm: none\n  depth: 1\n  handicap: 0\npkg:\n  flavour: x\n"
CELLS = ["train@ridge,12", "train@forest,8", "train@forest,12"]


class MatrixTest(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent("local", "--slots", "4")
        (self.stack.data / "listings.csv").write_text("2\n1\n")
        self.define()

    def define(self, depths: str = "[8, 12]", options: str = BEST) -> None:
        self.stack.commit({"params.yaml": PARAMS, "train.py": TRAINER, "package.sh": 'cp "$CD4ML_IN_MODEL" service.json\n',
                           "cars.cd4ml.yaml": PIPELINE.format(dir=self.stack.dir, depths=depths, options=options)})
        self.stack.cli("pipeline", "add", str(self.stack.repo))

    def start(self, *words: str, expect: int = 0) -> str:
        return self.stack.cli("run", "start", "cars", "--wait", *words, expect=expect)

    def starts(self) -> list[str]:
        path = self.stack.dir / "starts"
        names = path.read_text().split() if path.exists() else []
        return sorted(names)

    def forget_starts(self) -> None:
        (self.stack.dir / "starts").write_text("")

    def stages(self, run: str) -> dict:
        return {stage["plan"]["name"]: stage for stage in self.stack.ask("run", "show", run)["stages"]}

    def states(self, run: str) -> dict:
        return {name: stage["state"].removeprefix("STAGE_STATE_").lower() for name, stage in self.stages(run).items()}

    def live(self) -> dict:
        return json.loads((self.stack.dir / "live.json").read_text())


class Cells(MatrixTest):
    def test_the_best_cell_is_packaged_and_live_and_the_record_leads_to_it(self):
        self.start()

        self.assertEqual(self.starts(), sorted(CELLS))
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})
        train = self.stages("cars/1")["train"]
        self.assertEqual(train["plan"]["matrix"]["cells"], CELLS)
        self.assertEqual(train["carried"]["cell"], "train@forest,12")
        self.assertEqual(train["carried"]["why"],
                         "lowest mae of 3 cells: train@forest,12 138.0, train@forest,8 142.0, train@ridge,12 188.0")
        self.assertEqual(train["carried"]["outcome"]["metrics"], {"mae": 138})
        self.assertEqual(train.get("attempts", []), [])
        shown = self.stack.cli("run", "show", "cars/1")
        self.assertIn("train@forest,12 won: lowest mae of 3 cells", shown)
        self.assertRegex(shown, r"→ train@forest,12 .*train\.depth=12")
        winners = self.stack.cli("run", "logs", "cars/1", "train")
        self.assertIn("trained train@forest,12", winners)
        self.assertIn("the log of train@forest,12 of cars/1, which train takes over", winners)
        self.assertIn("trained train@forest,12", self.stack.cli("run", "logs", "cars/1", "train@forest,12"))
        self.assertIn("trained train@forest,8", self.stack.cli("run", "logs", "cars/1", "train@forest,8"))

        up = self.stack.cli("lineage", "cars/1", "--up")
        self.assertIn("train@forest,12 of cars/1", up)
        model = self.stack.ask("lineage", "cars/1/release", "--up")
        attempts = {node["id"] for node in model["nodes"] if "train@" in node["id"] and node["id"].startswith("cars/1/")}
        self.assertEqual(attempts, {"cars/1/train@forest,12/1"})
        self.assertIn("train@forest,12 of cars/1", self.stack.cli("lineage", "cars/1/train", "--up"))
        card = self.stack.cli("provenance", "card", "cars/1")
        self.assertRegex(card, r"train\.depth \| 12 \| matrix cell")
        self.assertRegex(card, r"train\.handicap \| 0 \| params\.yaml")

    def test_an_unchanged_run_reuses_all_and_one_more_value_runs_its_cells_alone(self):
        self.start()
        self.forget_starts()

        self.assertRegex(self.stack.cli("plan", "cars"), r"train takes over train@forest,12: lowest mae of 3 cells")
        self.start()
        self.assertEqual(self.starts(), [])
        again = self.stages("cars/2")
        self.assertEqual({name for name, stage in again.items() if stage.get("carried")}, {"clean", *CELLS, "train", "package"})
        self.assertEqual(again["train"]["carried"]["from"]["run"], "cars/1")

        self.define(depths="[8, 12, 16]")
        self.start()
        self.assertEqual(self.starts(), ["train@forest,16", "train@ridge,16"])
        self.assertEqual(self.stages("cars/3")["train"]["carried"]["cell"], "train@forest,16")
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 16})
        difference = self.stack.cli("diff", "cars/1", "cars/3")
        self.assertRegex(difference, r"stage train cell +train@forest,12: .* train@forest,16: lowest mae of 5 cells")

    def test_the_record_leads_to_a_winner_that_was_made_under_another_name(self):
        self.start()
        definition = PIPELINE.format(dir=self.stack.dir, depths="[8, 12]", options=BEST)
        algorithms, depths = "      train.algorithm: [ridge, forest]\n", "      train.depth: [8, 12]\n"
        self.assertIn(algorithms + depths, definition)
        commit = self.stack.commit({"cars.cd4ml.yaml": definition.replace(algorithms + depths, depths + algorithms),
                                    "package.sh": 'cat "$CD4ML_IN_MODEL" > service.json\n'})
        self.forget_starts()
        self.start()

        self.assertEqual(self.starts(), [])
        self.assertEqual(self.stages("cars/2")["train"]["carried"]["cell"], "train@12,forest")
        self.assertIn("train@forest,12 of cars/1", self.stack.cli("lineage", "cars/2", "--up"))
        self.assertRegex(self.stack.cli("provenance", "card", "cars/2"), r"train\.depth \| 12 \| matrix cell")
        upstream = self.stack.cli("provenance", "export", "cars/2", "--upstream").splitlines()
        self.assertEqual(len(upstream), len(self.stack.cli("provenance", "export", "cars/1", "--upstream").splitlines()))
        first, = self.stack.query("SELECT commit_id FROM run WHERE number = 1")
        for root in (first[0], "cars/listings"):
            found = {one["deployment"]["id"] for one in self.stack.ask("impact", root)["deployments"]}
            self.assertEqual(found, {"cars/1/release", "cars/2/release"}, root)
        self.assertNotEqual(first[0], commit)

    def test_a_trigger_gives_all_cells_a_parameter_and_none_of_their_own(self):
        self.start("-p", "train.handicap=50")

        self.assertEqual(self.stages("cars/1")["train"]["carried"]["outcome"]["metrics"], {"mae": 188})
        refused = self.stack.cli("run", "start", "cars", "-p", "train.depth=8", expect=2)
        self.assertIn('parameter "train.depth" is a dimension of the matrix of stage "train"', refused)
        self.assertIn("train@ridge,12: train.depth = 12  (matrix cell)", self.stack.cli("plan", "cars"))

    def test_without_a_number_nobody_wins_and_nothing_is_deployed(self):
        (self.stack.dir / "nan").touch()
        self.start(expect=10)

        self.assertIn('no cell can win, because none has a number for metric "mae"', self.stack.cli("run", "show", "cars/1"))
        self.assertEqual(self.states("cars/1")["package"], "skipped")
        self.assertFalse((self.stack.dir / "live.json").exists())

        (self.stack.dir / "nan").unlink()
        self.forget_starts()
        self.stack.cli("run", "retry", "cars/1", "--wait")
        self.assertEqual(self.starts(), sorted(CELLS))
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})


class Failures(MatrixTest):
    def break_cells(self, *names: str) -> None:
        (self.stack.dir / "broken").write_text(" ".join(names))

    def test_a_failed_cell_ends_the_others_and_a_retry_does_what_is_missing(self):
        self.define(options="max_parallel: 1\n      select: {metric: mae}")
        self.break_cells(*CELLS)
        self.start(expect=10)

        first, = self.starts()
        states = self.states("cars/1")
        self.assertEqual(sorted(states[cell] for cell in CELLS), ["cancelled", "cancelled", "failed"])
        self.assertEqual((states["train"], states["package"]), ("failed", "skipped"))
        self.assertRegex(self.stack.cli("run", "show", "cars/1"), f"{first}.*exited with 3")

        self.break_cells()
        self.forget_starts()
        self.stack.cli("run", "retry", "cars/1", "--wait")
        self.assertEqual(self.starts(), sorted(CELLS))
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})

    def test_the_others_go_on_where_they_are_told_to_and_a_retry_chooses_anew(self):
        self.define(options="fail_fast: false\n      select: {metric: mae}")
        self.break_cells("train@forest,12")
        self.start()

        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 8})
        self.assertEqual(self.states("cars/1")["train@forest,12"], "failed")
        self.assertIn("not compared: train@forest,12 (failed)", self.stack.cli("run", "show", "cars/1"))

        self.break_cells()
        self.forget_starts()
        self.stack.cli("run", "retry", "cars/1", "--wait")
        self.assertEqual(self.starts(), ["train@forest,12"])
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})

        self.forget_starts()
        self.stack.cli("run", "retry", "cars/2", "--from", "train@ridge,12", "--wait")
        self.assertEqual(self.starts(), ["train@ridge,12"])
        self.stack.cli("run", "retry", "cars/2", "--only", "train", "--wait")
        self.assertEqual(self.starts(), sorted([*CELLS, "train@ridge,12"]))
        self.assertEqual(self.states("cars/4")["package"], "skipped")


    def test_a_retry_that_left_the_lost_cell_out_is_retried_with_it_and_chooses_anew(self):
        self.define(options="fail_fast: false\n      select: {metric: mae}")
        self.break_cells("train@forest,12")
        self.assertIn("! train@forest,12: ", self.start())
        self.break_cells()
        self.stack.cli("run", "retry", "cars/1", "--only", "package", "--wait")
        self.assertEqual(self.states("cars/2")["train@forest,12"], "skipped")
        self.forget_starts()

        self.stack.cli("run", "retry", "cars/2", "--wait")
        self.assertEqual(self.starts(), ["train@forest,12"])
        self.assertEqual(self.stages("cars/3")["train"]["carried"]["cell"], "train@forest,12")
        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})

    def test_a_retry_with_other_parameters_does_again_what_they_concern_alone(self):
        self.start()
        self.forget_starts()

        self.stack.cli("run", "retry", "cars/1", "--only", "package", "-p", "pkg.flavour=z", "--wait")

        self.assertEqual(self.starts(), [])
        self.assertEqual(len(self.stages("cars/2")["package"]["attempts"]), 1)


class Turns(MatrixTest):
    def test_only_so_many_cells_are_under_way_also_across_a_restart(self):
        for cell in CELLS:
            os.mkfifo(self.stack.dir / cell)
        self.stack.cli("run", "start", "cars")
        wait_for("two cells to begin", lambda: len(self.starts()) == 2)
        waiting, = set(CELLS) - set(self.starts())
        self.assertIn("2 cells of its matrix are under way, as many as max_parallel allows", self.stack.cli("why", "cars/1"))

        self.stack.kill_daemon()
        self.stack.start_daemon()
        wait_for("the agent to come back", lambda: self.stack.ask("agent", "list")[0]["state"] == "busy")
        self.assertIn("2 cells of its matrix are under way", self.stack.cli("why", f"cars/1/{waiting}"))
        first, second = self.starts()
        self.let_go(first)
        wait_for("the third to begin", lambda: waiting in self.starts())
        for cell in (second, waiting):
            self.let_go(cell)
        self.stack.cli("run", "wait", "cars/1")

        self.assertEqual(self.live(), {"algorithm": "forest", "depth": 12})
        self.assertEqual([len(self.stages("cars/1")[cell]["attempts"]) for cell in CELLS], [1, 1, 1])

    def let_go(self, cell: str) -> None:
        with open(self.stack.dir / cell, "w") as pipe:
            pipe.write("go\n")

    def test_a_run_that_is_made_again_chooses_the_same(self):
        self.start()
        self.forget_starts()

        made = self.stack.cli("run", "reproduce", "cars/1")

        self.assertIn("IDENTICAL", made)
        self.assertEqual(self.starts(), sorted(CELLS))
        self.assertEqual(self.stages("cars/2")["train"]["carried"]["cell"], "train@forest,12")

    def test_a_cancelled_run_leaves_no_cell(self):
        for cell in CELLS:
            os.mkfifo(self.stack.dir / cell)
        self.stack.cli("run", "start", "cars")
        wait_for("two cells to begin", lambda: len(self.starts()) == 2)
        self.stack.cli("run", "cancel", "cars/1")
        self.stack.cli("run", "wait", "cars/1", expect=12)

        self.assertEqual({self.states("cars/1")[name] for name in [*CELLS, "train", "package"]}, {"cancelled"})


if __name__ == "__main__":
    stack.main()
