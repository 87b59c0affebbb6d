"""pytest's last line and its short summary: `== 1 failed, 2 passed in 0.12s ==`, `FAILED tests/test_x.py::test_y - why`."""

import re

from factory_contract.results.found import Failure, Found

SUMMARY = re.compile(r"^=*\s*((?:\d+ [a-z]+(?:, )?)+|no tests ran) in [\d.]+s(?: \([\d:]+\))?\s*=*$", re.MULTILINE)
COUNT = re.compile(r"(\d+) ([a-z]+)")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - (.*))?$", re.MULTILINE)
OURS = {"passed", "failed", "skipped", "error", "errors", "xfailed", "xpassed", "deselected", "warning", "warnings"}


def parse(text: str) -> Found | None:
    """Several runs in one text are taken together."""
    passed = failed = skipped = runs = 0
    for summary in SUMMARY.finditer(text):
        counts = {word: int(n) for n, word in COUNT.findall(summary[1])}
        if not counts.keys() <= OURS | {"rerun", "subtests"}:
            continue
        runs += 1
        passed += counts.get("passed", 0) + counts.get("xfailed", 0) + counts.get("xpassed", 0)
        failed += counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
        skipped += counts.get("skipped", 0)
    if not runs:
        return None
    failures = [Failure(name, (message or "").strip()) for name, message in FAILED.findall(text)]
    return Found("pytest", passed, failed, skipped, failures)
