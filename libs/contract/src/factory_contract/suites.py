"""One test suite: its commands run, and what they have found."""

import asyncio
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import hanging, steps
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.logs import Log
from factory_contract.process import Children
from factory_contract.results import found, junit, output, streams, verdict
from factory_contract.results.found import Found

READ = 8 * 1024 * 1024  # bytes of a command's output, from its end, that results are looked for in
END = 64 * 1024  # bytes of it that say whether it hangs
ENDED = 143  # the exit code of a command that hung and was ended: 128 + SIGTERM
LISTED = 1000  # failures that are listed; all are counted
TAIL = 30


class Ran(NamedTuple):
    """One command of a suite that has ended."""

    exit_code: int
    runs: list[Found]
    hung: str  # why it had to be ended; "" where it ended by itself
    cut: bool  # it said more than was read


async def run(
    name: str,
    checkout: Checkout,
    environment: Environment,
    children: Children,
    *,
    echo: Callable[[bytes], None],
    begin: Callable[[str], None],
) -> dict[str, Any]:
    """Runs the commands of a suite until one fails. Returns the suite's object in `factory test --json`."""
    directory = checkout.state_dir / "results"
    directory.mkdir(parents=True, exist_ok=True)
    commands = environment.contract.tests[name]
    log = Log(checkout.logs / "tests" / f"{name}.log", stamped=False, fresh=True, kept=0)
    begun = time.monotonic()
    done: list[Ran] = []
    try:
        for i, command in enumerate(commands):
            report = directory / (f"{name}.xml" if len(commands) == 1 else f"{name}-{i + 1}.xml")
            report.unlink(missing_ok=True)
            env = environment.of(FACTORY_JUNIT=str(report))
            env.setdefault("CI", "1")  # so that vitest, react-scripts and their like run once and wait for no key
            begin(command)
            done.append(await _run(command, report, f"test {name}", env, checkout.root, children, log, echo))
            if done[-1].exit_code != 0:
                break
    finally:
        log.close()
    return _told(name, commands[: len(done)], done, time.monotonic() - begun, log)


async def _run(
    command: str,
    report: Path,
    owner: str,
    env: dict[str, str],
    root: Path,
    children: Children,
    log: Log,
    echo: Callable[[bytes], None],
) -> Ran:
    reports = {path: _stamp(path) for path in (report, *_named_reports(command, root))}
    began_at = _size(log.path)
    ear = hanging.Ear()

    def heard(data: bytes) -> None:
        ear.hear(data)
        echo(data)

    def told(text: str) -> bool:
        return bool(output.read(text.encode(), root))

    step = asyncio.create_task(steps.run(children, command, owner=owner, env=env, cwd=root, log=log, echo=heard))
    hangs = asyncio.create_task(hanging.why(ear, lambda: streams.plain(_read(log.path, began_at, END)), told))
    try:
        await asyncio.wait({step, hangs}, return_when=asyncio.FIRST_COMPLETED)
        why = "" if step.done() else hangs.result()
    finally:
        for task in (step, hangs):
            task.cancel()
        await asyncio.gather(step, hangs, return_exceptions=True)
    code = ENDED if why else step.result().exit_code
    if ear.midline:
        log.feed(b"\n")
    written = [path for path, before in reports.items() if _stamp(path) not in (None, before)]
    runs = _runs(written, _read(log.path, began_at, READ), root)
    return Ran(code, runs, why, cut=_size(log.path) - began_at > READ)


def _runs(reports: list[Path], said: bytes, root: Path) -> list[Found]:
    """The JUnit XML that was written, unless the output tells of more.

    A report may cover the last of several runs only, and jest's has no word of files that do not load.
    """
    runs = output.read(said, root)
    reported = next((one for path in reports if (one := junit.read(path)) is not None), None)
    if reported is None or any(sum(getattr(run, n) for run in runs) > getattr(reported, n) for n in ("failed", "ran")):
        return runs
    return [reported]


def _told(name: str, commands: list[str], done: list[Ran], seconds: float, log: Log) -> dict[str, Any]:
    runs = [one for ran in done for one in ran.runs]
    judged = verdict.of(runs, done[-1].exit_code, done[-1].hung)
    failures = [failure._asdict() for one in runs for failure in one.failures]
    cut = "only the last 8 MB of its output were read" if any(ran.cut for ran in done) else ""
    return {
        "suite": name,
        "commands": commands,
        "ok": judged.ok,
        "exit_code": done[-1].exit_code,
        "passed": sum(one.passed for one in runs),
        "failed": sum(one.failed for one in runs),
        "skipped": sum(one.skipped for one in runs),
        "seconds": round(seconds, 3),
        "failures": failures[:LISTED],
        "runner": ", ".join(dict.fromkeys(one.runner for one in runs)) or None,
        "runs": [
            {
                "runner": one.runner,
                "where": one.where,
                "passed": one.passed,
                "failed": one.failed,
                "skipped": one.skipped,
            }
            for one in found.together(runs)
        ],
        "note": "; ".join(filter(None, (judged.note, cut))),
        "log": str(log.path),
        "tail": log.tail(TAIL),
    }


def _named_reports(command: str, root: Path) -> list[Path]:
    """`pytest --junit-xml=PATH`, `--junitxml PATH`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    named = []
    for i, word in enumerate(words):
        if match := re.fullmatch(r"--junit-?xml(?:=(.+))?", word):
            path = match[1] or (words[i + 1] if i + 1 < len(words) else "")
            named.append(root / path)
    return named


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes when the file is written: a report of an earlier run is none of this one."""
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_ino, at.st_size, at.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a full disk: there is no log
        return 0


def _read(path: Path, begin: int, most: int) -> bytes:
    """Its last `most` bytes, none before `begin`."""
    try:
        with path.open("rb") as f:
            f.seek(max(begin, path.stat().st_size - most))
            return f.read()
    except OSError:
        return b""
