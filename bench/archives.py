"""Programs that keep files by their content, as peers of the artifact store: git, restic and borg, from Debian."""
import os
import pathlib
import shutil
import subprocess
import time


class Archive:
    """One of them; `add` returns the seconds that it takes to add all below a folder to a fresh archive."""

    def __init__(self, name: str, prepare: list[str], add: list[str], environment: dict[str, str] = {}):
        self.name, self._prepare, self._add, self._environment = name, prepare, add, environment

    def available(self) -> bool:
        return shutil.which(self.name) is not None

    def add(self, source: pathlib.Path, archive: pathlib.Path) -> float:
        places = {"SOURCE": str(source), "ARCHIVE": str(archive)}
        environment = {**os.environ, "HOME": str(archive.parent), **self._environment}

        def run(command: list[str]) -> None:
            command = [word.format(**places) for word in command]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")

        run(self._prepare)
        began = time.monotonic()
        run(self._add)
        os.sync()   # git does not wait for the disk; ours and the others' waits are within their own time.
        return time.monotonic() - began


ALL = [
    Archive("git", ["git", "init", "-q", "--bare", "{ARCHIVE}"],
            ["git", "--git-dir={ARCHIVE}", "--work-tree={SOURCE}", "add", "-A"]),
    Archive("restic", ["restic", "-q", "-r", "{ARCHIVE}", "init"], ["restic", "-q", "-r", "{ARCHIVE}", "backup", "{SOURCE}"],
            {"RESTIC_PASSWORD": "bench"}),
    Archive("borg", ["borg", "init", "-e", "none", "{ARCHIVE}"], ["borg", "create", "{ARCHIVE}::one", "{SOURCE}"],
            {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}),
]
