"""PHPUnit's last lines (`OK (5 tests, 6 assertions)` or `Tests: 5, Assertions: 4, Failures: 1.`) and its numbered lists."""

import re

from factory_contract.results.found import NEAR, Failure, Found, gist, runs

SIGNS = (" by Sebastian Bergmann",)
BEGIN = re.compile(r"^PHPUnit \d[\w.-]* by Sebastian Bergmann", re.MULTILINE)
SUMMARY = re.compile(
    r"^OK \((?P<all>\d+) tests?, \d+ assertions?\)$"
    r"|^Tests: (?P<of>\d+), Assertions: \d+(?P<more>(?:, [A-Z][\w ]*: \d+)*)\.$|^No tests executed!$",
    re.MULTILINE,
)
LIST = re.compile(r"There (?:was|were) \d+ (.+):")
HEAD = re.compile(r"\d+\) (.+)")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY, BEGIN):
        said = {word: int(n) for word, n in re.findall(r"(\w[\w ]*): (\d+)", run.summary["more"] or "")}
        failed = said.get("Errors", 0) + said.get("Failures", 0)
        skipped = said.get("Skipped", 0) + said.get("Incomplete", 0)
        passed = max(int(run.summary["all"] or run.summary["of"] or 0) - failed - skipped, 0)
        found.append(Found("phpunit", passed, failed, skipped, _failures(run.before.split("\n"))))
    return found


def _failures(lines: list[str]) -> list[Failure]:
    """`1) Class::test` in the lists of errors and of failures; those of risky and skipped tests look the same."""
    found: list[Failure] = []
    listed = False
    for i, line in enumerate(lines):
        if match := LIST.fullmatch(line):
            listed = match[1] in ("error", "errors", "failure", "failures")
        elif listed and (match := HEAD.fullmatch(line)):
            found.append(Failure(match[1], gist(lines[i + 1 : i + NEAR])))
    return found
