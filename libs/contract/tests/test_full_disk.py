"""A disk that is full: what cannot be written is named, the app goes on, `stop` and `clean` still work."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# says 4 kB again and again while there is a file `loud`
TALKER = """
name: a
services:
  web: {command: "while :; do [ -e loud ] && head -c 4000 /dev/zero | tr '\\\\0' x && echo; sleep 0.02; done", healthcheck: 'true'}
clean: echo cleaning
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def repo(disk: Path, make_repo: Callable[..., Any]) -> Iterator[Any]:
    made = make_repo(TALKER, name=f"disk/r{os.getpid()}")
    yield made
    if made.here.state_dir.exists():
        made.run("clean")


def fill(disk: Path) -> Path:
    """To the last byte."""
    path = disk / "fill"
    with path.open("ab", buffering=0) as f:
        for size in (65536, 512, 1):
            try:
                while f.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return path


def test_an_app_goes_on(repo: Any, disk: Path, until: Callable[..., Any]) -> None:
    """Its output is lost and counted, status tells the truth all the same; with room again the log says what is missing."""
    repo.json("start")
    fill(disk).rename(repo.root / "loud")
    lost = until(lambda: (repo.service("web") or {}).get("log_bytes_lost", 0) > 10_000 and repo.service("web"))
    assert lost["state"] == "ready"
    status = repo.run("status")
    assert status.returncode == 0
    assert "its log has lost lines" in status.stdout
    (repo.root / "loud").unlink()
    (repo.root / "loud").touch()
    until(lambda: any("bytes are missing here" in line["text"] for line in repo.json("logs")["lines"]))
    assert repo.json("stop")["stopped"] == ["web"]


def test_stop_and_clean_work(repo: Any, disk: Path) -> None:
    """Nothing of it is left, on the disk neither but what fills it; the state is not one that lies."""
    repo.json("start")
    fill(disk)
    restarted = repo.json("restart", code=None)
    assert restarted["ok"] or restarted["error"]["code"] == "state_unwritable", restarted
    assert repo.json("stop")["stopped"] == (["web"] if restarted["ok"] else [])
    assert repo.processes() == []
    assert repo.json("status", code=3)["state"] == "stopped"
    repo.json("clean")
    assert not repo.here.state_dir.exists()
    assert {e["checkout"] for e in repo.json("ps", "--under", str(disk))["environments"]} == set()


def test_a_first_start_is_refused(repo: Any, disk: Path) -> None:
    """By name, with the file and the reason; nothing is started."""
    fill(disk)
    error = repo.json("start", code=4)["error"]
    assert error["code"] in ("state_unwritable", "machine_refused")
    assert ".software-factory" in error["message"]
    assert "No space left on device" in error["message"]
    assert repo.processes() == []
    assert "No space left on device" in repo.run("setup").stderr


def test_what_cannot_be_written_down_is_not_started(
    make_repo: Callable[..., Any], until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """A service that falls while its ledger takes nothing stays down, by name; with room again `start` brings it back."""
    repo = make_repo("name: a\nservices:\n  web: {command: exec sleep 60}\n")
    pid = repo.json("start")["services"][0]["pid"]
    ledger = repo.here.ledger_file
    kept = ledger.rename(ledger.with_name("kept"))
    ledger.symlink_to("/dev/full")
    kill(pid)
    until(lambda: repo.look()["state"] == "failed")
    status = repo.json("status", code=3)
    assert (status["error"]["code"], status["services"][0]["state"]) == ("state_unwritable", "failed")
    assert "ledger.jsonl cannot be written: No space left on device" in status["error"]["message"]
    ledger.unlink()
    kept.rename(ledger)
    told = repo.json("start")
    assert told["state"] == "ready"
    assert told["services"][0]["pid"] not in (None, pid)
