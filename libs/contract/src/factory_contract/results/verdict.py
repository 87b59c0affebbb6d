"""Whether a suite has passed, and what a person has to know of it.

A **test run** is a suite in which a runner was recognised, by its JUnit XML or by what it printed, be it that it found
nothing. It passes when its command ended with 0, no test failed, and at least one ran: `Ran 0 tests: OK` is no pass, nor is
an exit code of 0 behind failures (`jest || true`), nor a red exit code behind green tests (a threshold, an open handle).
Failures count wherever they stand: what an app prints can add to what is told, and never take a failure away.
A **check** is a suite in which none was recognised (`tsc`, a linter): its exit code alone says whether it passes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from factory_contract.results.found import Found

NOT_FOUND = 127  # a shell's exit code for a command that it cannot find


class Verdict(NamedTuple):
    ok: bool
    note: str


def of(runs: Sequence[Found], exit_code: int, hung: str = "") -> Verdict:
    """The verdict on all runs of a suite; `exit_code` is that of its last command, `hung` why that had to be ended."""
    if hung:
        return Verdict(False, hung)
    good = exit_code == 0
    ran, failed, skipped = (sum(getattr(run, what) for run in runs) for what in ("ran", "failed", "skipped"))
    if exit_code == NOT_FOUND:
        return Verdict(False, "a command was not found: what it needs is not installed")
    if not runs:
        return Verdict(good, "no test results in its output: judged by its exit code alone")
    if ran == 0:
        return Verdict(False, f"it ran no test ({skipped} skipped)" if skipped else "it ran no test")
    if failed:
        return Verdict(False, f"{failed} failed, though it ended with exit code 0" if good else "")
    if not good:
        return Verdict(False, f"every test that ran has passed, but it ended with exit code {exit_code}")
    empty = [f"{run.where} ({run.runner})" if run.where else run.runner for run in runs if run.ran == 0]
    return Verdict(True, f"no test ran in {', '.join(empty)}" if empty else "")
