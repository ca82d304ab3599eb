"""Runs the benchmarks that were asked for; prints a table and writes JSON."""
import argparse
import contextlib
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import measures  # noqa: E402
import peers  # noqa: E402
import sources  # noqa: E402
import tables  # noqa: E402
from processes import end_descendants, exit_on_signals, keep_descendants, undisturbed  # noqa: E402

BENCHMARKS = {**measures.ALL, **sources.ALL, **tables.ALL}
ROOT = pathlib.Path(__file__).resolve().parents[1]


def measure_limits(programs: pathlib.Path, seconds: float) -> dict:
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
        done = subprocess.run([programs / "bench_limits", folder, str(seconds), programs / "stamp"], check=True,
                              capture_output=True, text=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def peers_folder(kept: pathlib.Path | None):
    """Where peers are installed: the folder that is kept for the next call, or one that goes when this one ends."""
    if kept:
        yield kept.resolve()
        return
    folder = tempfile.mkdtemp(prefix="cd4ml-bench-peers-", dir="/var/tmp")
    try:
        yield pathlib.Path(folder)
    finally:
        with undisturbed():
            end_descendants()   # An installation that was interrupted would go on writing.
            shutil.rmtree(folder, ignore_errors=True)


def figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(result, other: float) -> str:
    """How many times worse than the other one this is; below one is better."""
    if not other or not result.value:
        return "-"
    times = other / result.value if result.higher_is_better else result.value / other
    return f"{times:.2f}x" if times >= 0.095 else f"{times:.1g}x"


def rows(result) -> list[str]:
    """The figure and its target, then what it is held against: the machine's limit and the peers. At most 100 columns."""
    missed = result.missed
    sign = ">=" if result.higher_is_better else "<="
    target = "no target" if math.isinf(result.target) else f"target {sign} {figure(result.target)}"
    verdict = "" if math.isinf(result.target) else "MISSED" if result.name in missed else "met"
    lines = [f"{result.name:17}{figure(result.value):>10} {result.unit:9} {'':7} {target} {verdict}",
             f"{'limit':>17}{figure(result.limit):>10} {result.unit:9} {ratio(result, result.limit):>7} {result.limit_is}"]
    for name, peer in result.peers.items():
        if isinstance(peer, str):
            lines.append(f"{name:>17} {peer}"[:100])
        else:
            lines.append(f"{name:>17}{figure(peer):>10} {result.unit:9} {ratio(result, peer):>7}")
    for what, value, most in result.more_targets:
        lines.append(f"{'and':>17}{figure(value):>10} {'':17} {what}, target <= {figure(most)} "
                     f"{'MISSED' if what in missed else 'met'}")
    lines += [f"{'WRONG':>17} {fault}" for fault in result.faults]
    if missed:
        lines += step_rows(result.steps)
    return lines


def step_rows(steps: dict) -> list[str]:
    """Where the time goes, from the histograms of the programs."""
    lines = []
    for program, histograms in steps.items():
        for step, times in histograms.items():
            total = times["count"] * times["mean_us"] / 1e6
            lines.append(f"{program:>17} {step:9} {times['count']:>7,.0f} times, mean {times['mean_us'] / 1e3:8.3f} ms, "
                         f"p99 {times['p99_us'] / 1e3:8.3f} ms, in all {total:7.2f} s")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME,...", help="these benchmarks alone")
    parser.add_argument("--quick", action="store_true", help="small and once: to see that it works")
    parser.add_argument("--peers", metavar="NAME,...", help="these other engines alone")
    parser.add_argument("--no-peers", action="store_true", help="cd4ml and the machine's limits alone")
    parser.add_argument("--peers-dir", metavar="DIR", type=pathlib.Path,
                        help="keep what was installed of the peers in DIR, and use what is there; without, all of it is removed")
    parser.add_argument("--list", action="store_true", help="say which benchmarks and peers there are")
    parser.add_argument("--wfinstances", type=pathlib.Path, help="traces, .tar.zst; default ../shared/data/wfinstances.tar.zst",
                        default=os.environ.get("CD4ML_WFINSTANCES", ROOT.parent / "shared/data/wfinstances.tar.zst"))
    parser.add_argument("--bin", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes; default bench-results.json in the build folder")
    flags = parser.parse_args()
    kinds = {kind.name: kind for kind in peers.ALL}
    names = chosen(parser, "benchmark", flags.only, BENCHMARKS)
    wanted = [] if flags.no_peers else [kinds[name] for name in chosen(parser, "peer", flags.peers, kinds)]
    if flags.list:
        for name, measure in BENCHMARKS.items():
            print(f"{name:17} {measure.__doc__}")
        print(f"{'peers':17} {', '.join(kinds)}")
        return 0
    keep_descendants()
    exit_on_signals()
    try:
        with peers_folder(flags.peers_dir) as folder:
            return measure_all(flags, names, wanted, folder)
    finally:
        with undisturbed():
            end_descendants()


def chosen(parser: argparse.ArgumentParser, what: str, flag: str | None, known) -> list[str]:
    names = flag.split(",") if flag else list(known)
    for name in names:
        if name not in known:
            parser.error(f"there is no {what} {name}; there are {', '.join(known)}")
    return names


def measure_all(flags: argparse.Namespace, names: list[str], wanted: list, folder: pathlib.Path) -> int:
    programs = flags.bin.resolve()
    out = flags.out or programs.parent / "bench-results.json"
    limit_s = 0.2 if flags.quick else 1
    engines = [kind(folder / kind.name, programs / "stamp") for kind in wanted]
    load, limits = os.getloadavg(), measure_limits(programs, limit_s)
    context = measures.Context(programs, flags.quick, engines, limits, pathlib.Path(flags.wfinstances), folder)
    print(f"{platform.node()}: {os.cpu_count()} cores, load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f} before; alone: process "
          f"{limits['spawn_ms']['p50']:.2f} ms,\n  {limits['spawns_per_s']:,.0f} processes/s, durable commit "
          f"{limits['commit_ms']['1']['p50']:.2f} ms, round trip {limits['round_trip_ms']['p50']:.3f} ms")
    if load[0] > 0.5:
        print("This machine is not idle: trust the ratios more than the figures")
    print("Nx: cd4ml is so many times worse than this; below 1 it is better", flush=True)
    results, skipped, failed = [], {}, {}
    for name in names:
        try:
            began = os.getloadavg()[0]
            context.limits = measure_limits(programs, limit_s)
            result = BENCHMARKS[name](context)
        except measures.Skipped as why:
            skipped[name] = str(why)
            print(f"{name:17}skipped: {why}", flush=True)
            continue
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            failed[name] = str(error)
            print(f"{name:17}FAILED: {error}", flush=True)
            continue
        results.append({**result.json(), "limits": context.limits, "load_before": began, "load_after": os.getloadavg()[0]})
        print("\n".join(rows(result)), flush=True)
    out.write_text(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": flags.quick,
                               "machine": {"node": platform.node(), "cores": os.cpu_count(), "load": load}, "limits": limits,
                               "peers": {peer.name: peer.version for peer in engines}, "absent": context.absent,
                               "results": results, "skipped": skipped, "failed": failed}, indent=2) + "\n")
    missed = [what for result in results for what in result["missed"]]
    print(f"{len(results)} measured, {len(missed)} targets missed{': ' + ', '.join(missed) if missed else ''}; also in "
          f"{os.path.relpath(out)}")
    return 1 if failed or any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
