"""Runs the benchmarks against a daemon and an agent in a throw-away folder."""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

PIPELINE = """format: 1
pipeline: stamp
stages:
  stamp:
    run: [{stamp}]
"""
TARGETS = {"trigger-to-process": 5.0}   # Milliseconds at the median.


def wait_for(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: waited {seconds} s for {what}")
        time.sleep(0.02)


def spawn_alone(stamp: pathlib.Path, count: int) -> dict:
    """The physical limit beside it: a process started by posix_spawn, until its first instruction."""
    latencies = []
    for _ in range(count):
        before = time.time_ns()
        began = subprocess.run([stamp], capture_output=True, close_fds=False).stdout
        latencies.append((int(began) - before) / 1e6)
    return {"name": "process alone", "unit": "ms", "runs": count, "min": min(latencies), "p50": statistics.median(latencies),
            "p90": sorted(latencies)[int(0.9 * (count - 1))], "p99": sorted(latencies)[int(0.99 * (count - 1))],
            "max": max(latencies)}


def measure(programs: pathlib.Path, runs: int, state: pathlib.Path) -> list[dict]:
    repo = state / "repo"
    repo.mkdir()
    (repo / "stamp.cd4ml.yaml").write_text(PIPELINE.format(stamp=programs / "stamp"))
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"],
                      ["-c", "user.name=bench", "-c", "user.email=bench@example", "commit", "-q", "-m", "stamp"]):
        subprocess.run(["git", "-C", str(repo), *arguments], check=True)
    processes = [subprocess.Popen([programs / "cd4mld", "--state", state / "daemon", "--listen", "127.0.0.1:0", "--log-file",
                                   state / "cd4mld.log"], stdout=subprocess.DEVNULL)]
    try:
        address = state / "daemon" / "address"
        wait_for("the daemon", address.exists)
        server = address.read_text().strip()
        processes.append(subprocess.Popen([programs / "cd4ml-agent", "--state", state / "agent", "--server", server, "--name",
                                           "bench", "--log-file", state / "agent.log"], stdout=subprocess.DEVNULL))
        cli = [programs / "cd4ml", "--server", server]
        subprocess.run([*cli, "pipeline", "add", repo], check=True, stdout=subprocess.DEVNULL)
        wait_for("the agent", lambda: b"idle" in subprocess.run([*cli, "agent", "list"], capture_output=True).stdout)
        command = [programs / "bench_dispatch", server, "stamp"]
        subprocess.run([*command, "5"], check=True, stdout=subprocess.DEVNULL)   # Warm up.
        measured = json.loads(subprocess.run([*command, str(runs)], check=True, capture_output=True).stdout)
        return [measured, spawn_alone(programs / "stamp", runs)]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        lock = state / "agent" / "keeper" / "keeper.lock"
        if lock.exists():
            subprocess.run(["kill", lock.read_text().split()[0]], stderr=subprocess.DEVNULL)


def measure_in(parent, flags, name: str) -> list[dict]:
    state = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-bench-", dir=parent))
    try:
        results = measure(flags.bin.resolve(), flags.runs, state)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    results[0]["name"] = name
    return results


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    flags = parser.parse_args()
    results = measure_in(None, flags, "trigger-to-process")
    if os.path.isdir("/dev/shm"):
        # The same with all state in memory: the difference is what the file system costs.
        results[1:1] = measure_in("/dev/shm", flags, "the same, state in memory")[:1]
    flags.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{'benchmark':26} {'runs':>5} {'min':>8} {'p50':>8} {'p90':>8} {'p99':>8}  target (p50)")
    for result in results:
        target = TARGETS.get(result["name"])
        verdict = "" if target is None else f"<= {target} ms: " + ("met" if result["p50"] <= target else "MISSED")
        print(f"{result['name']:26} {result['runs']:5} {result['min']:8.3f} {result['p50']:8.3f} {result['p90']:8.3f} "
              f"{result['p99']:8.3f}  {verdict}")
    print(f"milliseconds; also in {os.path.relpath(flags.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
