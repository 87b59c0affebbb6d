"""vitest's block of totals (`Test Files`, `Tests`, maybe `Errors`, `Start at`) and its ` FAIL  file > suite > test` paragraphs."""

import re

from factory_contract.results.found import NEAR, Failure, Found, counts, gist, runs

SIGNS = ("Test Files  ", "No test files found")
BEGIN = re.compile(r"^ ?(?:RUN|DEV) +v\d", re.MULTILINE)
SUMMARY = re.compile(
    r"^ *Test Files  (?P<files>.+)\n *Tests  (?P<tests>.+)\n(?P<more>(?: *\w[\w ]*  .+\n){0,3}?) *Start at  .+$"
    r"|^No test files found, exiting with code \d+$",
    re.MULTILINE,
)
FAIL = re.compile(r" ?FAIL  (?P<name>.+?)(?: \[ .* \])?")
OUTSIDE = re.compile(r"⎯+ (?P<name>(?:Unhandled|Uncaught) (?!Errors)\w+) ⎯+")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY, BEGIN):
        if run.summary["tests"] is None:
            found.append(Found("vitest", 0, 0, 0, []))
            continue
        failures, broken = _failures(run.before.split("\n"))
        said = counts(run.summary["tests"])
        errors = re.search(r"^ *Errors  (\d+)", run.summary["more"], re.MULTILINE)
        failed = said.get("failed", 0) + broken + (int(errors[1]) if errors else 0)
        if failed == 0:  # a reporter that does not say which
            failed = counts(run.summary["files"]).get("failed", 0)
        passed = said.get("passed", 0) + said.get("fail", 0)  # `expected fail`
        skipped = said.get("skipped", 0) + said.get("todo", 0)
        found.append(Found("vitest", passed, failed, skipped, failures))
    return found


def _failures(lines: list[str]) -> tuple[list[Failure], int]:
    """What failed, and how many files did as a whole. Tests that fail for one reason stand above it together."""
    found: list[Failure] = []
    broken = 0
    waiting: list[str] = []  # names that have no message yet
    for i, line in enumerate(lines):
        if match := FAIL.fullmatch(line):
            waiting.append(match["name"])
            broken += line.rstrip().endswith(" ]")
        elif match := OUTSIDE.fullmatch(line):
            found.append(Failure(match["name"], gist(lines[i + 1 : i + NEAR])))
        elif waiting and line.strip():
            found += [Failure(name, gist(lines[i : i + NEAR])) for name in waiting]
            waiting = []
    return found, broken
