"""Tells the demo's story with the real programs and checks every step of it."""
import argparse
import fcntl
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

PIPELINE = "used-car-price"
MARKER = ".cd4ml-demo"          # Only folders with this file in them are ever cleared.
PORT = 7420
DRIFT = 1.25                    # Enough to move the age of cars past the monitor's bound.
BOLD, DIM, RESET = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "", "")


class DemoError(Exception):
    """The story went wrong; the message says where."""


def say(text: str = "") -> None:
    print(text, flush=True)


class Demo:
    def __init__(self, root: pathlib.Path, programs: pathlib.Path, state: pathlib.Path, data: pathlib.Path | None):
        self.root, self.programs, self.state, self.data = root, programs, state, data
        self.repo, self.market, self.logs = state / "repo", state / "market", state / "logs"
        self.server, self.attached = "", False
        self.started = time.monotonic()

    # --- telling ---

    def step(self, number: int, title: str) -> None:
        say(f"\n{BOLD}[{number}/6] {title}{RESET}")

    def show(self, *arguments: str, expect: int = 0) -> None:
        """Runs a cd4ml command as a user would see it."""
        say(f"{DIM}$ cd4ml {shlex.join(arguments)}{RESET}")
        code = subprocess.run([self.programs / "cd4ml", *arguments], env=self.environment()).returncode
        if code != expect:
            raise DemoError(f"`cd4ml {shlex.join(arguments)}` ended with exit code {code}, not {expect}")

    def ask(self, *arguments: str):
        """Runs a cd4ml command and returns what it answers as JSON."""
        command = [self.programs / "cd4ml", *arguments, "-o", "json"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise DemoError(f"`cd4ml {shlex.join(arguments)}` failed: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def example(self, script: str, *arguments: object) -> str:
        """Runs a script of the example project and returns what it printed."""
        command = ["/usr/bin/python3", str(self.repo / "src" / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise DemoError(f"src/{script} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        return {**os.environ, "CD4ML_SERVER": self.server}

    # --- processes ---

    def start(self, name: str, *arguments: str) -> None:
        log = open(self.logs / f"{name}.out", "wb")
        process = subprocess.Popen([self.programs / name, *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        (self.state / f"{name}.pid").write_text(str(process.pid))
        return process

    def stop(self) -> None:
        """Ends everything that a demo in this state folder started: first the agent, so that nothing is started again."""
        for pid_file in [self.state / "cd4ml-agent.pid", self.state / "agent" / "keeper" / "keeper.lock",
                         self.state / "cd4mld.pid"]:
            end_process(pid_file, str(self.state))

    # --- the story ---

    def lock(self) -> None:
        """Keeps the state folder for this story alone; the lock goes with the process."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.held = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(f"another demo is being told in {self.state}; wait for it or choose another folder with --state") from error

    def prepare(self) -> None:
        if any(self.state.iterdir()) and not (self.state / MARKER).exists():
            raise DemoError(f"{self.state} is not empty and not of an earlier demo; choose another folder with --state")
        self.stop()
        for entry in self.state.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in (self.market, self.logs):
            folder.mkdir()
        (self.state / MARKER).write_text("This folder belongs to scripts/demo, which clears it.\n")

    def start_programs(self) -> None:
        self.step(1, "A daemon and one agent start")
        listen = f"127.0.0.1:{PORT}"
        if not port_is_free(PORT):
            say(f"port {PORT} is busy, so the daemon takes a free one")
            listen = "127.0.0.1:0"
        daemon = self.start("cd4mld", "--state", str(self.state / "daemon"), "--listen", listen, "--data-root",
                            str(self.market), "--log-file", str(self.logs / "cd4mld.log"))
        address = self.state / "daemon" / "address"
        wait_for("the daemon to listen", lambda: address.exists() and self.is_alive(daemon, "cd4mld"))
        self.server = address.read_text().strip()
        agent = self.start("cd4ml-agent", "--state", str(self.state / "agent"), "--server", self.server, "--name", "local",
                           "--log-file", str(self.logs / "cd4ml-agent.log"))
        wait_for("the agent to connect",
                 lambda: self.is_alive(agent, "cd4ml-agent") and "idle" in json.dumps(self.ask("agent", "list")))
        say(f"daemon    {self.server}   database {self.state / 'daemon' / 'cd4ml.db'}")
        say(f"logs      {self.logs}")
        self.show("agent", "list")

    def attach(self, server: str) -> None:
        """Takes a daemon and an agent that somebody else started and will end, in place of start_programs."""
        self.step(1, "A daemon and one agent are up")
        self.server, self.attached = server, True
        self.market.mkdir(parents=True, exist_ok=True)
        agents = [self.programs / "cd4ml", "agent", "list", "-o", "json"]
        wait_for("the agent to connect",
                 lambda: b"idle" in subprocess.run(agents, env=self.environment(), capture_output=True).stdout)
        self.show("agent", "list")

    def is_alive(self, process: subprocess.Popen, name: str) -> bool:
        if process.poll() is None:
            return True
        raise DemoError(f"{name} ended at once: {(self.logs / (name + '.out')).read_text().strip()}")

    def register(self) -> None:
        self.step(2, "A git repository with the example is registered")
        shutil.copytree(self.root / "examples" / PIPELINE, self.repo)
        git = ["git", "-C", str(self.repo), "-c", "user.name=Ana", "-c", "user.email=ana@marketplace.example",
               "-c", "init.defaultBranch=main"]
        for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "Estimate prices of used cars"]):
            subprocess.run([*git, *arguments], check=True)
        listings = self.market / "listings.csv"
        if self.data is not None:
            shutil.copy(self.data, listings)
            say(f"market    {self.data}")
        else:
            self.example("market.py", "generate", "--rows", 12000, "--seed", 1, "--out", listings)
            say("market    12,000 invented listings, dirty as real ones")
        self.show("pipeline", "add", str(self.repo), "--branch", "main")

    def first_run(self) -> None:
        self.step(3, "Run 1: through all seven stages into production")
        self.show("run", "start", PIPELINE, "--reason", "first model", "--watch")
        endpoint = self.live()["endpoint"]
        car = {"brand": "volkswagen", "model": "golf", "year": 2009, "mileage": 90000}
        answer = post(f"{endpoint}/v1/estimate", car)
        if not answer["price"] > 0:
            raise DemoError(f"the price service answered {answer}")
        say(f"\nThe price service is up at {endpoint}:")
        say(f"  {json.dumps(car)}")
        say(f"  -> {BOLD}{answer['price']:,.0f} EUR{RESET}  (request {answer['request_id']}, deployment {answer['deployment']})")

    def worse_run(self) -> None:
        self.step(4, "Run 2: a worse model is refused")
        before = self.live()["id"]
        self.show("run", "start", PIPELINE, "-p", "train.n_estimators=10", "--reason", "try fewer trees", "--watch", expect=11)
        reason = self.run_of(2)["message"]
        if self.live()["id"] != before:
            raise DemoError("a rejected model was deployed")
        say(f"\nNothing was deployed, {before} is still live. The reason in one line:\n  {reason}")

    def market_moves(self) -> None:
        self.step(5, "The market moves, and the monitor retrains by itself")
        endpoint, listings, moved = self.live()["endpoint"], self.market / "listings.csv", self.market / "moved.csv"
        say(self.example("traffic.py", "--url", endpoint, "--from", listings, "--count", 200))
        self.example("market.py", "shift", "--in", listings, "--drift", DRIFT, "--seed", 2, "--out", moved)
        moved.rename(listings)
        say(f"the market has moved by {DRIFT}; customers ask for other cars now")
        say(self.example("traffic.py", "--url", endpoint, "--from", listings, "--count", 1500))
        say("waiting for the monitor's next check ...")
        wait_for("the monitor to start run 3", lambda: len(self.runs()) >= 3, seconds=60)
        third = self.run_of(3)
        if "MONITOR" not in str(third["trigger"]).upper():
            raise DemoError(f"run 3 was not started by the monitor: {third['trigger']}")
        say(f"{BOLD}Monitor {third['trigger_by']}{RESET} started run 3: {third['trigger_reason']}\n")
        self.show("run", "watch", f"{PIPELINE}/3")
        if self.live()["run"] != f"{PIPELINE}/3":
            raise DemoError("run 3 passed but is not live")
        answer = post(f"{self.live()['endpoint']}/v1/estimate", {"brand": "volkswagen", "model": "golf", "year": 2009, "mileage": 90000})
        self.prediction = answer["request_id"]
        if answer["deployment"] != self.live()["id"]:
            raise DemoError(f"the service answers for {answer['deployment']}, not for {self.live()['id']}")

    def summary(self) -> None:
        self.step(6, "What happened")
        self.show("run", "list")
        self.show("deploy", "history", "production")
        wait_for("the prediction to be on record", self.prediction_is_known, seconds=30)
        say("\nFrom one prediction back to model, data, commit and parameters:")
        self.show("lineage", self.prediction, "--up")
        took = f"\nThe story took {time.monotonic() - self.started:.0f} s."
        if self.attached:
            say(took)
            return
        say(f"{took} Daemon, agent and price service go on running. Try next:")
        programs = os.path.relpath(self.programs)
        prefix = "" if self.server == f"127.0.0.1:{PORT}" else f"CD4ML_SERVER={self.server} "
        for command in (f"{programs}/cd4ml run show {PIPELINE}/2", f"{programs}/cd4ml monitor show {PIPELINE}/watch",
                        f"{programs}/cd4ml run start {PIPELINE} --watch"):
            say(f"  {prefix}{command}")
        say("and end it with:  scripts/demo --stop" + ("" if self.state == default_state() else f" --state {self.state}"))

    def prediction_is_known(self) -> bool:
        command = [self.programs / "cd4ml", "lineage", self.prediction, "-o", "json"]
        return subprocess.run(command, env=self.environment(), capture_output=True).returncode == 0

    def runs(self) -> list:
        return self.ask("run", "list", "--pipeline", PIPELINE)

    def run_of(self, number: int) -> dict:
        return next(run for run in self.runs() if run["id"] == f"{PIPELINE}/{number}")

    def live(self) -> dict:
        return next(d for d in self.ask("deploy", "list") if d["environment"] == "production")


def default_state() -> pathlib.Path:
    return pathlib.Path.home() / ".local" / "state" / "cd4ml" / "demo"


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(what: str, condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def end_process(pid_file: pathlib.Path, state: str) -> None:
    """Ends the process that a pid file names, if it is still one of this demo's."""
    try:
        pid = int(pid_file.read_text().split()[0])
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError, IndexError):
        return
    if state not in command:
        return
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
            wait_for(f"process {pid} to end", lambda: is_gone(pid), seconds=patience)
            return
        except ProcessLookupError:
            return
        except DemoError:
            continue


def is_gone(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)  # Ours are reaped here; those of an earlier demo have another parent.
    except ChildProcessError:
        pass
    return not pathlib.Path(f"/proc/{pid}").exists()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), required=True)
    parser.add_argument("--state", type=pathlib.Path, default=default_state())
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--attach", metavar="SERVER")
    parser.add_argument("--stop", action="store_true")
    flags = parser.parse_args()
    demo = Demo(flags.root, flags.bin, flags.state.absolute(), flags.data)
    if flags.stop:
        demo.stop()
        return 0
    # Both ends of a terminal that goes away are Ctrl-C to us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        demo.lock()
    except (DemoError, OSError) as error:
        say(f"demo: {error}")
        return 1
    try:
        if flags.attach:
            demo.attach(flags.attach)
        else:
            demo.prepare()
            demo.start_programs()
        demo.register()
        demo.first_run()
        demo.worse_run()
        demo.market_moves()
        demo.summary()
        return 0
    except KeyboardInterrupt:
        say("\ninterrupted; ending what the demo started")
        code = 130
    except (DemoError, OSError, subprocess.CalledProcessError) as error:
        say(f"\ndemo: {error}" + ("" if demo.attached else f"\nlogs are in {demo.logs}"))
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    demo.stop()
    return code


sys.exit(main())
