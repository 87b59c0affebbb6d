"""One test suite: its commands run, and what they have found."""

import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory_contract import steps
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.logs import Log
from factory_contract.process import Children
from factory_contract.results import junit, pytest, unittest
from factory_contract.results.found import Found

SUMMARIES = (pytest.parse, unittest.parse)  # by what a runner prints; a new runner is a new file and a word here
READ = 8 * 1024 * 1024  # bytes of output, from its end, that a summary is looked for in
TAIL = 30


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
    code, found, ran = 0, None, list[str]()
    try:
        for i, command in enumerate(commands):
            report = directory / (f"{name}.xml" if len(commands) == 1 else f"{name}-{i + 1}.xml")
            report.unlink(missing_ok=True)
            began_at = log.path.stat().st_size
            begin(command)
            step = await steps.run(
                children,
                command,
                owner=f"test {name}",
                env=environment.of(FACTORY_JUNIT=str(report)),
                cwd=checkout.root,
                log=log,
                echo=echo,
            )
            ran.append(command)
            code = step.exit_code
            one = _found(command, report, _output(log.path, began_at), checkout.root)
            found = one if found is None else found if one is None else found.plus(one)
            if code != 0:
                break
    finally:
        log.close()
    return _judged(name, ran, code, found, time.monotonic() - begun, log)


def _judged(name: str, commands: list[str], code: int, found: Found | None, seconds: float, log: Log) -> dict[str, Any]:
    """A suite is good when its commands were, nothing failed, and something ran: `Ran 0 tests: OK` is not a pass."""
    ok, note = code == 0, ""
    if found is None:
        note = "no test results were recognised in what it printed: judged by its exit code alone"
    elif found.passed + found.failed == 0:
        ok, note = False, "it ran no test"
    elif found.failed:
        ok = False
    return {
        "suite": name,
        "commands": commands,
        "ok": ok,
        "exit_code": code,
        "passed": found.passed if found else 0,
        "failed": found.failed if found else 0,
        "skipped": found.skipped if found else 0,
        "seconds": round(seconds, 3),
        "failures": [failure._asdict() for failure in found.failures] if found else [],
        "runner": found.runner if found else None,
        "note": note,
        "log": str(log.path),
        "tail": log.tail(TAIL),
    }


def _found(command: str, report: Path, output: str, root: Path) -> Found | None:
    """The JUnit XML that the runner was given a path for, or that its command names; else its own summary."""
    for path in (report, *_named_reports(command, root)):
        if (found := junit.read(path)) is not None:
            return found
    for parse in SUMMARIES:
        if (found := parse(output)) is not None:
            return found
    return None


def _named_reports(command: str, root: Path) -> list[Path]:
    """`pytest --junit-xml=PATH`, `--junitxml PATH`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    found = []
    for i, word in enumerate(words):
        if match := re.fullmatch(r"--junit-?xml(?:=(.+))?", word):
            path = match[1] or (words[i + 1] if i + 1 < len(words) else "")
            found.append(root / path)
    return found


def _output(path: Path, begin: int) -> str:
    size = path.stat().st_size
    with path.open("rb") as f:
        f.seek(max(begin, size - READ))
        return re.sub(r"\x1b\[[0-9;]*m", "", f.read().decode(errors="replace"))
