"""What lies between a push and the first process: finding the commit, reading the definition, checking out."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from harness import median, wait_for
from measures import Context, Result

GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example"]


def _git(folder: pathlib.Path, *arguments: str) -> str:
    return subprocess.run([*GIT, "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def push_to_start(context: Context) -> Result:
    """git push to a repository beside the daemon, whose hook starts a run, until the first stage's process has begun"""
    pushes, stages = context.size(30, 3), context.size(100, 5)
    with context.stack() as stack:
        stack.start_agent(2)
        bare, work, begun = stack.dir / "bare.git", stack.dir / "work", stack.dir / "begun"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", work], check=True)
        stamp = context.programs / "stamp"
        head = f"format: 1\npipeline: push\nstages:\n  first: {{run: {json.dumps(f'{stamp} >> {begun}')}}}\n"

        def define(text: str) -> None:
            # One that no other stage of this run waits for: they would be in the way of the next push.
            never = "if: \"${{ run.trigger == 'monitor' }}\", "
            (work / "push.cd4ml.yaml").write_text(
                head + "".join(f"  s{i}: {{needs: [first], {never}run: 'echo {text}'}}\n" for i in range(stages - 1)))

        def commit(change: str) -> None:
            (work / "data.txt").write_text(change)
            _git(work, "add", "-A")
            _git(work, "commit", "-q", "-m", change)

        define("once")
        commit("begin")
        _git(work, "remote", "add", "origin", str(bare))
        _git(work, "push", "-q", "origin", "main")
        stack.cli("pipeline", "add", str(bare))
        hook = bare / "hooks" / "post-receive"
        hook.write_text(f"#!/bin/sh\n{stamp} > {stack.dir}/hooked\nexec {context.programs}/cd4ml --server {stack.server} "
                        "run start push > /dev/null\n")
        hook.chmod(0o755)

        def measure(change: str) -> tuple[float, float]:
            commit(change)
            before = begun.read_text().count("\n") if begun.exists() else 0
            pushed = time.time() * 1e3
            _git(work, "push", "-q", "origin", "main")
            wait_for("the first stage", lambda: begun.exists() and begun.read_text().count("\n") > before)
            at = int(begun.read_text().split()[-1]) / 1e6
            wait_for("the run", lambda: b"push/" not in stack.cli("run", "list", "--state", "running"))
            return at - int((stack.dir / "hooked").read_text()) / 1e6, at - pushed

        measure("warm")
        same = [measure(f"same {i}") for i in range(pushes)]
        changed = []
        for i in range(pushes):
            define(f"change {i}")
            changed.append(measure(f"changed {i}"))
        program = [context.programs / "cd4ml", "--server", stack.server, "pipeline", "list"]
        answers = []
        for _ in range(pushes):
            began = time.monotonic()
            subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
            answers.append((time.monotonic() - began) * 1e3)
        result = Result("push-to-start", "ms", 3, [hooked for hooked, _ in same], median(answers),
                        "the command line alone, asking for a list")
        changes = [hooked for hooked, _ in changed]
        result.details = {"stages": stages, "with_push_ms": median([whole for _, whole in same]),
                          "p99_ms": _percentile([hooked for hooked, _ in same], 0.99), "changed_ms": changes}
        result.more_targets = [("ms, of a definition that changed", median(changes), 15),
                               ("ms, 99 of 100", _percentile([hooked for hooked, _ in same] + changes, 0.99), 30)]
        result.steps = stack.stop()
        return result


def checkout(context: Context) -> Result:
    """1,200 files of a commit into a new folder, and of the next commit, which changes three of them"""
    files = context.size(1_200, 60)
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        repo = folder / "repo"
        subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
        for i in range(files):
            path = repo / f"src/{i // 50}/{i}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# file {i}\n" * 50)
        _git(repo, "add", "-A")
        _git(repo, "commit", "-q", "-m", "first")
        first = _git(repo, "rev-parse", "HEAD")
        for i in range(3):
            (repo / f"src/0/{i}.py").write_text("changed\n")
        _git(repo, "commit", "-q", "-a", "-m", "next")
        _git(repo, "gc", "-q")
        second = _git(repo, "rev-parse", "HEAD")

        def timed(*command) -> float:
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            return (time.monotonic() - began) * 1e3

        answers, worktree, clone, copies = [], [], [], []
        for i in range(context.repetitions()):
            place = folder / f"ours{i}"
            done = subprocess.run([context.programs / "bench_checkout", repo, place, first, second], check=True,
                                  capture_output=True, text=True)
            answers.append(json.loads(done.stdout))
            copies.append(timed("cp", "-r", place / "cold", folder / f"copy{i}"))
            worktree.append(timed("git", "-C", repo, "worktree", "add", "--detach", folder / f"tree{i}", first))
            clone.append(timed("git", "clone", "-q", repo, folder / f"clone{i}"))
            count = sum(1 for path in (place / "next").rglob("*.py"))
            if count != files:
                raise RuntimeError(f"{count} files of {files} were checked out")
        result = Result("checkout", "ms", median(worktree), [a["cold_ms"] for a in answers], median(copies), "cp -r of the same files")
        result.peers = {"git worktree": median(worktree), "git clone": median(clone)}
        result.details = {"files": files, "answers": answers}
        result.more_targets = [("ms, of the next commit", median([a["next_ms"] for a in answers]), 5)]
        return result


def yaml_load(context: Context) -> Result:
    """a definition of 10,000 stages, from text to a checked graph in order"""
    stages = context.size(10_000, 200)
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as name:
        folder = pathlib.Path(name)
        path = folder / "load.cd4ml.yaml"
        lines = ["format: 1", "pipeline: load", "stages:"]
        for i in range(stages):
            needs = ", ".join(f"s{j}" for j in (i - 1, i - 2, i - 7) if j >= 0)
            lines.append(f"  s{i}:\n" + (f"    needs: [{needs}]\n" if needs else "") +
                         f"    code: [src/part{i}, src/common]\n    env: {{PART: \"{i}\", MODE: fast}}\n"
                         f"    run: python src/part{i}/main.py --out out{i}\n    outputs:\n      out: {{path: out{i}}}\n"
                         "    timeout: 1h\n    retry: {limit: 2}")
        path.write_text("\n".join(lines) + "\n")
        answers = [json.loads(subprocess.run([context.programs / "bench_definition", path], check=True, capture_output=True,
                                             text=True).stdout) for _ in range(context.repetitions())]
        if answers[0]["stages"] != stages:
            raise RuntimeError(f"{answers[0]['stages']} stages of {stages} were loaded")
        reader = ("import sys, time, yaml; text = open(sys.argv[1]).read(); began = time.monotonic(); "
                  "yaml.load(text, Loader=yaml.CSafeLoader); print((time.monotonic() - began) * 1e3)")
        libyaml = [float(subprocess.run(["/usr/bin/python3", "-c", reader, path], check=True, capture_output=True,
                                        text=True).stdout) for _ in range(min(3, context.repetitions()))]
        result = Result("yaml-load", "ms", 400, [a["planned_ms"] for a in answers], median(libyaml),
                        "the same text by PyYAML over libyaml, not checked")
        result.details = {"stages": stages, "bytes": answers[0]["bytes"], "answers": answers}
        if shutil.which("ninja"):
            ninja = folder / "build.ninja"
            ninja.write_text("rule r\n  command = true $in\n" + "".join(
                f"build out{i}: r {' '.join(f'out{j}' for j in (i - 1, i - 2, i - 7) if j >= 0)}\n" for i in range(stages)))
            times = []
            for _ in range(context.repetitions()):
                began = time.monotonic()
                subprocess.run(["ninja", "-C", folder, "-t", "targets", "depth", "1"], check=True, stdout=subprocess.DEVNULL)
                times.append((time.monotonic() - began) * 1e3)
            result.peers["ninja"] = median(times)
        return result


ALL = {"push-to-start": push_to_start, "checkout": checkout, "yaml-load": yaml_load}
