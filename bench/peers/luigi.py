"""Luigi: a central scheduler, and a worker that asks it for each task."""
import json

from peers.peer import Graph, Peer

TASKS = '''
import json, pathlib, subprocess, sys
import luigi

GRAPH = json.loads(pathlib.Path(sys.argv[1]).read_text())
DONE = set()

class Stage(luigi.Task):
    name = luigi.Parameter()

    def requires(self):
        return [Stage(name) for name in GRAPH[self.name][0]]

    def run(self):
        subprocess.run(GRAPH[self.name][1], check=True)
        DONE.add(self.name)

    def complete(self):
        return self.name in DONE

sys.setrecursionlimit(100_000)
# One process: what a task has done is remembered in memory, the quickest way that there is.
luigi.build([Stage(name) for name in GRAPH], local_scheduler=True, workers=1, log_level="ERROR")
assert len(DONE) == len(GRAPH), len(DONE)
'''


class Luigi(Peer):
    name = "luigi"
    graph_max = 500
    repeats = False

    def prepare(self) -> None:
        self.programs = self.venv("luigi==3.8.1", "setuptools<81")
        self.version = "3.8.1"
        (self.folder / "tasks.py").write_text(TASKS)

    def graph(self, graph: Graph) -> float:
        (self.folder / "graph.json").write_text(json.dumps({name: [needs, command] for name, needs, command in graph}))
        return self.timed(self.programs / "python", self.folder / "tasks.py", self.folder / "graph.json", cwd=self.folder)
