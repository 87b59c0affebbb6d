"""A review by rules: what a careful person would stop at first. Only blocking findings send the work back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from factory_artifacts.redact import scan
from factory_forge import risk
from factory_forge.diff import Diff, FileChange, Line

Severity = Literal["blocking", "warning", "note"]

TEST = re.compile(
    r"(^|/)(tests?|specs?|__tests__|e2e)/|(^|/)test_[^/]+$|[._-](test|spec)\.[a-z]+$|_test\.[a-z]+$", re.I
)
CODE = re.compile(r"\.(py|js|mjs|ts|tsx|jsx|vue|svelte|go|rs|rb|php|java|kt|ex|cs|swift|c|cc|cpp|sql)$")
SKIPS = re.compile(
    r"@(unittest|pytest\.mark)\.skip|pytest\.skip\(|\bself\.skipTest\(|\b(it|test|describe)\.skip\(|\bx(it|describe)\(|"
    r"\bt\.Skip\(|#\[ignore\]|\.only\("
)
DEBUG = re.compile(r"\b(debugger;|breakpoint\(\)|pdb\.set_trace\(\)|binding\.pry)")
GENERATED = re.compile(
    r"(^|/)(package-lock\.json|yarn\.lock|pnpm-lock\.yaml|uv\.lock|poetry\.lock|Cargo\.lock|go\.sum)$|\.min\.(js|css)$"
)
BIG, HUGE = 600, 3000  # changed lines
MANY_FILES = 40
BINARY = re.compile(r"\.(exe|dll|so|dylib|jar|zip|tar|gz|sqlite3?|db)$", re.I)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One remark; `line` is 0 where it is about the whole file."""

    severity: Severity
    rule: str
    path: str
    line: int
    says: str


def review(diff: Diff, *, likely: Sequence[str] = ()) -> list[Finding]:
    """All findings, blocking ones first."""
    found: list[Finding] = []
    for file in diff.files:
        for rule in (_secrets, _tests_gone, _skips, _debug, _binary, _conflict):
            found += rule(file)
    found += _risks(diff) + _size(diff) + _tests_missing(diff) + _unrelated(diff, likely)
    order = {"blocking": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda f: (order[f.severity], f.path, f.line))


def added(file: FileChange) -> Iterable[Line]:
    return (line for hunk in file.hunks for line in hunk.lines if line.kind == "+")


def _secrets(file: FileChange) -> list[Finding]:
    found = []
    for line in added(file):
        for secret in scan(line.text):
            says = f"This looks like a secret ({secret.kind}). Take it out and revoke it."
            found.append(Finding(severity="blocking", rule="secret", path=file.path, line=line.new_no or 0, says=says))
    return found


def _tests_gone(file: FileChange) -> list[Finding]:
    if file.status == "D" and TEST.search(file.path):
        return [
            Finding(severity="blocking", rule="test_removed", path=file.path, line=0, says="A test file was removed.")
        ]
    if not TEST.search(file.path) or file.removed <= file.added:
        return []
    names = re.compile(r"\b(def test_\w+|(?:it|test)\(\s*[\"'`].*)")
    gone = {m.group(1) for h in file.hunks for ln in h.lines if ln.kind == "-" for m in names.finditer(ln.text)}
    here = {m.group(1) for ln in added(file) for m in names.finditer(ln.text)}
    if lost := sorted(gone - here):
        says = f"Tests were removed: {', '.join(lost[:5])}."
        return [Finding(severity="blocking", rule="test_removed", path=file.path, line=0, says=says)]
    return []


def _skips(file: FileChange) -> list[Finding]:
    if not TEST.search(file.path):
        return []
    return [
        Finding(
            severity="blocking",
            rule="test_skipped",
            path=file.path,
            line=line.new_no or 0,
            says="This keeps tests from running.",
        )
        for line in added(file)
        if SKIPS.search(line.text)
    ]


def _debug(file: FileChange) -> list[Finding]:
    return [
        Finding(
            severity="warning",
            rule="debugger",
            path=file.path,
            line=line.new_no or 0,
            says="A debugger call was left in.",
        )
        for line in added(file)
        if CODE.search(file.path) and DEBUG.search(line.text)
    ]


def _binary(file: FileChange) -> list[Finding]:
    if (
        file.status == "A"
        and (file.binary or BINARY.search(file.path))
        and not re.search(r"\.(png|jpe?g|gif|webp|ico|woff2?)$", file.path)
    ):
        says = "A binary file that nobody can review was added."
        return [Finding(severity="blocking", rule="binary", path=file.path, line=0, says=says)]
    return []


def _conflict(file: FileChange) -> list[Finding]:
    return [
        Finding(
            severity="blocking",
            rule="conflict",
            path=file.path,
            line=line.new_no or 0,
            says="A merge conflict's marker.",
        )
        for line in added(file)
        if re.match(r"^(<{7}|>{7}) ", line.text)
    ]


def _risks(diff: Diff) -> list[Finding]:
    return [
        Finding(severity="warning", rule=r.kind, path=r.path, line=0, says=f"Have a look: this file {r.says}.")
        for r in risk.assess(diff)
    ]


def _size(diff: Diff) -> list[Finding]:
    counted = [f for f in diff.files if not GENERATED.search(f.path)]
    changed = sum(f.added + f.removed for f in counted)
    if changed > HUGE or len(counted) > 4 * MANY_FILES:
        says = f"{changed} lines in {len(counted)} files: too much for one review. Split it."
        return [Finding(severity="blocking", rule="oversized", path=counted[0].path, line=0, says=says)]
    if changed > BIG or len(counted) > MANY_FILES:
        says = f"{changed} lines in {len(counted)} files: a large change."
        return [Finding(severity="warning", rule="large", path=counted[0].path, line=0, says=says)]
    return []


def _tests_missing(diff: Diff) -> list[Finding]:
    code = [f for f in diff.files if CODE.search(f.path) and not TEST.search(f.path) and f.added]
    if code and not any(TEST.search(f.path) for f in diff.files):
        says = "Code was changed and no test with it."
        return [Finding(severity="warning", rule="no_tests", path=code[0].path, line=0, says=says)]
    return []


def _unrelated(diff: Diff, likely: Sequence[str]) -> list[Finding]:
    """Files far from everything the plan named: other top-level folders, and not tests."""
    if not likely:
        return []
    near = {p.split("/")[0] for p in likely}
    return [
        Finding(severity="note", rule="unrelated", path=f.path, line=0, says="Not near the files that the plan named.")
        for f in diff.files
        if f.path.split("/")[0] not in near and not TEST.search(f.path) and "/" in f.path
    ]
