"""Workloads that others wrote: recorded scientific workflows, and the graphs of Task Bench."""
import json
import pathlib
import random
import subprocess
import tempfile

from peers.peer import Graph


class Workflow:
    """A recorded workflow: stages t0, t1, … in topological order, their needs, and how long each ran."""

    def __init__(self, name: str, text: str):
        workflow = json.loads(text)["workflow"]
        tasks = {task["id"]: task for task in workflow["specification"]["tasks"]}
        runtimes = {task["id"]: float(task.get("runtimeInSeconds", 0)) for task in workflow["execution"]["tasks"]}
        numbers: dict[str, int] = {}
        self.name = name
        self.needs: list[list[int]] = []
        self.runtimes: list[float] = []
        open_needs = {id: set(task.get("parents", [])) & tasks.keys() for id, task in tasks.items()}
        ready = [id for id, needs in open_needs.items() if not needs]
        for id in ready:  # Grows while it is read.
            numbers[id] = len(numbers)
            self.needs.append(sorted({numbers[need] for need in tasks[id].get("parents", []) if need in numbers}))
            self.runtimes.append(runtimes.get(id, 0.0))
            for child in set(tasks[id].get("children", [])) & tasks.keys():
                if id in open_needs[child]:
                    open_needs[child].remove(id)
                    if not open_needs[child]:
                        ready.append(child)
        if len(numbers) != len(tasks):
            raise ValueError(f"{name}: {len(tasks) - len(numbers)} of {len(tasks)} tasks cannot be reached")

    def graph(self, command=lambda runtime: ["/bin/true"]) -> Graph:
        return [(f"t{i}", [f"t{need}" for need in needs], command(self.runtimes[i]))
                for i, needs in enumerate(self.needs)]

    def critical_path(self) -> float:
        ends: list[float] = []
        for needs, runtime in zip(self.needs, self.runtimes):
            ends.append(runtime + max((ends[need] for need in needs), default=0))
        return max(ends)


def read_workflows(archive: pathlib.Path) -> list[Workflow]:
    """All workflows of a .tar.zst of WfFormat files, by name."""
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", folder], check=True)
        files = sorted(pathlib.Path(folder).rglob("*.json"))
        workflows = [Workflow(path.stem, path.read_text()) for path in files]
    return [workflow for workflow in workflows if workflow.needs]


def task_bench(pattern: str, width: int, steps: int, command: list[str]) -> Graph:
    """A graph of `width` points in each of `steps` steps, each of which needs points of the step before."""
    chance = random.Random(1)  # The same graph every time.
    graph: Graph = []
    before = 0
    for step in range(steps):
        points = min(width, 1 << step) if pattern == "tree" else width
        for point in range(points):
            needs = _needs(pattern, step, point, width, chance)
            graph.append((f"p{step}-{point}", [f"p{step - 1}-{need}" for need in needs if 0 <= need < before], command))
        before = points
    return graph


def _needs(pattern: str, step: int, point: int, width: int, chance: random.Random) -> list[int]:
    if pattern == "stencil":
        return [point - 1, point, point + 1]
    if pattern == "fft":
        return [point, point ^ (1 << (max(0, step - 1) % (width - 1).bit_length()))]
    if pattern == "tree":
        return [point // 2 if 1 << step <= width else point]
    if pattern == "random_nearest":
        return [point + offset for offset in range(-2, 3) if offset == 0 or chance.random() < 0.5]
    raise ValueError(pattern)
