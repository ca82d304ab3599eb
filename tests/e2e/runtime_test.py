#!/usr/bin/python3
"""Runtimes and parameters of real runs: a virtual environment from a lock file, shared, recorded, and in the key of reuse."""
import base64
import hashlib
import pathlib
import sys
import zipfile

import stack
from stack import StackTest


def make_wheel(folder: pathlib.Path, version: str) -> str:
    """Makes the package `tiny`, which knows its version, without any index; returns the line of a lock file."""
    name = f"tiny-{version}"
    files = {"tiny.py": f"VERSION = '{version}'\n",
             f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
             f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
                     f"{len(text)}\n" for path, text in files.items())
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{name}.dist-info/RECORD", record + f"{name}.dist-info/RECORD,,\n")
    return f"tiny @ file://{wheel} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

PIPELINE = f"""format: 1
pipeline: p
defaults: {{runtime: {{python: "{PYTHON}", requirements: env/requirements.lock}}}}
params: {{file: [conf/params.toml], schema: {{train.depth: {{type: int, min: 1}}}}}}
stages:
  train:
    code: [train.py]
    params: [train]
    run: python train.py
    outputs: {{model: {{path: model.txt, type: model}}}}
  report:
    run: python -c 'import sys, tiny; print("report with", tiny.VERSION)'
    inputs: {{model: train.model}}
"""
TRAIN = """import sys, tiny, tomllib
depth = tomllib.load(open("conf/params.toml", "rb"))["train"]["depth"]
print("trained with tiny", tiny.VERSION, "depth", depth)
open("model.txt", "w").write(f"{tiny.VERSION} {depth}")
"""
PARAMS = "# reviewed by Ana\n[train]\ndepth = 3  # levels\n"


class Runtime(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        self.wheels = self.stack.dir / "wheels"
        self.wheels.mkdir()

    def use(self, pipeline: str = PIPELINE, **files: str) -> None:
        self.stack.commit({"train.py": TRAIN, "conf/params.toml": PARAMS, **files})
        self.stack.register(pipeline)

    def lock(self, version: str) -> None:
        self.stack.commit({"env/requirements.lock": make_wheel(self.wheels, version)})

    def start(self, *flags: str, expect: int = 0) -> str:
        return self.stack.cli("run", "start", "p", "--wait", *flags, expect=expect)

    def refused(self, *words: str, flags: tuple = ()) -> None:
        done = self.stack.run("plan", "p", *flags)
        text = done.stdout + done.stderr
        self.assertNotEqual(done.returncode, 0, text)
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(text.count("error: "), 1, text)

    def environment(self, run: str, stage: str) -> dict:
        return self.stack.stage(run, stage)["attempts"][0]["outcome"]["environment"]

    def test_a_lock_file_is_installed_once_recorded_and_decides_about_reuse(self):
        self.lock("1.0")
        self.use()
        self.start()
        log = self.stack.cli("run", "logs", "p/1", "train")
        self.assertIn("trained with tiny 1.0 depth 3", log)
        self.assertIn(f"making the runtime python {PYTHON} with env/requirements.lock", log)
        self.assertNotIn("making the runtime", self.stack.cli("run", "logs", "p/1", "report"))
        show = self.stack.cli("run", "show", "p/1")
        self.assertRegex(show, rf"runtime python {PYTHON} with env/requirements.lock, python {PYTHON}\.\d+, \d packages "
                               r"\(sha256:[0-9a-f]{12}\): train, report")
        # The same lock: nothing is done again; what says so is the record.
        self.start()
        self.assertIn("reused from p/1: train", self.stack.cli("run", "show", "p/2"))
        self.assertIn("tiny", str(self.environment("p/1", "train")["runtime"]["packages"]))
        # Another lock: another runtime, and so another result.
        self.lock("2.0")
        self.start()
        self.assertIn("trained with tiny 2.0 depth 3", self.stack.cli("run", "logs", "p/3", "train"))
        self.assertIn("runtime changed since p/1", self.stack.cli("why", "p/3/train"))
        self.assertEqual(len(list((self.stack.dir / "local" / "runtimes").glob("*.json"))), 2)

    def test_a_result_that_was_made_with_undeclared_files_is_not_taken_over(self):
        self.use("""format: 1
pipeline: p
defaults: {runtime: host}
stages:
  train:
    code: [train.py]
    run: "cat train.py conf/params.toml notes/*.txt > model.txt"
    outputs: {model: {path: model.txt, type: model}}
  clean:
    code: ["*.py", notes]
    run: "cat train.py notes/*.txt > clean.txt"
    outputs: {clean: {path: clean.txt}}
""", **{"notes/a.txt": "one\n"})
        self.start()
        log = self.stack.cli("run", "logs", "p/1", "train")
        self.assertIn('stage "train" read what it does not declare: conf/params.toml, notes/a.txt; its result will not be '
                      "reused: add them to `code` or make them inputs", log)
        self.assertEqual(self.environment("p/1", "train")["undeclared_reads"], ["conf/params.toml", "notes/a.txt"])
        self.assertNotIn("undeclared_reads", self.environment("p/1", "clean"))
        why = "the result of p/1 was made with files that the stage does not declare: conf/params.toml, notes/a.txt"
        self.assertIn(why, self.stack.cli("plan", "p"))
        self.start()
        self.assertIn("reused from p/1: clean", self.stack.cli("run", "show", "p/2"))
        self.assertIn(why, self.stack.cli("why", "p/2/train"))

    def test_a_toml_file_has_the_effective_values_and_keeps_its_comments(self):
        self.use("""format: 1
pipeline: p
defaults: {runtime: host}
params: {file: conf/params.toml, schema: {train.depth: {type: int, min: 1}}}
stages:
  train:
    run: |
      cat conf/params.toml
      /usr/bin/python3 -c 'import tomllib; print("trained with", tomllib.load(open("conf/params.toml", "rb"))["train"]["depth"])'
""")
        self.start("-p", "train.depth=5")
        log = self.stack.cli("run", "logs", "p/1", "train")
        self.assertIn("# reviewed by Ana\n[train]\ndepth = 5  # levels\n", log)
        self.assertIn("trained with 5", log)
        self.assertIn("param   train.depth = 3  (conf/params.toml)", self.stack.cli("plan", "p"))
        self.assertIn("param   train.depth = 5  (trigger)", self.stack.cli("plan", "p", "-p", "train.depth=5"))

    def test_a_runtime_that_is_not_pinned_is_refused_before_anything_runs(self):
        self.use()
        self.refused("the runtime of stage \"train\"", "env/requirements.lock")
        self.stack.commit({"env/requirements.lock": "numpy>=1.0\n"})
        self.refused("env/requirements.lock: line 1: \"numpy>=1.0\" does not name one version; write numpy==VERSION")
        self.stack.commit({"env/requirements.lock": "numpy==1.0\n-r more.txt\n"})
        self.refused("line 2: \"-r more.txt\" leads to other files")
        self.stack.commit({"p.cd4ml.yaml": PIPELINE.replace(f'{{python: "{PYTHON}", requirements: env/requirements.lock}}',
                                                            "{image: 'python:3.11'}")})
        self.refused("image \"python:3.11\" has no digest")

    def test_parameters_that_make_no_sense_are_one_clear_message_each(self):
        self.lock("1.0")
        self.use()
        for value, words in {"train.dept=3": ("unknown parameter \"train.dept\"", "did you mean \"train.depth\""),
                             "train.depth=deep": ("parameter \"train.depth\" must be of type int, is \"deep\" (from trigger)",),
                             "train.depth=0": ("parameter \"train.depth\" must be at least 1, is 0 (from trigger)",)}.items():
            with self.subTest(value):
                self.refused(*words, flags=("-p", value))
        self.stack.commit({"conf/params.toml": "[train]\nwidth = 3\n"})
        self.refused("parameter \"train.depth\" has no value: no file holds it and its schema has no default")
        self.stack.commit({"conf/params.toml": "[train\n"})
        self.refused("conf/params.toml:1:")

    def test_a_stage_without_a_pinned_runtime_is_warned_about(self):
        self.stack.register("format: 1\npipeline: p\nstages:\n  a: {run: 'true'}\n  b: {run: 'true', runtime: host}\n"
                            "  c: {run: 'true'}\n")
        warning = "stage \"a\" and 1 other run with whatever the host of the agent has"
        self.assertIn(warning, self.stack.cli("lint", str(self.stack.repo / "p.cd4ml.yaml")))
        self.assertIn("warning", self.stack.cli("plan", "p"))
        self.assertIn(warning, self.stack.cli("plan", "p"))
        self.start()
        self.assertRegex(self.stack.cli("run", "show", "p/1"), r"runtime host of agent local, .*, python 3\.[0-9.]+: a, b, c")
        self.assertRegex(str(self.environment("p/1", "a")), r"[0-9.]+ sha256:[0-9a-f]{64}")


if __name__ == "__main__":
    stack.main()
