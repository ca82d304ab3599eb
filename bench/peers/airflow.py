"""Airflow with SQLite and its LocalExecutor: scheduler, API server and DAG processor as `standalone` starts them."""
import json
import os
import subprocess
import time
from datetime import datetime

from peers.peer import Graph, NotAvailable, Peer, free_port

DAGS = '''
import json, pathlib
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator

for path in pathlib.Path(__file__).parent.glob("*.json"):
    with DAG(path.stem, schedule=None, catchup=False, max_active_tasks=2, is_paused_upon_creation=False) as dag:
        tasks = {}
        for name, needs, command in json.loads(path.read_text()):
            tasks[name] = BashOperator(task_id=name, bash_command=command)
            for need in needs:
                tasks[need] >> tasks[name]
    globals()[path.stem] = dag
'''


class Airflow(Peer):
    name = "airflow"
    graph_max = 5
    repeats = False
    version = "3.3.2"

    def prepare(self) -> None:
        self.programs = self.venv(f"apache-airflow=={self.version}")
        dags = self.folder / "dags"
        dags.mkdir(exist_ok=True)
        (dags / "bench.py").write_text(DAGS)
        port = free_port()
        self.environment = {**os.environ, "AIRFLOW_HOME": str(self.folder / "home"), "PATH": f"{self.programs}:{os.environ['PATH']}",
                            "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
                            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__CORE__PARALLELISM": "2",
                            "AIRFLOW__API__PORT": str(port), "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
                            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
                            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1"}
        with open(self.folder / "standalone.log", "wb") as log:
            self.server = subprocess.Popen([self.programs / "airflow", "standalone"], env=self.environment, stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, start_new_session=True)
        try:
            self.graph([("a", [], ["/bin/true"])])
        except NotAvailable:
            self.close()
            raise

    def cli(self, *arguments: str) -> str:
        return self.ran(self.programs / "airflow", *arguments, env=self.environment)

    def add(self, graph: Graph, command) -> str:
        """Adds a DAG and waits until the scheduler knows it; returns its name."""
        name = f"bench_{time.time_ns()}"
        (self.folder / "dags" / f"{name}.json").write_text(json.dumps([(n, needs, command(c)) for n, needs, c in graph]))

        def known() -> bool:
            return name in self.ran(self.programs / "airflow", "dags", "list", env=self.environment)
        self.wait(known, "the scheduler to know a DAG", seconds=180)
        return name

    def start(self, name: str) -> dict:
        """Triggers a run and waits for its end."""
        self.cli("dags", "trigger", name)
        self.acknowledged = time.time_ns()

        def ended():
            runs = json.loads(self.cli("dags", "list-runs", name, "-o", "json"))
            return runs and runs[0]["state"] in ("success", "failed") and runs[0]
        run = self.wait(ended, "a run", seconds=600)
        if run["state"] != "success":
            raise NotAvailable("its run failed")
        return run

    def graph(self, graph: Graph) -> float:
        run = self.start(self.add(graph, lambda command: " ".join(command)))
        return (datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["start_date"])).total_seconds()

    def trigger(self, count: int) -> list[float]:
        out = self.folder / "stamp.out"
        name = self.add([("stamp", [], [])], lambda _: f"{self.stamp} > {out}")
        latencies = []
        for _ in range(min(count, 3)):
            self.start(name)
            latencies.append((int(out.read_text()) - self.acknowledged) / 1e6)
        return latencies

    def close(self) -> None:
        self.server.terminate()
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            self.server.kill()
