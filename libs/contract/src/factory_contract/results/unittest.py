"""unittest's summary: `Ran 3 tests in 0.001s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`, `NO TESTS RAN`."""

import re

from factory_contract.results.found import Failure, Found

RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s\s*\n\s*\n?(OK|FAILED|NO TESTS RAN)(?: \(([^)]*)\))?", re.MULTILINE)
HEAD = re.compile(r"(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.+)")
DOUBLE, SINGLE = "=" * 70, "-" * 70


def parse(text: str) -> Found | None:
    """Several runs in one text are taken together. Django's test runner speaks the same."""
    text = text.replace("\r\n", "\n")
    total = failed = skipped = runs = 0
    for ran in RAN.finditer(text):
        runs += 1
        total += int(ran[1])
        counts = dict(re.findall(r"([a-z ]+)=(\d+)", ran[3] or ""))
        counts = {word.strip(): int(n) for word, n in counts.items()}
        failed += counts.get("failures", 0) + counts.get("errors", 0) + counts.get("unexpected successes", 0)
        skipped += counts.get("skipped", 0)
    if not runs:
        return None
    failures = _failures(text.split("\n"))
    return Found("unittest", max(total - failed - skipped, 0), failed, skipped, failures)


def _failures(lines: list[str]) -> list[Failure]:
    """A double line, `FAIL: name`, a single line, the traceback; up to the next line of either kind."""
    found: list[Failure] = []
    for i, line in enumerate(lines):
        head = HEAD.fullmatch(line)
        if head is None or i == 0 or lines[i - 1] != DOUBLE:
            continue
        word, begun = "", False
        for said in lines[i + 1 :]:
            if said == DOUBLE or (said == SINGLE and begun):
                break
            begun = begun or said == SINGLE
            if begun and said and said != SINGLE and not said.startswith(" "):
                word = said  # the exception's line is the last one that is not indented
        found.append(Failure(head[1].strip(), word[:500]))
    return found
