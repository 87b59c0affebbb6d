"""go test: a line for each package (`ok`, `FAIL`, `?`), and `--- FAIL: TestX` for what failed.

With -v each test that has no tests beneath it is counted. Without, go names failed tests only: each package that passed
counts as one.
"""

import re

from factory_contract.results.found import LONGEST, Failure, Found

SIGNS = ("ok  \t", "FAIL\t", "?   \t", "no packages to test")
PACKAGE = re.compile(r"(?P<word>ok  |FAIL|\?   )\t(?P<name>\S+)(?:\t\S*)?(?P<rest>(?:[ \t]\S.*)?)")
TEST = re.compile(r" *--- (PASS|FAIL|SKIP): (\S+) \([\d.]+s\)")
RUNNING = re.compile(r"=== (?:RUN|CONT|NAME) +(\S+)")
SAID = re.compile(r" +\S+\.go:\d+: (.*)")
COMPILER = re.compile(r"\S+\.go:\d+(?::\d+)?: (.*)")
NOTHING = re.compile(r"^no packages to test$", re.MULTILINE)


def parse(text: str) -> list[Found]:
    """All packages are one run."""
    found = Found("go", 0, 0, 0, [])
    compiled = _compiler(text.split("\n"))
    lines: list[str] = []
    seen = bool(NOTHING.search(text))
    for line in text.split("\n"):
        lines.append(line)
        if match := PACKAGE.fullmatch(line):
            seen = True
            found = found.plus(_package(match, lines, compiled))
            lines = []
    return [found] if seen else []


def _package(line: re.Match[str], lines: list[str], compiled: dict[str, str]) -> Found:
    ends, messages, verbose = _tests(lines)
    above = {test[: slash.start()] for test in ends for slash in re.finditer("/", test)}
    leaves = {test: end for test, end in ends.items() if test not in above}
    by_end = {end: [test for test, was in leaves.items() if was == end] for end in ("PASS", "FAIL", "SKIP")}
    package = line["name"]
    failures = [Failure(f"{package}.{test}", messages.get(test, "")) for test in by_end["FAIL"]]
    if line["word"] == "FAIL" and not failures:  # it did not compile, or something has ended the whole
        why = compiled.get(package) or messages.get("", "") or line["rest"].strip(" \t[]")
        failures = [Failure(package, why[:LONGEST])]
    passed = len(by_end["PASS"])
    if line["word"] == "ok  " and not verbose and "[no tests to run]" not in line["rest"]:
        passed = 1
    return Found("go", passed, len(failures), len(by_end["SKIP"]), failures)


def _tests(lines: list[str]) -> tuple[dict[str, str], dict[str, str], bool]:
    """How each test ended; what it said, or the program as a whole (""); whether go was asked to tell of all."""
    ends: dict[str, str] = {}
    messages: dict[str, str] = {}
    verbose, test = False, ""
    for line in lines:
        if match := RUNNING.fullmatch(line):
            verbose, test = True, match[1]
        elif match := TEST.fullmatch(line):
            ends[match[2]], test = match[1], match[2]
        elif match := SAID.fullmatch(line):
            messages.setdefault(test, match[1][:LONGEST])
        elif line.startswith("panic: "):
            messages.setdefault(test, line[:LONGEST])
    return ends, messages, verbose


def _compiler(lines: list[str]) -> dict[str, str]:
    """`# package [package.test]` and below it what the compiler says: the first of it, by package."""
    found: dict[str, str] = {}
    package = ""
    for line in lines:
        if line.startswith("# "):
            package = line.split()[1] if len(line.split()) > 1 else ""
        elif package and (match := COMPILER.fullmatch(line)):
            found.setdefault(package, match[1])
    return found
