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


def descendants() -> set[int]:
    """Processes below this one that have not ended. May miss one whose parent ends meanwhile."""
    parents: dict[int, int] = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    below, found = {os.getpid()}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in below} - below
        below |= found
    return below - {os.getpid()}


def has_children() -> bool:
    """Reaps those that have ended. What is below a child that has ended is a child itself, so no child means nothing below."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    except ChildProcessError:
        return False


def end_descendants() -> None:
    """Asks all to end, and kills those that do not, until none is left."""
    asked: set[int] = set()
    deadline = time.monotonic() + GRACE_S
    while has_children():
        kill = time.monotonic() > deadline
        for pid in descendants() if kill else descendants() - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
            asked.add(pid)
        time.sleep(0.02)
