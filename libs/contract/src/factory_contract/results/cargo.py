"""cargo test: `test result: ok. 3 passed; 0 failed; 1 ignored; …` for each target, `---- name stdout ----` for what failed."""

import re

from factory_contract.results.found import NEAR, Failure, Found, gist, runs

SIGNS = ("test result: ",)
BEGIN = re.compile(r"^running \d+ tests?$", re.MULTILINE)
SUMMARY = re.compile(r"^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; .*$", re.MULTILINE)
FAILED = re.compile(r"^test (.+) \.\.\. FAILED$", re.MULTILINE)
SAID = re.compile(r"---- (.+?) stdout ----")
PANICKED = re.compile(r"thread '.*' (?:\(\d+\) )?panicked at (?:'(?P<message>.*)', )?\S+:\d+:\d+:?")


def parse(text: str) -> list[Found]:
    """The targets of one crate or workspace (its units, its integration tests, its documentation) are one run."""
    found: Found | None = None
    for run in runs(text, SUMMARY, BEGIN):
        passed, failed, ignored = map(int, run.summary.groups())
        messages = _messages(run.before.split("\n"))
        failures = [Failure(name, messages.get(name, "")) for name in map(_name, FAILED.findall(run.before))]
        one = Found("cargo", passed, failed, ignored, failures)
        found = found.plus(one) if found else one
    return [found] if found else []


def _name(said: str) -> str:
    return said.removesuffix(" - should panic")


def _messages(lines: list[str]) -> dict[str, str]:
    """By test: what it panicked with; else the first that it said."""
    found: dict[str, str] = {}
    test = ""
    for i, line in enumerate(lines):
        if match := SAID.fullmatch(line):
            test = _name(match[1])
        elif test and line.strip() and (match := PANICKED.fullmatch(line)):
            found[test] = match["message"] or gist(lines[i + 1 : i + NEAR])
            test = ""
        elif test and line.strip():
            found.setdefault(test, line.strip())
    return found
