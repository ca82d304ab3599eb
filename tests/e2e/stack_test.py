"""Crashes, bad input and services against the real programs."""
import os
import pathlib
import signal
import subprocess
import time
import unittest
import urllib.request

import stack
from stack import StackTest, wait_for

# Two stages that note each start; the first waits until the test lets it go on.
SLOW = """format: 1
pipeline: slow
stages:
  first:
    run: |
      echo first >> {dir}/starts
      echo before
      read line < {dir}/gate
      echo after
      echo done > out.txt
    outputs: {{out: {{path: out.txt}}}}
{extra}  second:
    inputs: {{out: first.out}}
    run: |
      echo second >> {dir}/starts
      cat "$CD4ML_IN_OUT"
"""

# A chain of three whose stages note each start.
CHAIN = """format: 1
pipeline: chain
params: {{file: params.yaml}}
materials:
  rows: {{data: {dir}/rows.csv}}
stages:
  prepare:
    inputs: {{rows: rows}}
    code: [prepare.sh]
    params: [limit]
    run: bash prepare.sh {dir}
    outputs: {{clean: {{path: clean.csv}}}}
  train:
    kind: train
    inputs: {{clean: prepare.clean}}
    code: ["*.py"]
    params: [depth]
    run: |
      echo train >> {dir}/starts
      cat clean.csv - <<< "$CD4ML_PARAM_DEPTH" > model.txt
    outputs: {{model: {{path: model.txt, type: model}}}}
  note:
    inputs: {{model: train.model}}
    cache: never
    run: echo note >> {dir}/starts
"""

SERVER = """import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write((os.environ.get("CD4ML_DEPLOYMENT", "") + " " + open("version").read()).encode())
    def log_message(self, *a): pass
if open("version").read().strip() == "broken": sys.exit("cannot load the model")
http.server.HTTPServer(("127.0.0.1", int(os.environ["CD4ML_PORT"])), Handler).serve_forever()
"""

SERVICE = """format: 1
pipeline: web
params: {file: params.yaml}
environments: {production: {lock: true}}
stages:
  package:
    kind: package
    params: [version]
    run: |
      mkdir pkg
      cp server.py pkg/
      echo "$CD4ML_PARAM_VERSION" > pkg/version
    outputs: {service: {path: pkg, type: deployable}}
  release:
    kind: deploy
    environment: production
    deploy: package.service
    strategy: replace
    service: {run: /usr/bin/python3 server.py, ready: {http: /, within: 5s}}
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode().strip()


def answers(url: str) -> str:
    try:
        return get(url)
    except OSError:
        return ""


class Reuse(StackTest):
    def start(self, *flags: str) -> list[str]:
        """Returns which stages were performed in a new run."""
        (self.stack.dir / "starts").write_text("")
        self.stack.cli("run", "start", "chain", "--wait", *flags)
        return (self.stack.dir / "starts").read_text().split()

    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        (self.stack.dir / "rows.csv").write_text("a\n1\n2\n")
        self.files = {"prepare.sh": "echo prepare >> $1/starts\nhead -n 2 rows.csv > clean.csv\n",
                      "params.yaml": "limit: 2\ndepth: 3\n", "train.py": "", "README": "one"}
        self.stack.commit(self.files)
        self.stack.register(CHAIN.format(dir=self.stack.dir).replace("rows: rows", "rows: {from: rows, at: rows.csv}"))
        self.assertEqual(self.start(), ["prepare", "train", "note"])

    def test_an_unchanged_run_performs_only_what_is_never_reused(self):
        self.assertEqual(self.start(), ["note"])
        shown = self.stack.cli("run", "show", "chain/2")
        self.assertIn("reused from chain/1: prepare, train", shown)
        self.assertIn("train reuses chain/1", self.stack.cli("plan", "chain"))
        self.assertEqual(self.start("--no-cache"), ["prepare", "train", "note"])
        self.assertIn("--no-cache", self.stack.cli("why", "chain/3/train"))

    def test_only_what_has_changed_is_performed_and_why_says_what(self):
        self.stack.commit({**self.files, "README": "two"}, "what no stage reads")
        self.assertEqual(self.start(), ["note"])
        self.assertEqual(self.start("-p", "depth=4"), ["train", "note"])
        self.assertIn("params changed since chain/1", self.stack.cli("why", "chain/3/train").replace("\n    ", " "))
        self.stack.commit({**self.files, "train.py": "import os"}, "another trainer")
        self.assertEqual(self.start(), ["train", "note"])
        self.assertIn("code, params changed", self.stack.cli("why", "chain/4/train").replace("\n    ", " "))

    def test_data_counts_by_its_content(self):
        rows = self.stack.dir / "rows.csv"
        rows.write_text("a\n1\n2\n3\n")
        # The same first rows come out of it, so that only the first stage has something to do.
        self.assertEqual(self.start(), ["prepare", "note"])
        self.assertIn("input rows changed", self.stack.cli("why", "chain/2/prepare").replace("\n    ", " "))
        os.utime(rows, (1, 1))
        self.assertEqual(self.start(), ["note"])

    def test_a_result_whose_bytes_are_gone_is_made_again(self):
        for blob in (self.stack.dir / "daemon").rglob("*"):
            if blob.is_file() and blob.stat().st_size < 200 and b"a\n1\n3" in blob.read_bytes():
                blob.unlink()
        self.assertEqual(self.start(), ["train", "note"])
        self.assertIn("no longer kept", self.stack.cli("why", "chain/2/train").replace("\n    ", " "))

    def test_a_pattern_that_no_file_matches_is_an_error(self):
        text = CHAIN.format(dir=self.stack.dir).replace('"*.py"', '"*.pyy"')
        self.stack.register(text)
        self.assertIn("no file of commit", self.stack.run("run", "start", "chain").stderr)


class Crashes(StackTest):
    def start_slow(self, extra: str = "") -> None:
        os.mkfifo(self.stack.dir / "gate")
        self.stack.register(SLOW.format(dir=self.stack.dir, extra=extra))
        self.stack.cli("run", "start", "slow")
        wait_for("the first stage", lambda: (self.stack.dir / "starts").exists())

    def let_go(self) -> None:
        with open(self.stack.dir / "gate", "w") as gate:
            gate.write("go\n")

    def starts(self) -> list[str]:
        return (self.stack.dir / "starts").read_text().split()

    def test_a_killed_daemon_loses_nothing_and_no_stage_runs_twice(self):
        self.stack.start_agent()
        self.start_slow()

        self.stack.kill_daemon()
        self.let_go()
        self.stack.start_daemon()

        self.stack.cli("run", "wait", "slow/1")
        self.assertEqual(self.starts(), ["first", "second"])
        self.assertEqual(len(self.stack.stage("slow/1", "first")["attempts"]), 1)
        self.assertIn("before\nafter", self.stack.cli("run", "logs", "slow/1", "first"))

    def test_a_killed_agent_takes_its_stage_up_again(self):
        self.stack.start_agent()
        self.start_slow()

        self.stack.kill_agent()
        self.let_go()
        self.stack.start_agent()

        self.stack.cli("run", "wait", "slow/1")
        self.assertEqual(self.starts(), ["first", "second"])

    def test_an_agent_that_never_comes_back_loses_its_stage(self):
        self.stack.start_agent()
        self.start_slow(extra="    retry: {limit: 0}\n")

        self.stack.kill_agent()

        self.assertIn("silent", self.stack.cli("run", "wait", "slow/1", expect=13))

    def test_cancel_leaves_no_process(self):
        self.stack.start_agent()
        self.stack.register("format: 1\npipeline: long\nstages:\n  sleep:\n    run: |\n"
                            f"      setsid sleep 4242 &\n      echo up > {self.stack.dir}/starts\n      sleep 4242\n")
        self.stack.cli("run", "start", "long")
        wait_for("the stage", lambda: (self.stack.dir / "starts").exists())

        self.stack.cli("run", "cancel", "long/1", "--reason", "enough")

        self.stack.cli("run", "wait", "long/1", expect=12)
        self.assertEqual(subprocess.run(["pgrep", "-f", "^sleep 4242"], capture_output=True).stdout, b"")

    def test_cancel_takes_the_newest_run_by_that_name(self):
        self.stack.register("format: 1\npipeline: p\nstages: {a: {run: 'true'}}\n")
        self.stack.cli("run", "start", "p")

        self.stack.cli("run", "cancel", "p/latest")

        self.stack.cli("run", "wait", "p/1", expect=12)

    def test_a_key_of_another_pipeline_is_refused(self):
        self.stack.register("format: 1\npipeline: p\nstages: {a: {run: 'true'}}\n")
        self.stack.register("format: 1\npipeline: q\nstages: {a: {run: 'true'}}\n", "q.cd4ml.yaml")
        self.stack.cli("run", "start", "p", "--key", "k1")

        self.assertIn("p/1", self.stack.cli("run", "start", "q", "--key", "k1", expect=6))

    def test_the_same_key_starts_one_run_also_across_a_restart(self):
        self.stack.register("format: 1\npipeline: p\nstages: {a: {run: 'true'}}\n")
        self.stack.cli("run", "start", "p", "--key", "nightly-7")
        self.stack.kill_daemon()
        self.stack.start_daemon()

        self.stack.cli("run", "start", "p", "--key", "nightly-7")

        self.assertEqual([run["id"] for run in self.stack.ask("run", "list")], ["p/1"])


class BadInput(StackTest):
    def start(self, text: str, expect: int, *flags: str) -> str:
        self.stack.start_agent()
        self.stack.register(text)
        return self.stack.cli("run", "start", "p", "--wait", *flags, expect=expect)

    def test_unknown_pipeline_suggests_the_near_one(self):
        self.stack.register("format: 1\npipeline: price\nstages: {a: {run: 'true'}}\n")

        self.assertIn('did you mean "price"', self.stack.cli("run", "start", "pricee", expect=4))

    def test_file_missing_in_git_names_commit_and_path(self):
        self.stack.register("format: 1\npipeline: p\nstages: {a: {run: 'true'}}\n")
        self.stack.git("rm", "-q", "p.cd4ml.yaml")
        self.stack.git("commit", "-q", "-m", "gone")

        self.assertIn("p.cd4ml.yaml", self.stack.cli("run", "start", "p", expect=4))

    def test_missing_data_names_the_path(self):
        self.stack.register("format: 1\npipeline: p\nmaterials: {d: {data: gone.csv}}\n"
                            "stages: {a: {inputs: {d: d}, run: 'true'}}\n")

        self.assertIn("gone.csv", self.stack.cli("run", "start", "p", expect=4))

    def test_unreachable_daemon(self):
        self.stack.kill_daemon()

        self.assertIn("no cd4ml daemon answers", self.stack.cli("run", "list", expect=7))
        self.stack.start_daemon()

    def test_no_agent_with_the_labels_says_which_and_fails_in_time(self):
        self.stack.start_agent()
        self.stack.register("format: 1\npipeline: p\nstages:\n  a: {run: 'true', agent: {labels: [gpu]}, assign_timeout: 2s}\n")

        self.stack.cli("run", "start", "p")
        self.assertIn('lacks label "gpu"', self.stack.cli("run", "show", "p/1"))

        self.assertIn("no agent took it", self.stack.cli("run", "wait", "p/1", expect=13))

    def test_command_that_exits_3(self):
        said = self.start("format: 1\npipeline: p\nstages: {a: {run: 'echo boom; exit 3'}}\n", 10)

        self.assertIn("3", said)
        self.assertIn("boom", self.stack.cli("run", "show", "p/1"))
        self.assertEqual(self.stack.stage("p/1", "a")["reason"], "REASON_EXIT_CODE")

    def test_a_table_library_that_is_missing_is_our_fault(self):
        (self.stack.data / "d.csv").write_text("a\n1\n")
        self.stack.start_agent("local", "--duckdb", "/nowhere/libduckdb.so")
        self.stack.register("format: 1\npipeline: p\nmaterials: {d: {data: d.csv}}\nstages:\n  g:\n    kind: data_gate\n"
                            "    inputs: {d: d}\n    rules: {rows: {of: d, rows: {min: 1}}}\n")

        self.assertIn("libduckdb.so", self.stack.cli("run", "start", "p", "--wait", expect=13))

    def test_missing_output_is_named(self):
        said = self.start("format: 1\npipeline: p\nstages:\n  a: {run: 'true', outputs: {m: {path: model.bin, type: model}}}\n", 10)

        self.assertIn("model.bin", said)

    def test_metric_that_is_not_a_number_blocks(self):
        said = self.start("format: 1\npipeline: p\nstages:\n  g:\n    kind: model_gate\n"
                          "    run: 'echo \"{\\\"mae\\\": NaN}\" > m.json'\n    metrics: [m.json]\n"
                          "    rules: {mae: {metric: mae, max: 1}}\n", 11)

        self.assertIn("mae", said)
        self.assertEqual(self.stack.stage("p/1", "g")["reason"], "REASON_GATE_ERROR")

    def gate_on(self, content: bytes) -> str:
        (self.stack.data / "d.csv").write_bytes(content)
        return self.start("format: 1\npipeline: p\nmaterials: {d: {data: d.csv}}\nstages:\n  g:\n    kind: data_gate\n"
                          "    inputs: {d: d}\n    rules: {rows: {of: d, rows: {min: 1}}}\n", 11)

    def test_empty_data_file(self):
        self.assertIn("empty", self.gate_on(b""))

    def test_data_that_is_no_table(self):
        self.assertIn("d", self.gate_on(b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00binary\x00\x01"))

    def test_data_in_another_encoding_names_the_line(self):
        self.assertIn("line 3", self.gate_on("a,b\n1,x\n2,Käfer\n".encode("windows-1252")).lower())

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small file system needs root")
    def test_output_larger_than_the_free_disk(self):
        state = self.stack.dir / "local"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state])

        said = self.start("format: 1\npipeline: p\nstages:\n  a:\n    run: head -c 200M /dev/zero > big\n"
                          "    outputs: {big: {path: big}}\n", 13)

        self.assertRegex(said, "(?i)disk|space")

    def test_a_broken_definition_is_refused_and_the_daemon_serves_on(self):
        self.stack.start_agent()
        self.stack.register("format: 1\npipeline: p\nstages: {a: {run: 'true'}}\n")
        good = self.stack.git("rev-parse", "HEAD")
        ten = (stack.ROOT / "tests/e2e/ten_mistakes.cd4ml.yaml").read_text()
        self.stack.commit({"p.cd4ml.yaml": ten, "q.cd4ml.yaml": "format: 1\npipeline: q\nstages: {a: {run: 'true'}}\n"})

        refused = self.stack.cli("run", "start", "p", expect=3)

        self.assertIn("p.cd4ml.yaml:", refused)
        self.assertIn(good[:7], refused)
        self.stack.cli("pipeline", "add", str(self.stack.repo), expect=3)   # Says what is wrong, registers the good one.
        self.stack.cli("run", "start", "q", "--wait")
        self.stack.cli("run", "start", "p", "--ref", good, "--wait")

    def test_lint_prints_ten_located_errors_for_ten_mistakes(self):
        said = self.stack.cli("lint", str(stack.ROOT / "tests/e2e/ten_mistakes.cd4ml.yaml"), expect=3)

        self.assertEqual(len([line for line in said.splitlines() if "error[CD" in line]), 10, said)
        self.assertIn("10 errors", said)


class Services(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        self.stack.commit({"server.py": SERVER, "params.yaml": "version: one\n"})
        self.stack.register(SERVICE)

    def deploy(self, version: str, expect: int = 0) -> None:
        self.stack.cli("run", "start", "web", "-p", f"version={version}", "--wait", expect=expect)

    def endpoint(self) -> str:
        return next(d["endpoint"] for d in self.stack.ask("deploy", "list"))

    def test_the_next_version_takes_over_at_the_same_address(self):
        self.deploy("one")
        first = self.endpoint()
        self.assertEqual(get(first), "web/1/release one")

        self.deploy("two")

        self.assertEqual(self.endpoint(), first)
        self.assertEqual(get(first), "web/2/release two")

    def test_a_version_that_does_not_become_ready_is_put_back(self):
        self.deploy("one")

        self.deploy("broken", expect=10)

        self.assertEqual(get(self.endpoint()), "web/1/release one")
        self.assertIn("cannot load the model", self.stack.cli("run", "show", "web/2"))
        self.assertEqual([d["run"] for d in self.stack.ask("deploy", "history", "production")], ["web/1"])

    def test_a_service_outlives_agent_and_daemon(self):
        self.deploy("one")
        self.stack.kill_agent()
        self.stack.kill_daemon()
        self.assertEqual(get(self.endpoint_of_record()), "web/1/release one")

        self.stack.start_daemon()
        self.stack.start_agent()

        self.assertEqual(get(self.endpoint()), "web/1/release one")
        self.deploy("two")
        self.assertEqual(get(self.endpoint()), "web/2/release two")

    def test_a_service_whose_keeper_died_is_started_again(self):
        self.deploy("one")
        endpoint = self.endpoint()

        os.kill(self.stack.keeper_pid(), signal.SIGKILL)

        wait_for("the service to be back", lambda: answers(endpoint) == "web/1/release one")

    def endpoint_of_record(self) -> str:
        return self.stack.query("SELECT endpoint FROM deployment WHERE ended_ms IS NULL")[0][0]


class OwnPipeline(StackTest):
    """pipelines/ builds and tests cd4ml with cd4ml; here in small."""

    def test_it_lints_plans_and_runs(self):
        source = self.stack.dir / "source"
        subprocess.run(["git", "clone", "-q", "--local", "--no-hardlinks", stack.ROOT, source], check=True)
        self.stack.cli("lint", str(source / "pipelines/cd4ml.cd4ml.yaml"))
        self.stack.cli("pipeline", "add", str(source), "--file", "pipelines/cd4ml.cd4ml.yaml")
        self.assertIn("verdict", self.stack.cli("plan", "cd4ml"))
        self.stack.start_agent()

        self.stack.cli("run", "start", "cd4ml", "-p", "build.targets=base_test", "-p", "test.only=base_test", "--wait")


if __name__ == "__main__":
    stack.main()
