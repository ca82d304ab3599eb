"""Prefect: a server with its SQLite database, a worker that polls, and a flow run for each trigger."""
import json
import os
import pathlib
import subprocess
import time
import urllib.request

from peers.peer import Graph, NotAvailable, Peer, free_port

FLOWS = '''
import json, pathlib, subprocess, sys
from prefect import flow, task

@task
def run(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

@flow
def graph(path: str):
    futures = {}
    for name, needs, command in json.loads(pathlib.Path(path).read_text()):
        futures[name] = run.submit(command, wait_for=[futures[need] for need in needs])
    for future in futures.values():
        future.result()

@flow
def single(stamp: str, out: str):
    pathlib.Path(out).write_text(run([stamp]))

if __name__ == "__main__":
    import time
    if sys.argv[1] == "graph":
        graph(sys.argv[2])
    else:
        single.serve(name="bench")   # Performs triggers for as long as it lives.
'''


class Prefect(Peer):
    name = "prefect"
    graph_max = 200
    repeats = False
    version = "3.8.8"

    def prepare(self) -> None:
        self.programs = self.venv(f"prefect=={self.version}", "fastapi==0.139.0")
        (self.folder / "flows.py").write_text(FLOWS)
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        self.environment = {**os.environ, "PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": self.api,
                            "PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self.processes = []
        self.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        self.wait(lambda: self.call("GET", "/health") is True, "the server")
        self.start("serve", "python", "flows.py", "serve")
        self.wait(lambda: self.call("POST", "/deployments/filter", {}), "the deployment")

    def start(self, name: str, program: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes.append(subprocess.Popen([self.programs / program, *arguments], cwd=self.folder, env=self.environment,
                                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def call(self, method: str, path: str, body=None):
        request = urllib.request.Request(self.api + path, method=method, headers={"Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def graph(self, graph: Graph) -> float:
        path = self.folder / "graph.json"
        path.write_text(json.dumps(graph))
        return self.timed(self.programs / "python", "flows.py", "graph", path, cwd=self.folder, env=self.environment)

    def trigger(self, count: int) -> list[float]:
        deployment = self.call("POST", "/deployments/filter", {})[0]["id"]
        out = pathlib.Path(self.folder / "stamp.out")
        latencies = []
        for _ in range(min(count, 5)):
            out.unlink(missing_ok=True)
            self.call("POST", f"/deployments/{deployment}/create_flow_run",
                      {"parameters": {"stamp": str(self.stamp), "out": str(out)}, "state": {"type": "SCHEDULED"}})
            acknowledged = time.time_ns()
            self.wait(lambda: out.exists() and out.read_text().strip(), "the flow run")
            latencies.append((int(out.read_text()) - acknowledged) / 1e6)
        return latencies

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
