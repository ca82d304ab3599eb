"""Garbage collection, pins, tombstones and limits of a real daemon, also when it is killed meanwhile."""
import hashlib
import random
import subprocess
import time

import stack
from stack import StackTest, wait_for

# `make` writes a folder of small files and one of 3 MiB, different for each seed.
PIPELINE = """\
format: 1
pipeline: p
params: {schema: {seed: {type: int, default: 1}}}
stages:
  make:
    params: [seed]
    run: |
      mkdir out
      python3 -c '
      import random, os
      chance = random.Random(int(os.environ["CD4ML_PARAM_SEED"]))
      for i in range(FILES):
          open(f"out/{i}", "wb").write(chance.randbytes(2000))
      open("out/big", "wb").write(chance.randbytes(3 << 20))'
    outputs: {out: {path: out}}
  after:
    inputs: {out: make.out}
    run: test -e "$CD4ML_IN_OUT/big" && test -e FLAG
"""


class Storage(StackTest):
    def setUp(self):
        self.stack = stack.Stack()
        self.addCleanup(self.stack.close)
        self.flag = self.stack.dir / "flag"

    def start(self, *flags: str, files: int = 20) -> None:
        self.flags = ("--gc-grace", "0s", "--gc-every", "0s", *flags)
        self.stack.start_daemon(*self.flags)
        self.stack.start_agent()
        self.stack.register(PIPELINE.replace("FILES", str(files)).replace("FLAG", str(self.flag)))

    def run_seed(self, seed: int, expect: int = 10) -> str:
        """A run whose second stage fails, so that it can be retried; its output is not deployed."""
        return self.stack.cli("run", "start", "p", "--wait", "--param", f"seed={seed}", expect=expect)

    def blobs(self) -> set[str]:
        below = self.stack.dir / "daemon" / "blobs"
        return {path.parent.name + path.name for folder in ("objects", "recipes")
                for path in (below / folder).glob("*/*")}

    def output(self, run: str) -> str:
        """The digest of what `make` made in a run."""
        rows = self.stack.query("SELECT version.artifact FROM version JOIN lineage_edge ON lineage_edge.version = version.id "
                                "JOIN stage_run ON stage_run.id = lineage_edge.stage_run JOIN run ON run.id = stage_run.run "
                                "WHERE role = 'produced' AND stage_run.name = 'make' AND run.number = ?",
                                int(run.split("/")[1]))
        self.assertEqual(len(rows), 1)
        return rows[0][0]

    def stones(self) -> dict[str, str]:
        return dict(self.stack.query("SELECT digest, what FROM tombstone"))

    def test_what_is_pinned_stays_and_what_is_removed_is_named(self):
        self.start()
        for seed in (1, 2):
            self.run_seed(seed)
        kept, gone = self.output("p/1"), self.output("p/2")
        before = self.blobs()
        self.assertIn("p/1", self.stack.cli("pin", "p/1", "--reason", "audit"))
        self.assertIn("audit", self.stack.cli("pins"))

        # Without grace, what was written in this instant is still too young: the clocks of files are coarse.
        wait_for("22 blobs to be old enough",
                 lambda: int(self.stack.ask("gc", "--dry-run")["removed_blobs"]) >= 22)
        planned = self.stack.ask("gc", "--dry-run")
        self.assertEqual(self.blobs(), before)
        done = self.stack.ask("gc")

        self.assertEqual(done["removed_blobs"], planned["removed_blobs"])
        self.assertEqual(before - self.blobs(), set(self.stones()))
        self.assertIn(kept, self.blobs())
        self.assertIn(gone, self.stones())
        self.assertIn("file:p/make.out", self.stones()[gone])
        self.assertIn("file big of ", " ".join(self.stones().values()))
        # Nobody is told that it stays.
        said = self.stack.run("pin", "p/2", "--reason", "too late")
        self.assertNotEqual(said.returncode, 0)
        self.assertRegex(said.stderr, "p/2 cannot stay, [0-9]+ of its [0-9]+ artifacts are gone: .*p/make.out.* was removed on")
        self.assertNotIn("p/2", self.stack.cli("pins"))
        # The pinned run's result can be used, the other's is missed by name.
        self.flag.touch()
        self.stack.cli("run", "retry", "p/1", "--wait")
        said = self.stack.run("run", "retry", "p/2")
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("was removed on", said.stderr)
        self.assertIn("p/make.out", said.stderr)
        # Unpinned, it goes too, but not while a run needs it.
        self.stack.cli("unpin", "p/1")
        wait_for("it to go", lambda: self.stack.cli("gc") and kept not in self.blobs())
        # Made again, it is there again.
        self.run_seed(2, expect=0)
        self.assertIn(gone, self.blobs())

    def test_what_was_used_shortly_ago_stays(self):
        self.start()
        self.run_seed(1)
        self.stack.kill_daemon()
        self.flags = ("--gc-grace", "1h")
        self.stack.start_daemon(*self.flags)
        before = self.blobs()

        report = self.stack.ask("gc")

        self.assertEqual(report["removed_blobs"], "0")
        self.assertEqual(self.blobs(), before)

    def test_a_daemon_killed_while_it_collects_loses_nothing_without_a_tombstone(self):
        self.start("--fold-after", "0s", files=400)
        for seed in (1, 2, 3):
            self.run_seed(seed)
        kept = self.output("p/3")
        self.stack.cli("pin", "p/3", "--reason", "kept")
        before = self.blobs()
        chance = random.Random(1)
        for _ in range(6):
            asking = subprocess.Popen([stack.BIN / "cd4ml", "--server", self.stack.server, "gc"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.random() * 0.15)
            self.stack.kill_daemon()
            asking.wait()
            self.stack.start_daemon(*self.flags)
            self.assertLessEqual(before - self.blobs(), set(self.stones()))

        wait_for("the agent", lambda: self.stack.ask("agent", "list")[0]["state"] == "idle")
        self.stack.cli("gc")

        self.assertEqual(before - self.blobs(), set(self.stones()))
        # Files are named also where one collection began and another ended.
        self.assertEqual(self.stack.query("SELECT digest FROM tombstone WHERE what = '' AND size IN (2000, 3 << 20)"), [])
        self.assertIn(kept, self.blobs())
        self.assertGreater(len(self.stones()), 800)
        self.flag.touch()
        self.stack.cli("run", "retry", "p/3", "--wait")
        for name in (self.stack.dir / "daemon" / "blobs" / "objects").glob("*/*"):
            self.assertEqual(hashlib.sha256(name.read_bytes()).hexdigest(), name.parent.name + name.name)

    def test_the_hard_limit_refuses_with_what_to_do_and_is_shown(self):
        self.start("--blob-hard-limit", "4MiB")
        self.run_seed(1)

        said = self.stack.run("run", "start", "p", "--wait", "--param", "seed=2")

        self.assertNotEqual(said.returncode, 0)
        self.assertRegex(said.stdout + said.stderr, "could not be kept: cannot store files: the artifact store is full: .*cd4ml gc")
        self.assertIn("at most 4.0 MiB", self.stack.cli("server"))
        self.stack.cli("gc")
        self.run_seed(2)

    def test_beyond_the_soft_limit_it_warns_and_cleans_by_itself(self):
        self.start("--blob-soft-limit", "1MiB")
        self.run_seed(1)
        made = self.output("p/1")

        self.assertIn("beyond its soft limit", self.stack.cli("server"))
        wait_for("the daemon to clean", lambda: made in self.stones() and made not in self.blobs())

        self.assertEqual({by for by, in self.stack.query("SELECT by FROM tombstone")}, {"soft limit"})


if __name__ == "__main__":
    stack.main()
