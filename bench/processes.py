"""Whatever this program started, and what that started in turn, ends with it."""
import contextlib
import ctypes
import os
import pathlib
import signal
import sys
import time

GRACE_S = 10        # From being asked to end until being killed.
PR_SET_CHILD_SUBREAPER = 36
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def keep_descendants() -> None:
    """From now on what loses its parent becomes our child, however it tries to get away."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def exit_on_signals() -> None:
    """Being told to stop unwinds like an exception, so that everything is put away."""
    for number in STOPS:
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def undisturbed():
    """Inside, being told to stop waits."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def descendants() -> list[int]:
    """Processes below this one that have not ended; reaps those that have."""
    parents: dict[int, int] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            pid = int(stat.parent.name)
            if state != "Z":
                parents[pid] = int(parent)
            elif int(parent) == os.getpid():
                os.waitpid(pid, os.WNOHANG)
    below, found = {os.getpid()}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in below} - below
        below |= found
    return sorted(below - {os.getpid()})


def end_descendants() -> None:
    """Asks all to end, and kills those that do not, until none is left."""
    asked: set[int] = set()
    deadline = time.monotonic() + GRACE_S
    while left := descendants():
        kill = time.monotonic() > deadline
        for pid in left:
            if kill or pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        asked.update(left)
        time.sleep(0.02)
