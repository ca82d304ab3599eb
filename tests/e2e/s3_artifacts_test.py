"""Artifacts in S3: real runs over an S3 server that checks signatures, fails and comes back."""
import os
import pathlib
import subprocess
import sys

import stack
from stack import StackTest, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import data_server  # noqa: E402  pylint: disable=wrong-import-position

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
      open("out/small", "wb").write(chance.randbytes(2000))
      open("out/big", "wb").write(chance.randbytes(3 << 20))'
    outputs: {out: {path: out}}
  after:
    inputs: {out: make.out}
    run: test "$(stat -c %s "$CD4ML_IN_OUT/big")" = 3145728
"""


class S3Artifacts(StackTest):
    def setUp(self):
        self.server = data_server.DataServer()
        self.addCleanup(self.server.close)
        self.server.page = 1000
        credentials = {"AWS_ACCESS_KEY_ID": data_server.KEY, "AWS_SECRET_ACCESS_KEY": data_server.SECRET,
                       "AWS_REGION": data_server.REGION, "AWS_ENDPOINT_URL": self.server.url}
        os.environ.update(credentials)
        for name in credentials:
            self.addCleanup(os.environ.pop, name)
        self.stack = stack.Stack()
        self.addCleanup(self.stack.close)

    def start(self, *flags: str) -> None:
        self.flags = ("--artifacts", "s3://kept/art", "--gc-grace", "0s", "--gc-every", "0s", *flags)
        self.stack.start_daemon(*self.flags)
        self.stack.start_agent()
        self.stack.register(PIPELINE)

    def keys(self, folder: str) -> set[str]:
        return {key for bucket, key in self.server.objects if bucket == "kept" and key.startswith(f"art/{folder}")}

    def test_runs_collections_backups_and_restarts(self):
        self.start()
        self.stack.cli("run", "start", "p", "--wait")
        self.assertFalse((self.stack.dir / "daemon" / "blobs").exists())
        self.assertEqual(len(self.keys("recipes")), 1)
        chunks = self.keys("chunks")
        self.assertGreater(len(chunks), 10)
        # Another agent has nothing of its own and gets its input through the daemon.
        self.stack.kill_agent()
        self.stack.start_agent("second")
        self.stack.cli("run", "start", "p", "--wait", "--no-cache")
        self.assertEqual(self.keys("chunks"), chunks)

        self.stack.cli("pin", "p/1", "--reason", "audit")
        self.stack.cli("run", "start", "p", "--wait", "--param", "seed=2")
        self.server.modified = {place: 1 for place in self.server.modified}
        planned = self.stack.ask("gc", "--dry-run")
        self.assertGreater(int(planned["removed_blobs"]), 2)
        done = self.stack.ask("gc")
        self.assertEqual(done["removed_blobs"], planned["removed_blobs"])
        self.assertEqual(self.keys("chunks"), chunks)
        self.assertEqual(len(self.stack.query("SELECT digest FROM tombstone")), int(done["removed_blobs"]))

        backup = self.stack.dir / "backup"
        self.stack.cli("backup", "create", str(backup))
        self.assertTrue(list((backup / "blobs" / "objects").glob("*/*")))
        # A restart goes on, another state folder is refused.
        self.stack.kill_daemon()
        self.stack.start_daemon(*self.flags)
        self.stack.cli("run", "start", "p", "--wait", "--no-cache")
        self.stack.kill_daemon()
        # Nor may the folder get another place, be it that a flag was forgotten.
        for flags in ((), ("--artifacts", "s3://kept/other")):
            self.assertFalse(self.stack.launch_daemon(*flags))
            self.assertIn("daemon are in s3://kept/art: start with --artifacts s3://kept/art", (self.stack.dir / "cd4mld.out").read_text())
        checked = subprocess.run([stack.BIN / "cd4mld", "fsck", "--state", self.stack.dir / "daemon"], capture_output=True, text=True)
        self.assertIn("are in S3", checked.stderr)
        self.assertFalse((self.stack.dir / "daemon" / "blobs").exists())
        (self.stack.dir / "daemon" / "artifacts.owner").write_text("somebody else")
        self.assertFalse(self.stack.launch_daemon(*self.flags))
        self.assertIn("keeps the artifacts of another daemon", (self.stack.dir / "cd4mld.out").read_text())

    def test_a_server_that_is_away_for_a_while_is_waited_for_and_one_that_refuses_is_not(self):
        self.start()
        self.server.trouble = {"PUT art/chunks/": ["503", 60]}
        self.stack.cli("run", "start", "p", "--wait")
        self.assertEqual(self.server.trouble["PUT art/chunks/"][1], 0)

        self.server.trouble = {"PUT art/recipes/": ["403", 10 ** 6]}
        said = self.stack.cli("run", "start", "p", "--wait", "--param", "seed=3", expect=13)
        shown = said + self.stack.cli("run", "show", "p/2")
        self.assertIn("403, AccessDenied", shown)
        self.assertIn("check the credentials", shown)
        self.assertEqual(len(self.keys("recipes")), 1)

        self.server.trouble = {}
        self.stack.cli("run", "start", "p", "--wait", "--param", "seed=3")
        self.assertEqual(len(self.keys("recipes")), 2)

    def test_a_folder_with_artifacts_of_its_own_is_not_split(self):
        self.stack.start_daemon()
        self.stack.kill_daemon()
        self.assertFalse(self.stack.launch_daemon("--artifacts", "s3://kept/art"))
        self.assertIn("blobs: start without --artifacts", (self.stack.dir / "cd4mld.out").read_text())
        self.assertEqual(self.keys(""), set())

    def test_credentials_that_are_none_are_refused_at_the_start(self):
        file = self.stack.dir / "credentials"
        os.environ["AWS_ACCESS_KEY_ID"] = ""
        for text in ("[other]\naws_access_key_id = A\naws_secret_access_key = B\n", "[default]\naws_access_key_id = A\n"):
            file.write_text(text)
            self.assertFalse(self.stack.launch_daemon("--s3-credentials", str(file)))
            self.assertIn(f"the credentials of S3: {file} has no", (self.stack.dir / "cd4mld.out").read_text())

    def test_while_a_backup_is_open_nothing_is_collected(self):
        self.start()
        self.stack.cli("run", "start", "p", "--wait")
        self.stack.cli("run", "start", "p", "--wait", "--param", "seed=2")
        self.server.modified = {place: 1 for place in self.server.modified}
        before = self.keys("")
        backup = self.stack.dir / "backup"
        self.server.trouble = {"GET art/recipes/": ["silent", 1]}
        making = subprocess.Popen([stack.BIN / "cd4ml", "--server", self.stack.server, "backup", "create", str(backup)],
                                  stdout=subprocess.DEVNULL)
        self.addCleanup(making.kill)
        wait_for("the backup to be held up", lambda: self.server.trouble["GET art/recipes/"][1] == 0)

        for flags in ((), ("--dry-run",)):
            said = self.stack.run("gc", *flags)
            self.assertNotEqual(said.returncode, 0)
            self.assertIn("a garbage collection or a backup is under way", said.stderr)
        self.assertIsNone(making.poll())
        self.assertEqual(self.keys(""), before)

        self.server.silence.set()
        self.assertEqual(making.wait(), 0)
        checked = subprocess.run([stack.BIN / "cd4mld", "verify", backup], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertGreater(int(self.stack.ask("gc")["removed_blobs"]), 0)

    def test_a_daemon_says_why_it_cannot_open_its_artifacts(self):
        os.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
        self.assertFalse(self.stack.launch_daemon("--artifacts", "s3://kept/art"))
        said = (self.stack.dir / "cd4mld.out").read_text()
        self.assertIn("cannot open the artifact store: s3://kept/art/owner: the server answers 403", said)
        self.assertFalse(self.stack.launch_daemon("--artifacts", "nonsense"))


if __name__ == "__main__":
    stack.main()
