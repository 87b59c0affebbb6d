"""The harness, run as `make bench` runs it, on a copy with benches of its own."""

import asyncio
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
KEYS = ["metric", "value", "unit", "floor", "floor_value", "ratio", "goal", "holds"]

# Takes 3 ms where the floor takes 1, and each pair is twice as slow as the one before it.
STEADY = """
from pairs import by_turns

async def measure(directory):
    slow = [1.0]

    async def ours():
        slow[0] *= 2
        return 0.003 * slow[0]

    async def floor():
        return 0.001 * slow[0]

    return [await by_turns("three", ours, "one", floor, goal=2)]
"""
BROKEN = "async def measure(directory):\n    raise RuntimeError('no server')\n"
ENDLESS = """
import asyncio, pathlib

async def measure(directory):
    here = pathlib.Path(__file__)
    here.with_name("begun").touch()
    try:
        await asyncio.sleep(1000)
    finally:
        here.with_name("ended").touch()
"""


class Bench:
    """A copy of the harness with benches that a test writes."""

    def __init__(self, root: Path) -> None:
        self.home = root / "tests" / "bench"
        self.home.mkdir(parents=True)
        for name in ("run.py", "pairs.py"):
            shutil.copy(HERE / name, self.home)
        self.results = root / "var" / "bench"

    def start(self, *names: str, **benches: str) -> "subprocess.Popen[str]":
        for name, text in benches.items():
            (self.home / f"{name}.py").write_text(text)
        command = [sys.executable, str(self.home / "run.py"), *names]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *names: str, **benches: str) -> tuple[int, str, str]:
        process = self.start(*names, **benches)
        out, err = process.communicate(timeout=50)
        return process.returncode, out, err


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def pairs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_pairs", HERE / "pairs.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["bench_pairs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_goal_that_does_not_hold_is_said_and_is_no_failure(bench: Bench) -> None:
    """Exit code 0, `holds` false in the file, the words in the table; the ratio is the pairs', whatever the drift."""
    code, out, err = bench.run(steady=STEADY)
    [told] = json.loads((bench.results / "steady.json").read_text())
    assert (code, err) == (0, "")
    assert list(told) == KEYS
    assert (told["metric"], told["floor"], told["unit"]) == ("three", "one", "ms")
    assert (told["ratio"], told["goal"], told["holds"]) == (3.0, 2, False)
    assert "DOES NOT HOLD" in out and "(3.00–3.00 of 15)" in out


def test_a_bench_that_breaks_keeps_no_other_from_running_and_leaves_no_result(bench: Bench) -> None:
    """Exit code 1 and why; an older result of it is gone, and of its directory nothing is left."""
    bench.results.mkdir(parents=True)
    (bench.results / "broken.json").write_text("[]")
    code, _, err = bench.run(broken=BROKEN, steady=STEADY)
    assert code == 1
    assert "RuntimeError: no server" in err and err.endswith("broken: broken\n")
    assert [p.name for p in bench.results.iterdir()] == ["steady.json"]


def test_one_bench_by_its_name(bench: Bench) -> None:
    """The named one only; a name that is none is refused with those that there are."""
    assert bench.run("steady", broken=BROKEN, steady=STEADY)[0] == 0
    code, _, err = bench.run("stedy")
    assert (code, err) == (2, "there is no bench 'stedy'; there are: broken, steady\n")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_told_to_end_ends_what_it_has_started(bench: Bench, sig: signal.Signals) -> None:
    """Its own `finally` runs, its directory goes, and the exit code says the signal."""
    process = bench.start(endless=ENDLESS)
    give_up = time.monotonic() + 30
    while not (bench.home / "begun").exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(sig)
    process.communicate(timeout=30)
    assert process.returncode == 128 + sig
    assert (bench.home / "ended").exists()
    assert list(bench.results.iterdir()) == []


async def _counted(by_turns: Callable[..., Any], **limits: Any) -> tuple[list[str], Any]:
    turns: list[str] = []

    async def ours() -> float:
        turns.append("A")
        await asyncio.sleep(0.02)
        return 0.02

    async def floor() -> float:
        turns.append("B")
        return 0.01

    return turns, await by_turns("m", ours, "f", floor, goal=3, **limits)


async def test_the_sides_take_turns_and_the_first_pair_only_warms_up(pairs: ModuleType) -> None:
    """A B A B …, one pair more than are counted."""
    turns, found = await _counted(pairs.by_turns, pairs=9)
    assert "".join(turns) == "AB" * 10
    assert (len(found.ours), found.ratio, found.holds) == (9, 2.0, True)


async def test_time_ends_a_comparison_but_never_before_the_seventh_pair(pairs: ModuleType) -> None:
    """Where the seconds are over, seven pairs are what there is."""
    _, found = await _counted(pairs.by_turns, pairs=1000, seconds=0)
    assert len(found.ours) == pairs.LEAST == 7
