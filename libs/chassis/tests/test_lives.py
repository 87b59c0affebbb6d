"""Who has died: a process that is gone has let go of its file, however it went."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from factory_chassis.lives import Lives

LIVES = """
import sys, os, signal
from pathlib import Path
from factory_chassis.lives import Lives
lives = Lives(Path(sys.argv[1]), sys.argv[2])
lives.begin()
print("lives", flush=True)
sys.stdin.readline()
lives.end()
"""


def living(directory: Path, owner: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", LIVES, str(directory), owner]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "lives\n"
    return process


def test_the_dead_are_told_from_the_living(tmp_path: Path) -> None:
    """Killed: dead, until buried. Ended in peace, or stopped and still there: not."""
    mine = Lives(tmp_path, "planner@n1.vm.1")
    assert mine.dead() == [], "there may be no directory yet"
    mine.begin()
    killed, ended, stopped = (living(tmp_path, f"builder@n1.vm.{n}") for n in (2, 3, 4))
    os.kill(stopped.pid, signal.SIGSTOP)
    assert mine.dead() == []
    killed.kill()
    killed.wait()
    ended.communicate("\n", timeout=20)
    assert mine.dead() == ["builder@n1.vm.2"] == mine.dead()
    mine.buried("builder@n1.vm.2")
    assert mine.dead() == []
    stopped.kill()
    stopped.wait()
    assert mine.dead() == ["builder@n1.vm.4"]


def test_a_former_life_of_the_same_name_is_a_dead_one_before_the_next_begins(tmp_path: Path) -> None:
    """As in a container that is started again: same host, same process number."""
    former = living(tmp_path, "planner@n1.box.1")
    former.kill()
    former.wait()
    lives = Lives(tmp_path, "planner@n1.box.1")
    assert lives.dead() == ["planner@n1.box.1"]
    lives.buried("planner@n1.box.1")
    lives.begin()
    assert lives.dead() == []
    lives.end()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_used_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Leases run out all the same."""
    (tmp_path / "file").touch()
    lives = Lives(tmp_path / "file", "planner@n1.vm.1")
    lives.begin()
    assert lives.dead() == []
    lives.end()


def test_nobody_takes_a_process_that_just_begins_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All services of a node begin at once, and look for the dead while they do."""
    other, seen = Lives(tmp_path, "builder@n1.vm.2"), list[list[str]]()
    lock = fcntl.flock

    def slowly(*args: object) -> None:
        monkeypatch.undo()
        seen.append(other.dead())
        lock(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", slowly)
    mine = Lives(tmp_path, "planner@n1.vm.1")
    mine.begin()
    assert seen == [[]] and other.dead() == []
    mine.end()
    assert list(tmp_path.iterdir()) == []
