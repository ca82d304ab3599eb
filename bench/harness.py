"""A real daemon and agent in a throw-away folder, and what every benchmark asks of them."""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from processes import undisturbed

PATIENCE = 60  # Seconds until something that should be there is given up.


def wait_for(what: str, condition, seconds: float = PATIENCE):
    """Returns the first truthy answer of `condition`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)
    return answer


def median(values: list[float]) -> float:
    return statistics.median(values)


def many_files() -> None:
    """A thousand connections need a thousand descriptors, at both ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pipeline_text(name: str, stages: list[tuple[str, list[str], list[str]]], labels: dict[str, str] = {}) -> str:
    """A definition of stages (name, needs, command); `labels` says which stage asks for which agent."""
    lines = ["format: 1", f"pipeline: {name}", "stages:"]
    for stage, needs, command in stages:
        after = f"needs: {json.dumps(needs)}, " if needs else ""
        agent = f", agent: {{labels: [{labels[stage]}]}}" if stage in labels else ""
        lines.append(f"  {stage}: {{{after}run: {json.dumps(command)}{agent}}}")
    return "\n".join(lines) + "\n"


class Stack:
    """One daemon, and agents; everything ends and goes with `close`."""

    def __init__(self, programs: pathlib.Path, parent: str | None = None):
        self.programs = programs
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-bench-", dir=parent))
        self.agents: list[subprocess.Popen] = []
        self.daemon: subprocess.Popen | None = None
        self.server = ""
        try:
            self.start_daemon()
        except BaseException:
            self.close()
            raise

    def start_daemon(self) -> None:
        address = self.dir / "daemon" / "address"
        address.unlink(missing_ok=True)
        self.daemon = self.popen("cd4mld", "--state", self.dir / "daemon", "--listen", self.server or "127.0.0.1:0",
                                 "--log-file", self.dir / "cd4mld.log")
        wait_for("the daemon", lambda: address.exists() or self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            raise RuntimeError("the daemon has ended at once: " + (self.dir / "cd4mld.out").read_text())
        self.server = address.read_text().strip()

    def start_agent(self, slots: int, name: str = "bench") -> None:
        self.agents.append(self.popen("cd4ml-agent", "--state", self.dir / name, "--server", self.server, "--name", name,
                                      "--slots", str(slots), "--log-file", self.dir / f"{name}.log"))
        wait_for("the agent", lambda: b"idle" in self.cli("agent", "list"))

    def popen(self, program: str, *arguments, **options) -> subprocess.Popen:
        with open(self.dir / f"{program}.out", "ab") as out:
            options = {"stdout": out, "stderr": out, **options}
            return subprocess.Popen([self.programs / program, *arguments], stdin=subprocess.DEVNULL,
                                    preexec_fn=many_files, **options)

    def cli(self, *arguments: str) -> bytes:
        done = subprocess.run([self.programs / "cd4ml", "--server", self.server, *arguments], capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"cd4ml {' '.join(arguments)}: {done.stderr.decode().strip()[:500]}")
        return done.stdout

    def register(self, definitions: dict[str, str]) -> None:
        """Registers pipelines, given by name, each in a repository of its own: a stage checks out all of one."""
        for name, text in definitions.items():
            repo = self.dir / "repos" / name
            repo.mkdir(parents=True)
            (repo / f"{name}.cd4ml.yaml").write_text(text)
            git = ["git", "-C", repo, "-c", "user.name=bench", "-c", "user.email=bench@example"]
            for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "pipeline"]):
                subprocess.run([*git, *arguments], check=True, stdout=subprocess.DEVNULL)
            self.cli("pipeline", "add", str(repo))

    def driver(self, name: str, *arguments) -> list[dict]:
        """Runs one of the C++ drivers; returns its lines of JSON."""
        done = subprocess.run([self.programs / f"bench_{name}", self.server, *map(str, arguments)], capture_output=True,
                              text=True, preexec_fn=many_files)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip() or f"bench_{name} failed")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def run(self, *pipelines: str) -> list[dict]:
        """Runs each pipeline once; `seconds` is from the acknowledgement to the end, `total` from the request."""
        runs = self.driver("run", *pipelines)
        for run in runs:
            if run["state"] != "passed":
                raise RuntimeError(f"run {run['run']} has {run['state']}")
            run["seconds"] = (run["ended"] - run["created"]) / 1e3
            run["total"] = (run["ended"] - run["asked"]) / 1e3
        return runs

    def kill_daemon(self) -> None:
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def usage(self) -> dict:
        """Memory and processor time of the daemon."""
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        fields = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return {"rss_mb": int(status.split("VmRSS:")[1].split()[0]) / 1024,
                "cpu_seconds": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")}

    def stop(self) -> dict[str, dict]:
        """Ends daemon and agents; returns what their histograms say, by program and step."""
        for process in [*self.agents, *([self.daemon] if self.daemon else [])]:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for lock in self.dir.glob("*/keeper/keeper.lock"):
            with contextlib.suppress(ProcessLookupError, ValueError, IndexError):
                os.kill(int(lock.read_text().split()[0]), signal.SIGTERM)
        self.agents, self.daemon = [], None
        return {"daemon": read_steps(self.dir / "cd4mld.log"), "agent": read_steps(self.dir / "bench.log")}

    def close(self) -> None:
        with undisturbed():
            self.stop()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_steps(log: pathlib.Path) -> dict[str, dict]:
    """The histograms that a program wrote to its log when it ended; of its last life."""
    steps: dict[str, dict] = {}
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if "step" in fields and "p99_us" in fields:
            name = fields.pop("step")
            steps[name] = {key: float(value) for key, value in fields.items() if key == "count" or key.endswith("_us")}
    return steps
