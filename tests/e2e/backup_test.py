"""Backups of a busy daemon, their return on another path, and damage that is found: with the real programs."""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

import stack
from stack import StackTest, wait_for

LONG = bool(os.environ.get("CD4ML_LONG_TESTS"))

PIPELINE = """format: 1
pipeline: cars
params: {file: params.yaml}
materials: {listings: {data: listings.csv}}
environments: {production: {lock: true}}
stages:
  clean:
    inputs: {listings: listings}
    run: tail -n +2 "$CD4ML_IN_LISTINGS" > clean.csv
    outputs: {clean: {path: clean.csv, type: dataset}}
  train:
    kind: train
    inputs: {clean: clean.clean}
    params: [depth]
    run: |
      mkdir out
      cp clean.csv out/weights
      echo "$CD4ML_PARAM_DEPTH" > out/depth
      echo '{"mae": 1.5}' > metrics.json
    outputs: {model: {path: out, type: model}}
    metrics: [metrics.json]
  package:
    kind: package
    inputs: {model: train.model}
    run: cp -r "$CD4ML_IN_MODEL" pkg && cp server.py pkg/
    outputs: {service: {path: pkg, type: deployable}}
  release:
    kind: deploy
    environment: production
    deploy: package.service
    strategy: replace
    service: {run: /usr/bin/python3 server.py, ready: {http: /, within: 20s}}
"""

SERVER = """import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["CD4ML_PORT"])), Handler).serve_forever()
"""


def blob_file(state: pathlib.Path, digest: str) -> pathlib.Path:
    return state / "blobs" / "objects" / digest[:2] / digest[2:]


class BackupTest(StackTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        (self.stack.data / "listings.csv").write_text("price\n1\n2\n")
        self.commit = self.stack.commit({"params.yaml": "depth: 6\n", "server.py": SERVER, "cars.cd4ml.yaml": PIPELINE})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.backup = self.stack.dir / "backup"

    def run_cars(self, depth: int) -> None:
        self.stack.cli("run", "start", "cars", "--param", f"depth={depth}", "--watch")

    def offline(self, *arguments) -> tuple[int, str]:
        done = subprocess.run([stack.BIN / "cd4mld", *arguments], capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    def digests(self, state: pathlib.Path) -> list[str]:
        return sorted(p.parent.name + p.name for p in (state / "blobs" / "objects").glob("*/*"))

    def flip(self, file: pathlib.Path, bit: int) -> None:
        """Changes one bit as a disk would: times and mode stay."""
        facts = file.stat()
        file.chmod(0o644)
        content = bytearray(file.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        file.chmod(facts.st_mode & 0o777)


class Restore(BackupTest):
    def answers(self) -> dict:
        """What the daemon says of everything that it was asked, as text."""
        model = self.stack.query("SELECT digest FROM version WHERE kind = 'model' ORDER BY id")
        references = ["cars/1", "cars/2", "cars/production", "cars/1/release", "cars/2/train", self.commit[:12],
                      *[digest[:16] for (digest,) in model]]
        asked = [("run", "list"), ("deploy", "history"), ("deploy", "list"), ("run", "show", "cars/1"),
                 ("run", "show", "cars/2"), ("pipeline", "show", "cars"),
                 ("provenance", "export", "cars/production", "--upstream")]
        for reference in references:
            asked += [("lineage", reference, "--up"), ("lineage", reference, "--down")]
        answers = {}
        for question in asked:
            done = self.stack.run(*question, "-o", "json")
            answers[question] = (done.returncode, done.stdout, done.stderr)
        return answers

    def test_a_daemon_on_another_path_answers_every_question_of_the_original(self):
        self.run_cars(6)
        self.run_cars(7)
        original = self.answers()
        self.assertEqual({code for code, _, _ in original.values()}, {0})
        self.stack.cli("backup", "create", str(self.backup))
        self.stack.kill_agent()
        self.stack.kill_daemon()

        target = self.stack.dir / "elsewhere"
        code, text = self.offline("restore", self.backup, "--state", target)
        self.assertEqual(code, 0, text)
        shutil.copy(self.stack.dir / "daemon" / "signing.key", target / "signing.key")   # Kept apart, as the docs say.
        shutil.rmtree(self.stack.dir / "daemon")
        (self.stack.dir / "daemon").symlink_to(target)
        self.stack.start_daemon()

        restored = self.answers()
        for question, answer in original.items():
            # Endpoints are the same, too: the agent has not come back yet.
            self.assertEqual(restored[question], answer, question)
        # And it goes on: the next run, with the same agent.
        self.stack.start_agent()
        self.run_cars(8)
        self.assertEqual(self.stack.ask("run", "show", "cars/3").get("run", self.stack.ask("run", "show", "cars/3"))["state"],
                         "RUN_STATE_SUCCEEDED")

    def test_only_what_is_new_is_copied_and_no_key_is(self):
        self.run_cars(6)
        first = self.stack.ask("backup", "create", str(self.backup))
        files = {p: p.stat().st_ino for p in (self.backup / "blobs" / "objects").glob("*/*")}
        again = self.stack.ask("backup", "create", str(self.backup))
        self.run_cars(7)
        third = self.stack.ask("backup", "create", str(self.backup))

        self.assertEqual(int(first["blobs_copied"]), int(first["blobs"]))
        self.assertEqual(int(again["blobs_copied"]), 0)
        self.assertTrue(0 < int(third["blobs_copied"]) < int(third["blobs"]))
        for file, inode in files.items():
            self.assertEqual(file.stat().st_ino, inode)
        self.assertEqual(len(list((self.backup / "backups").iterdir())), 3)
        secret = (self.stack.dir / "daemon" / "signing.key").read_text().splitlines()[1].encode()
        for file in self.backup.rglob("*"):
            if file.is_file():
                self.assertNotIn(secret, file.read_bytes())
                self.assertNotIn(b"PRIVATE KEY", file.read_bytes())
        # An older one is still there under its name.
        target = self.stack.dir / "older"
        self.assertEqual(self.offline("restore", self.backup, "--backup", first["name"], "--state", target)[0], 0)
        self.assertEqual(self.runs(target), 1)

    def runs(self, state: pathlib.Path) -> int:
        out = subprocess.run(["/usr/bin/python3", "-c", "import sqlite3,sys; print(sqlite3.connect(sys.argv[1])"
                              ".execute('SELECT COUNT(*) FROM run').fetchone()[0])", state / "cd4ml.db"],
                             capture_output=True, text=True, check=True)
        return int(out.stdout)

    def test_backups_under_load_are_states_that_existed(self):
        self.stack.register("format: 1\npipeline: load\nstages:\n  a: {run: 'echo $CD4ML_RUN > a', outputs: {a: {path: a}}}\n"
                            "  b: {inputs: {a: a.a}, run: 'cat $CD4ML_IN_A > b', outputs: {b: {path: b}}}\n", "load.cd4ml.yaml")
        busy = subprocess.Popen(["bash", "-c", f"while true; do {stack.BIN}/cd4ml run start load -q; done"],
                                env={**os.environ, "CD4ML_SERVER": self.stack.server}, stdout=subprocess.DEVNULL)
        self.addCleanup(busy.wait)
        self.addCleanup(busy.terminate)
        counts = []
        for number in range(100 if LONG else 6):
            before = self.stack.query("SELECT COUNT(*) FROM run_event")[0][0]
            name = self.stack.ask("backup", "create", str(self.backup))["name"]
            after = self.stack.query("SELECT COUNT(*) FROM run_event")[0][0]
            target = self.stack.dir / f"restored-{number}"
            code, text = self.offline("restore", self.backup, "--backup", name, "--state", target)
            self.assertEqual(code, 0, text)
            code, text = self.offline("fsck", "--state", target)
            self.assertEqual(code, 0, text)
            events = int(text.split(" events")[0].split()[-1])
            self.assertTrue(before <= events <= after, (before, events, after))
            counts.append(events)
            shutil.rmtree(target)
        self.assertGreater(counts[-1], counts[0], "runs went on meanwhile")

    def test_nothing_is_ever_overwritten(self):
        self.run_cars(6)
        self.stack.cli("backup", "create", str(self.backup))
        before = sorted(str(p) for p in (self.stack.dir / "daemon").rglob("*"))
        self.assertEqual(self.offline("restore", self.backup, "--state", self.stack.dir / "daemon")[0], 1)
        self.assertEqual(sorted(str(p) for p in (self.stack.dir / "daemon").rglob("*")), before)
        file = self.stack.dir / "file"
        file.write_text("x")
        self.assertEqual(self.offline("restore", self.backup, "--state", file)[0], 1)
        self.assertEqual(file.read_text(), "x")
        self.assertIn("own folder", self.stack.cli("backup", "create", str(self.stack.dir / "daemon" / "b"), expect=2))
        self.assertIn("no backup", self.offline("restore", self.stack.data, "--state", self.stack.dir / "t")[1])

    def test_the_signature_tells_whose_it_is(self):
        self.run_cars(6)
        self.stack.cli("backup", "create", str(self.backup))
        key = self.stack.dir / "key.pub"
        self.stack.cli("provenance", "key", "--to", str(key))
        self.assertEqual(self.offline("verify", self.backup, "--key", key)[0], 0)
        manifest, = (self.backup / "backups").iterdir()
        envelope = json.loads(manifest.read_text())
        envelope["signatures"][0]["sig"] = "A" * 86 + "=="
        manifest.write_text(json.dumps(envelope))
        self.assertEqual(self.offline("verify", self.backup, "--key", key)[0], 3)
        self.assertEqual(self.offline("restore", self.backup, "--key", key, "--state", self.stack.dir / "t")[0], 3)
        self.assertFalse((self.stack.dir / "t").exists())


class Killed(BackupTest):
    def add_data(self, megabytes: int) -> None:
        (self.stack.data / "listings.csv").write_bytes(b"price\n" + os.urandom(megabytes << 20).hex().encode())

    def test_a_daemon_killed_during_a_backup_leaves_none_and_the_next_one_is_whole(self):
        self.add_data(4)
        self.run_cars(6)
        rng = random.Random(7)
        for _ in range(200 if LONG else 6):
            made = len(list((self.backup / "backups").glob("*"))) if self.backup.exists() else 0
            asking = subprocess.Popen([stack.BIN / "cd4ml", "backup", "create", self.backup, "-q"], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, env={**os.environ, "CD4ML_SERVER": self.stack.server})
            time.sleep(rng.random() * 0.3)
            self.stack.kill_daemon()
            asking.wait()
            for manifest in (self.backup / "backups").glob("*.json") if self.backup.exists() else []:
                code, text = self.offline("verify", self.backup, "--backup", manifest.stem)
                self.assertEqual(code, 0, text)
            self.assertLessEqual(len(list((self.backup / "backups").glob("*"))) if self.backup.exists() else 0, made + 1)
            self.stack.start_daemon()
        self.stack.cli("backup", "create", str(self.backup))
        code, text = self.offline("verify", self.backup)
        self.assertEqual(code, 0, text)
        self.assertEqual(list((self.backup / "blobs" / "tmp").iterdir()), [])

    def test_a_restore_killed_at_any_moment_leaves_no_folder_and_can_be_repeated(self):
        self.add_data(4)
        self.run_cars(6)
        self.run_cars(7)
        self.stack.cli("backup", "create", str(self.backup))
        rng = random.Random(8)
        killed = 0
        for number in range(200 if LONG else 12):
            target = self.stack.dir / f"t{number}"
            process = subprocess.Popen([stack.BIN / "cd4mld", "restore", self.backup, "--state", target],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.25)
            process.kill()
            if process.wait() == 0:
                self.assertTrue(target.exists())
            else:
                killed += 1
            if not target.exists():
                code, text = self.offline("restore", self.backup, "--state", target)
                self.assertEqual(code, 0, text)
            code, text = self.offline("fsck", "--state", target)
            self.assertEqual(code, 0, text)
            self.assertFalse((self.stack.dir / f"t{number}.restoring").exists())
            shutil.rmtree(target)
        self.assertGreater(killed, 3)


class Damage(BackupTest):
    def setUp(self):
        super().setUp()
        self.run_cars(6)
        self.run_cars(7)

    def test_every_damaged_blob_of_a_backup_is_found_and_none_is_restored(self):
        self.stack.cli("backup", "create", str(self.backup))
        rng = random.Random(9)
        for digest in self.digests(self.backup):
            file = blob_file(self.backup, digest)
            good = file.read_bytes()
            facts = file.stat()
            for damage in ("flip", "truncate", "empty", "remove", "swap"):
                file.chmod(0o644)
                if damage == "flip":
                    self.flip(file, rng.randrange(len(good) * 8))
                elif damage == "truncate":
                    file.write_bytes(good[:-1])
                elif damage == "empty":
                    file.write_bytes(b"")
                elif damage == "swap":
                    file.write_bytes(b"other bytes")
                else:
                    file.unlink()
                if damage != "remove":
                    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
                    file.chmod(0o444)
                target = self.stack.dir / "t"
                action = ("verify", self.backup) if damage in ("flip", "remove") else ("restore", self.backup, "--state", target)
                code, text = self.offline(*action)
                self.assertEqual(code, 3, (digest, damage, text))
                self.assertIn(digest, text)
                self.assertFalse(target.exists())
                shutil.rmtree(self.stack.dir / "t.restoring", ignore_errors=True)
                file.unlink(missing_ok=True)
                file.write_bytes(good)
                os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
                file.chmod(0o444)
        self.assertEqual(self.offline("verify", self.backup)[0], 0)

    def test_a_scrub_names_what_is_damaged_and_who_needs_it(self):
        self.assertEqual(self.stack.cli("server", "scrub").count("all as recorded"), 1)
        (digest,), = self.stack.query("SELECT digest FROM version WHERE kind = 'model' ORDER BY id DESC LIMIT 1")
        weights = hashlib.sha256(b"1\n2\n").hexdigest()
        self.flip(blob_file(self.stack.dir / "daemon", weights), 3)
        report = json.loads(self.stack.cli("server", "scrub", "-o", "json", expect=1))
        found = [item for item in report["damage"] if weights in item["what"]]
        self.assertTrue(found)
        users = {user for item in found for user in item["users"]}
        self.assertTrue({"run cars/1", "run cars/2"} <= users, users)
        self.assertTrue(any(user.startswith("deployment cars/2/release, live in production") for user in users), users)
        self.assertIn("damage", self.stack.cli("server"))
        self.assertIn(weights, self.stack.cli("backup", "create", str(self.backup), expect=1))
        # A backup of a damaged store is made, says so, and comes back with the same damage.
        self.assertEqual(self.offline("verify", self.backup)[0], 3)
        self.assertEqual(self.offline("restore", self.backup, "--state", self.stack.dir / "t")[0], 3)
        self.assertTrue((self.stack.dir / "t" / "cd4ml.db").exists())

    def test_every_row_that_changes_by_itself_is_found(self):
        self.stack.kill_daemon()
        state = self.stack.dir / "daemon"
        self.assertEqual(self.offline("fsck", "--state", state)[0], 0)
        import sqlite3
        original = self.stack.dir / "original.db"
        with contextlib.closing(sqlite3.connect(state / "cd4ml.db")) as database:
            with contextlib.closing(sqlite3.connect(original)) as copy:
                database.backup(copy)
        for name in ("cd4ml.db-wal", "cd4ml.db-shm"):
            (state / name).unlink(missing_ok=True)

        def fsck_after(*changes: str) -> tuple[int, str]:
            shutil.copy(original, state / "cd4ml.db")
            database = sqlite3.connect(state / "cd4ml.db", isolation_level=None)
            for trigger, in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                database.execute(f"DROP TRIGGER {trigger}")
            database.execute("PRAGMA ignore_check_constraints = ON")
            for change in changes:
                database.execute(change)
                self.assertEqual(database.execute("SELECT changes()").fetchone()[0], 1, change)
            database.close()
            return self.offline("fsck", "--state", state)

        self.assertEqual(fsck_after()[0], 0)
        for change in [
                "UPDATE run_event SET payload = replace(payload, 'depth', 'deptH') WHERE seq = 1 AND run = 1",
                "UPDATE run_event SET at_ms = at_ms + 1 WHERE seq = 3 AND run = 2",
                "UPDATE run_event SET kind = 'stage_ended' WHERE seq = 2 AND run = 1",
                "UPDATE run_event SET digest = '0' WHERE seq = 2 AND run = 1",
                "DELETE FROM run_event WHERE seq = 4 AND run = 1",
                "UPDATE run SET trigger_by = 'eve' WHERE id = 1",
                "UPDATE run SET commit_id = replace(commit_id, substr(commit_id, 1, 1), 'x') WHERE id = 2",
                "UPDATE stage_run SET message = 'x' WHERE id = 2",
                "UPDATE attempt SET agent = 'localhost' WHERE stage_run = 2 AND number = 1",
                "UPDATE attempt SET reuse_note = 'x' WHERE stage_run = 2 AND number = 1",
                "UPDATE metric SET value = 1.5000000000000002 WHERE stage_run = 2",
                "UPDATE version SET digest = replace(digest, 'a', 'b') WHERE kind = 'model' AND id = (SELECT MIN(id) FROM version WHERE kind = 'model')",
                "UPDATE version SET size = size + 1 WHERE kind = 'dataset'",
                "DELETE FROM lineage_edge WHERE stage_run = 2 AND role = 'produced'",
                "UPDATE deployment SET endpoint = 'http://evil' WHERE id = 1",
                "UPDATE stage_run SET run = 99 WHERE id = 3"]:
            code, text = fsck_after(change)
            self.assertEqual(code, 3, (change, text))
        # The rows of two runs that were put in each other's place.
        code, text = fsck_after("UPDATE deployment SET name = 'x' WHERE id = 1", "UPDATE deployment SET name = 'cars/1/release' WHERE id = 2")
        self.assertEqual(code, 3, text)
        shutil.copy(original, state / "cd4ml.db")
        self.stack.start_daemon()

    def test_flipped_bits_in_pages_of_the_database(self):
        """At random places: each is found, or nothing that the daemon says has changed."""
        self.stack.kill_daemon()
        state = self.stack.dir / "daemon"
        import sqlite3
        database = sqlite3.connect(state / "cd4ml.db")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        file = state / "cd4ml.db"
        good = file.read_bytes()
        rng = random.Random(10)

        def rows(path) -> object:
            try:
                connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
                connection.text_factory = bytes
                return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
                        for table in ("run", "run_event", "stage_run", "attempt", "metric", "lineage_edge", "version")]
            except sqlite3.Error as error:
                return str(error)

        expected = rows(file)
        found = silent = 0
        for _ in range(1000 if LONG else 60):
            bit = rng.randrange(len(good) * 8)
            content = bytearray(good)
            content[bit // 8] ^= 1 << bit % 8
            for name in ("cd4ml.db-wal", "cd4ml.db-shm"):
                (state / name).unlink(missing_ok=True)
            file.write_bytes(content)
            code, text = self.offline("fsck", "--state", state)
            self.assertNotIn("Segmentation", text)
            if code == 0:
                self.assertEqual(rows(file), expected, bit)
                silent += 1
            else:
                found += 1
        print(f"  {found} of {found + silent} flips found, the others are where nothing is kept")
        file.write_bytes(good)
        for name in ("cd4ml.db-wal", "cd4ml.db-shm"):
            (state / name).unlink(missing_ok=True)
        self.stack.start_daemon()


class FullDisk(BackupTest):
    def test_a_full_disk_fails_with_one_message_and_leaves_what_was_there(self):
        (self.stack.data / "listings.csv").write_bytes(b"price\n" + os.urandom(6 << 20).hex().encode())
        self.backup.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.backup], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("cannot mount a tmpfs here: " + mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", self.backup], check=True)
        self.run_cars(6)
        text = self.stack.cli("backup", "create", str(self.backup), expect=1)
        self.assertEqual(text.count("error:"), 1, text)
        self.assertIn("no space left", text)
        self.assertEqual(list((self.backup / "backups").iterdir()), [])
        self.assertEqual(list((self.backup / "blobs" / "tmp").iterdir()), [])
        self.assertEqual(self.stack.ask("server")["read_only"], "", "its own disk is not full")
        self.run_cars(7)

        other = self.stack.dir / "other"
        self.stack.cli("backup", "create", str(other))
        code, text = self.offline("restore", other, "--state", self.backup / "state")
        self.assertEqual(code, 1, text)
        self.assertFalse((self.backup / "state").exists())


if __name__ == "__main__":
    stack.main()
