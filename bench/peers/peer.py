"""What a peer is: another engine that does the same work in the same call, in an environment that is thrown away."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request

from processes import end_descendants, undisturbed

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
    fan_max = 0             # The same of stages that need none of each other, where that is more.
    quick = True            # It does ten thousands of stages in reasonable time.

    def __init__(self, home: pathlib.Path, stamp: pathlib.Path):
        """`home` is where its programs are; what is there already was made by an earlier call. `stamp` prints when it began."""
        self.home = home
        self.stamp = stamp
        self.work = pathlib.Path()      # While it runs: all that it writes, and the home directory that it sees.
        self.environment: dict[str, str] = {}
        self.home.mkdir(parents=True, exist_ok=True)

    def install(self) -> None:
        """Installs its programs below `home`, or raises NotAvailable."""

    def start(self) -> None:
        """Starts the services that it needs, if any, until they can serve, or raises NotAvailable."""

    def graph(self, graph: Graph) -> float:
        """Performs all stages with two at a time; returns the seconds, without those of starting an interpreter first."""
        raise NotImplementedError

    def trigger(self, count: int) -> list[float] | None:
        """Milliseconds from the acknowledgement of each trigger to the first instruction of the process, on an idle system."""
        return None

    @contextlib.contextmanager
    def running(self):
        """Its services are there inside, alone on the machine; afterwards nothing of them is, whatever happened."""
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"cd4ml-bench-{self.name}-"))
        (self.work / "tmp").mkdir()
        # Nothing of the user's settings, and nothing into the user's home.
        self.environment = {"HOME": str(self.work), "TMPDIR": str(self.work / "tmp"), "LANG": "C.UTF-8",
                            "PATH": os.environ["PATH"]}
        try:
            self.start()
            yield self
        finally:
            with undisturbed():
                end_descendants()
                shutil.rmtree(self.work, ignore_errors=True)

    # --- for peers ---

    def say(self, text: str) -> None:
        print(f"bench: {self.name}: {text}", file=sys.stderr, flush=True)

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

    def asked(self, *command, **options) -> str:
        """The same of one of its own programs."""
        return self.ran(*command, cwd=self.work, env=self.environment, **options)

    def timed(self, *command) -> float:
        before = time.monotonic()
        self.asked(*command)
        return time.monotonic() - before

    def service(self, name: str, *command) -> subprocess.Popen:
        """Starts a program that stays; Ctrl-C does not reach it."""
        with open(self.work / f"{name}.log", "wb") as log:
            return subprocess.Popen([str(part) for part in command], cwd=self.work, env=self.environment,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def call(self, url: str, body=None, headers: dict[str, str] = {}):
        """Asks one of its own services on this machine; a body is sent, and makes it a POST."""
        request = urllib.request.Request(url, headers={"Content-Type": "application/json", **headers},
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return json.loads(answer.read())

    def wait_for_port(self, port: int, what: str) -> None:
        self.wait(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close() is None, what)

    def wait(self, condition, what: str, seconds: float = 300, every: float = 0.02):
        """Returns the first truthy answer; errors of a peer that is not up yet count as none."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if answer := condition():
                    return answer
            except OSError:
                pass
            if time.monotonic() > deadline:
                logs = [log.read_text(errors="replace").splitlines() for log in sorted(self.work.glob("*.log"))]
                last = [lines[-1] for lines in logs if lines]
                raise NotAvailable(f"waited {seconds:g} s for {what}; its logs end in: {' | '.join(last)}")
            time.sleep(every)

    def stamped(self, start, ended) -> float:
        """Calls `start()`, which returns a run when its trigger is acknowledged, then `ended(run)` until that is so and the
        system is idle again. In between, `stamp` has written into the file stamp.out."""
        out = self.work / "stamp.out"
        out.unlink(missing_ok=True)
        run = start()
        acknowledged = time.time_ns()
        self.wait(lambda: ended(run), "a run that was triggered", every=0.5)
        return (int(out.read_text()) - acknowledged) / 1e6

    def debian(self, *packages: str) -> None:
        """Unpacks Debian packages that the system lacks below `home`; afterwards `with_debian` lets programs find them."""
        ready = self.home / "root" / "ready"
        if ready.exists() or all(self.has_package(name) for name in packages):
            return
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise NotAvailable("this is no Debian system; it needs " + " ".join(packages))
        self.say("fetching " + " ".join(packages))
        if subprocess.run(["apt-cache", "show", *packages], capture_output=True).returncode != 0 and os.geteuid() == 0:
            self.ran("apt-get", "-q", "update")
        # Nothing is installed, so no service is started, no user made, and nothing is left but this folder.
        plan = self.ran("apt-get", "-s", "install", "--no-install-recommends", *packages)
        archives = self.home / "archives"
        archives.mkdir(exist_ok=True)
        self.ran("apt-get", "-q", "download", *re.findall(r"^Inst (\S+)", plan, re.MULTILINE), cwd=archives)
        for archive in archives.glob("*.deb"):
            self.ran("dpkg-deb", "-x", archive, ready.parent)
        shutil.rmtree(archives)
        ready.touch()

    def with_debian(self) -> None:
        root = self.home / "root"
        if not root.exists():
            return  # The system has it.
        libraries = root / "usr/lib" / (sysconfig.get_config_var("MULTIARCH") or "")
        self.environment |= {"PATH": f"{root}/usr/bin:{root}/usr/sbin:{self.environment['PATH']}:/usr/sbin",
                             "PYTHONPATH": f"{root}/usr/lib/python3/dist-packages", "LD_LIBRARY_PATH": str(libraries)}

    @staticmethod
    def has_package(name: str) -> bool:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True)
        return done.stdout == "installed"

    def venv(self) -> pathlib.Path:
        """Makes a virtual environment of what its list in this folder pins; returns the folder of its programs."""
        return make_venv(self.home / "venv", self.name, self.say)


def make_venv(folder: pathlib.Path, name: str, say) -> pathlib.Path:
    """Installs all of NAME.txt, which pins every package, as it is written there."""
    ready, pins = folder / "ready", pathlib.Path(__file__).with_name(f"{name}.txt")
    if ready.exists() and ready.read_text() == pins.read_text():
        return folder / "bin"
    say(f"installing {pins.read_text().count('==')} packages")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (["/usr/bin/python3", "-m", "venv", folder],
                    [folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "-r", pins]):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise NotAvailable((done.stderr.strip() or done.stdout.strip() or "pip failed").splitlines()[-1][:150])
    ready.write_text(pins.read_text())
    return folder / "bin"
