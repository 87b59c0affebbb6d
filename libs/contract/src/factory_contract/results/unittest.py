"""unittest's summary: `Ran 3 tests in 0.001s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`, `NO TESTS RAN`."""

import re

from factory_contract.results.found import Failure, Found

RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s\s*\n\s*\n?(OK|FAILED|NO TESTS RAN)(?: \(([^)]*)\))?", re.MULTILINE)
BLOCK = re.compile(r"^={70}\n(?:FAIL|ERROR): (.+)\n(?:.*\n)*?-{70}\n((?:.*\n)*?)(?=\n?(?:={70}|-{70})$)", re.MULTILINE)


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
    failures = [Failure(name.strip(), _last_word(block)) for name, block in BLOCK.findall(text)]
    return Found("unittest", max(total - failed - skipped, 0), failed, skipped, failures)


def _last_word(block: str) -> str:
    """The exception's line: the last one of the traceback that is not indented."""
    lines = [line for line in block.splitlines() if line and not line.startswith(" ")]
    return lines[-1][:500] if lines else ""
