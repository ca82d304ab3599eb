"""What the README tells a new user to type must work, from an empty home folder."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import stack
from stack import wait_for


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Readme(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="cd4ml-readme-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.text = (stack.ROOT / "README.md").read_text()

    def test_it_is_at_most_150_lines(self):
        self.assertLessEqual(len(self.text.splitlines()), 150)

    def test_the_commands_of_your_own_pipeline_run(self):
        (block,) = re.findall(r"```sh\n(.*?)```", self.text, re.DOTALL)
        block = block.replace('"$PWD/build/release/bin:$PATH"', f'"{stack.BIN}:$PATH"')
        address = free_address()
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "CD4ML_LISTEN": address, "CD4ML_SERVER": address,
                       "GIT_AUTHOR_NAME": "Ana", "GIT_AUTHOR_EMAIL": "ana@example", "GIT_COMMITTER_NAME": "Ana",
                       "GIT_COMMITTER_EMAIL": "ana@example"}
        script = f"set -euo pipefail\ntrap 'kill $(jobs -p); wait' EXIT\n{block}"

        done = subprocess.run(["bash", "-c", script], cwd=self.home, env=environment, capture_output=True, text=True,
                              timeout=120)
        self.end_keeper()

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("hello/1 PASSED", done.stdout + done.stderr)
        self.assertIn("hello from hello/1", done.stdout)

    def end_keeper(self) -> None:
        for lock in self.home.glob(".local/state/cd4ml/*/keeper/keeper.lock"):
            pid = int(lock.read_text().split()[0])
            try:
                os.kill(pid, signal.SIGTERM)
                wait_for("the keeper to end", lambda: not pathlib.Path(f"/proc/{pid}").exists())
            except ProcessLookupError:
                pass


if __name__ == "__main__":
    stack.main()
