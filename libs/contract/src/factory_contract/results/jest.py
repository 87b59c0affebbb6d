"""jest's four last lines (`Test Suites: …`, `Tests: …`, `Snapshots: …`, `Time: …`) and its `● suite › test` paragraphs."""

import re

from factory_contract.results.found import NEAR, Failure, Found, counts, gist, runs

SIGNS = ("Test Suites: ", "No tests found")
SUMMARY = re.compile(
    r"^(?:Test Suites: .*\nTests: +(?P<tests>.*)\nSnapshots: .*\nTime: .*"
    r"|No tests found(?:, exiting with code \d+| related to files changed since .*))$",
    re.MULTILINE,
)
FILE = re.compile(r"FAIL +(.+?)(?: \([\d.]+ m?s\))?")
NO_SUITE = "Test suite failed to run"  # an import, a syntax error, a file without a test: none of its tests is counted


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY):
        said = counts(run.summary["tests"] or "")
        failures, broken = _failures(run.before.split("\n")) if run.summary["tests"] else ([], 0)
        skipped = said.get("skipped", 0) + said.get("todo", 0)
        found.append(Found("jest", said.get("passed", 0), said.get("failed", 0) + broken, skipped, failures))
    return found


def _failures(lines: list[str]) -> tuple[list[Failure], int]:
    """What failed, and how many files did as a whole. Many failures are told twice, the second time at the end."""
    found: dict[str, Failure] = {}
    broken: set[str] = set()
    file = ""
    for i, line in enumerate(lines):
        if match := FILE.fullmatch(line):
            file = match[1].removeprefix("./")
        elif line.startswith("PASS "):
            file = ""
        if not file or not line.startswith("  ● ") or line == "  ● Console":
            continue
        title = line[4:].strip()
        if title == NO_SUITE:
            broken.add(file)
        name = file if title == NO_SUITE else " > ".join([file, *title.split(" › ")])
        found.setdefault(name, Failure(name, gist(lines[i + 1 : i + NEAR])))
    return list(found.values()), len(broken)
