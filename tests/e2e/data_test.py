#!/usr/bin/python3
"""Data from everywhere: folders, URLs, S3, git, DVC. What is asked each time: is it the right version, and what is said when it is not?"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import stack
from stack import ROOT, StackTest

sys.path.insert(0, str(ROOT / "tests" / "support"))
from data_server import KEY, REGION, SECRET, DataServer  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures" / "dvc"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tree(files: dict[str, bytes]) -> str:
    """The version of a folder: see ports/blob_store.h."""
    return sha("".join(f"{sha(data)} {len(data)} - {name}\n" for name, data in sorted(files.items())).encode())


class DataTest(StackTest):
    def setUp(self):
        self.server = DataServer()
        self.addCleanup(self.server.close)
        self.stack = stack.Stack()
        self.addCleanup(self.stack.close)
        self.credentials = self.stack.dir / "credentials"
        self.credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
        self.start_daemon()

    def start_daemon(self) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        self.stack.start_daemon("--s3-endpoint", self.server.url, "--s3-region", REGION, "--s3-credentials",
                                str(self.credentials), "--remote-max", "1MiB")

    def use(self, *materials: str) -> None:
        lines = "\n".join(f"  m{i}: {material}" for i, material in enumerate(materials))
        self.stack.register(f"format: 1\npipeline: p\nmaterials:\n{lines}\nstages:\n  s: {{run: 'true'}}\n")

    def plan(self, *flags: str) -> dict:
        return self.stack.ask("plan", "p", *flags)

    def digest(self, material: str = "m0") -> str:
        return self.plan()["materials"][material]["digest"]

    def refused(self, *words: str) -> str:
        done = self.stack.run("plan", "p")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        text = done.stdout + done.stderr
        for word in ("material \"m0\"", *words):
            self.assertIn(word, text)
        self.assertEqual(text.count("error: "), 1, text)
        return text


class Local(DataTest):
    def test_a_pattern_with_stars_takes_files_of_all_folders(self):
        files = {"a.csv": b"a", "x/b.csv": b"bb", "x/y/c.csv": b"", "x/d.txt": b"d"}
        for name, data in files.items():
            (self.stack.data / "sales" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.stack.data / "sales" / name).write_bytes(data)
        self.use("{data: sales, pattern: '**/*.csv'}", "{data: sales, pattern: '*.csv'}", "{data: sales}", "{data: sales/a.csv}")
        versions = {name: m["digest"] for name, m in self.plan()["materials"].items()}
        csv = {name: data for name, data in files.items() if name.endswith(".csv")}
        self.assertEqual(versions, {"m0": tree(csv), "m1": tree({"a.csv": b"a"}), "m2": tree(files), "m3": sha(b"a")})
        self.assertIn("in 3 files from sales [**/*.csv]", self.stack.cli("plan", "p"))

    def test_a_change_that_keeps_size_and_time_is_seen(self):
        file = self.stack.data / "a.csv"
        file.write_bytes(b"one")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        self.use("{data: a.csv}")
        self.assertEqual(self.digest(), sha(b"one"))
        file.write_bytes(b"two")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        self.assertEqual(self.digest(), sha(b"two"))

    def test_a_loop_of_links_is_named(self):
        folder = self.stack.data / "loop"
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "file").write_text("x")
        (folder / "a" / "back").symlink_to("..")
        self.use("{data: loop}")
        self.refused("symbolic link", "a/back")

    def test_a_link_that_leads_to_itself_is_named(self):
        (self.stack.data / "self").symlink_to("self")
        self.use("{data: self}")
        self.refused("self", "symbolic links")

    def test_a_pipe_is_refused(self):
        (self.stack.data / "d").mkdir()
        os.mkfifo(self.stack.data / "d" / "pipe")
        self.use("{data: d}")
        self.refused("pipe")

    def test_the_daemons_own_folder_and_the_machine_are_no_data(self):
        (self.stack.data / "link").symlink_to(self.stack.dir / "daemon")
        for material in (f"{self.stack.dir}/daemon/cd4ml.db", "link", "/proc/self/environ"):
            with self.subTest(material):
                self.use(f"{{data: {material}}}")
                self.refused("is no data")
                self.stack.cli("run", "start", "p", expect=5)

    def test_a_pattern_in_place_of_a_name_and_an_expression_in_place_of_a_ref_are_said(self):
        self.use("{data: 'w/*.csv'}")
        self.refused("{data: \"w\", pattern: \"*.csv\"}")
        for ref in ("main~99", "nothing"):
            self.assertIn(ref, self.stack.cli("plan", "p", "--ref", ref, expect=4))


class Web(DataTest):
    def test_an_unchanged_file_is_not_read_again(self):
        self.server.objects["web", "target.csv"] = b"x,y\n1,2\n"
        self.use(f"{{data: '{self.server.url}/web/target.csv'}}")
        self.assertEqual(self.digest(), sha(b"x,y\n1,2\n"))
        self.server.faults["target.csv"] = "cut"     # Which nobody notices who is told "304".
        del self.server.faults["target.csv"]
        self.assertEqual(self.digest(), sha(b"x,y\n1,2\n"))
        self.server.objects["web", "target.csv"] = b"x,y\n1,3\n"
        self.assertEqual(self.digest(), sha(b"x,y\n1,3\n"))
        self.assertIn(f"from {self.server.url}/web/target.csv", self.stack.cli("plan", "p"))

    def test_redirects_are_followed_but_not_for_ever(self):
        self.server.objects["web", "target.csv"] = b"t"
        self.use(f"{{data: '{self.server.url}/web/redirect/4'}}")
        self.assertEqual(self.digest(), sha(b"t"))
        self.use(f"{{data: '{self.server.url}/web/redirect/9'}}")
        self.refused("redirected more than 5 times")

    def test_every_failure_is_one_clear_message_and_leaves_nothing(self):
        self.server.objects["web", "a"] = b"a" * 10_000
        self.use(f"{{data: '{self.server.url}/web/a'}}")
        for fault, words in {"cut": ("stopped after 4.9 KiB", "start the run again"), "endless": ("whether all of it came",),
                             "busy": ("503", "SlowDown")}.items():
            with self.subTest(fault):
                self.server.faults["a"] = fault
                self.refused(self.server.url, *words)
                self.assertEqual(list((self.stack.dir / "daemon/blobs/tmp").iterdir()), [])
        del self.server.faults["a"]
        self.assertEqual(self.digest(), sha(b"a" * 10_000))

    def test_what_is_missing_too_large_or_nowhere_is_said(self):
        self.use(f"{{data: '{self.server.url}/web/none'}}")
        self.refused("404")
        self.server.objects["web", "big"] = b"b" * (1 << 20) + b"b"
        self.use(f"{{data: '{self.server.url}/web/big'}}")
        self.refused("more than 1.0 MiB")
        self.use("{data: 'http://127.0.0.1:9/x'}")
        self.refused("http://127.0.0.1:9/x")
        text = self.stack.cli("run", "start", "p", expect=1)
        self.assertTrue(text.startswith("error: material \"m0\": http://127.0.0.1:9/x"), text)
        self.assertNotIn("daemon answers", text)
        self.use(f"{{data: '{self.server.url}/web/big?token=very-secret'}}")
        self.assertNotIn("very-secret", self.refused("`token`"))

    def test_a_first_answer_that_nothing_has_changed_is_refused(self):
        self.server.objects["web", "a"] = b"a"
        self.server.faults["a"] = "unchanged"
        self.use(f"{{data: '{self.server.url}/web/a'}}")
        self.refused("304")
        self.stack.cli("run", "start", "p", expect=6)
        self.assertEqual(self.stack.query("SELECT count(*) FROM run"), [(0,)])


class S3(DataTest):
    def put(self, **objects: bytes) -> None:
        for key, data in objects.items():
            self.server.objects["lake", f"cars/{key}"] = data

    def test_a_prefix_is_a_folder_read_page_by_page_and_only_once(self):
        files = {f"day {i}+ü.csv": b"%d" % i for i in range(8)} | {"sub/x.txt": b"x"}
        for name, data in files.items():
            self.server.objects["lake", "cars/" + name] = data
        self.server.objects["lake", "cars2/other"] = b"o"
        self.use("{data: 's3://lake/cars'}", "{data: 's3://lake/cars', pattern: '*.csv'}", "{data: 's3://lake/cars/sub/x.txt'}")
        versions = {name: m["digest"] for name, m in self.plan()["materials"].items()}
        csv = {name: data for name, data in files.items() if name.endswith(".csv")}
        self.assertEqual(versions, {"m0": tree(files), "m1": tree(csv), "m2": sha(b"x")})
        self.server.took()
        self.digest()
        self.assertFalse([r for r in self.server.took() if "list-type" not in r])
        self.server.objects["lake", "cars/day 3+ü.csv"] = b"new"
        files["day 3+ü.csv"] = b"new"
        self.assertEqual(self.digest(), tree(files))
        self.assertEqual(len([r for r in self.server.took() if "list-type" not in r]), 2)   # Once for each material.

    def test_a_wrong_secret_is_said_and_not_shown(self):
        self.put(a=b"a")
        self.use("{data: 's3://lake/cars'}")
        self.stack.kill_daemon()
        self.credentials.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = wrong-one\n")
        self.start_daemon()
        text = self.refused("403", "SignatureDoesNotMatch", "credentials")
        self.assertNotIn("wrong-one", text)

    def test_a_server_that_stops_in_the_middle_costs_only_that_object(self):
        self.put(**{f"k{i}": b"%d" % i * 1_000 for i in range(5)})
        self.use("{data: 's3://lake/cars'}")
        self.server.faults["cars/k3"] = "cut"
        self.refused("s3://lake/cars/k3", "stopped after")
        self.server.took()
        del self.server.faults["cars/k3"]
        self.assertEqual(self.digest(), tree({f"k{i}": b"%d" % i * 1_000 for i in range(5)}))
        reads = [r for r in self.server.took() if "list-type" not in r]
        self.assertEqual(reads, ["/lake/cars/k3", "/lake/cars/k4"])

    def test_an_object_that_changes_between_listing_and_reading_is_refused(self):
        self.put(a=b"a")
        self.server.faults["cars/a"] = "other"
        self.use("{data: 's3://lake/cars'}")
        self.refused("s3://lake/cars/a changed while it was read", 'it came with etag "changed" and 2 B')

    def test_keys_that_no_folder_can_hold_are_refused(self):
        self.put(**{"a": b"1", "a/b": b"2"})
        self.use("{data: 's3://lake/cars'}")
        self.refused("cannot be files of a folder", '"a" is a file and also the folder of "a/b"')
        self.put(**{"part/": b"1", "x": b"2"})
        self.refused('"part/" is no')
        self.server.objects = {("lake", "cars/../../x"): b"evil"}
        self.refused("cannot be files of a folder")

    def test_nothing_there_and_too_much_are_said(self):
        self.use("{data: 's3://lake/none'}")
        self.refused("no object in s3://lake/none")
        self.put(a=b"a" * 600_000, b=b"b" * 600_000)
        self.use("{data: 's3://lake/cars'}")
        self.refused("1.1 MiB", "--remote-max")


class Git(DataTest):
    def test_a_path_of_a_repository_at_a_revision_is_data(self):
        other = self.stack.dir / "other"
        subprocess.run(["git", "init", "-q", "-b", "main", other], check=True)
        for text, tag in (("one", "v1"), ("two", "v2")):
            (other / "labels").mkdir(exist_ok=True)
            (other / "labels" / "a.txt").write_text(text)
            for command in (["add", "-A"], ["commit", "-q", "-m", tag], ["tag", tag]):
                subprocess.run(["git", "-C", other, "-c", "user.name=A", "-c", "user.email=a@b", *command], check=True)
        self.stack.commit({"own/b.txt": "own"})
        self.use(f"{{git: {other}, path: labels, ref: v1}}", f"{{git: {other}, path: labels/a.txt}}", "{git: ., path: own/b.txt}")
        versions = {name: m["digest"] for name, m in self.plan()["materials"].items()}
        self.assertEqual(versions, {"m0": tree({"a.txt": b"one"}), "m1": sha(b"two"), "m2": sha(b"own")})
        self.use(f"{{git: {other}, path: labels, ref: v3}}")
        self.refused("v3")
        self.use(f"{{git: {other}, path: nothing}}")
        self.refused("has no nothing")

    def test_what_stands_in_git_for_other_bytes_is_no_data(self):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
        self.stack.commit({"d/lfs.bin": pointer, "d/plain": "x", "e/plain": "x"})
        (self.stack.repo / "link").symlink_to("d/plain")
        self.stack.git("add", "link")
        commit = self.stack.git("rev-parse", "HEAD")
        self.stack.git("update-index", "--add", "--cacheinfo", f"160000,{commit},e/sub")
        self.stack.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "submodule")
        commit = self.stack.git("rev-parse", "HEAD")
        for path, name, words in (("d/lfs.bin", "d/lfs.bin", "pointer of Git LFS"), ("d", "d/lfs.bin", "pointer of Git LFS"),
                                  ("e/sub", "e/sub", "is a submodule"), ("e", "e/sub", "is a submodule"), ("link", "link", "symbolic link; give")):
            with self.subTest(path):
                self.use(f"{{git: {self.stack.repo}, path: {path}, ref: {commit}}}")
                self.refused(f"\"{name}\" is a ", words)
        self.use(f"{{git: {self.stack.repo}, path: d/plain}}")
        self.assertEqual(self.digest(), sha(b"x"))


class Dvc(DataTest):
    def fixture(self, name: str) -> pathlib.Path:
        """Copies a repository that the real dvc made, with its remote, and commits it."""
        shutil.rmtree(self.stack.repo)
        shutil.copytree(FIXTURES / name / "repo", self.stack.repo)
        shutil.copytree(FIXTURES / name / "remote", self.stack.dir / "remote", dirs_exist_ok=True)
        self.stack.git("init", "-q", "-b", "main")
        return self.stack.dir / "remote"

    def expect(self, name: str) -> dict[str, str]:
        """What the pointers of the fixtures stand for."""
        raw = (FIXTURES / "project/data/raw.csv").read_bytes()
        if name == "v2":
            raw = raw
        images = {str(p.relative_to(FIXTURES / "project/data/images")): p.read_bytes()
                  for p in (FIXTURES / "project/data/images").rglob("*") if p.is_file()}
        return {"m0": sha(raw), "m1": tree(images), "m2": sha(b"cheap\ndear\n")}

    MATERIALS = ("{dvc: data/raw.csv.dvc}", "{dvc: data/images.dvc}", "{dvc: dvc.lock, out: labels.txt}")

    def test_pointers_of_both_generations_give_the_bytes_that_dvc_hashed(self):
        for name in ("v3", "v2"):
            with self.subTest(name):
                self.fixture(name)
                self.use(*self.MATERIALS)
                versions = {m: v["digest"] for m, v in self.plan()["materials"].items()}
                self.assertEqual(versions, self.expect(name))
        self.assertIn("from dvc dvc.lock:labels.txt", self.stack.cli("plan", "p"))

    def test_a_remote_may_be_a_bucket(self):
        remote = self.fixture("v3")
        config = self.stack.repo / ".dvc" / "config"
        config.write_text(f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://dvc/store\n    endpointurl = {self.server.url}\n"
                          f"    region = {REGION}\n")
        for file in remote.rglob("*"):
            if file.is_file():
                self.server.objects["dvc", "store/" + str(file.relative_to(remote))] = file.read_bytes()
        self.use(*self.MATERIALS)
        versions = {m: v["digest"] for m, v in self.plan()["materials"].items()}
        self.assertEqual(versions, self.expect("v3"))
        self.server.took()
        self.plan()
        self.assertEqual([r for r in self.server.took() if not r.endswith(".dir")], [])

    def test_bytes_that_are_not_those_that_dvc_hashed_are_refused(self):
        remote = self.fixture("v3")
        pointer = (self.stack.repo / "data/raw.csv.dvc").read_text()
        md5 = pointer.split("md5: ")[1].split()[0]
        damaged = remote / "files/md5" / md5[:2] / md5[2:]
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        self.use("{dvc: data/raw.csv.dvc}")
        self.refused(md5, "dvc push")
        damaged.unlink()
        self.refused(md5, "is not in", "run `dvc push`")

    def put(self, data: bytes, name: str = "") -> str:
        """Puts an object into the cache of the repository; returns its MD5."""
        md5 = hashlib.md5(data).hexdigest()
        file = self.stack.repo / ".dvc/cache/files/md5" / md5[:2] / (md5[2:] + name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return md5

    def test_paths_of_a_lock_are_those_of_the_folders_of_its_stages(self):
        outs = "outs: [{{path: o, hash: md5, md5: {}}}]"
        lock = "schema: '2.0'\nstages:\n" + "".join(
            f"  {stage}: {{params: {{params.yaml: {{mode: on}}}}, {outs.format(self.put(data))}}}\n"
            for stage, data in (("a", b"from a"), ("gone", b"gone"), ("top", b"from top")))
        self.stack.commit({".dvc/config": "[core]\n", "dvc.lock": lock,
                           "dvc.yaml": "stages: {a: {wdir: a, cmd: x, outs: [o], desc: no}, top: {cmd: x, outs: [o]}}\n"})
        self.use("{dvc: dvc.lock, out: o}", "{dvc: dvc.lock, out: a/o}")
        versions = {m: v["digest"] for m, v in self.plan()["materials"].items()}
        self.assertEqual(versions, {"m0": sha(b"from top"), "m1": sha(b"from a")})

    def test_names_that_nobody_can_keep_are_named(self):
        md5 = self.put(json.dumps([{"md5": self.put(b"x"), "relpath": "two\nlines"}]).encode(), ".dir")
        self.stack.commit({".dvc/config": "[core]\n", "d.dvc": f"outs: [{{path: d, hash: md5, md5: {md5}.dir}}]\n"})
        self.use("{dvc: d.dvc}")
        self.refused("two", "lines", "line breaks")
        self.stack.commit({"d.dvc": f"outs: [{{path: d, hash: md5, md5: {self.put(b'[]', '.dir')}.dir}}]\n"})
        self.refused("d is a folder without files")

    def test_a_folder_may_bring_no_more_than_one_material_may(self):
        remote = self.fixture("v3")
        files = [{"md5": hashlib.md5(data).hexdigest(), "relpath": f"f{i}"} for i, data in enumerate(bytes([i]) * 500_000 for i in range(3))]
        listing = json.dumps(files).encode()
        md5 = hashlib.md5(listing).hexdigest()
        objects = {md5 + ".dir": listing} | {file["md5"]: bytes([i]) * 500_000 for i, file in enumerate(files)}
        for name, data in objects.items():
            self.server.objects["dvc", f"store/files/md5/{name[:2]}/{name[2:]}"] = data
        self.stack.commit({".dvc/config": f"[core]\n    remote = s\n['remote \"s\"']\n    url = s3://dvc/store\n"
                                          f"    endpointurl = {self.server.url}\n    region = {REGION}\n",
                           "big.dvc": f"outs: [{{path: big, hash: md5, md5: {md5}.dir}}]\n"})
        self.assertTrue(remote.exists())
        self.use("{dvc: big.dvc}")
        self.refused("of the 1.0 MiB that cd4mld --remote-max allows")

    def test_what_cannot_be_read_says_what_to_do(self):
        self.fixture("v3")
        self.use("{dvc: dvc.lock, out: label.txt}")
        self.refused("did you mean \"labels.txt\"")
        self.use("{dvc: data/none.dvc}")
        self.refused("data/none.dvc")
        (self.stack.repo / ".dvc/config").write_text("[core]\n    remote = g\n['remote \"g\"']\n    url = gs://bucket\n")
        self.use("{dvc: data/raw.csv.dvc}")
        self.refused("gs://", "cannot be read")


class ImportDvc(DataTest):
    def imported(self, folder: pathlib.Path, code: int = 0) -> str:
        return self.stack.cli("import", "dvc", str(folder), "--name", "p", expect=code)

    def test_its_scripts_run_unchanged_and_measure_what_dvc_measured(self):
        self.stack.start_agent()
        for name in ("v3", "v2"):
            with self.subTest(name):
                Dvc.fixture(self, name)
                done = self.stack.run("import", "dvc", str(self.stack.repo), "--name", "p")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("stage `labels` is frozen", done.stderr)
                self.stack.register(done.stdout)
                self.stack.cli("run", "start", "p", "--wait")
                run = self.stack.ask("run", "show", "p/latest")
                outcome = next(s for s in run["stages"] if s["plan"]["name"] == "evaluate")["attempts"][-1]["outcome"]
                wanted = json.loads((FIXTURES / name / "metrics.json").read_text())
                flat = {f"{k}.{n}" if isinstance(v, dict) else k: m for k, v in wanted.items()
                        for n, m in (v.items() if isinstance(v, dict) else [(k, v)])}
                self.assertEqual(outcome["metrics"], flat)

    def test_an_override_reaches_the_command(self):
        self.stack.start_agent()
        Dvc.fixture(self, "v3")
        self.stack.register(self.stack.run("import", "dvc", str(self.stack.repo), "--name", "p").stdout)
        self.stack.cli("run", "start", "p", "-p", "train.alpha=5000", "--wait")
        run = self.stack.ask("run", "show", "p/latest")
        outcome = next(s for s in run["stages"] if s["plan"]["name"] == "evaluate")["attempts"][-1]["outcome"]
        wanted = json.loads((FIXTURES / "v3" / "metrics.json").read_text())
        self.assertNotEqual(outcome["metrics"]["line.mae"], wanted["line"]["mae"])
        self.assertEqual(outcome["metrics"]["mean.mae"], wanted["mean"]["mae"])

    def test_commands_mean_what_they_mean_to_dvc(self):
        self.stack.start_agent()
        md5 = Dvc.put(self, b"raw")
        self.stack.commit({".dvc/config": "[core]\n", "data/raw.csv.dvc": f"outs: [{{path: raw.csv, hash: md5, md5: {md5}}}]\n",
                           "params.yaml": "train: {lr: 0.5, name: it's}\n", "sub/x": "", "dvc.yaml": """
stages:
  quotes:
    cmd: python3 -c 'open("o", "w").write("${train.lr} ${train.name}\\n")'
    outs: [o]
  each:
    wdir: sub
    cmd: ["cd /tmp; exit 0", "basename \\"$PWD\\" > p", "cat > t <<X\\none\\n\\ntwo\\nX"]
    outs: [p, t]
  folder: {cmd: ls data > n, deps: [data], outs: [n]}
"""})
        self.stack.register(self.imported(self.stack.repo))
        self.stack.cli("run", "start", "p", "--wait")
        outputs = {f"{s['plan']['name']}.{o['name']}": o["artifact"]["digest"] for s in self.stack.ask("run", "show", "p/latest")["stages"]
                   for o in s["attempts"][-1]["outcome"]["outputs"]}
        self.assertEqual(outputs, {"quotes.o": sha(b"0.5 it's\n"), "each.p": sha(b"sub\n"), "each.t": sha(b"one\n\ntwo\n"),
                                   "folder.n": sha(b"raw.csv\nraw.csv.dvc\n")})

    def test_what_has_no_equal_is_refused_key_by_key(self):
        (self.stack.repo / "dvc.yaml").write_text("""
stages:
  a:
    cmd: ["first ${x.y}", second]
    deps: [s3://bucket/x, /etc/passwd]
    outs:
      - model: {persist: true}
      - ../out
    metrics: [m.yaml]
    live: dvclive
  b: {cmd: "echo ${nothing}"}
datasets: [x]
vars: [{x: {y: [1]}}]
""")
        text = self.imported(self.stack.repo, code=3)
        for words in ("`persist`", "s3://bucket/x", "/etc/passwd", "../out", "m.yaml", "`live` of stage `a`", "${nothing} is not known",
                      "`datasets`", "${x.y} is a list"):
            self.assertIn(words, text)

    def test_matrix_and_foreach_become_a_stage_each(self):
        (self.stack.repo / "dvc.yaml").write_text("""
vars: [{sizes: [1, 2], regions: {us: {n: 3}, eu: {n: 4}}}]
stages:
  m:
    matrix: {model: [a, b], size: "${sizes}"}
    cmd: echo ${item.model} ${item.size} \\${HOME}
    outs: ["m-${item.model}-${item.size}.txt"]
  f:
    foreach: ${regions}
    do: {cmd: "echo ${key} ${item.n}", desc: by region}
""")
        text = self.imported(self.stack.repo)
        for words in ("  m-a-1:", "  m-b-2:", "echo b 2 ${HOME}", "path: \"m-b-2.txt\"", "  f-eu:", "echo eu 4", "# by region"):
            self.assertIn(words, text)


UP = """format: 1
pipeline: {name}
materials:
  sales: {{data: sales.csv}}
stages:
  publish: {{run: "cat $CD4ML_IN_SALES src.txt > out.txt; echo {name} >> out.txt", inputs: {{sales: sales}}, outputs: {{table: {{path: out.txt}}}}}}
"""
DOWN = """format: 1
pipeline: down
materials:
  a: {pipeline: up-a, stage: publish, consistent: true}
  b: {pipeline: up-b, stage: publish, output: table, consistent: true}
  sales: {data: sales.csv}
environments:
  careful: {mixed: refuse}
  easy: {}
stages:
  join: {run: "cat $CD4ML_IN_A $CD4ML_IN_B $CD4ML_IN_SALES src.txt > joined; tar cf p.tar joined", inputs: {a: a, b: b, sales: sales}, outputs: {joined: {path: joined}, p: {path: p.tar, type: deployable}}}
  to-easy: {kind: deploy, environment: easy, deploy: join.p, apply: "true"}
  to-careful: {kind: deploy, environment: careful, deploy: join.p, apply: "true"}
"""


class FanIn(DataTest):
    def setUp(self):
        super().setUp()
        self.stack.start_agent()
        self.write("one")
        self.stack.commit({"a.cd4ml.yaml": UP.format(name="up-a"), "b.cd4ml.yaml": UP.format(name="up-b"), "src.txt": "one\n",
                           "c.cd4ml.yaml": DOWN})
        self.stack.cli("pipeline", "add", str(self.stack.repo))

    def write(self, text: str) -> None:
        (self.stack.data / "sales.csv").write_text(text + "\n")

    def start(self, pipeline: str, *flags: str, code: int = 0) -> str:
        return self.stack.cli("run", "start", pipeline, "--wait", *flags, expect=code)

    def test_one_set_of_revisions_is_found_for_code_data_and_upstream(self):
        self.start("up-a")
        self.start("up-b")
        first = self.stack.git("rev-parse", "HEAD")
        # One of the two goes on with other code and other data: the set of before is what belongs together.
        self.stack.commit({"src.txt": "two\n"})
        self.write("two")
        self.start("up-a")
        plan = self.stack.ask("plan", "down")
        self.assertEqual(plan["commit"], first)
        self.assertEqual(plan["upstream"], {"a": "up-a/1", "b": "up-b/1"})
        self.assertEqual(plan["materials"]["sales"]["digest"], sha(b"one\n"))
        self.start("down")
        # Both have caught up.
        self.start("up-b")
        plan = self.stack.ask("plan", "down")
        self.assertEqual(plan["upstream"], {"a": "up-a/2", "b": "up-b/2"})
        self.assertEqual(plan["materials"]["sales"]["digest"], sha(b"two\n"))
        self.assertNotEqual(plan["commit"], first)
        self.assertIn("from run up-a/2", self.stack.cli("plan", "down"))
        # The lineage goes through to what the others were made from.
        self.assertIn("up-a/1", self.stack.cli("lineage", "down/1"))

    def test_a_mix_must_be_forced_is_marked_and_may_be_refused(self):
        self.start("up-a")
        self.write("two")
        self.start("up-b")
        text = self.stack.cli("run", "start", "down", expect=6)
        self.assertIn("no revisions belong together", text)
        self.assertIn("sales.csv", text)
        self.start("down", "--mixed", code=11)
        run = self.stack.ask("run", "show", "down/latest")
        self.assertIn("sales.csv", run["pins"]["mixed"])
        states = {s["plan"]["name"]: s["state"] for s in run["stages"]}
        self.assertTrue(states["to-easy"].endswith("SUCCEEDED") and states["to-careful"].endswith("FAILED"), states)
        self.assertIn("mixed", self.stack.cli("run", "show", "down/latest"))
        self.assertIn("refuses mixed revisions", self.stack.cli("run", "show", "down/latest"))

    def add_behind(self, b_is_consistent: bool) -> None:
        """Adds `mid`, made of both others, and `end` and `loose`, made of it."""
        mid = "format: 1\npipeline: mid\nmaterials:\n  a: {pipeline: up-a, stage: publish, consistent: true}\n" \
              f"  b: {{pipeline: up-b, stage: publish, consistent: {str(b_is_consistent).lower()}}}\nstages:\n" \
              "  join: {run: \"cat $CD4ML_IN_A $CD4ML_IN_B > out\", inputs: {a: a, b: b}, outputs: {out: {path: out}}}\n"
        end = "format: 1\npipeline: {}\nmaterials:\n  sales: {{data: sales.csv}}\n" \
              "  m: {{pipeline: mid, stage: join, consistent: {}}}\nenvironments: {{careful: {{mixed: refuse}}}}\nstages:\n" \
              "  pack: {{run: \"tar chf p.tar $CD4ML_IN_M $CD4ML_IN_SALES\", inputs: {{m: m, sales: sales}}, " \
              "outputs: {{p: {{path: p.tar, type: deployable}}}}}}\n" \
              "  ship: {{kind: deploy, environment: careful, deploy: pack.p, apply: \"true\"}}\n"
        self.stack.commit({"m.cd4ml.yaml": mid, "e.cd4ml.yaml": end.format("end", "true"), "l.cd4ml.yaml": end.format("loose", "false")})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.start("up-a")
        self.write("two")
        self.start("up-b")

    def test_a_mix_stays_one_behind_another_pipeline(self):
        self.add_behind(b_is_consistent=True)
        self.start("mid", "--mixed")
        text = self.stack.cli("run", "start", "end", expect=6)
        self.assertIn("\"m\" (mid/1) is mixed: ", text)
        for pipeline, flags in (("end", ["--mixed"]), ("loose", [])):
            with self.subTest(pipeline):
                self.start(pipeline, *flags, code=11)
                self.assertIn("\"m\" (mid/1) is mixed: ", self.stack.ask("run", "show", f"{pipeline}/latest")["pins"]["mixed"])
                self.assertIn("refuses mixed revisions", self.stack.cli("run", "show", f"{pipeline}/latest"))
        # One that is not mixed is taken in its place.
        self.start("up-a")
        self.start("mid")
        self.start("end")
        self.start("loose")

    def test_a_result_that_does_not_belong_together_in_itself_is_no_consistent_one(self):
        self.add_behind(b_is_consistent=False)
        self.start("mid")
        text = self.stack.cli("run", "start", "end", expect=6)
        for words in ("mid/1", "up-b/1", "sales.csv", sha(b"one\n")[:12], sha(b"two\n")[:12]):
            self.assertIn(words, text)
        self.start("loose")
        self.start("up-a")
        self.start("mid")
        self.start("end")

    def test_one_source_is_the_same_however_it_is_spelled(self):
        self.stack.commit({"b.cd4ml.yaml": UP.format(name="up-b").replace("data: sales.csv", "data: ./sales.csv"),
                           "c.cd4ml.yaml": DOWN.replace("data: sales.csv", f"data: 'file://{self.stack.data}/sales.csv'")})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.start("up-a")
        self.start("up-b")
        self.write("two")
        # What was made from the first is used with the first.
        self.assertEqual(self.stack.ask("plan", "down")["materials"]["sales"]["digest"], sha(b"one\n"))
        self.start("up-b")
        self.assertEqual(self.stack.ask("plan", "down")["upstream"], {"a": "up-a/1", "b": "up-b/1"})

    def test_what_is_live_of_another_pipeline_can_be_read(self):
        reader = "format: 1\npipeline: {}\nmaterials:\n  live: {{pipeline: down, stage: join, output: joined, environment: {}}}\n" \
                 "stages:\n  read: {{inputs: {{live: live}}, run: \"cp $CD4ML_IN_LIVE out\", outputs: {{out: {{path: out}}}}}}\n"
        self.stack.commit({"r.cd4ml.yaml": reader.format("reader", "easy"), "n.cd4ml.yaml": reader.format("nothing", "nowhere")})
        self.stack.cli("pipeline", "add", str(self.stack.repo))
        self.assertIn("is live", self.stack.cli("run", "start", "reader", expect=4))
        for pipeline in ("up-a", "up-b", "down"):
            self.start(pipeline)

        self.start("reader")

        run = self.stack.ask("run", "show", "reader/latest")
        self.assertEqual(run["pins"]["upstream"], {"live": "down/1"})
        self.assertIn("is live in \"nowhere\"", self.stack.cli("run", "start", "nothing", expect=4))

    def test_what_nobody_has_made_is_said(self):
        text = self.stack.cli("plan", "down", expect=4)
        self.assertIn("material \"a\" cannot be resolved", text)
        self.assertIn("cd4ml run start up-a", text)


if __name__ == "__main__":
    stack.main()
