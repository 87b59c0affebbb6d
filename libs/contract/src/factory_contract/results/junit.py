"""JUnit XML, as pytest, jest-junit, vitest, mocha, bun, node, gotestsum and phpunit write it. Only test cases are counted."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from factory_contract.results.found import Failure, Found, gist

MAX_BYTES = 50 * 1024 * 1024
# no runner writes a DOCTYPE, and entities declared there can grow without end
BEGIN = re.compile(r"\ufeff?(?:\s|<\?.*?\?>|<!--.*?-->)*<testsuites?[\s/>]", re.DOTALL)
RISKY = "RiskyTestError"  # PHPUnit 9 writes an error for a test without assertions, and passes it
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML has none; some runners leave a message's colours in


def read(path: Path) -> Found | None:
    """None where there is no such file, or it is no JUnit XML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        return parse(path.read_text(errors="replace"))
    except OSError:
        return None


def parse(text: str) -> Found | None:
    if not BEGIN.match(text):
        return None
    try:
        root = ElementTree.fromstring(CONTROL.sub("", text))
    except ElementTree.ParseError:
        return None
    passed = skipped = 0
    failures: list[Failure] = []
    for case in root.iter("testcase"):
        bad = case.find("failure")
        if bad is None:
            bad = case.find("error")
        if bad is not None and not bad.get("type", "").endswith(RISKY):
            failures.append(Failure(_name(case), _message(bad, case.get("name") or "")))
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Found("junit", passed, len(failures), skipped, failures)


def _name(case: ElementTree.Element) -> str:
    name, place = case.get("name") or "?", case.get("classname")
    return f"{place}.{name}" if place and not name.startswith(place) else name


def _message(bad: ElementTree.Element, name: str) -> str:
    """Its attribute, else its text; PHPUnit repeats the name of the test there."""
    lines = (bad.get("message") or bad.text or "").strip().splitlines()
    return gist(lines[1:] if len(lines) > 1 and name and name in lines[0] else lines)
