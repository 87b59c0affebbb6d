"""unittest's summary: `Ran 3 tests in 0.001s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`, `NO TESTS RAN`.

Django's runner speaks the same.
"""

import re

from factory_contract.results.found import LONGEST, Failure, Found, runs

SIGNS = ("\nRan ",)
SUMMARY = re.compile(r"^Ran (\d+) tests? in [\d.]+s\s*\n\s*\n?(OK|FAILED|NO TESTS RAN)(?: \(([^)]*)\))?", re.MULTILINE)
HEAD = re.compile(r"(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.+)")
DOUBLE, SINGLE = "=" * 70, "-" * 70


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY):
        said = {word.strip(): int(n) for word, n in re.findall(r"([a-z ]+)=(\d+)", run.summary[3] or "")}
        failed = said.get("failures", 0) + said.get("errors", 0) + said.get("unexpected successes", 0)
        skipped = said.get("skipped", 0)
        # what fails while a class or module is set up is no test that ran
        passed = max(int(run.summary[1]) - failed - skipped, 0)
        found.append(Found("unittest", passed, failed, skipped, _failures(run.before.split("\n"))))
    return found


def _failures(lines: list[str]) -> list[Failure]:
    """A double line, `FAIL: name`, a single line, the traceback; up to the next line of either kind."""
    found: list[Failure] = []
    for i, line in enumerate(lines):
        head = HEAD.fullmatch(line)
        if head is None or i == 0 or lines[i - 1] != DOUBLE:
            continue
        word, begun = "", False
        for below in range(i + 1, len(lines)):
            said = lines[below]
            if said == DOUBLE or (said == SINGLE and begun):
                break
            begun = begun or said == SINGLE
            if begun and said and said != SINGLE and not said.startswith(" "):
                word = said  # the exception's line is the last one that is not indented
        found.append(Failure(head[1].strip(), word[:LONGEST]))
    return found
