"""The benchmarks run and count right; how fast anything was is not looked at."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import stack
from stack import ROOT

sys.path.insert(0, str(ROOT / "bench"))

import measures  # noqa: E402
import workloads  # noqa: E402


class BenchTest(unittest.TestCase):
    def test_measures_in_one_command_and_writes_down_everything(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "results.json"
            done = subprocess.run(["/usr/bin/python3", "-B", ROOT / "bench/main.py", "--bin", stack.BIN, "--quick", "--no-peers",
                                   "--only", "chain-exec,recovery,wf-replay", "--wfinstances", "/nowhere.tar.zst", "--out", out],
                                  capture_output=True, text=True, timeout=600)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            report = json.loads(out.read_text())
        self.assertEqual([result["name"] for result in report["results"]], ["chain-exec", "recovery"])
        self.assertEqual(report["skipped"].keys(), {"wf-replay"})
        self.assertEqual(report["failed"], {})
        for result in report["results"]:
            for field in ("unit", "target", "values", "value", "limit", "limit_is", "peers", "details", "missed", "load_before"):
                self.assertIn(field, result)
            self.assertGreater(result["value"], 0)
            self.assertGreater(result["limit"], 0)
            self.assertEqual(result["faults"], [])
        chain, recovery = report["results"]
        self.assertEqual(chain["steps"]["agent"]["spawn"]["count"], chain["details"]["stages"] + 20)   # And what warms up.
        self.assertGreater(chain["steps"]["daemon"]["commit"]["count"], chain["details"]["stages"])
        self.assertEqual((recovery["details"]["lost"], recovery["details"]["doubled"]), (0, 0))
        self.assertTrue(all(len(line) <= 100 for line in done.stdout.splitlines()[:-1]), done.stdout)

    def test_an_unknown_benchmark_is_refused_by_name(self):
        done = subprocess.run(["/usr/bin/python3", "-B", ROOT / "bench/main.py", "--bin", stack.BIN, "--only", "chain"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no benchmark chain; there are chain-exec", done.stderr)


class WorkloadTest(unittest.TestCase):
    def test_a_recorded_workflow_keeps_its_edges_and_times(self):
        text = json.dumps({"workflow": {
            "specification": {"tasks": [{"id": "c", "parents": ["a", "b"], "children": []},
                                        {"id": "a", "parents": [], "children": ["b", "c"]},
                                        {"id": "b", "parents": ["a"], "children": ["c"]}]},
            "execution": {"tasks": [{"id": "a", "runtimeInSeconds": 1}, {"id": "b", "runtimeInSeconds": 2},
                                    {"id": "c", "runtimeInSeconds": 4}]}}})
        workflow = workloads.Workflow("x", text)
        self.assertEqual(workflow.graph(), [("t0", [], ["/bin/true"]), ("t1", ["t0"], ["/bin/true"]),
                                            ("t2", ["t0", "t1"], ["/bin/true"])])
        self.assertEqual(workflow.critical_path(), 7)

    def test_a_circle_is_refused(self):
        text = json.dumps({"workflow": {"specification": {"tasks": [{"id": "a", "parents": ["a"], "children": ["a"]}]},
                                        "execution": {"tasks": []}}})
        with self.assertRaises(ValueError):
            workloads.Workflow("x", text)

    def test_graphs_of_task_bench_need_only_what_is_there(self):
        for pattern, edges in (("stencil", 3 * 30), ("fft", 3 * 16), ("tree", 1 + 2 + 4 - 1 + 8)):
            graph = workloads.task_bench(pattern, 8 if pattern != "stencil" else 11, 4, ["x"])
            names = {name for name, _, _ in graph}
            self.assertLessEqual({need for _, needs, _ in graph for need in needs}, names)
            if pattern != "stencil":
                self.assertEqual(sum(len(needs) for _, needs, _ in graph), edges, pattern)

    def test_half_the_efficiency_is_found_between_two_sizes(self):
        self.assertAlmostEqual(measures._metg([4000, 1000], [0.75, 0.25]), 2.0)
        self.assertAlmostEqual(measures._metg([4000, 1000], [0.25, 0.1]), 12.0)
        self.assertAlmostEqual(measures._metg([4000, 1000], [0.9, 0.8]), 1.0)


if __name__ == "__main__":
    stack.main()
