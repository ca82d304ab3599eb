"""A disk that fills up under a real daemon."""
import pathlib
import subprocess
import sys
import time

import stack
from stack import StackTest, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from data_server import DataServer  # noqa: E402  pylint: disable=wrong-import-position

PIPELINE = """\
format: 1
pipeline: p
stages:
  wait:
    run: until test -e {go}; do sleep 0.05; done; echo it went on
  after:
    needs: [wait]
    run: echo and ended
"""


FLOOD = """\
format: 1
pipeline: f
stages:
  flood:
    run: until test -e {go}; do sleep 0.05; done; {{ yes "a line of the flood" || true; }} | head -c {size}; sleep 1000
"""


class FullDisk(StackTest):
    """The daemon's folder is on a disk of 24 MiB."""

    def setUp(self):
        self.stack = stack.Stack()
        self.addCleanup(self.stack.close)
        self.disk = self.stack.dir / "daemon"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", self.disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("cannot mount a tmpfs here: " + mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        self.filler = self.disk / "filler"
        self.stack.start_daemon()
        self.stack.start_agent()
        self.go = self.stack.dir / "go"
        self.stack.register(PIPELINE.format(go=self.go))

    def test_a_flood_of_output_leaves_room_for_results_and_cancels(self):
        size = 8_000_000
        flood = self.stack.dir / "flood"
        self.stack.start_agent("second")
        self.stack.register(FLOOD.format(go=flood, size=size), "f.cd4ml.yaml")
        self.stack.cli("run", "start", "f")
        self.stack.cli("run", "start", "p")
        for run, stage in (("f/1", "flood"), ("p/1", "wait")):
            wait_for(f"{run} to run", lambda: self.stack.stage(run, stage)["state"].endswith("RUNNING"))
        self.fill_until_read_only()

        flood.touch()
        wait_for("the flood", lambda: any(log.stat().st_size >= size for log in self.stack.dir.glob("*/**/*log*")
                                          if log.is_file() and self.disk not in log.parents))
        wait_for("the daemon's share of it", lambda: any(log.stat().st_size >= 16 << 10 for log in (self.disk / "logs").rglob("*")
                                                         if log.is_file()))
        self.stack.cli("run", "cancel", "f/1", "--reason", "floods")
        self.go.touch()
        wait_for("the result to be recorded on the full disk", lambda: self.state("wait") == "succeeded")
        self.assertIn("is full", self.mode())

        self.filler.unlink()
        self.stack.cli("run", "wait", "f/1", expect=12)
        log = self.stack.run("run", "logs", "f/1", "flood").stdout
        self.assertEqual(log.count("a line of the flood"), size // 20)
        self.stack.cli("run", "wait", "p/1")

    def fill(self):
        with open(self.filler, "ab", buffering=0) as filler:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        filler.write(b"x" * size)
                except OSError:
                    pass

    def state(self, stage):
        return self.stack.stage("p/1", stage)["state"].rsplit("_", 1)[-1].lower()

    def mode(self):
        return self.stack.ask("server")["read_only"]

    def fill_until_read_only(self):
        """Starts runs until one of them finds the disk full."""
        for _ in range(2000):
            self.fill()
            done = self.stack.run("run", "start", "p")
            if done.returncode != 0:
                return done.stderr
        self.fail("the disk never was full")

    def test_refuses_new_work_records_results_and_goes_on_by_itself(self):
        self.stack.cli("run", "start", "p")
        wait_for("the stage to run", lambda: self.state("wait") == "running")

        refusal = self.fill_until_read_only()

        self.assertIn("is full", refusal)
        self.assertIn(str(self.disk), refusal)
        self.assertIn("is full", self.mode())
        self.assertIn("read-only", self.stack.cli("server"))
        self.go.touch()
        wait_for("the result to be recorded on the full disk",
                 lambda: self.state("wait") == "succeeded")
        self.assertIn("it went on", self.stack.cli("run", "logs", "p/1", "wait"))
        self.assertNotEqual(self.state("after"), "running")
        self.assertIn("is full", self.mode())

        self.filler.unlink()
        freed = time.monotonic()
        wait_for("the daemon to take work again", lambda: self.mode() == "")
        recovered = time.monotonic() - freed
        print(f"recovered {recovered:.1f} s after space returned")
        self.assertLess(recovered, 5)
        self.stack.cli("run", "wait", "p/1")
        self.stack.cli("run", "start", "p", "--wait")

    def test_data_from_elsewhere_that_does_not_fit_is_refused_and_leaves_nothing(self):
        server = DataServer()
        self.addCleanup(server.close)
        server.objects = {("web", "big"): bytes(32 << 20), ("web", "small"): b"1\n"}

        def use(name: str) -> None:
            self.stack.register("format: 1\npipeline: p\nmaterials: {d: {data: '%s/web/%s'}}\n"
                                "stages: {s: {inputs: {d: d}, run: 'test -s inputs/d'}}\n" % (server.url, name))

        def kept() -> set[str]:
            below = self.disk / "blobs"
            return {str(path) for folder in ("objects", "tmp", "partial") for path in (below / folder).rglob("*") if path.is_file()}

        use("big")
        before = kept()
        for _ in range(2):
            refused = self.stack.run("run", "start", "p")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(f"{server.url}/web/big", refused.stderr)
            self.assertIn("no space left on the device", refused.stderr)
            self.assertEqual(kept() - before, set())
        self.assertEqual(self.stack.query("SELECT COUNT(*) FROM run"), [(0,)])

        use("small")
        self.stack.cli("run", "start", "p", "--wait")


if __name__ == "__main__":
    stack.main()
