"""The Temporal development server with a worker of our own in Go, as it comes and tuned: durable in SQLite, over gRPC."""
import json
import os
import pathlib
import shutil
import subprocess
import time

from peers.peer import Graph, NotAvailable, Peer, free_port

SERVER = "v1.5.1"   # Newer ones cannot be installed by `go install`.
SDK = "v1.50.0"
# The default lets a chain move twenty times a second at most, and its database commits in the slower of two ways.
TUNED = ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL",
         "--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000"]


class Temporal(Peer):
    name = "temporal"
    graph_max = 200
    repeats = False
    flags: list[str] = []
    pollers = 0

    def prepare(self) -> None:
        home = self.folder.parent / "temporal-programs"     # Both kinds use the same programs.
        self.install(home)
        self.version = f"{SERVER}, SDK {SDK}"
        self.worker = home / "worker"
        self.port = free_port()
        database = self.folder / "temporal.db"
        for path in self.folder.glob("temporal.db*"):
            path.unlink()
        with open(self.folder / "server.log", "wb") as log:
            self.server = subprocess.Popen([home / "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port",
                                            str(self.port), "--http-port", str(free_port()), "--metrics-port",
                                            str(free_port()), "--db-filename", database, "--log-level", "error", *self.flags],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ran(self.worker, f"127.0.0.1:{self.port}", self.pollers, "trigger", 1, shutil.which("true"), timeout=60)
            except NotAvailable as why:
                # `true` prints no time, which is the last thing to go wrong: the server has done its work.
                if "parsing" in str(why):
                    return
                if time.monotonic() > deadline or self.server.poll() is not None:
                    self.close()
                    raise NotAvailable(f"the server does not answer: {why}") from why
                time.sleep(0.5)

    def install(self, home: pathlib.Path) -> None:
        go = shutil.which("go") or shutil.which("/usr/local/go/bin/go") or shutil.which("/usr/lib/go/bin/go")
        if (home / "temporal").exists() and (home / "worker").exists():
            return
        if go is None:
            raise NotAvailable("there is no Go toolchain (go)")
        self.say(f"building the server {SERVER} and a worker, which takes some minutes")
        source = home / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        environment = {**os.environ, "GOBIN": str(home), "GOPATH": str(home / "go"), "GOCACHE": str(home / "cache"),
                       "GOFLAGS": "-modcacherw"}
        self.ran(go, "install", f"github.com/temporalio/cli/cmd/temporal@{SERVER}", env=environment, timeout=5400)
        shutil.copy(pathlib.Path(__file__).with_name("temporal.go"), source / "main.go")
        for command in (["mod", "init", "bench"], ["get", f"go.temporal.io/sdk@{SDK}"], ["mod", "tidy"],
                        ["build", "-o", home / "worker", "."]):
            self.ran(go, *command, cwd=source, env=environment)
        for left_over in ("go", "cache", "source"):
            shutil.rmtree(home / left_over, ignore_errors=True)

    def ask(self, *arguments) -> list[float]:
        return [float(line) for line in self.ran(self.worker, f"127.0.0.1:{self.port}", self.pollers, *arguments).split()]

    def graph(self, graph: Graph) -> float:
        numbers = {name: number for number, (name, _, _) in enumerate(graph)}
        stages = [{"Needs": [numbers[need] for need in needs], "Command": command} for _, needs, command in graph]
        (self.folder / "graph.json").write_text(json.dumps(stages))
        return self.ask("graph", self.folder / "graph.json")[0]

    def trigger(self, count: int) -> list[float]:
        return self.ask("trigger", count, self.stamp)

    def close(self) -> None:
        self.server.terminate()
        self.server.wait()


class TemporalTuned(Temporal):
    name = "temporal-tuned"
    flags = TUNED
    pollers = 10
