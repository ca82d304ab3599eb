"""A real daemon, agent and command line in a folder of their own, and what end-to-end tests ask of them."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path()      # Set by main.
PATIENCE = 60             # Seconds until a test gives up; nothing waits that long when all is well.


def wait_for(what: str, condition):
    """Returns the first truthy answer of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)


class Stack:
    """One daemon with any number of agents; everything ends with `close`."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-e2e-"))
        self.data = self.dir / "data"
        self.repo = self.dir / "repo"
        self.data.mkdir()
        self.repo.mkdir()
        self.git("init", "-q", "-b", "main")
        self.daemon = None
        self.agents = {}
        self.server = ""
        self.session_ttl = "10s"

    # --- processes ---

    def start_daemon(self, *flags: str) -> None:
        assert self.launch_daemon(*flags), (self.dir / "cd4mld.out").read_text()

    def launch_daemon(self, *flags: str, under: tuple = ()) -> bool:
        """Starts the daemon, with the command `under` if there is one; returns whether it listens, else it has ended."""
        address = self.dir / "daemon" / "address"
        address.unlink(missing_ok=True)
        # After a restart the daemon listens where its agents look for it.
        listen = self.server or "127.0.0.1:0"
        self.daemon = self.popen("cd4mld", "--state", self.dir / "daemon", "--listen", listen, "--data-root", self.data,
                                 "--session-ttl", self.session_ttl, *flags, under=under)
        wait_for("the daemon to listen", lambda: address.exists() or self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            return False
        self.server = address.read_text().strip()
        return True

    def start_agent(self, name: str = "local", *flags: str) -> None:
        self.agents[name] = self.popen("cd4ml-agent", "--state", self.dir / name, "--server", self.server, "--name", name,
                                       *flags)
        wait_for(f"agent {name} to connect", lambda: any(a["agent"]["name"] == name and a["state"] in ("idle", "busy")
                                                         for a in self.ask("agent", "list")))

    def popen(self, program: str, *arguments, under: tuple = ()) -> subprocess.Popen:
        with open(self.dir / f"{program}.out", "ab") as log:
            return subprocess.Popen([*under, BIN / program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill_daemon(self) -> None:
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def kill_agent(self, name: str = "local") -> None:
        self.agents[name].send_signal(signal.SIGKILL)
        self.agents.pop(name).wait()

    def keeper_pid(self, name: str = "local") -> int:
        return int((self.dir / name / "keeper" / "keeper.lock").read_text().split()[0])

    def close(self) -> None:
        for process in [*self.agents.values(), *([self.daemon] if self.daemon else [])]:
            process.terminate()
            process.wait()
        for lock in self.dir.glob("*/keeper/keeper.lock"):
            pid = int(lock.read_text().split()[0])
            try:
                os.kill(pid, signal.SIGTERM)
                wait_for("the keeper to end", lambda: not pathlib.Path(f"/proc/{pid}").exists())
            except ProcessLookupError:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)

    # --- the repository ---

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", self.repo, "-c", "user.name=Ana", "-c", "user.email=ana@example", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, text in files.items():
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def register(self, text: str, name: str = "p.cd4ml.yaml") -> None:
        self.commit({name: text})
        self.cli("pipeline", "add", str(self.repo), expect=0)

    # --- the command line ---

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([BIN / "cd4ml", *arguments], capture_output=True, text=True, timeout=3 * PATIENCE,
                              env={**os.environ, "CD4ML_SERVER": self.server, "COLUMNS": "200"})

    def cli(self, *arguments: str, expect: int = 0) -> str:
        done = self.run(*arguments)
        assert done.returncode == expect, f"cd4ml {' '.join(arguments)}: exit {done.returncode}, not {expect}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, *arguments: str):
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def query(self, sql: str, *values) -> list[tuple]:
        """Reads the daemon's database, whether or not the daemon runs."""
        database = f"file:{self.dir}/daemon/cd4ml.db?mode=ro"
        with contextlib.closing(sqlite3.connect(database, uri=True, timeout=PATIENCE)) as connection:
            return connection.execute(sql, values).fetchall()

    def stage(self, run: str, name: str) -> dict:
        view = self.ask("run", "show", run)
        view = view.get("run", view)
        return next(stage for stage in view["stages"] if stage["plan"]["name"] == name)


class StackTest(unittest.TestCase):
    """A test with a stack; the daemon is started, agents are not."""

    def setUp(self):
        self.stack = Stack()
        self.addCleanup(self.stack.close)
        self.stack.start_daemon()


class Result(unittest.TextTestResult):
    """Keeps what scripts/test adds up."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.suite = xml.Element("testsuite")

    def case(self, test) -> xml.Element:
        class_name, method = test.id().rsplit(".", 2)[-2:]
        return xml.SubElement(self.suite, "testcase", classname=class_name, name=method)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.case(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        xml.SubElement(self.case(test), "failure")

    def addError(self, test, err):
        super().addError(test, err)
        xml.SubElement(self.case(test), "error")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        xml.SubElement(self.case(test), "skipped", message=reason)


def main() -> None:
    global BIN
    arguments = sys.argv[1:]
    BIN = pathlib.Path(arguments[arguments.index("--bin") + 1]).resolve()
    names = [a for i, a in enumerate(arguments) if a != "--bin" and arguments[i - 1] != "--bin"]
    module = sys.modules["__main__"]
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(suite)
    results = os.environ.get("CD4ML_TEST_RESULTS")
    if results:
        xml.ElementTree(result.suite).write(pathlib.Path(results) / f"{pathlib.Path(sys.argv[0]).stem}.xml")
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
