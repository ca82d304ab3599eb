"""The demo's story must be true: ports answered, rows in the database, processes in the table, not only text."""
import fcntl
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import stack

REAL = stack.ROOT.parent / "shared" / "data" / "used-cars" / "autos.csv"


class Story(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-story-"))
        self.state = self.dir / "state"
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.addCleanup(self.demo, "--stop")

    def demo(self, *flags: str) -> subprocess.CompletedProcess:
        command = ["/usr/bin/python3", "-B", stack.ROOT / "scripts/lib/demo.py", "--root", stack.ROOT, "--bin", stack.BIN,
                   "--state", self.state, *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    def processes(self) -> list[str]:
        found = []
        for cmdline in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                folder = str((cmdline.parent / "cwd").readlink())
            except OSError:
                continue
            if str(self.state) in command or folder.startswith(str(self.state)):
                found.append(command.strip())
        return found

    def check(self, *flags: str) -> None:
        told = self.demo(*flags)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        database = sqlite3.connect(f"file:{self.state}/daemon/cd4ml.db?mode=ro", uri=True)
        runs = database.execute("SELECT state FROM run ORDER BY number").fetchall()
        self.assertEqual([state for (state,) in runs], ["succeeded", "failed", "succeeded"])
        live = database.execute("SELECT name, endpoint FROM deployment WHERE ended_ms IS NULL").fetchall()
        self.assertEqual([name for name, _ in live], ["used-car-price/3/release"])
        self.assertGreater(database.execute("SELECT COUNT(*) FROM prediction").fetchone()[0], 1500)
        with urllib.request.urlopen(live[0][1] + "/healthz", timeout=5) as answer:
            self.assertEqual(answer.status, 200)
        running = " ".join(self.processes())
        for program in ("cd4mld", "cd4ml-agent", "cd4ml-keeper", "price-service"):
            self.assertIn(program, running)

        self.assertEqual(self.demo("--stop").returncode, 0)
        self.assertEqual(self.processes(), [])

    def test_on_an_invented_market(self):
        self.check()

    @unittest.skipUnless(REAL.is_file(), f"the real listings are not there: {REAL.name}")
    def test_on_the_real_listings(self):
        self.check("--data", str(REAL))

    def test_two_stories_in_one_folder_do_not_disturb_each_other(self):
        self.state.mkdir()
        held = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)

        told = self.demo()

        self.assertEqual(told.returncode, 1)
        self.assertIn("another demo", told.stdout)

    def test_a_folder_of_somebody_else_is_left_alone(self):
        self.state.mkdir()
        (self.state / "thesis.tex").write_text("years of work")

        told = self.demo()

        self.assertEqual(told.returncode, 1)
        self.assertIn("not empty", told.stdout)
        self.assertEqual((self.state / "thesis.tex").read_text(), "years of work")


if __name__ == "__main__":
    stack.main()
