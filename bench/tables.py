"""Data gates on one large table, beside DuckDB alone, pandas, pandera and Great Expectations."""
import json
import os
import pathlib
import subprocess
import tempfile
import time

from measures import Context, Result, median
from peers.peer import NotAvailable, make_venv

DATA = pathlib.Path(__file__).resolve().parent / "data"
MEMORY = 1 << 30            # What the agent gives its engine.
BRANDS = "('" + "', '".join(f"brand{i}" for i in range(40)) + "')"


def queries(read: str, as_number: str, as_time: str, as_text: str) -> str:
    """What the rules of cars.cd4ml.yaml count, by hand. `as_...` say how a column is read as that."""
    number, moment, text = (lambda name: as_number.format(name)), as_time.format("seen_at"), (lambda name: as_text.format(name))

    def count(condition: str, *more: str) -> str:
        return "SELECT " + ", ".join(f"count(*) FILTER (WHERE {each})" for each in (condition, *more)) + " FROM t"

    def copies(columns: str) -> str:
        return f"SELECT CAST(sum(n - 1) AS BIGINT) FROM (SELECT count(*) AS n FROM t GROUP BY {columns} HAVING count(*) > 1)"

    bad = [f"id IS NOT NULL AND {number('id')} IS NULL",
           f"{number('price')} BETWEEN 100 AND 100000 IS NOT TRUE",
           f"{number('year')} BETWEEN 1950 AND 2026 IS NOT TRUE",
           f"power IS NOT NULL AND {number('power')} BETWEEN 20 AND 600 IS NOT TRUE",
           f"{number('mileage')} BETWEEN 0 AND 400000 IS NOT TRUE",
           f"brand IN {BRANDS} IS NOT TRUE",
           "fuel IN ('petrol', 'diesel', 'electric', 'lpg') IS NOT TRUE",
           "seller IN ('private', 'dealer') IS NOT TRUE",
           f"regexp_full_match({text('zip')}, 'Z[0-9]{{5}}') IS NOT TRUE",
           f"{moment} IS NULL",
           f"regexp_full_match({text('seen_at')}, '2025-[0-9]{{2}}-[0-9]{{2}} [0-9:]{{8}}') IS NOT TRUE",
           f"({number('price')} > 0 AND {number('year')} <= 2026) IS NOT TRUE",
           f"(power IS NULL OR {number('power')} < {number('price')}) IS NOT TRUE",
           f"({number('mileage')} < 290000 OR {number('year')} < 2025) IS NOT TRUE"]
    good = " AND ".join(f"NOT ({each})" for each in ["id IS NULL", *bad])     # Other rows count for no segment.
    return "\n".join([
        read,
        "SELECT count(*) FROM t",
        "SELECT count(*) FROM (DESCRIBE t)",
        count(bad[0], "id IS NULL"),
        copies("id"),
        count(bad[1]),
        count(bad[2]),
        count(bad[3], "power IS NULL"),
        *map(count, bad[4:11]),
        count("damage IS NULL"),
        *map(count, bad[11:]),
        "SELECT count(*) FILTER (WHERE n >= 5), CAST(sum(n) FILTER (WHERE n >= 5) AS BIGINT) FROM (SELECT brand, model, count(*) AS n "
        f"FROM t WHERE brand IS NOT NULL AND model IS NOT NULL AND {good} GROUP BY brand, model)",
        copies("seen_at, zip, price, mileage, model"),
    ]) + "\n"


# The same questions of the same file in the ways that it can be read. Only the first asks of the text, as rules do: a
# table of types has no row that is of another one, because reading such a file fails.
CSV_TEXT = queries("CREATE TABLE t AS SELECT * FROM read_csv({file}, header = true, all_varchar = true)", "TRY_CAST({} AS DOUBLE)",
                   "TRY_CAST({} AS TIMESTAMP)", "{}")
CSV_TYPED = queries("CREATE TABLE t AS SELECT * FROM read_csv({file}, header = true)", "{}", "{}", "CAST({} AS VARCHAR)")
PARQUET = queries("CREATE VIEW t AS SELECT * FROM read_parquet({file})", "{}", "{}", "CAST({} AS VARCHAR)")


class Cars:
    """The table in a folder that goes with it."""

    def __init__(self, context: Context, rows: int):
        self.context = context
        self.folder = tempfile.TemporaryDirectory(prefix="cd4ml-bench-", dir="/var/tmp")
        self.path = pathlib.Path(self.folder.name)
        self.driver("make", self.path, rows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def driver(self, *arguments) -> str:
        done = subprocess.run([self.context.programs / "bench_tables", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip()[-300:] or "bench_tables failed")
        return done.stdout

    def gate(self, file: str, memory: int = MEMORY) -> dict:
        return json.loads(self.driver("gate", self.path / file, DATA / "cars.cd4ml.yaml", self.path, memory))

    def bare(self, file: str, text: str) -> dict:
        (self.path / "queries.sql").write_text(text)
        return json.loads(self.driver("bare", self.path / file, self.path / "queries.sql", self.path, MEMORY))

    def peer(self, python: pathlib.Path, script: str, file: str) -> dict:
        done = subprocess.run([python, DATA / f"{script}_rules.py", self.path / file], capture_output=True, text=True, timeout=1800)
        if done.returncode != 0:
            raise NotAvailable((done.stderr.strip() or "no output").splitlines()[-1][:150])
        return json.loads(done.stdout.splitlines()[-1])


def _faults(cars: Cars, gate: dict, bare: dict) -> list[str]:
    """Both must have counted the same bad rows: `fail: 12 of 1000 rows bad (1.2%)` and 12."""
    counted = {"price": 5, "year": 6, "mileage": 8, "brand": 9, "fuel": 10, "seller": 11, "zip": 12, "lately": 14, "sane": 16, "worth": 17,
               "driven": 18, "segments": 19}
    found = {step["name"]: step["found"] for step in gate["steps"]}
    return [f"{rule}: {found[rule]}, bare: {bare['steps'][at]['found']}" for rule, at in counted.items()
            if found[rule].split(": ")[1].split(" of ")[0] != bare["steps"][at]["found"] or found[rule].startswith("error")]


def _measure(context: Context, name: str, file: str, ways: dict[str, str]) -> Result:
    rows = context.size(1_000_000, 20_000)
    repetitions = context.size(3, 1)
    with Cars(context, rows) as cars:
        gates, bares = [], {way: [] for way in ways}
        for _ in range(repetitions):    # In turns, so that what else the machine does is the same for all.
            gates.append(cars.gate(file))
            for way, text in ways.items():
                bares[way].append(cars.bare(file, text))
        seconds = {way: median([each["seconds"] for each in answers]) for way, answers in bares.items()}
        first = next(iter(ways))
        result = Result(name, "s", float("inf"), [each["seconds"] for each in gates], seconds[first], f"DuckDB alone, {first}")
        result.more_targets = [(f"times DuckDB alone, {first}", result.value / seconds[first], 1.3)]
        result.faults = _faults(cars, gates[-1], bares[first][-1])
        # How long the processors were busy says more on a machine that does other things too.
        cpu = median([each["cpu_s"] for each in gates])
        bare_cpu = {way: median([each["cpu_s"] for each in answers]) for way, answers in bares.items()}
        result.details = {"rows": rows, "bare_s": seconds, "cpu_s": cpu, "bare_cpu_s": bare_cpu,
                          "times_cpu": {way: cpu / each for way, each in bare_cpu.items()}, "gate": gates[-1], "bare": {way: each[-1] for way, each in bares.items()}}
        _peers(context, cars, file, result)
        return result


def _peers(context: Context, cars: Cars, file: str, result: Result) -> None:
    """Each judges the same rules, as far as it has them; its interpreter is started before the time counts."""
    result.peers["pandas"] = _figure(lambda: cars.peer(pathlib.Path("/usr/bin/python3"), "pandas", file))
    for name in ("pandera", "great-expectations") if context.peers else ():
        def answer(name: str = name) -> dict:
            programs = make_venv(context.peers_dir / name, name, lambda text: print(f"bench: {name}: {text}", flush=True))
            return cars.peer(programs / "python", name.replace("-", "_"), file)

        result.peers[name] = _figure(answer)


def _figure(answer) -> float | str:
    try:
        return answer()["seconds"]
    except (NotAvailable, OSError, subprocess.TimeoutExpired) as why:
        return f"not available: {' '.join(str(why).split())}"


def gate_csv(context: Context) -> Result:
    """a data gate with 20 rules on a CSV file of 1,000,000 rows"""
    return _measure(context, "gate-csv", "cars.csv", {"as text": CSV_TEXT, "as types": CSV_TYPED})


def gate_parquet(context: Context) -> Result:
    """a data gate with 20 rules on a Parquet file of 1,000,000 rows"""
    return _measure(context, "gate-parquet", "cars.parquet", {"from the file": PARQUET})


def gate_large(context: Context) -> Result:
    """the same rules on a CSV file of 4 GB (CD4ML_BENCH_TABLE_GB), with 1 GiB for the engine: memory of the process"""
    gigabytes = float(os.environ.get("CD4ML_BENCH_TABLE_GB", context.size(4, 0) or 0.02))
    with Cars(context, int(gigabytes * 1e9 / 88)) as cars:
        size = (cars.path / "cars.csv").stat().st_size
        (cars.path / "cars.parquet").unlink()
        began = time.monotonic()
        gate = cars.gate("cars.csv")
        result = Result("gate-large", "MB", 2_000, [gate["max_rss_mb"]], MEMORY / (1 << 20), "what the engine may take")
        result.details = {"bytes": size, "seconds": time.monotonic() - began, "gate": gate}
        result.faults = [step["name"] for step in gate["steps"] if str(step["found"]).startswith("error")]
    return result


ALL = {"gate-csv": gate_csv, "gate-parquet": gate_parquet, "gate-large": gate_large}
