"""The benchmarks: each measures cd4ml, its peers and the machine's own limit, interleaved in the same call."""
import dataclasses
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

import archives
from harness import Stack, median, pipeline_text, wait_for
from peers.peer import Graph, NotAvailable, Peer, chain, fan, free_port
from peers.wrk import Wrk
from workloads import read_workflows, task_bench

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLOTS = 16              # Of the agent, where stages are to fill the machine: more than cores, so that none idles.
PEER_SECONDS = 20       # A slow peer is measured again only while it has taken less than this.
PATTERNS = ("stencil", "fft", "tree", "random_nearest")


@dataclasses.dataclass
class Context:
    """What all benchmarks of one call share."""
    programs: pathlib.Path
    quick: bool
    peers: list[Peer]
    limits: dict                # See limits.cc; measured anew before each benchmark.
    traces: pathlib.Path
    peers_dir: pathlib.Path     # Where peers are installed, each when it is first needed.
    absent: dict[str, str] = dataclasses.field(default_factory=dict)    # Peers that cannot take part, and why.

    def repetitions(self) -> int:
        return 1 if self.quick else 5

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def stack(self, parent: str | None = None) -> Stack:
        return Stack(self.programs, parent)

    def per_stage_ms(self) -> float:
        """What a stage costs at least, alone: a process, a commit, a message each way."""
        return self.limits["spawn_ms"]["p50"] + self.limits["commit_ms"]["1"]["p50"] + self.limits["round_trip_ms"]["p50"]


@dataclasses.dataclass
class Result:
    name: str
    unit: str
    target: float
    values: list[float]                     # Of the repetitions.
    limit: float                            # In the same unit, of this machine, from this call.
    limit_is: str
    higher_is_better: bool = False
    peers: dict[str, float | str] = dataclasses.field(default_factory=dict)     # Figure, or why there is none.
    details: dict = dataclasses.field(default_factory=dict)
    more_targets: list[tuple[str, float, float]] = dataclasses.field(default_factory=list)   # What, figure, at most.
    faults: list[str] = dataclasses.field(default_factory=list)     # Counts that are not what they must be.
    steps: dict = dataclasses.field(default_factory=dict)

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def missed(self) -> list[str]:
        missed = [] if (self.value >= self.target if self.higher_is_better else self.value <= self.target) else [self.name]
        return missed + [what for what, figure, most in self.more_targets if figure > most] + self.faults

    def json(self) -> dict:
        return {**dataclasses.asdict(self), "value": self.value, "missed": self.missed}


class Skipped(Exception):
    """Why a benchmark was not done, in one line."""


def _measure_peers(context: Context, result: Result, measure) -> None:
    """Adds what `measure(peer)` makes of each peer while its services run: one figure, or why there is none."""
    for peer in context.peers:
        try:
            if peer.name not in context.absent:
                peer.install()
        except (NotAvailable, OSError) as why:
            context.absent[peer.name] = f"skipped: {' '.join(str(why).split())}"
        if peer.name in context.absent:
            result.peers[peer.name] = context.absent[peer.name]
            continue
        try:
            with peer.running():
                result.peers[peer.name] = measure(peer)
        except (NotAvailable, OSError, LookupError, ValueError) as why:
            result.peers[peer.name] = f"failed: {' '.join(str(why).split())}"
        peer.say(f"{result.name}: {result.peers[peer.name]}")


def _repeated(context: Context, measure) -> float:
    """The median of as many repetitions as cd4ml itself had, or fewer of a peer that is slow."""
    figures, began = [], time.monotonic()
    while len(figures) < context.repetitions() and (not figures or time.monotonic() - began < PEER_SECONDS):
        figures.append(measure())
    return median(figures)


def _run_graph(context: Context, stages: Graph, slots: int, parent: str | None = None) -> tuple[list[dict], dict]:
    with context.stack(parent) as stack:
        stack.register({"graph": pipeline_text("graph", stages), "warm": pipeline_text("warm", fan(20))})
        stack.start_agent(slots)
        stack.run("warm")
        runs = [run for _ in range(context.repetitions()) for run in stack.run("graph")]
        for run in runs:
            if run["stages"] != len(stages):
                raise RuntimeError(f"{run['stages']} stages of {len(stages)} were performed")
        return runs, stack.stop()


def _in_memory(context: Context, stages: Graph, slots: int) -> list[dict]:
    """The same with all state in memory: the difference is what the file system costs."""
    return _run_graph(context, stages, slots, "/dev/shm")[0] if os.path.isdir("/dev/shm") else []


def chain_exec(context: Context) -> Result:
    """a chain of 2,000 /bin/true on one agent"""
    count = context.size(2_000, 100)
    runs, steps = _run_graph(context, chain(count), 1)
    memory = _in_memory(context, chain(count), 1)
    result = Result("chain-exec", "ms/stage", 1.0, [run["seconds"] * 1e3 / count for run in runs],
                    context.per_stage_ms(), "process + commit + round trip", steps=steps)
    result.details = {"stages": count, "prepare_ms": median([(run["total"] - run["seconds"]) * 1e3 for run in runs]),
                      "in_memory": median([run["seconds"] * 1e3 / count for run in memory]) if memory else None}

    def measure(peer: Peer) -> float:
        stages = chain(min(peer.graph_max, count))
        return _repeated(context, lambda: peer.graph(stages) * 1e3 / len(stages))
    _measure_peers(context, result, measure)
    return result


def fan_exec(context: Context) -> Result:
    """5,000 independent /bin/true on one agent"""
    count = context.size(5_000, 200)
    runs, steps = _run_graph(context, fan(count), SLOTS)
    memory = _in_memory(context, fan(count), SLOTS)
    result = Result("fan-exec", "stages/s", 2_200, [count / run["seconds"] for run in runs],
                    context.limits["spawns_per_s"], "processes/s", higher_is_better=True, steps=steps)
    result.details = {"stages": count, "slots": SLOTS, "prepare_ms": median([(run["total"] - run["seconds"]) * 1e3 for run in runs]),
                      "in_memory": median([count / run["seconds"] for run in memory]) if memory else None}

    def measure(peer: Peer) -> float:
        stages = fan(min(peer.fan_max or peer.graph_max, count))
        return _repeated(context, lambda: len(stages) / peer.graph(stages))
    _measure_peers(context, result, measure)
    return result


def engine_only(context: Context) -> Result:
    """100,000 stages, answered without a process over four connections"""
    per_run, runs = context.size(10_000, 500), context.size(10, 2)
    values, answers, steps = [], [], {}
    for _ in range(context.size(3, 1)):
        with context.stack() as stack:
            stack.register({f"wide{i}": pipeline_text(f"wide{i}", fan(per_run)) for i in range(runs)})
            for i in range(runs):
                _start_only(stack, f"wide{i}")
            answer = stack.driver("agents", 4, 256, 0, per_run * runs)[-1]
            values.append(answer["answered"] / answer["seconds"])
            answers.append(answer)
            steps = stack.stop()
    # An event and a state for each of ready, leased and ended would be three; two pairs are what a stage needs at least.
    limit = 1000 / (context.limits["commit_ms"]["1000"]["p50"] / 1e3) / 2
    result = Result("engine-only", "stages/s", 100_000, values, limit, "two durable event pairs a stage",
                    higher_is_better=True, steps=steps)
    result.details = {"stages": per_run * runs, "answers": answers}
    _count(result, "answered", min(answer["answered"] for answer in answers), per_run * runs)
    return result


def _start_only(stack: Stack, pipeline: str) -> None:
    """Starts a run and waits for the acknowledgement."""
    stack.cli("run", "start", pipeline)


def _count(result: Result, what: str, figure: int, wanted: int) -> None:
    result.details[what] = figure
    if figure != wanted:
        result.faults.append(f"{what} {figure}, not {wanted}")


def dispatch_latency(context: Context) -> Result:
    """idle system: from a stage being ready until its process runs"""
    pair = pipeline_text("pair", [("hand", [], ["/bin/true"]), ("stamp", ["hand"], [str(context.programs / "stamp")])],
                         {"hand": "bench"})
    ready, steps = _dispatches(context, "ready", pair)
    result = Result("dispatch-latency", "ms", 0.35, [ready["p50"]], _dispatch_limit(context), DISPATCH_LIMIT, steps=steps)
    result.details = ready
    result.more_targets = [("p99", ready["p99"], 1.0)]
    return result


def trigger_latency(context: Context) -> Result:
    """idle system: from the acknowledgement of a trigger until the process runs"""
    single = pipeline_text("single", [("stamp", [], [str(context.programs / "stamp")])])
    trigger, steps = _dispatches(context, "trigger", single)
    result = Result("trigger-latency", "ms", 1.0, [trigger["p50"]], _dispatch_limit(context), DISPATCH_LIMIT, steps=steps)
    result.details = {"cd4ml": trigger}

    def measure(peer: Peer) -> float | str:
        latencies = peer.trigger(context.size(20, 3))
        if latencies is None:
            return "has no triggers"
        result.details[peer.name] = latencies
        return median(latencies)
    _measure_peers(context, result, measure)
    return result


DISPATCH_LIMIT = "commit + one way + process start"


def _dispatch_limit(context: Context) -> float:
    limits = context.limits
    return limits["commit_ms"]["1"]["p50"] + limits["round_trip_ms"]["p50"] / 2 + limits["start_ms"]["p50"]


def _dispatches(context: Context, what: str, pipeline: str) -> tuple[dict, dict]:
    """The times that the driver measures, one dispatch after the other, and the steps."""
    name = {"ready": "pair", "trigger": "single"}[what]
    with context.stack() as stack:
        stack.register({name: pipeline})
        stack.start_agent(1)
        stack.driver("dispatch", what, name, 5)     # Warms up.
        return stack.driver("dispatch", what, name, context.size(300, 10))[0], stack.stop()


def wf_replay(context: Context) -> Result:
    """recorded scientific workflows with /bin/true, against make -j2"""
    if not context.traces.exists():
        raise Skipped(f"no traces at {context.traces}; see --wfinstances")
    workflows = read_workflows(context.traces)
    if context.quick:
        workflows = sorted(workflows, key=lambda workflow: len(workflow.needs))[:5]
    stages = sum(len(workflow.needs) for workflow in workflows)
    graphs = {f"wf{i}": workflow.graph() for i, workflow in enumerate(workflows)}
    with context.stack() as stack:
        stack.register({name: pipeline_text(name, graph) for name, graph in graphs.items()})
        stack.start_agent(SLOTS)
        values = []
        for _ in range(context.size(3, 1)):
            runs = stack.run(*graphs)
            values.append(sum(run["total"] for run in runs))
        steps = stack.stop()
    result = Result("wf-replay", "s", math.inf, values, stages / context.limits["spawns_per_s"], "processes at full rate",
                    steps=steps)

    def measure(peer: Peer) -> float | str:
        return sum(map(peer.graph, graphs.values())) if peer.quick else "not measured: too slow"
    _measure_peers(context, result, measure)
    if isinstance(result.peers.get("make"), float):
        result.target = result.peers["make"]
    result.details = {"workflows": len(workflows), "stages": stages, "edges": sum(len(needs) for w in workflows for needs in w.needs)}
    _count(result, "performed", sum(run["stages"] for run in runs), stages)
    result.details["scaled"] = _scaled_replay(context, workflows)
    if result.details["scaled"]:
        result.more_targets = [("scaled makespan / bound", median([one["ratio"] for one in result.details["scaled"]]), 1.05)]
    return result


def _scaled_replay(context: Context, workflows) -> list[dict]:
    """Stages sleep for a thousandth of what they took: is the graph's own bound reached?"""
    def bound(workflow) -> float:
        return max(workflow.critical_path(), sum(workflow.runtimes) / SLOTS) / 1e3

    fitting = sorted((w for w in workflows if 0.5 <= bound(w) <= context.size(5, 2)), key=bound, reverse=True)
    if not fitting:
        return []
    chosen = fitting[::max(1, len(fitting) // 5)][:context.size(5, 1)]
    definitions = {f"scaled{i}": pipeline_text(f"scaled{i}", workflow.graph(lambda s: ["sleep", f"{s / 1e3:.6f}"]))
                   for i, workflow in enumerate(chosen)}
    with context.stack() as stack:
        stack.register(definitions)
        stack.start_agent(SLOTS)
        runs = stack.run(*definitions)
    return [{"workflow": workflow.name, "stages": len(workflow.needs), "bound": bound(workflow), "makespan": run["seconds"],
             "ratio": run["seconds"] / bound(workflow)} for workflow, run in zip(chosen, runs)]


def metg(context: Context) -> Result:
    """smallest computing stage at which half of two cores' time goes into stages"""
    sizes_us = [2_000, 500] if context.quick else [8_000, 4_000, 2_000, 1_000, 500, 250]
    width, steps = (16, 16) if not context.quick else (4, 4)
    spin = str(context.programs / "spin")

    def graph(pattern: str, size: int) -> Graph:
        return task_bench(pattern, width, steps, [spin, str(size)])

    ours: dict[str, list[float]] = {pattern: [] for pattern in PATTERNS}
    with context.stack() as stack:
        names = {(pattern, size): f"{pattern.replace('_', '-')}-{size}" for pattern in PATTERNS for size in sizes_us}
        stack.register({name: pipeline_text(name, graph(*key)) for key, name in names.items()})
        stack.start_agent(2)
        for pattern in PATTERNS:
            for size in sizes_us:
                run = stack.run(names[pattern, size])[0]
                ours[pattern].append(_efficiency(run["stages"], size, run["seconds"]))
        steps_of = stack.stop()
    result = Result("metg", "ms", 1.0, [_metg(sizes_us, ours[pattern]) for pattern in PATTERNS], context.per_stage_ms(),
                    "a stage's own least cost", steps=steps_of)
    result.details = {"sizes_us": sizes_us, "efficiency": ours, "metg_ms": dict(zip(PATTERNS, result.values))}

    def measure(peer: Peer) -> float | str:
        if not peer.quick:      # What a stage costs it shows on one graph of the largest stages.
            if peer.graph_max < 100:
                return "not measured: too slow"
            small = task_bench("stencil", min(width, 8), min(steps, 8), [spin, str(sizes_us[0])])
            return _metg(sizes_us, [min(_efficiency(len(small), sizes_us[0], peer.graph(small)), 0.499)])
        return median([_metg(sizes_us, [_efficiency(len(stages), size, peer.graph(stages)) for size in sizes_us
                                        for stages in [graph(pattern, size)]]) for pattern in PATTERNS])
    _measure_peers(context, result, measure)
    return result


def _efficiency(stages: int, size_us: int, seconds: float) -> float:
    return stages * size_us / 1e6 / (2 * seconds)


def _metg(sizes_us: list[int], efficiencies: list[float]) -> float:
    """The size in ms at which the efficiency is one half, between the two sizes around it on a logarithmic scale."""
    last = None
    for size, efficiency in zip(sizes_us, efficiencies):
        if efficiency < 0.5:
            if last is None:
                return size * (1 - efficiency) / max(efficiency, 1e-9) / 1e3    # Not reached: what a stage costs.
            share = (last[1] - 0.5) / (last[1] - efficiency)
            return math.exp(math.log(last[0]) + share * (math.log(size) - math.log(last[0]))) / 1e3
        last = (size, efficiency)
    return sizes_us[-1] / 1e3   # At most.


def recovery(context: Context) -> Result:
    """kill -9 of the daemon with 10,000 queued and 64 running stages, until the first dispatch of the next one"""
    queued, running = context.size(10_000, 300), 64
    values, answers = [], []
    for _ in range(context.size(3, 1)):
        with context.stack() as stack:
            stack.register({"wide": pipeline_text("wide", fan(queued)), "few": pipeline_text("few", fan(running))})
            for name in ("few", "wide"):
                _start_only(stack, name)
            survivor = stack.popen("bench_recovery", stack.server, str(running), str(queued + running), stdout=subprocess.PIPE,
                                   text=True)
            if survivor.stdout.readline().strip() != "held":
                raise RuntimeError("the stages were not leased")
            stack.kill_daemon()
            started = time.time() * 1e3
            stack.start_daemon()
            answer = json.loads(survivor.stdout.readline())
            survivor.wait()
            steps = stack.stop()    # Of the daemon's second life.
            values.append(answer["first_dispatch"] - started)
            answers.append({**answer, "restart_ms": answer["opened"] - started})
    alone = []
    for _ in range(5):
        before = time.monotonic()
        subprocess.run([context.programs / "cd4mld", "--version"], stdout=subprocess.DEVNULL, check=True)
        alone.append((time.monotonic() - before) * 1e3)
    result = Result("recovery", "ms", 150, values, median(alone), "starting the program", steps=steps)
    result.details = {"queued": queued, "running": running, "answers": answers}
    _count(result, "lost", max(queued + running - answer["answered"] for answer in answers), 0)
    _count(result, "doubled", max(answer["doubled"] for answer in answers), 0)
    return result


def agents_1k(context: Context) -> Result:
    """1,000 agents on own connections, a stage a second each"""
    agents, seconds = context.size(1_000, 50), context.size(20, 2)
    per_run = 10_000 if not context.quick else 200
    runs = math.ceil(agents * (seconds + 2) / per_run)
    with context.stack() as stack:
        stack.register({"wide": pipeline_text("wide", fan(per_run))})
        for _ in range(runs):
            _start_only(stack, "wide")
        idle = stack.usage()
        program = stack.popen("bench_agents", stack.server, str(agents), "1", "1000", str(agents * seconds),
                              stdout=subprocess.PIPE, text=True)
        if program.stdout.readline().strip() != "ready":
            raise RuntimeError("the sessions were not opened")
        before, began = stack.usage(), time.monotonic()
        answer = json.loads(program.stdout.readline())
        after, took = stack.usage(), time.monotonic() - began
        program.wait()
        steps = stack.stop()
    limits = context.limits
    limit = limits["commit_ms"]["1"]["p99"] + limits["round_trip_ms"]["p99"]
    result = Result("agents-1k", "ms p99", 5.0, [answer["dispatch"]["p99"]], limit, "commit + round trip, p99", steps=steps)
    rss, cpu = after["rss_mb"], (after["cpu_seconds"] - before["cpu_seconds"]) / took
    result.more_targets = [("RSS MB", rss, 120), ("share of a core", cpu, 0.25)]
    result.details = {"agents": agents, "dispatch": answer["dispatch"], "rss_mb": rss, "idle_rss_mb": idle["rss_mb"],
                      "cpu_share": cpu, "stages_per_s": answer["answered"] / answer["seconds"]}
    _count(result, "refused", answer["refused"], 0)
    return result


def history(context: Context) -> Result:
    """1,000,000 runs on record: questions of the command line, and the start of the daemon"""
    runs, times = context.size(1_000_000, 2_000), context.size(100, 5)
    with context.stack() as stack:
        stack.stop()
        shutil.rmtree(stack.dir / "daemon")
        subprocess.run([context.programs / "bench_history", stack.dir / "daemon", str(runs)], check=True,
                       stdout=subprocess.DEVNULL)
        began = time.monotonic()
        stack.start_daemon()
        start_s = time.monotonic() - began
        chance = random.Random(1)
        questions = {
            "run list": lambda run: ["run", "list"],
            "run list of a pipeline": lambda run: ["run", "list", "--pipeline", run.split("/")[0]],
            "run list of the failed": lambda run: ["run", "list", "--state", "failed"],
            "run show": lambda run: ["run", "show", run],
            "why": lambda run: ["why", run],
            "lineage up": lambda run: ["lineage", run],
            "lineage down": lambda run: ["lineage", run, "--down"],
            "deploy list": lambda run: ["deploy", "list"],
            "deploy history": lambda run: ["deploy", "history", "production"],
            "pipeline list": lambda run: ["pipeline", "list"],
            "server": lambda run: ["server"],
        }
        answers = {}
        for name, arguments in questions.items():
            took = []
            for _ in range(times):
                asked = arguments(f"p{chance.randrange(10)}/{chance.randrange(runs // 10) + 1}")
                before = time.monotonic()
                stack.cli(*asked)
                took.append((time.monotonic() - before) * 1e3)
            took.sort()
            answers[name] = {"p50": took[len(took) // 2], "p99": took[math.ceil(len(took) * 0.99) - 1]}
        steps = stack.stop()
    alone = []
    for _ in range(20):
        before = time.monotonic()
        subprocess.run([context.programs / "cd4ml", "version"], stdout=subprocess.DEVNULL, check=True)
        alone.append((time.monotonic() - before) * 1e3)
    slowest = max(answers, key=lambda name: answers[name]["p99"])
    result = Result("history", "ms p99", 50, [answers[slowest]["p99"]], median(alone), "starting the program", steps=steps)
    result.more_targets = [("start of the daemon, s", start_s, 2.0)]
    result.details = {"runs": runs, "slowest": slowest, "answers": answers, "start_s": start_s}


def _blobs(context: Context, what: str, size: int, *more: str) -> dict:
    """What the driver of the artifact store measures, in a folder of its own on the disk that stores are on."""
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
        done = subprocess.run([context.programs / "bench_blobs", what, folder, str(size), *more], check=True,
                              capture_output=True, text=True)
    return json.loads(done.stdout)


def _archive_peers(result: Result, fill, to_figure) -> None:
    """Adds what the archives make of the folder that `fill` writes."""
    for archive in archives.ALL:
        if not archive.available():
            result.peers[archive.name] = f"not available: install the package of {archive.name}"
            continue
        with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
            source = pathlib.Path(folder) / "source"
            source.mkdir()
            fill(source)
            os.sync()
            result.peers[archive.name] = to_figure(archive.add(source, pathlib.Path(folder) / "archive"))


def cas_add_big(context: Context) -> Result:
    """a random file of 1 GiB, cached, durably into the artifact store"""
    size = context.size(1 << 30, 64 << 20)
    answers = [_blobs(context, "add-big", size) for _ in range(context.size(3, 1))]
    gb = size / 1e9
    limit = gb / max(min(a["hashed_s"] for a in answers), min(a["written_s"] for a in answers))
    result = Result("cas-add-big", "GB/s", 0.9, [gb / a["copied_s"] for a in answers], limit,
                    "SHA-256, or writing durably, alone", higher_is_better=True)
    result.details = {"bytes": size, **{name[:-2] + "_gb_per_s": gb / median([a[name] for a in answers]) for name in answers[0]}}

    def fill(folder: pathlib.Path) -> None:
        with open(folder / "big", "wb") as big:
            for _ in range(size >> 20):
                big.write(os.urandom(1 << 20))

    _archive_peers(result, fill, lambda seconds: gb / seconds)
    return result


def cas_add_small(context: Context) -> Result:
    """100,000 files of 4 KiB durably into the artifact store"""
    count = context.size(100_000, 2_000)
    answers = [_blobs(context, "add-small", count) for _ in range(context.size(3, 1))]
    result = Result("cas-add-small", "files/s", 30_000, [count / a["copied_s"] for a in answers],
                    count / min(a["packed_s"] for a in answers), "read, hashed, appended to one file", higher_is_better=True)
    result.details = {"files": count, "again_per_s": median([count / a["again_s"] for a in answers])}

    def fill(folder: pathlib.Path) -> None:
        for i in range(count):
            if i % 1000 == 0:
                (folder / str(i // 1000)).mkdir()
            (folder / str(i // 1000) / str(i)).write_bytes(os.urandom(4096))

    _archive_peers(result, fill, lambda seconds: count / seconds)
    return result


def xfer(context: Context) -> Result:
    """an artifact of 1 GiB from the daemon over gRPC, and again after 100 insertions"""
    size = context.size(1 << 30, 64 << 20)
    answers = []
    for _ in range(context.size(3, 1)):
        with context.stack() as stack:
            answers.append(_blobs(context, "xfer", size, stack.server))
    gb = size / 1e9
    result = Result("xfer", "GB/s", 1.0, [gb / a["down_s"] for a in answers],
                    gb / min(a["hashed_s"] for a in answers), "SHA-256 alone", higher_is_better=True)
    result.details = {"bytes": size, "answers": answers, "up_gb_per_s": gb / median([a["up_s"] for a in answers])}
    if not context.quick:
        for way in ("edited_up", "edited_down"):
            result.more_targets.append((f"share sent, {way}", max(a[way] for a in answers) / size, 0.02))
    return result


DVC = ["dvc==3.59.2", "pathspec==0.12.1"]     # The second has moved on since in a way that the first does not bear.


def _install_dvc(folder: pathlib.Path) -> pathlib.Path:
    """Returns the program dvc, from PyPI, in an environment of its own."""
    program = folder / "bin" / "dvc"
    if not program.exists():
        for command in (["/usr/bin/python3", "-m", "venv", folder], [folder / "bin" / "pip", "-q", "install", *DVC]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise NotAvailable((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return program


def _timed_ms(command: list, folder: pathlib.Path, repetitions: int) -> list[float]:
    """Times a command that has been run once before, so that whatever it remembers is there."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "HOME": str(folder)}
    times = []
    for _ in range(repetitions + 1):
        began = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times.append((time.monotonic() - began) * 1e3)
    return times[1:]


def status_noop(context: Context) -> Result:
    """100,000 files of data, none of which has changed: nothing to do, until the answer is on the terminal"""
    files, repetitions = context.size(100_000, 500), context.repetitions()
    with context.stack() as stack:
        data = stack.dir / "work" / "data"
        for i in range(files):
            if i % 1_000 == 0:
                folder = data / f"{i // 1_000:03d}"
                folder.mkdir(parents=True)
            (folder / f"{i:06d}.txt").write_text(f"{i}\n" * 20)
        stack.register({"status": f"format: 1\npipeline: status\nmaterials: {{d: {{data: {json.dumps(str(data))}}}}}\n"
                                  "stages: {s: {run: 'true'}}\n"})
        plan = [context.programs / "cd4ml", "--server", stack.server, "plan", "status"]
        began = time.monotonic()
        stack.cli("plan", "status")
        first_ms = (time.monotonic() - began) * 1e3
        # Files that were written just before they were read are read once more.
        wait_for("the last file to be old enough", lambda: time.time() > folder.stat().st_mtime + 2.5)
        stack.cli("plan", "status")
        values = _timed_ms(plan, stack.dir, repetitions)
        limit = _timed_ms(["find", data, "-printf", "%s %T@\n"], stack.dir, repetitions)
        result = Result("status-noop", "ms", 250, values, median(limit), "find, which asks for every file's size and time")
        result.details = {"files": files, "first_ms": first_ms, "rss_mb": stack.usage()["rss_mb"]}
        work = data.parent
        subprocess.run(["git", "init", "-q"], cwd=work, check=True)
        subprocess.run(["git", "add", "-A"], cwd=work, check=True)
        result.peers["git"] = median(_timed_ms(["git", "status", "--short"], work, repetitions))
        if context.peers:
            try:
                dvc = _install_dvc(context.peers_dir / "dvc")
                subprocess.run(["git", "rm", "-rq", "--cached", "."], cwd=work, check=True)
                for command in (["init", "-q"], ["add", "-q", "data"]):
                    subprocess.run([dvc, *command], cwd=work, check=True, capture_output=True,
                                   env={**os.environ, "DVC_NO_ANALYTICS": "1", "HOME": str(work)})
                result.peers["dvc"] = median(_timed_ms([dvc, "status"], work, min(repetitions, 3)))
            except (NotAvailable, subprocess.CalledProcessError) as why:
                result.peers["dvc"] = f"not available: {why}"
        return result


CAR = {"brand": "vw", "model": "golf", "year": 2009, "listed": 2016, "mileage": 90000}


def _price_model(trees: int, depth: int) -> dict:
    """A model of the price service that is as large as a trained one; what it says does not matter here."""
    inner = 2 ** depth - 1
    tree = {"feature": [i % 2 if i < inner else -1 for i in range(2 * inner + 1)],
            "left": [2 * i + 1 if i < inner else -1 for i in range(2 * inner + 1)],
            "right": [2 * i + 2 if i < inner else -1 for i in range(2 * inner + 1)],
            "threshold": [5.5] * (2 * inner + 1), "value": [0.001] * (2 * inner + 1)}
    return {"format": 1, "as_of": 2016, "base": 8.0, "missing": -1.0, "numbers": ["age", "mileage"], "categories": [],
            "trees": [tree] * trees}


def contract_load(context: Context) -> Result:
    """requests a second that a contract gate's latency rule makes of the example's price service"""
    concurrency, seconds, repetitions = 4, context.size(5, 1), context.size(5, 1)
    wrk = Wrk(context.peers_dir / "wrk", context.programs / "stamp")
    try:
        wrk.install()
    except NotAvailable as why:
        raise Skipped(f"without wrk there is no yardstick: {why}") from why
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder, wrk.running():
        source = pathlib.Path(folder) / "service"
        shutil.copytree(ROOT / "examples/used-car-price/service", source, ignore=shutil.ignore_patterns("build"))
        subprocess.run(["make", "-s", "-C", source, "build/price-service"], check=True)
        (source / "model.json").write_text(json.dumps(_price_model(120, 6)))
        port = free_port()
        wrk.service("price-service", source / "build/price-service", "--port", str(port), "--model", source / "model.json")
        wrk.wait_for_port(port, "the price service")
        url = f"http://127.0.0.1:{port}/v1/estimate"
        ours, bare = [], [wrk.load(url, CAR, concurrency, seconds)]
        for _ in range(repetitions):    # By turns: what disturbs the machine meets both.
            asked = subprocess.run([context.programs / "bench_load", url, json.dumps(CAR),
                                    str(int(bare[-1]["per_second"] * seconds)), str(concurrency)],
                                   check=True, capture_output=True, text=True)
            ours.append(json.loads(asked.stdout))
            bare.append(wrk.load(url, CAR, concurrency, seconds))
    rates = [one["per_second"] for one in ours]
    limit = median([one["per_second"] for one in bare])
    result = Result("contract-load", "asked/s", -math.inf, rates, limit, "wrk, as many connections", higher_is_better=True)
    result.details = {"cd4ml": ours, "wrk": bare}
    result.more_targets = [("overhead over wrk", limit / median(rates) - 1, 0.10)]
    return result


def model_gate(context: Context) -> Result:
    """a model gate over 1,000,000 predictions in 200 slices, with 1,000 rounds of bootstrap"""
    rows, slices = context.size(1_000_000, 50_000), context.size(200, 20)
    program = context.programs / "bench_model_gate"

    def judge(*command) -> dict:
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
        subprocess.run([program, "make", folder, str(rows), str(slices)], check=True)
        runs = [judge(program, "judge", f"{folder}/eval.parquet") for _ in range(context.repetitions())]
        text = judge(program, "judge", f"{folder}/eval.csv")
        peer_rounds = context.size(1_000, 100)
        peer = judge("/usr/bin/python3", "-B", pathlib.Path(__file__).with_name("model_gate_peer.py"), f"{folder}/eval.csv",
                     str(peer_rounds)) if context.peers else None
    result = Result("model-gate", "s", 2.0, [run["seconds"] for run in runs], median([run["measure_s"] for run in runs]),
                    "the same without a comparison by confidence")
    result.details = {"rows": rows, "slices": slices, "csv_s": text["seconds"], "rules": 5, "peer": peer,
                      "interval": [runs[0]["low"], runs[0]["high"]]}
    result.more_targets = [("from CSV", text["seconds"], 4.0)]
    for what, wanted in (("rows", rows), ("slices", slices), ("passed", 5)):
        _count(result, what, runs[0][what], wanted)
    if len({(run["mae"], run["low"], run["high"]) for run in [*runs, text]}) != 1:
        result.faults.append("the same predictions gave different verdicts")
    if peer:
        result.peers["scikit-learn"] = peer["seconds"]
        width = peer["high"] - peer["low"]
        if abs(peer["mae"] / runs[0]["mae"] - 1) > 1e-12 or abs(peer["low"] - runs[0]["low"]) > 0.15 * width:
            result.faults.append("scikit-learn and numpy say something else")
    return result


ALL = {"chain-exec": chain_exec, "fan-exec": fan_exec, "engine-only": engine_only, "dispatch-latency": dispatch_latency,
       "trigger-latency": trigger_latency,
       "wf-replay": wf_replay, "metg": metg, "recovery": recovery, "agents-1k": agents_1k,
       "history": history, "status-noop": status_noop,
       "cas-add-big": cas_add_big, "cas-add-small": cas_add_small, "xfer": xfer, "contract-load": contract_load, "model-gate": model_gate}
