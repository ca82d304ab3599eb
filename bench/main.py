"""Runs the benchmarks that were asked for; prints a table and writes JSON."""
import argparse
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import measures  # noqa: E402
import peers  # noqa: E402
from peers.peer import NotAvailable  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]


def measure_limits(programs: pathlib.Path, quick: bool) -> dict:
    with tempfile.TemporaryDirectory(prefix="cd4ml-bench-") as folder:
        done = subprocess.run([programs / "bench_limits", folder, "0.2" if quick else "2", programs / "stamp"], check=True,
                              capture_output=True, text=True)
    return json.loads(done.stdout)


def prepare_peers(folder: pathlib.Path, stamp: pathlib.Path) -> tuple[list, dict[str, str]]:
    present, absent = [], {}
    for kind in peers.ALL:
        peer = kind(folder / kind.name, stamp)
        try:
            peer.prepare()
            present.append(peer)
        except (NotAvailable, OSError) as why:
            absent[kind.name] = f"not available: {why}"
            print(f"bench: {kind.name}: not available: {why}", flush=True)
    return present, absent


def figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(result, other: float) -> str:
    """How many times worse than the other one this is; below one is better."""
    if not other or not result.value:
        return "-"
    return f"{(other / result.value if result.higher_is_better else result.value / other):.2f}x"


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
    parser.add_argument("--no-peers", action="store_true", help="cd4ml and the machine's limits alone")
    parser.add_argument("--list", action="store_true", help="say which benchmarks and peers there are")
    parser.add_argument("--wfinstances", type=pathlib.Path, help="traces, .tar.zst; default ../shared/data/wfinstances.tar.zst",
                        default=os.environ.get("CD4ML_WFINSTANCES", ROOT.parent / "shared/data/wfinstances.tar.zst"))
    parser.add_argument("--bin", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes; default bench-results.json in the build folder")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else list(measures.ALL)
    unknown = [name for name in names if name not in measures.ALL]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(measures.ALL)}")
    if flags.list:
        for name, measure in measures.ALL.items():
            print(f"{name:17} {measure.__doc__}")
        print(f"{'peers':17} {', '.join(kind.name for kind in peers.ALL)}")
        return 0
    programs = flags.bin.resolve()
    out = flags.out or programs.parent / "bench-results.json"
    load = os.getloadavg()
    limits = measure_limits(programs, flags.quick)
    present, absent = ([], {}) if flags.no_peers else prepare_peers(programs.parent / "bench-peers", programs / "stamp")
    context = measures.Context(programs, flags.quick, present, absent, limits, pathlib.Path(flags.wfinstances))
    print(f"{platform.node()}: {os.cpu_count()} cores, load {load[0]:.2f} {load[1]:.2f} {load[2]:.2f} before; alone: process "
          f"{limits['spawn_ms']['p50']:.2f} ms,\n  {limits['spawns_per_s']:,.0f} processes/s, durable commit "
          f"{limits['commit_ms']['1']['p50']:.2f} ms, round trip {limits['round_trip_ms']['p50']:.3f} ms")
    print("Nx: cd4ml is so many times worse than this; below 1 it is better", flush=True)
    results, skipped, failed = [], {}, {}
    try:
        for name in names:
            began = os.getloadavg()[0]
            try:
                result = measures.ALL[name](context)
            except measures.Skipped as why:
                skipped[name] = str(why)
                print(f"{name:17}skipped: {why}", flush=True)
                continue
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                failed[name] = str(error)
                print(f"{name:17}FAILED: {error}", flush=True)
                continue
            results.append({**result.json(), "load_before": began, "load_after": os.getloadavg()[0]})
            print("\n".join(rows(result)), flush=True)
    finally:
        for peer in present:
            peer.close()
    out.write_text(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": flags.quick,
                               "machine": {"node": platform.node(), "cores": os.cpu_count(), "load": load}, "limits": limits,
                               "peers": {peer.name: peer.version for peer in present}, "absent": absent,
                               "results": results, "skipped": skipped, "failed": failed}, indent=2) + "\n")
    missed = [what for result in results for what in result["missed"]]
    print(f"{len(results)} measured, {len(missed)} targets missed{': ' + ', '.join(missed) if missed else ''}; also in "
          f"{os.path.relpath(out)}")
    return 1 if failed or any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
