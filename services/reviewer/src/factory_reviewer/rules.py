"""A review by rules: what a careful person would stop at first. Only blocking findings send the work back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

import msgspec
from factory_artifacts.redact import scan
from factory_forge import risk
from factory_forge.diff import Diff, FileChange, Line

Severity = Literal["blocking", "warning", "note"]

TEST = re.compile(
    r"(^|/)(tests?|specs?|__tests__|e2e)/|(^|/)(test_[^/]+|conftest\.py)$|[._-](test|spec)\.[a-z]+$|"
    r"(?-i:[a-z0-9](Tests?|Spec)\.(java|kt|cs|swift|scala|php)$)",
    re.I,
)
# A test by its name, as the usual runners write it.
NAMED = re.compile(
    r"\bdef (?P<py>test_\w+)|\b(?:it|test|specify)\s?\(?\s?([\"'`])(?P<js>.+?)\2|\bfunc (?P<go>Test\w+)|"
    r"\b(?:function|fun|void) (?P<xunit>test\w+)"
)
CODE = re.compile(r"\.(py|js|mjs|ts|tsx|jsx|vue|svelte|go|rs|rb|php|java|kt|ex|cs|swift|c|cc|cpp|sql)$")
SKIPS = re.compile(
    r"@(unittest|pytest\.mark)\.(skip|xfail|expectedFailure)|\bpytest\.(skip|xfail)\(|^pytestmark\b.*\.(skip|xfail)|"
    r"\bself\.skipTest\(|\b(it|test|describe|context|suite)(\.\w+)?\.(skip|only|todo|fixme)\b|"
    r"(?<![.\w])[xf](it|describe|test|context)\(|\bt\.Skip(Now|f)?\(|#\[ignore\b|@(Disabled|Ignore)\b|\bmarkTestSkipped\("
)
DEBUG = re.compile(r"\b(debugger;|breakpoint\(\)|pdb\.set_trace\(\)|binding\.pry)")
GENERATED = re.compile(
    r"(^|/)(package-lock\.json|yarn\.lock|pnpm-lock\.yaml|uv\.lock|poetry\.lock|Cargo\.lock|go\.sum)$|\.min\.(js|css)$"
)
BIG, HUGE = 600, 3000  # changed lines
MANY_FILES = 40
BINARY = re.compile(r"\.(exe|dll|so|dylib|jar|zip|tar|gz|sqlite3?|db)$", re.I)
PICTURE = re.compile(
    r"\.(png|jpe?g|gif|webp|avif|ico|svg|woff2?|ttf|otf|pdf|mp[34]|webm)$", re.I
)  # looked at, not read
REMOVAL = re.compile(r"\b(remove|delete|drop|get rid)\b", re.I)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One remark; `line` is 0 where it is about the whole file."""

    severity: Severity
    rule: str
    path: str
    line: int
    says: str


def review(diff: Diff, *, likely: Sequence[str] = (), asked: str = "") -> list[Finding]:
    """All findings, blocking ones first. `asked`: where it asks for a removal, removed tests are no more than a warning."""
    found: list[Finding] = []
    for file in diff.files:
        for rule in (_secrets, _skips, _debug, _binary, _conflict):
            found += rule(file)
    found += _tests_gone(diff, removal=bool(REMOVAL.search(asked)))
    found += _unread(diff) + _risks(diff) + _size(diff) + _tests_missing(diff) + _unrelated(diff, likely)
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


def _tests_gone(diff: Diff, *, removal: bool) -> list[Finding]:
    """Test files and single tests that are nowhere any more. One that was replaced where it stood is a warning."""
    here = {name for file in diff.files for name in _named(added(file))}
    found: list[Finding] = []

    def say(severity: Severity, rule: str, path: str, says: str) -> None:
        found.append(Finding(severity="warning" if removal else severity, rule=rule, path=path, line=0, says=says))

    for file in diff.files:
        if not (TEST.search(file.old_path) and CODE.search(file.old_path)):
            continue
        if file.status != "D" and not TEST.search(file.path):
            says = f"The test file {file.old_path} has a name now that no runner looks for."
            say("blocking", "test_removed", file.path, says)
        lost, replaced = _lost(file, here)
        if lost:
            say("blocking", "test_removed", file.path, f"Tests were removed: {', '.join(lost[:5])}.")
        elif file.status == "D" and not any(_named(hunk.lines) for hunk in file.hunks):
            say("blocking", "test_removed", file.path, "A test file was removed.")
        if replaced:
            says = f"Tests were renamed or replaced: {', '.join(replaced[:5])}. Do they still prove the same?"
            say("warning", "test_replaced", file.path, says)
    return found


def _named(lines: Iterable[Line]) -> list[str]:
    return [next(filter(None, m.group("py", "js", "go", "xunit"))) for ln in lines for m in NAMED.finditer(ln.text)]


def _lost(file: FileChange, here: set[str]) -> tuple[list[str], list[str]]:
    """(removed, replaced): a run of changed lines that takes more tests than it gives has removed some."""
    lost: list[str] = []
    replaced: list[str] = []
    for lines in _runs(file):
        gone = [name for name in _named(ln for ln in lines if ln.kind == "-") if name not in here]
        given = _named(ln for ln in lines if ln.kind == "+")
        (lost if len(gone) > len(given) else replaced).extend(gone)
    return lost, replaced


def _runs(file: FileChange) -> Iterator[list[Line]]:
    """Changed lines that stand together."""
    for hunk in file.hunks:
        for changed, lines in groupby(hunk.lines, key=lambda ln: ln.kind != " "):
            if changed:
                yield list(lines)


def _skips(file: FileChange) -> list[Finding]:
    if not TEST.search(file.path):
        return []
    before = {ln.text.strip() for hunk in file.hunks for ln in hunk.lines if ln.kind == "-"}
    return [
        Finding(
            severity="blocking",
            rule="test_skipped",
            path=file.path,
            line=line.new_no or 0,
            says="This keeps tests from running.",
        )
        for line in added(file)
        if SKIPS.search(line.text) and line.text.strip() not in before  # not one that was only moved
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
    if file.status in "AM" and (file.binary or BINARY.search(file.path)) and not PICTURE.search(file.path):
        says = f"A binary file that nobody can review was {'added' if file.status == 'A' else 'changed'}."
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


def _unread(diff: Diff) -> list[Finding]:
    """Nothing may hide behind a diff that is too long to be read to its end."""
    unread = [f for f in diff.files if not f.hunks and not f.binary and f.added + f.removed]
    if not diff.truncated or not unread:
        return []
    says = f"The diff is too long to be read: from here on {len(unread)} files were not looked into. Split it."
    return [Finding(severity="blocking", rule="unread", path=unread[0].path, line=0, says=says)]


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
    code = [
        f
        for f in diff.files
        if f.added and CODE.search(f.path) and not TEST.search(f.path) and not GENERATED.search(f.path)
    ]
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
