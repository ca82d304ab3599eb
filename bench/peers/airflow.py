"""Airflow with SQLite and its LocalExecutor: scheduler, API server and DAG processor as `standalone` starts them."""
import contextlib
import json
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
    graph_max = 10
    fan_max = 20
    quick = False
    version = "3.3.2"

    def install(self) -> None:
        self.programs = self.venv()

    def start(self) -> None:
        dags = self.work / "dags"
        dags.mkdir()
        (dags / "bench.py").write_text(DAGS)
        port = free_port()
        self.api = f"http://127.0.0.1:{port}"
        self.environment |= {"AIRFLOW_HOME": str(self.work), "PATH": f"{self.programs}:{self.environment['PATH']}",
                             "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
                             # With its default parallelism it does not survive a fan here.
                             "AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__CORE__PARALLELISM": "2",
                             "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true", "AIRFLOW__API__PORT": str(port),
                             "AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
                             "AIRFLOW__TRIGGERER_LOG_SERVER__PORT": str(free_port()),
                             "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.api}/execution/",
                             "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
                             "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1"}
        self.service("standalone", self.programs / "airflow", "standalone")
        self.token = self.wait(lambda: self.call(f"{self.api}/auth/token")["access_token"], "its API server", every=0.5)
        for _ in range(3):      # Until the scheduler too is there; on a busy machine its first task may run into a timeout.
            with contextlib.suppress(NotAvailable):
                self.graph([("a", [], ["/bin/true"])])
                return
        raise NotAvailable("its runs fail")

    def ask(self, path: str, body: dict | None = None) -> dict:
        return self.call(f"{self.api}/api/v2/{path}", body, {"Authorization": f"Bearer {self.token}"})

    def add(self, graph: Graph, command) -> str:
        """Adds a DAG and waits until the scheduler knows it; returns its name."""
        name = f"bench_{time.time_ns()}"
        (self.work / "dags" / f"{name}.json").write_text(json.dumps([(n, needs, command(c)) for n, needs, c in graph]))
        self.wait(lambda: self.ask(f"dags/{name}"), "its scheduler to know a DAG", every=0.5)
        return name

    def start_run(self, name: str) -> str:
        return self.ask(f"dags/{name}/dagRuns", {"logical_date": None})["dag_run_id"]

    def ended(self, name: str, run: str) -> dict | None:
        """What it says of a run, once that has ended."""
        answer = self.ask(f"dags/{name}/dagRuns/{run}")
        if answer["state"] == "failed":
            raise NotAvailable("its run failed")
        return answer if answer["state"] == "success" else None

    def graph(self, graph: Graph) -> float:
        name = self.add(graph, " ".join)
        started = self.start_run(name)
        run = self.wait(lambda: self.ended(name, started), "its run", 600, 0.5)
        return (datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["start_date"])).total_seconds()

    def trigger(self, count: int) -> list[float]:
        name = self.add([("stamp", [], [])], lambda _: f"{self.stamp} > {self.work / 'stamp.out'}")
        return [self.stamped(lambda: self.start_run(name), lambda run: self.ended(name, run)) for _ in range(min(count, 5))]
