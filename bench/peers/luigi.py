"""Luigi: a central scheduler, and a worker that asks it for each task; a task leaves a file behind."""
import json

from peers.peer import Graph, Peer, free_port

TASKS = '''
import json, pathlib, shutil, subprocess, sys, time
import luigi

GRAPH = json.loads(pathlib.Path("graph.json").read_text())
shutil.rmtree("done", ignore_errors=True)
pathlib.Path("done").mkdir()

class Stage(luigi.Task):
    name = luigi.Parameter()
    call = luigi.Parameter()    # The scheduler remembers the tasks of the calls before.

    def requires(self):
        return [Stage(name=name, call=self.call) for name in GRAPH[self.name][0]]

    def output(self):
        return luigi.LocalTarget("done/" + self.name)

    def run(self):
        subprocess.run(GRAPH[self.name][1], check=True)
        with self.output().open("w"):
            pass

sys.setrecursionlimit(100_000)
needed = {need for needs, _ in GRAPH.values() for need in needs}     # These are found from those that need them.
began = time.monotonic()
ended_well = luigi.build([Stage(name=name, call=str(began)) for name in GRAPH if name not in needed],
                         scheduler_host="127.0.0.1", scheduler_port=int(sys.argv[1]), log_level="ERROR",
                         workers=1)     # Two fork for each task, which is slower here, also with many at once.
print(time.monotonic() - began)
assert ended_well and len(list(pathlib.Path("done").iterdir())) == len(GRAPH)
'''


class Luigi(Peer):
    name = "luigi"
    graph_max = 500
    quick = False
    version = "3.8.1"

    def install(self) -> None:
        self.programs = self.venv()

    def start(self) -> None:
        (self.work / "tasks.py").write_text(TASKS)
        self.port = free_port()
        self.service("luigid", self.programs / "luigid", "--address", "127.0.0.1", "--port", self.port, "--state-path",
                     self.work / "state")
        self.wait_for_port(self.port, "its scheduler")

    def graph(self, graph: Graph) -> float:
        (self.work / "graph.json").write_text(json.dumps({name: [needs, command] for name, needs, command in graph}))
        return float(self.asked(self.programs / "python", "tasks.py", self.port))
