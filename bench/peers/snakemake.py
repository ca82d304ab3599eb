"""Snakemake of Debian: rules and files; each stage leaves a file behind, which is how it knows that it is done."""
import shlex
import shutil

from peers.peer import Graph, Peer


class Snakemake(Peer):
    name = "snakemake"
    graph_max = 200
    quick = False

    def install(self) -> None:
        self.debian("snakemake")

    def start(self) -> None:
        self.with_debian()
        self.version = self.asked("snakemake", "--version").strip()

    def graph(self, graph: Graph) -> float:
        work = self.work / "graph"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        lines = ["rule all:", f"  input: {[name for name, _, _ in graph]}"]
        for name, needs, command in graph:
            lines += [f"rule {name.replace('-', '_')}:", f"  input: {needs}", f"  output: touch({name!r})",
                      f"  shell: {shlex.join(command)!r}"]
        (work / "Snakefile").write_text("\n".join(lines) + "\n")
        return self.timed("snakemake", "--cores", "2", "--quiet", "--directory", work, "--snakefile", work / "Snakefile")
