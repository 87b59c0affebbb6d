"""RSpec's two last lines (`Finished in …`, `7 examples, 2 failures, 2 pending`) and its numbered failures."""

import re

from factory_contract.results.found import NEAR, Failure, Found, gist, runs

SIGNS = ("\nFinished in ",)
SUMMARY = re.compile(
    r"^Finished in .*\n(?P<all>\d+) examples?, (?P<failed>\d+) failures?(?:, (?P<pending>\d+) pending)?"
    r"(?:, (?P<outside>\d+) errors? occurred outside of examples)?$",
    re.MULTILINE,
)
HEAD = re.compile(r"  \d+\) (.+)")
OUTSIDE = re.compile(r"An error occurred while loading (?:\./)?(.+)\.")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY):
        said = {word: int(n or 0) for word, n in run.summary.groupdict().items()}
        passed = max(said["all"] - said["failed"] - said["pending"], 0)
        failures = _failures(run.before.split("\n"))
        found.append(Found("rspec", passed, said["failed"] + said["outside"], said["pending"], failures))
    return found


def _failures(lines: list[str]) -> list[Failure]:
    """`  1) title` below `Failures:`, then `Failure/Error: the line`, then what it was; likewise for a file that does not load."""
    found: list[Failure] = []
    listed = False
    for i, line in enumerate(lines):
        if not line.startswith(" ") and line.endswith(":"):
            listed = line == "Failures:"
        head = HEAD.fullmatch(line) if listed else None
        if outside := OUTSIDE.fullmatch(line):
            head = outside
        if head:
            found.append(Failure(head[1], _message(lines[i + 1 : i + NEAR])))
    return found


def _message(lines: list[str]) -> str:
    """What stands below the line of code; the line itself where nothing does."""
    code = next((line.strip().removeprefix("Failure/Error:") for line in lines if "Failure/Error:" in line), "").strip()
    rest = [line for line in lines if line.strip() and not line.strip().startswith(("#", "Failure/Error:"))]
    said = gist(rest)
    return f"{code}: {said}" if code and said.startswith("expected") else said or code
