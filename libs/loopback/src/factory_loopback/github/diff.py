"""Differences as GitHub shows them: files with their patches, and where in a patch a line stands.

Remarks are taken only on lines that a patch shows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

STATUSES = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}
HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True)
class FileChange:
    """One file of a difference; `patch` begins at its first @@ and is empty where there is none to show."""

    path: str
    status: str
    sha: str  # of the blob as it is after the change; of a removed file, before it
    additions: int
    deletions: int
    patch: str
    previous: str = ""


def changes(facts: list[str], patches: list[str]) -> list[FileChange]:
    """git's raw records, then its counts, both in the order of the patches."""
    words = iter(facts)
    raw: list[tuple[str, str, str, str]] = []
    counts: dict[str, tuple[int, int]] = {}
    for word in words:
        if word.startswith(":"):
            _, _, old, new, letter = word[1:].split(" ")
            first = next(words)
            path, previous = (next(words), first) if letter[0] in "RC" else (first, "")
            raw.append((path, previous, STATUSES[letter[0]], old if letter[0] == "D" else new))
        elif word:
            added, removed, path = word.split("\t")
            if not path:  # a rename: both paths follow
                next(words)
                path = next(words)
            counts[path] = (0, 0) if added == "-" else (int(added), int(removed))
    return [
        FileChange(path, status, sha, *counts[path], _hunks(patch), previous)
        for (path, previous, status, sha), patch in zip(raw, patches, strict=True)
    ]


def _hunks(patch: str) -> str:
    found = re.search(r"^@@", patch, flags=re.MULTILINE)
    return patch[found.start() :].rstrip("\n") if found else ""


@dataclass(frozen=True)
class Shown:
    """A line of a patch; `left` and `right` are its numbers before and after, None where it is not in that text."""

    position: int  # the line below the first @@ is 1
    hunk: str  # from its @@ to this line
    left: int | None
    right: int | None

    def number(self, side: str) -> int | None:
        return self.left if side == "LEFT" else self.right


def shown_lines(patch: str) -> Iterator[Shown]:
    """Every line of a patch that begins at its first @@."""
    left = right = 0
    hunk: list[str] = []
    for position, line in enumerate(patch.split("\n")):
        if found := HUNK.match(line):
            left, right, hunk = int(found[1]), int(found[2]), [line]
            continue
        hunk.append(line)
        if line.startswith("\\"):  # no newline at the end
            continue
        text = "\n".join(hunk)
        yield Shown(position, text, None if line[:1] == "+" else left, None if line[:1] == "-" else right)
        left += line[:1] != "+"
        right += line[:1] != "-"


def find_line(patch: str, number: int, side: str) -> Shown | None:
    return next((line for line in shown_lines(patch) if line.number(side) == number), None)


def find_position(patch: str, position: int) -> Shown | None:
    return next((line for line in shown_lines(patch) if line.position == position), None)
