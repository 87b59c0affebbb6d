"""Suites by the real `factory test`: what a command is told, what a person sees, what is no pass, what hangs."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from factory_contract import hanging

RAN = "printf 'Ran 2 tests in 0.1s\\n\\nOK'"
REPORT = '<testsuite><testcase name="a"/></testsuite>'


def test_what_a_suite_is_told_and_what_counts(make_repo: Callable[..., Any]) -> None:
    """CI=1 unless the contract says otherwise; several commands add up; reports of an earlier run are none of this one."""
    repo = make_repo(f"""
name: a
tests:
  ci: 'echo "CI is [$CI]"'
  two: ["{RAN}", "{RAN}"]
  partly: ['echo ''{REPORT}'' > $FACTORY_JUNIT; echo "1 failed, 4 passed in 0.1s"']
  report: ['echo ''{REPORT}'' > $FACTORY_JUNIT; echo "1 passed in 0.1s"']
  stale: 'true --junit-xml=old.xml'
  fresh: 'echo ''{REPORT}'' > old.xml; true --junit-xml old.xml'
  long: "yes said by the app | head -c 9000000; {RAN}"
""")
    repo.write("old.xml", REPORT)
    repo.env.pop("CI", None)
    found = {suite["suite"]: suite for suite in repo.json("test", code=1)["suites"]}
    assert found["ci"]["tail"] == ["CI is [1]"]
    counts = {name: (s["ok"], s["runner"], s["passed"], s["failed"]) for name, s in found.items() if name != "ci"}
    assert counts == {
        "two": (True, "unittest", 4, 0),
        "partly": (False, "pytest", 4, 1),  # the output tells of more than the report
        "report": (True, "junit", 1, 0),
        "stale": (True, None, 0, 0),
        "fresh": (True, "junit", 1, 0),
        "long": (True, "unittest", 2, 0),
    }
    assert found["two"]["runs"] == [{"runner": "unittest", "where": "", "passed": 4, "failed": 0, "skipped": 0}]
    assert found["long"]["note"] == "only the last 8 MB of its output were read"
    repo.contract("name: a\nenv: {CI: ''}\ntests: {ci: 'echo \"CI is [$CI]\"'}\n")
    assert repo.json("test")["suites"][0]["tail"] == ["CI is []"]


def test_what_a_person_sees(make_repo: Callable[..., Any]) -> None:
    """A line a suite, then what failed, then the last that it said; the output itself is on stderr, as it comes."""
    python = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    repo = make_repo(f"name: a\ntests:\n  unit: {python} test_py.py\n  types: echo fine\n  gone: no-such-program\n")
    repo.write("test_py.py", "def test_a(): pass\ndef test_b(): assert 1 == 2\n")
    done = repo.run("test")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert [line.split()[:2] for line in lines if line[0] != " "] == [
        ["unit", "failed"],
        ["types", "ok"],
        ["gone", "failed"],
    ]
    assert "  1 passed, 1 failed  " in lines[0]
    assert lines[1].startswith("  ✗ test_py.py::test_b: assert 1 == 2")
    assert "  | 1 failed, 1 passed in " in done.stdout
    assert "exit code 127" in lines[-2]
    assert "not installed" in lines[-2]
    assert lines[-1].startswith("  | /bin/sh: ")
    assert "unit: " in done.stderr
    assert "assert 1 == 2" in done.stderr
    assert "2 of 3 suites failed: unit, gone" in done.stderr


def test_interrupted(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """Ctrl-C ends the suite and what it has started, with one object and no stack trace."""
    repo = make_repo("name: a\ntests: {slow: 'sleep 60 & echo begun > begun; wait'}\n")
    running = repo.popen("test", "--json")
    until(lambda: (repo.root / "begun").exists())
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert (running.returncode, json.loads(out)["error"]["code"]) == (130, "interrupted")
    assert "Traceback" not in err
    assert repo.processes() == []


async def hangs(said: bytes, *, told: bool, silent: float = 0.2, within: float = 0.8) -> str:
    """Why a command hangs that said this and then nothing; "" where it does not for that many seconds."""
    ear = hanging.Ear()
    ear.hear(said)
    try:
        return await asyncio.wait_for(hanging.why(ear, said.decode, lambda _: told, silent), within)
    except TimeoutError:
        return ""


async def test_a_runner_that_does_not_end() -> None:
    """It has told its results and is silent: an open handle keeps it. Before its results silence is work."""
    assert "without a word" in await hangs(b"Ran all test suites.\n", told=True, within=10)
    assert await hangs(b"Compiling\n", told=False) == ""


async def test_a_command_that_went_on_is_left_alone() -> None:
    """What began after the results is something else that is at work."""
    asked = asyncio.create_task(hangs(b"Ran all test suites.\n", told=True))
    other = await asyncio.create_subprocess_exec("sleep", "60")
    assert await asked == ""
    other.kill()
    await other.wait()


@pytest.mark.parametrize(
    ("said", "told", "ended"),
    [
        (b" PASS  Waiting for file changes...\n       press h to show help", True, True),
        (b"\xe2\x84\xb9 [mocha] waiting for changes...\n", True, True),
        (b"Watch Usage\n \xe2\x80\xba Press f to run only failed tests.\n", True, True),
        (b"Found 0 errors. Watching for file changes.\n", True, False),
        (b"Watching for file changes...\n", False, False),  # a dev server beside the tests
    ],
)
async def test_watch_modes(said: bytes, told: bool, ended: bool) -> None:
    """A runner that waits for changes is ended at once; a server that does is not."""
    why = await hangs(said, told=told, silent=2, within=10 if ended else 0.7)
    assert why.startswith("it watches") == ended
