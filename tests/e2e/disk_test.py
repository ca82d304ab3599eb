"""A disk that fills up and a disk that fails, under a real daemon."""
import pathlib
import resource
import subprocess
import time

import stack
from stack import StackTest, wait_for

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

    def test_is_no_reason_not_to_start(self):
        self.stack.cli("run", "start", "p")
        self.fill_until_read_only()
        self.stack.kill_daemon()

        self.stack.start_daemon()

        self.assertIn("is full", self.mode())
        self.filler.unlink()
        wait_for("the daemon to take work again", lambda: self.mode() == "")
        self.go.touch()
        self.stack.cli("run", "wait", "p/1")


class FailingDisk(StackTest):

    def test_ends_the_daemon_with_code_75_and_what_was_acknowledged_is_there(self):
        self.stack.start_agent()
        self.stack.register(PIPELINE.format(go=self.stack.dir / "never"))
        self.stack.kill_daemon()
        self.stack.start_daemon()
        database = pathlib.Path(self.stack.dir / "daemon" / "cd4ml.db")
        # Writing beyond this size fails with EFBIG, which SQLite reports as a failed write.
        size = max(file.stat().st_size for file in database.parent.glob("cd4ml.db*"))
        resource.prlimit(self.stack.daemon.pid, resource.RLIMIT_FSIZE, (size, size))
        acknowledged = []
        while self.stack.daemon.poll() is None and len(acknowledged) < 2000:
            done = self.stack.run("run", "start", "p", "--key", f"key-{len(acknowledged)}")
            if done.returncode != 0:
                break
            acknowledged.append(f"key-{len(acknowledged)}")

        self.assertEqual(self.stack.daemon.wait(timeout=stack.PATIENCE), 75)

        self.stack.start_daemon()
        runs = {run["id"] for run in self.stack.ask("run", "list", "--limit", "1000")}
        self.assertGreaterEqual(len(runs), len(acknowledged))
        self.assertLessEqual(len(runs), len(acknowledged) + 1)
        # Whoever did not hear asks again under the same key, and there is one run.
        self.stack.cli("run", "start", "p", "--key", f"key-{len(acknowledged)}")
        self.assertEqual(len(self.stack.ask("run", "list", "--limit", "1000")), len(acknowledged) + 1)


if __name__ == "__main__":
    stack.main()
