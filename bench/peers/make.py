"""GNU make: neither durable nor remote, and the fastest of all."""
import shlex

from peers.peer import Graph, Peer


class Make(Peer):
    name = "make"

    def install(self) -> None:
        self.debian("make")

    def start(self) -> None:
        self.with_debian()
        self.version = self.asked("make", "--version").split("\n")[0].split()[-1]

    def graph(self, graph: Graph) -> float:
        names = " ".join(name for name, _, _ in graph)
        rules = [f".PHONY: all {names}\nall: {names}"]
        rules += [f"{name}: {' '.join(needs)}\n\t@{shlex.join(command)}" for name, needs, command in graph]
        (self.work / "Makefile").write_text("\n".join(rules) + "\n")
        return self.timed("make", "-j2", "-r", "-R", "-s")
