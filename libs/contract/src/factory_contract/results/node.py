"""The runner that comes with node: its eight last lines, marked `ℹ` (spec) or `#` (TAP), and what failed in either form."""

import re
from pathlib import PurePath

from factory_contract.results.found import NEAR, Failure, Found, gist, runs

SIGNS = (" duration_ms ",)
SUMMARY = re.compile(
    r"^(?P<mark>[ℹ#]) tests \d+\n(?:(?P=mark) suites \d+\n)?(?P=mark) pass (?P<passed>\d+)\n(?P=mark) fail (?P<failed>\d+)\n"
    r"(?P=mark) cancelled (?P<cancelled>\d+)\n(?P=mark) skipped (?P<skipped>\d+)\n(?P=mark) todo (?P<todo>\d+)\n"
    r"(?P=mark) duration_ms .*$",
    re.MULTILINE,
)
SUBTEST = re.compile(r"( *)# Subtest: (.*)")
NOT_OK = re.compile(r"( *)not ok \d+ - (.*)")
AT = re.compile(r"test at (.*?)(?::\d+)*")
CROSS = re.compile(r"✖ (.*?)(?: \([\d.]+ms\))?(?: # .*)?")


def parse(text: str) -> list[Found]:
    found: list[Found] = []
    for run in runs(text, SUMMARY):
        said = {word: int(n) for word, n in run.summary.groupdict().items() if word != "mark"}
        tap = run.summary["mark"] == "#"
        failed = said["failed"] + said["cancelled"]
        # the list has no end: the next run may stand behind it
        failures = _of_tap(run.before.split("\n")) if tap else _of_spec(run.after.split("\n"))[:failed]
        found.append(Found("node", said["passed"], failed, said["skipped"] + said["todo"], failures))
    return found


def _of_tap(lines: list[str]) -> list[Failure]:
    """`not ok` and its YAML block; a suite that failed only for what is in it is no failure of its own."""
    found: list[Failure] = []
    path: dict[int, str] = {}  # indentation → title
    for i, line in enumerate(lines):
        if match := SUBTEST.fullmatch(line):
            path = {depth: title for depth, title in path.items() if depth < len(match[1])}
            path[len(match[1])] = match[2]
        elif (match := NOT_OK.fullmatch(line)) and " # TODO" not in line and " # SKIP" not in line:
            block = _block(lines[i + 1 : i + NEAR], len(match[1]))
            if block.get("failureType") == "subtestsFailed":
                continue
            file = re.sub(r"(?::\d+)+$", "", block.get("location", ""))
            above = [title for depth, title in sorted(path.items()) if depth < len(match[1])]
            found.append(Failure(_name(file, [*above, match[2]]), block.get("error", "")))
    return found


def _block(lines: list[str], indent: int) -> dict[str, str]:
    """The keys of a YAML block that tell of the failure."""
    found: dict[str, str] = {}
    for i, line in enumerate(lines):
        if line.strip() == "...":
            break
        key, _, value = line[indent + 2 :].partition(": ")
        if key in ("failureType", "location", "error") and key not in found:
            several = value in ("|-", "|", ">-", ">")
            found[key] = gist(_deeper(lines[i + 1 :], indent + 4)) if several else value.strip("'\"")
    return found


def _deeper(lines: list[str], indent: int) -> list[str]:
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" " * indent)), len(lines))
    return lines[:end]


def _of_spec(lines: list[str]) -> list[Failure]:
    """Below `✖ failing tests:` each one with its place, its title, what it said."""
    found: list[Failure] = []
    file = ""
    for i, line in enumerate(lines):
        if match := AT.fullmatch(line):
            file = match[1]
        elif line != "✖ failing tests:" and (match := CROSS.fullmatch(line)):
            found.append(Failure(_name(file, [match[1]]), gist(lines[i + 1 : i + NEAR]).strip("'")))
            file = ""
    return found


def _name(file: str, titles: list[str]) -> str:
    """`file > suite > test`; a file that failed as a whole has itself as its title."""
    if len(titles) == 1 and PurePath(file).name == PurePath(titles[0]).name:
        return titles[0]
    return " > ".join(filter(None, [file, *titles]))
