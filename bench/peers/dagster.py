"""Dagster: its web server and daemon, and jobs of ops, each op in a process of its own."""
import json

from peers.peer import Graph, NotAvailable, Peer, free_port

JOBS = '''
import json, pathlib, subprocess
from dagster import Definitions, DependencyDefinition, GraphDefinition, In, MultiDependencyDefinition, Nothing, op

def make(name, command, has_needs):
    @op(name=name, ins={"needs": In(Nothing)} if has_needs else {})
    def perform():
        subprocess.run(command, check=True)
    return perform

def job(name, stages):
    return GraphDefinition(
        name=name,
        node_defs=[make(name, command, bool(needs)) for name, needs, command in stages],
        dependencies={name: {"needs": MultiDependencyDefinition([DependencyDefinition(need) for need in needs])}
                      for name, needs, _ in stages if needs},
    ).to_job()

def graph():
    return job("graph", json.loads(pathlib.Path("graph.json").read_text()))

single = job("single", [("stamp", [], ["sh", "-c", pathlib.Path("stamp.command").read_text()])])
definitions = Definitions(jobs=[single])
'''

EXECUTE = '''
import sys
from dagster import DagsterInstance, execute_job, reconstructable
from jobs import graph

if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        # Its default executor: a process for each op; two at a time.
        done = execute_job(reconstructable(graph), instance, {"execution": {"config": {"multiprocess": {"max_concurrent": 2}}}})
        assert done.success
        times = instance.get_run_stats(done.run_id)
        print(times.end_time - times.start_time)
'''

LAUNCH = """mutation { launchRun(executionParams: {runConfigData: {},
  selector: {repositoryLocationName: "jobs.py", repositoryName: "__repository__", jobName: "single"}})
  { __typename ... on LaunchRunSuccess { run { runId } } } }"""
STATE = """{ runOrError(runId: "%s") { ... on Run { status } } }"""

HEALTH = """{ instance { daemonHealth { daemonStatus(daemonType: "QUEUED_RUN_COORDINATOR") { healthy } } } }"""


class Dagster(Peer):
    name = "dagster"
    graph_max = 10
    fan_max = 20
    quick = False
    version = "1.13.27"

    def install(self) -> None:
        self.programs = self.venv()

    def start(self) -> None:
        (self.work / "jobs.py").write_text(JOBS)
        (self.work / "execute.py").write_text(EXECUTE)
        (self.work / "stamp.command").write_text(f"{self.stamp} > {self.work}/stamp.out")
        (self.work / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        self.environment |= {"DAGSTER_HOME": str(self.work), "PATH": f"{self.programs}:{self.environment['PATH']}"}
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/graphql"
        self.service("webserver", self.programs / "dagster-webserver", "-h", "127.0.0.1", "-p", port, "-f", "jobs.py")
        self.service("daemon", self.programs / "dagster-daemon", "run", "-f", "jobs.py")

        def healthy() -> bool:
            return self.query(HEALTH)["instance"]["daemonHealth"]["daemonStatus"]["healthy"]
        self.wait(healthy, "its web server and its daemon", every=0.5)

    def query(self, text: str) -> dict:
        return self.call(self.api, {"query": text})["data"]

    def graph(self, graph: Graph) -> float:
        stages = [(n.replace("-", "_"), [m.replace("-", "_") for m in needs], command) for n, needs, command in graph]
        (self.work / "graph.json").write_text(json.dumps(stages))
        return float(self.asked(self.programs / "python", "execute.py").split()[-1])

    def trigger(self, count: int) -> list[float]:
        def start() -> str:
            answer = self.query(LAUNCH)["launchRun"]
            if answer["__typename"] != "LaunchRunSuccess":
                raise NotAvailable(f"launching a run: {answer['__typename']}")
            return answer["run"]["runId"]

        def ended(run: str) -> bool:
            return self.query(STATE % run)["runOrError"]["status"] == "SUCCESS"
        return [self.stamped(start, ended) for _ in range(min(count, 5))]
