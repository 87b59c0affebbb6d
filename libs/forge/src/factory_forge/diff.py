"""What changed between two commits: records, and the reader of git's raw, numstat and patch output."""

import re
from typing import Literal

import msgspec

FileStatus = Literal["A", "M", "D", "R", "T"]
LineKind = Literal[" ", "+", "-"]


class Line(msgspec.Struct, frozen=True):
    """One line of a hunk, without its line end."""

    kind: LineKind  # context, added, removed
    text: str
    old_no: int | None  # 1-based; None where the line is new
    new_no: int | None


class Hunk(msgspec.Struct, frozen=True):
    """A run of changed lines with up to three lines around it."""

    old_start: int
    new_start: int
    lines: list[Line]


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One changed file: Added, Modified, Deleted, Renamed (also with changes) or of another Type."""

    path: str
    old_path: str  # equals path unless renamed
    status: FileStatus
    old_mode: str  # 100644, 100755 (executable), 120000 (symbolic link), 160000 (submodule), 000000 (absent)
    new_mode: str
    added: int = 0  # lines; 0 for a binary file
    removed: int = 0
    binary: bool = False
    hunks: list[Hunk] = []


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """All changed files. Where `truncated`, the patch was longer than asked for and hunks are missing at its end."""

    base: str
    head: str
    files: list[FileChange]
    patch: str
    truncated: bool = False

    def file(self, path: str) -> FileChange | None:
        return next((file for file in self.files if file.path == path), None)


def parse_files(raw: bytes) -> list[FileChange]:
    """Reads `git diff-tree -r -z -M --raw --numstat` (git-diff-tree(1), RAW OUTPUT FORMAT and --numstat with -z)."""
    fields = iter(raw.split(b"\0"))
    changes: list[FileChange] = []
    counts: dict[str, tuple[int, int, bool]] = {}
    for entry in fields:
        if entry.startswith(b":"):
            old_mode, new_mode, _, _, status = entry[1:].decode().split(" ")
            old = _text(next(fields))
            new = _text(next(fields)) if status[0] in "RC" else old
            changes.append(
                FileChange(path=new, old_path=old, status=status[0], old_mode=old_mode, new_mode=new_mode)  # pyright: ignore[reportArgumentType]
            )
        elif entry:
            added, removed, path = entry.split(b"\t", 2)
            if not path:  # a rename: both names follow
                next(fields)
                path = next(fields)
            binary = added == b"-"
            counts[_text(path)] = (0, 0, True) if binary else (int(added), int(removed), False)
    return [_counted(change, *counts.get(change.path, (0, 0, False))) for change in changes]


def _counted(change: FileChange, added: int, removed: int, binary: bool) -> FileChange:
    return msgspec.structs.replace(change, added=added, removed=removed, binary=binary)


_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def with_hunks(files: list[FileChange], patch: bytes) -> list[FileChange]:
    """Adds the hunks of a patch whose sections stand in the order of `files`, as git prints them.

    A hunk's length comes from its header, so that no line of a file can pass for a header. A patch that breaks off
    gives what is whole: the last hunk is dropped where lines are missing.
    """
    lines = patch.split(b"\n")
    found: list[list[Hunk]] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(b"diff --git "):
            found.append([])
        elif (header := _HUNK.match(line)) and found:
            hunk, at = _hunk(header, lines, at)
            if hunk:
                found[-1].append(hunk)
    sections = iter(found)
    # Another type (a file that became a link) is printed as two sections: one deleted, one created.
    return [
        msgspec.structs.replace(
            file, hunks=[h for _ in range(2 if file.status == "T" else 1) for h in next(sections, [])]
        )
        for file in files
    ]


def _hunk(header: re.Match[bytes], lines: list[bytes], at: int) -> tuple[Hunk | None, int]:
    old, old_left = int(header[1]), int(header[2] or 1)
    new, new_left = int(header[3]), int(header[4] or 1)
    hunk = Hunk(old, new, [])
    while old_left or new_left:
        if at >= len(lines):
            return None, at
        kind, text = lines[at][:1].decode(errors="replace"), _text(lines[at][1:])
        at += 1
        if kind == " ":
            hunk.lines.append(Line(" ", text, old, new))
            old, new, old_left, new_left = old + 1, new + 1, old_left - 1, new_left - 1
        elif kind == "-":
            hunk.lines.append(Line("-", text, old, None))
            old, old_left = old + 1, old_left - 1
        elif kind == "+":
            hunk.lines.append(Line("+", text, None, new))
            new, new_left = new + 1, new_left - 1
        elif kind != "\\":  # "\ No newline at end of file" is said about a line and is none
            return None, at
    return hunk, at


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
