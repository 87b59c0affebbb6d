"""A recording in its own process leaves a result, or nothing at all: no browser, no profile, whatever ends it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factory_browser import child, workdir
from factory_browser.errors import PlanInvalid, RecordingFailed
from factory_browser.errors_seen import KnownErrors
from factory_browser.plan import Plan
from factory_browser.scenarios import load, load_steps

Serve = Callable[[dict[str, Callable[[Any], Any]]], Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short directory for temporary files of our own, so that no other run's is seen."""
    with tempfile.TemporaryDirectory(prefix="fb-", dir="/tmp") as path:
        monkeypatch.setenv("TMPDIR", path)
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


def processes(inside: Path) -> list[str]:
    """Command lines that name the directory."""
    return [line for p in Path("/proc").iterdir() if p.name.isdigit() and str(inside) in (line := cmdline(p))]


def cmdline(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def browsers(inside: Path) -> list[str]:
    return [line for line in processes(inside) if "user-data-dir" in line]


def made(serve: Serve, out: Path, steps: str = "[{goto: /}, {expect: {text: Never, timeout: 60}}]") -> Plan:
    site = serve({"/": lambda _: "<!doctype html><title>t</title><h1>Hello</h1>"})
    scenarios = load(f"scenarios: [{{name: s, criteria: [c1], steps: {steps}}}]")
    return Plan({"web": site.url}, "web", scenarios, out, trace=False, size=(640, 480))


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.05)


async def test_a_child_records(serve: Serve, tmp_path: Path, temporary: Path) -> None:
    """The result is what the recording says, from `recording.json`; nothing else is left of the process."""
    recording = await child.record(made(serve, tmp_path, "[{goto: /}, {expect: {text: Hello}}]"))
    assert recording == json.loads((tmp_path / "recording.json").read_text())
    assert recording["ok"] and Path(recording["video"]["path"]).stat().st_size > 1000
    assert list(temporary.iterdir()) == [] and processes(temporary) == []


async def test_a_cancelled_child_is_gone_within_five_seconds(serve: Serve, tmp_path: Path, temporary: Path) -> None:
    """In the middle of a step: no Chromium of it, no encoder, no profile, no result."""
    recording = asyncio.create_task(child.record(made(serve, tmp_path)))
    await until(lambda: browsers(temporary))
    await until(lambda: (tmp_path / "video.raw.mp4").exists())
    began = time.monotonic()
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert time.monotonic() - began < 5
    await until(lambda: not processes(temporary) and not processes(tmp_path), 5)
    assert list(temporary.iterdir()) == [] and not (tmp_path / "recording.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_killed_group_leaves_nothing(serve: Serve, tmp_path: Path, temporary: Path, number: int) -> None:
    """On SIGTERM it clears up itself; after SIGKILL its browser ends by itself and the next run takes the profile away."""
    plan = made(serve, tmp_path)
    (tmp_path / "plan.json").write_text(plan.as_json())
    command = [sys.executable, "-m", "factory_browser.run", str(tmp_path / "plan.json")]
    process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    await until(lambda: browsers(temporary))
    os.killpg(process.pid, number)
    await asyncio.wait_for(process.wait(), 10)
    await until(lambda: not processes(temporary) and not processes(tmp_path), 5)
    if number == signal.SIGKILL:
        assert [p.name.startswith(workdir.PREFIX) for p in temporary.iterdir()] == [True]
        workdir.sweep()
    else:
        assert process.returncode == 143
    assert list(temporary.iterdir()) == []


async def test_a_child_whose_parent_dies_ends(serve: Serve, tmp_path: Path, temporary: Path) -> None:
    """Nobody waits for its result, and its lease is another's by now."""
    plan = made(serve, tmp_path)
    (tmp_path / "plan.json").write_text(plan.as_json())
    command = [sys.executable, "-m", "factory_browser.run", str(tmp_path / "plan.json")]
    start = f"import subprocess, time; subprocess.Popen({command!r}, start_new_session=True); time.sleep(60)"
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", start)
    await until(lambda: browsers(temporary))
    parent.kill()
    await parent.wait()
    await until(lambda: not processes(temporary) and not list(temporary.iterdir()), 15)


def test_what_is_in_use_is_not_swept(temporary: Path) -> None:
    """A directory whose process lives stays; one whose lock is free goes, with what runs in it; foreign ones stay."""
    (temporary / f"{workdir.PREFIX}made-by-hand").mkdir()  # without a lock: perhaps just being made
    left = temporary / f"{workdir.PREFIX}left"
    left.mkdir()
    (left / "lock").touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", f"--user-data-dir={left}/profile"]
    with subprocess.Popen(sleep, start_new_session=True) as stray:
        with workdir.Workdir() as work:
            assert stray.wait(5) == -signal.SIGKILL
            script = "from factory_browser import workdir; workdir.sweep()"
            environment = os.environ | {"TMPDIR": str(temporary)}
            subprocess.run([sys.executable, "-c", script], check=True, env=environment)
            assert work.path.is_dir() and tempfile.gettempdir() == str(work.path)
    assert [p.name for p in temporary.iterdir()] == [f"{workdir.PREFIX}made-by-hand"]
    assert tempfile.gettempdir() == str(temporary)


async def test_a_recording_that_cannot_be_made_says_why(
    serve: Serve, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Chromium that does not start is RecordingFailed with its code and words, and an old result is not taken for new."""
    (tmp_path / "recording.json").write_text("{}")
    monkeypatch.setenv("FACTORY_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(
        RecordingFailed, match=r"ended with 1 .*no_chromium: FACTORY_CHROMIUM names no program: /nowhere/chromium"
    ):
        await child.record(made(serve, tmp_path))
    assert not (tmp_path / "recording.json").exists() and list(temporary.iterdir()) == []


def test_a_plan_travels_as_json(tmp_path: Path) -> None:
    """Everything in it comes back; what is no plan is refused with the reason."""
    scenarios = load(
        "scenarios: [{name: s, criteria: [c1], allow_status: [404], steps: [{goto: {service: api, path: /x}}]}]"
    )
    login = load_steps("[{goto: /}, {fill: {label: Email, value: a}}]")
    plan = Plan(
        {"web": "http://localhost:1"}, "web", scenarios, tmp_path, "socks5://127.0.0.1:1", login, tmp_path / "s.json",
        KnownErrors(console=frozenset({"old"})), (640, 480), False, False, {"c1": "First"}, tmp_path / "files",
    )  # fmt: skip
    assert Plan.from_json(plan.as_json()) == plan
    for text, why in (
        ("{", "it is no JSON"),
        ("[]", "it is no JSON object"),
        ('{"outt": 1}', "unknown keys: outt"),
        ('{"out": "/x", "primary": "web"}', "it lacks a key"),
        ('{"urls": {}, "primary": "web", "out": "/x", "scenarios": [{"name": 1}]}', "scenario 1 has no steps"),
    ):
        with pytest.raises(PlanInvalid, match=why):
            Plan.from_json(text)


def test_a_plan_that_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    """One line, no traceback."""
    (tmp_path / "plan.json").write_text('{"outt": 1}')
    command = [sys.executable, "-m", "factory_browser.run", str(tmp_path / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "plan_invalid: The plan of a recording cannot be used: it has unknown keys: outt.\n",
    )
