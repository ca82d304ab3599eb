"""Dagster: a job of ops, each in a process of its own, launched through its own instance."""
import json
import os

from peers.peer import Graph, Peer

JOB = '''
import json, os, pathlib, subprocess
from dagster import DependencyDefinition, GraphDefinition, In, MultiDependencyDefinition, Nothing, op

STAGES = json.loads(pathlib.Path(os.environ["BENCH_GRAPH"]).read_text())

def make(name, command, has_needs):
    @op(name=name, ins={"needs": In(Nothing)} if has_needs else {})
    def perform():
        subprocess.run(command, check=True)
    return perform

bench = GraphDefinition(
    name="bench",
    node_defs=[make(name, command, bool(needs)) for name, needs, command in STAGES],
    dependencies={name: {"needs": MultiDependencyDefinition([DependencyDefinition(need) for need in needs])}
                  for name, needs, _ in STAGES if needs},
).to_job()
'''


class Dagster(Peer):
    name = "dagster"
    graph_max = 10
    repeats = False
    version = "1.13.27"

    def prepare(self) -> None:
        self.programs = self.venv(f"dagster=={self.version}")
        (self.folder / "job.py").write_text(JOB)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        # Its default executor: a process for each op, two at a time.
        (self.folder / "run.yaml").write_text("execution:\n  config:\n    multiprocess:\n      max_concurrent: 2\n")
        self.environment = {**os.environ, "DAGSTER_HOME": str(home), "BENCH_GRAPH": str(self.folder / "graph.json"),
                            "PATH": f"{self.programs}:{os.environ['PATH']}"}
        self.graph([("a", [], ["/bin/true"])])

    def graph(self, graph: Graph) -> float:
        (self.folder / "graph.json").write_text(json.dumps([(n.replace("-", "_"), [m.replace("-", "_") for m in needs], command)
                                                            for n, needs, command in graph]))
        return self.timed(self.programs / "dagster", "job", "execute", "-f", "job.py", "-j", "bench", "-c", "run.yaml",
                          cwd=self.folder, env=self.environment)
