"""Prefect: a server with its SQLite database, a process that polls it for flow runs, and a flow run for each trigger."""
import json

from peers.peer import Graph, Peer, free_port

FLOWS = '''
import json, pathlib, subprocess, sys, time
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

@task
def run(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def graph():
    futures = {}
    for name, needs, command in json.loads(pathlib.Path("graph.json").read_text()):
        futures[name] = run.submit(command, wait_for=[futures[need] for need in needs])
    for future in futures.values():
        future.result()

@flow
def single(stamp: str, out: str):
    pathlib.Path(out).write_text(run([stamp]))

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        single.serve(name="bench")   # Performs triggers for as long as it lives.
    began = time.monotonic()
    graph()
    print(time.monotonic() - began)
'''


class Prefect(Peer):
    name = "prefect"
    graph_max = 200
    quick = False
    version = "3.8.8"

    def install(self) -> None:
        self.programs = self.venv()

    def start(self) -> None:
        (self.work / "flows.py").write_text(FLOWS)
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        self.environment |= {"PREFECT_HOME": str(self.work / "prefect"), "PREFECT_API_URL": self.api,
                             "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self.service("server", self.programs / "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
        self.wait(lambda: self.call(f"{self.api}/health") is True, "its server", every=0.5)
        self.service("serve", self.programs / "python", "flows.py", "serve")
        self.wait(lambda: self.call(f"{self.api}/deployments/filter", {}), "its deployment", every=0.5)

    def graph(self, graph: Graph) -> float:
        (self.work / "graph.json").write_text(json.dumps(graph))
        return float(self.asked(self.programs / "python", "flows.py", "graph").split()[-1])

    def trigger(self, count: int) -> list[float]:
        deployment = self.call(f"{self.api}/deployments/filter", {})[0]["id"]
        order = {"parameters": {"stamp": str(self.stamp), "out": str(self.work / "stamp.out")}, "state": {"type": "SCHEDULED"}}

        def start() -> str:     # The server refuses while its database is locked, and is then asked again.
            return self.wait(lambda: self.call(f"{self.api}/deployments/{deployment}/create_flow_run", order), "its server")["id"]

        def ended(run: str) -> bool:
            return self.call(f"{self.api}/flow_runs/{run}")["state_type"] == "COMPLETED"
        return [self.stamped(start, ended) for _ in range(min(count, 5))]
