"""Diffs as they are written by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from factory_forge.diff import Diff, FileChange, Hunk, Line


def change(path: str, text: str = "", **facts: Any) -> FileChange:
    """A changed file from lines that begin with a blank, + or -; a line `@@` begins another hunk."""
    hunks: list[Hunk] = []
    old = new = 1
    for part in text.strip("\n").split("@@\n") if text else []:
        lines = []
        for line in part.rstrip("\n").split("\n"):
            kind, words = line[:1] or " ", line[1:]
            lines.append(Line(kind, words, None if kind == "+" else old, None if kind == "-" else new))  # type: ignore[arg-type]
            old, new = old + (kind != "+"), new + (kind != "-")
        hunks.append(Hunk(1, 1, lines))
        old, new = old + 10, new + 10
    count = {kind: sum(ln.kind == kind for h in hunks for ln in h.lines) for kind in "+-"}
    given: dict[str, Any] = {"old_path": path, "status": "M", "added": count["+"], "removed": count["-"]} | facts
    return FileChange(path=path, old_mode="100644", new_mode="100644", hunks=hunks, **given)


def whole(*files: FileChange, truncated: bool = False) -> Diff:
    return Diff(base="a" * 40, head="b" * 40, files=list(files), patch="", truncated=truncated)


@pytest.fixture(name="change", scope="session")
def change_fixture() -> Callable[..., FileChange]:
    return change


@pytest.fixture(name="diff", scope="session")
def diff_fixture() -> Callable[..., Diff]:
    return whole
