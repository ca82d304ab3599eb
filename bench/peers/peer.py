"""What a peer is: another engine that does the same work in the same call, in an environment that is thrown away."""
import pathlib
import shutil
import socket
import subprocess
import time

Graph = list[tuple[str, list[str], list[str]]]  # Stages: name, needs, command.


def chain(stages: int) -> Graph:
    return [(f"s{i}", [f"s{i - 1}"] if i else [], ["/bin/true"]) for i in range(stages)]


def fan(stages: int) -> Graph:
    return [(f"s{i}", [], ["/bin/true"]) for i in range(stages)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NotAvailable(Exception):
    """Why a peer cannot take part, in one line."""


class Peer:
    name = ""
    version = "?"
    graph_max = 10_000      # The largest graph that it does in reasonable time: rates are per stage.
    repeats = True          # Quick enough to be measured as often as cd4ml.

    def __init__(self, folder: pathlib.Path, stamp: pathlib.Path):
        """`folder` is its own; what is there already was made by an earlier call. `stamp` prints when it began."""
        self.folder = folder
        self.stamp = stamp
        self.folder.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Installs and starts it, or raises NotAvailable."""

    def graph(self, graph: Graph) -> float | None:
        """Performs all stages with two at a time; returns the seconds. None: it cannot do this."""

    def trigger(self, count: int) -> list[float] | None:
        """Milliseconds from the acknowledgement of a trigger to the first instruction of the process, on an idle system."""

    def close(self) -> None:
        """Ends what it has started."""

    # --- for peers ---

    def say(self, text: str) -> None:
        print(f"bench: {self.name}: {text}", flush=True)

    def ran(self, *command, timeout: float = 1800, **options) -> str:
        """Returns the output of a command that must succeed."""
        try:
            done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=timeout, **options)
        except FileNotFoundError as error:
            raise NotAvailable(f"{error.filename} is not there") from error
        except subprocess.TimeoutExpired as error:
            raise NotAvailable(f"{command[0]} took longer than {timeout:g} s") from error
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise NotAvailable(f"{pathlib.Path(str(command[0])).name} failed: {last[:150]}")
        return done.stdout

    def timed(self, *command, **options) -> float:
        before = time.monotonic()
        self.ran(*command, **options)
        return time.monotonic() - before

    def wait(self, condition, what: str, seconds: float = 60):
        """Returns the first truthy answer; errors of a peer that is not up yet count as none."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if answer := condition():
                    return answer
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise NotAvailable(f"waited {seconds:g} s for {what}")
            time.sleep(0.02)

    def debian(self, *packages: str) -> None:
        """Installs Debian packages that are missing, without their recommendations."""
        missing = [name for name in packages if not self.has_package(name)]
        if not missing:
            return
        if not shutil.which("apt-get"):
            raise NotAvailable("this is no Debian system; it needs " + " ".join(missing))
        self.say("installing " + " ".join(missing))
        root = [] if subprocess.run(["id", "-u"], capture_output=True, text=True).stdout.strip() == "0" else ["sudo", "-n"]
        install = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
        if subprocess.run(["apt-cache", "show", *missing], capture_output=True).returncode != 0:
            self.ran(*install, "update")
        # A service that a package would start is none of ours.
        self.ran(*install, "install", "--no-install-recommends", *missing)

    @staticmethod
    def has_package(name: str) -> bool:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True)
        return done.stdout == "installed"

    def venv(self, *requirements: str) -> pathlib.Path:
        """Makes a virtual environment with these packages, once; returns the folder of its programs."""
        folder = self.folder / "venv"
        ready = folder / "ready"
        wanted = "\n".join(requirements)
        if ready.exists() and ready.read_text() == wanted:
            return folder / "bin"
        self.debian("python3-venv")
        self.say("installing " + " ".join(requirements))
        shutil.rmtree(folder, ignore_errors=True)
        self.ran("/usr/bin/python3", "-m", "venv", folder)
        self.ran(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        ready.write_text(wanted)
        return folder / "bin"
