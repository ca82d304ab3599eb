"""Ninja: a build tool made for large graphs; every command goes through a shell."""
import shlex

from peers.peer import Graph, Peer


class Ninja(Peer):
    name = "ninja"

    def install(self) -> None:
        self.debian("ninja-build")

    def start(self) -> None:
        self.with_debian()
        self.version = self.asked("ninja", "--version").strip()

    def graph(self, graph: Graph) -> float:
        lines = ["rule run", "  command = $what"]
        for name, needs, command in graph:
            lines += [f"build {name}: run {' '.join(needs)}", f"  what = {shlex.join(command)}"]
        (self.work / "build.ninja").write_text("\n".join(lines) + "\n")
        # What it remembers of the last time would make this one different.
        (self.work / ".ninja_log").unlink(missing_ok=True)
        return self.timed("ninja", "-j2")
