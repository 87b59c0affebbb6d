"""Failpoints: read exactly, hit only where and as often as they say; what cannot be read is an error."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from factory_chassis import failpoints
from factory_chassis.failpoints import Failpoint, parse, reached


def test_what_is_read() -> None:
    """Place, act, seconds and times; several with commas."""
    assert parse("") == ()
    assert parse("builder.before_claim:kill9") == (Failpoint("builder.before_claim", "kill9"),)
    assert parse("a.b:sleep=1.5:3, c.d.e:stop:2,") == (
        Failpoint("a.b", "sleep", 1.5, 3),
        Failpoint("c.d.e", "stop", 0, 2),
    )


NOTHING = "a a: :kill9 a:kil9 a:sleep a:sleep= a:sleep=x a:sleep=0 a:sleep=-1 a:kill9=3 a:kill9:x a:kill9:1:2 b:stop,a"


@pytest.mark.parametrize("text", NOTHING.split())
def test_what_says_nothing_is_an_error(text: str) -> None:
    """It names the part that cannot be read."""
    with pytest.raises(ValueError, match=r"is no name:kill9\|stop\|sleep=SECONDS") as caught:
        parse(text)
    assert repr(text.split(",")[-1]) in str(caught.value)


async def test_a_sleep_holds_up_its_place_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it says, and the loop goes on meanwhile; other places are none of its business."""
    failpoints._reached.clear()
    monkeypatch.setenv("FACTORY_FAILPOINT", "here:sleep=0.2:2")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    took = []
    for place in ("here", "there", "here", "here"):
        began = time.monotonic()
        await reached(place)
        took.append(time.monotonic() - began >= 0.2)
    ticking.cancel()
    assert took == [True, False, True, False]
    assert ticks > 5
    monkeypatch.delenv("FACTORY_FAILPOINT")
    await reached("here")


@pytest.mark.parametrize(("act", "ended"), [("kill9", -signal.SIGKILL), ("kill9:0", 0)])
def test_a_kill_is_a_kill(act: str, ended: int) -> None:
    """The process is gone at that place, without a last word; with no times left it goes on."""
    script = "import asyncio; from factory_chassis.failpoints import reached; asyncio.run(reached('here')); print('on')"
    env = {"FACTORY_FAILPOINT": f"there:kill9,here:{act}"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (ended, "on\n" if ended == 0 else "")


async def test_files_of_a_directory_arm_places_while_the_process_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, for one job or for whoever comes; the file is gone with it, and its words are checked."""
    monkeypatch.setenv("FACTORY_FAILPOINT", str(tmp_path))
    await reached("here", "j1")
    (tmp_path / "here@j1").write_text("sleep=0.2\n")
    (tmp_path / "there").write_text("sleep=0.2")
    took = []
    for place, job_id in (("here", "j2"), ("here", "j1"), ("here", "j1"), ("there", "j2"), ("there", "")):
        began = time.monotonic()
        await reached(place, job_id)
        took.append(time.monotonic() - began >= 0.2)
    assert took == [False, True, False, True, False]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "here").write_text("kil9")
    with pytest.raises(ValueError, match="'here:kil9' is no "):
        await reached("here")


def test_a_directory_is_no_list_of_places() -> None:
    """Its files are read when somebody comes there."""
    assert parse("/tmp/armed") == ()
