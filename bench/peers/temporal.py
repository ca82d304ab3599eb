"""The Temporal development server with a worker of our own in Go, as it comes and tuned: durable in SQLite, over gRPC."""
import json
import os
import pathlib
import shutil
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
    quick = False
    flags: list[str] = []
    pollers = 0

    def install(self) -> None:
        self.programs = home = self.home.with_name("temporal-programs")     # Both kinds use the same.
        if (home / "temporal").exists() and (home / "worker").exists():
            return
        go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
        if go is None:
            raise NotAvailable("there is no Go toolchain (go)")
        self.say(f"building the server {SERVER} and a worker, which takes some minutes")
        source = home / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir(parents=True)
        environment = {**os.environ, "GOBIN": str(home), "GOPATH": str(home / "go"), "GOCACHE": str(home / "cache"),
                       "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
        self.ran(go, "install", f"github.com/temporalio/cli/cmd/temporal@{SERVER}", env=environment, timeout=5400)
        shutil.copy(pathlib.Path(__file__).with_name("temporal.go"), source / "main.go")
        for command in (["mod", "init", "bench"], ["get", f"go.temporal.io/sdk@{SDK}"], ["mod", "tidy"],
                        ["build", "-o", home / "worker", "."]):
            self.ran(go, *command, cwd=source, env=environment)
        for left_over in ("go", "cache", "source"):
            shutil.rmtree(home / left_over, ignore_errors=True)

    def start(self) -> None:
        self.version = f"{SERVER}, SDK {SDK}"
        self.port = free_port()
        self.service("server", self.programs / "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1",
                     "--port", self.port, "--http-port", free_port(), "--metrics-port", free_port(),
                     "--db-filename", self.work / "temporal.db", "--log-level", "error", *self.flags)
        self.wait_for_port(self.port, "its server")
        deadline = time.monotonic() + 60
        while True:     # It listens before it serves.
            try:
                self.ask("trigger", 0, self.stamp)
                return
            except NotAvailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def ask(self, *arguments) -> list[float]:
        answer = self.asked(self.programs / "worker", f"127.0.0.1:{self.port}", self.pollers, *arguments)
        return [float(line) for line in answer.split()]

    def graph(self, graph: Graph) -> float:
        numbers = {name: number for number, (name, _, _) in enumerate(graph)}
        stages = [{"Needs": [numbers[need] for need in needs], "Command": command} for _, needs, command in graph]
        (self.work / "graph.json").write_text(json.dumps(stages))
        return self.ask("graph", self.work / "graph.json")[0]

    def trigger(self, count: int) -> list[float]:
        return self.ask("trigger", count, self.stamp)


class TemporalTuned(Temporal):
    name = "temporal-tuned"
    flags = TUNED
    pollers = 10
