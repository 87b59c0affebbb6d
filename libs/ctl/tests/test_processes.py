"""A child process: its log, its end, and that it never outlives us."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from factory_ctl.processes import Child

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a child is told of its parent's end on Linux only")
# ignores SIGTERM, and has a child in its group that does so too; tells both pids
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
print(os.getpid(), inner.pid, flush=True)
time.sleep(600)
"""

# saves its work when it is interrupted
POLITE = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("saved"), sys.exit(0)))
print("up", flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Running, and not only waiting to be fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def within(seconds: float, holds: object) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if holds():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def python(code: str, log: Path, **more: object) -> Child:
    return Child("it", [sys.executable, "-c", code], log, **more)  # type: ignore[arg-type]


async def test_what_it_prints_is_in_its_log_over_restarts(tmp_path: Path):
    """Output and errors; its environment is the one it is given; the tail is the end of it."""
    child = python(
        "import os, sys; print('out', os.environ['N']); print('err', file=sys.stderr); sys.exit(3)",
        tmp_path / "logs" / "it.log",
        env={"N": "7"},
    )
    for _ in range(2):
        child.start()
        assert within(20, lambda: child.exit_code() is not None)

    assert child.exit_code() == 3
    assert sorted(child.log.read_text().split("\n")) == ["", "err", "err", "out 7", "out 7"]
    assert child.tail(6).strip().endswith(("7", "err"))
    await child.stop()  # over already: nothing to do


async def test_a_child_leads_a_group_of_its_own(tmp_path: Path):
    """Ctrl-C in our terminal is ours to deal with."""
    child = python("import time; time.sleep(600)", tmp_path / "it.log")
    child.start()
    assert os.getpgid(child.pid) == child.pid and os.getsid(child.pid) == child.pid
    await child.stop()
    assert child.exit_code() == -signal.SIGTERM and child.stopping


async def test_stop_asks_first(tmp_path: Path):
    """A child that saves its work has the time for it; the signal is the one that it understands."""
    child = python(POLITE, tmp_path / "it.log")
    child.start()
    assert within(20, lambda: "up" in child.tail())

    await child.stop(signal.SIGINT)

    assert child.exit_code() == 0 and "saved" in child.tail()


@LINUX
async def test_stop_kills_the_group_of_one_that_does_not_listen(tmp_path: Path):
    """With what it has started, after the time that it had."""
    child = python(STUBBORN, tmp_path / "it.log")
    child.start()
    assert within(20, lambda: len(child.tail().split()) == 2)
    pids = [int(pid) for pid in child.tail().split()]
    await asyncio.sleep(0.5)  # the inner one ignores signals by now

    await child.stop(wait=0.3)

    assert child.exit_code() == -signal.SIGKILL
    assert within(10, lambda: not any(map(alive, pids)))


@LINUX
def test_a_child_dies_with_its_parent(tmp_path: Path):
    """However that dies: nobody is left to stop it."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom factory_ctl.processes import Child\n"
        "child = Child('it', ['sleep', '600'], Path(sys.argv[1]))\nchild.start()\nprint(child.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "it.log")], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
    finally:
        parent.kill()
        parent.communicate()

    assert within(10, lambda: not alive(pid))


async def test_what_is_not_there_cannot_be_started(tmp_path: Path):
    """The caller is told so, and an unstarted child has no end and no log."""
    child = Child("it", ["/nowhere/at/all"], tmp_path / "it.log")
    assert child.exit_code() is None and child.tail() == ""
    await child.stop()
    with pytest.raises(OSError, match="/nowhere/at/all"):
        child.start()
