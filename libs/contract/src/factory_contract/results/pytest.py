"""pytest's last line and its short summary: `== 1 failed, 2 passed in 0.12s ==`, `FAILED tests/test_x.py::test_y - why`."""

import re

from factory_contract.results.found import Failure, Found, runs

SIGNS = (" in ",)
SUMMARY = re.compile(
    r"^=* *((?:\d+ (?:subtests )?[a-z]+(?:, )?)+|no tests ran) in [\d.]+s(?: \([\d:]+\))? *=*$", re.MULTILINE
)
# with -q there is no headline, but dots; nothing that was run has no dots either
BEGIN = re.compile(
    r"^=+ test session starts =+$|^[.FEsxXuR]+ +\[ *\d+%\]$|^=* *(?:\d+ deselected|no tests ran) in ", re.MULTILINE
)
COUNT = re.compile(r"(\d+) ([a-z]+(?: [a-z]+)?)")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - (.*))?$", re.MULTILINE)
NAMES = re.compile(r"^=+ short test summary info =+$", re.MULTILINE)
PASSED, FAILING = ("passed", "xfailed", "xpassed"), ("failed", "error", "errors")
OTHER = (
    "skipped",
    "deselected",
    "warning",
    "warnings",
    "rerun",
    "subtests passed",
    "subtests failed",
    "subtests skipped",
)


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY, BEGIN):
        said = {word: int(n) for n, word in COUNT.findall(run.summary[1])}
        if not said.keys() <= {*PASSED, *FAILING, *OTHER}:
            continue
        named = [match.end() for match in NAMES.finditer(run.before)]
        failures = FAILED.findall(run.before, named[-1]) if named else []
        found.append(
            Found(
                "pytest",
                sum(said.get(word, 0) for word in PASSED),
                sum(said.get(word, 0) for word in FAILING),
                said.get("skipped", 0),
                [Failure(name, message.strip()) for name, message in failures],
            )
        )
    return found
