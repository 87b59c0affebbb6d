"""bun test: its headline, ` 3 pass`, ` 1 fail` and so on up to `Ran 4 tests across 2 files.`, and `(fail)` lines."""

import re

from factory_contract.results.found import NEAR, Failure, Found, counts, gist, runs

SIGNS = ("bun test v",)
BEGIN = re.compile(r"^bun test v\d", re.MULTILINE)
SUMMARY = re.compile(
    r"^ *(?P<passed>\d+) pass\n(?P<more>(?: *\d+ .*\n){0,8})Ran \d+ tests? across \d+ files?\..*$|^No tests found!$",
    re.MULTILINE,
)
FILE = re.compile(r"(\S.*\.\w+):")
DONE = re.compile(r"(?:\((pass|fail|skip|todo)\)|([✓✗»✎])) (.*?)(?: \[[\d.]+m?s\])?")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY, BEGIN):
        said = counts(run.summary["more"] or "")
        # a file that cannot be loaded is an `error`, and counted among `fail`
        failed = said.get("fail", 0) or said.get("error", 0) or said.get("errors", 0)
        skipped = said.get("skip", 0) + said.get("todo", 0)
        failures = _failures(run.before.split("\n")) if failed else []
        found.append(Found("bun", int(run.summary["passed"] or 0), failed, skipped, failures))
    return found


def _failures(lines: list[str]) -> list[Failure]:
    """What failed says so before its name comes: `error: …`, then `(fail) suite > test`."""
    found: list[Failure] = []
    file = message = ""
    outside = False  # of any test
    for i, line in enumerate(lines):
        if match := FILE.fullmatch(line):
            file = match[1]
        elif line.startswith("# Unhandled error between tests"):
            outside = True
        elif line.startswith("error: "):
            message = gist([line.removeprefix("error: "), *lines[i + 1 : i + NEAR]])
            if outside:
                found.append(Failure(file, message))
            outside = False
        elif match := DONE.fullmatch(line):
            if match[1] == "fail" or match[2] == "✗":
                found.append(Failure(f"{file} > {match[3]}" if file else match[3], message))
            message = ""
    return found
