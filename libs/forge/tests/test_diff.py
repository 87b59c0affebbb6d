"""A diff says of every changed file what happened, and of every shown line where it stands."""

from pathlib import Path

import pytest
from factory_forge.diff import Line, with_hunks
from factory_forge.errors import NoSuchRef
from factory_forge.git import Mirror


async def taken(git, mirror: Mirror, clone: Path, base: str, sha: str) -> str:
    await mirror.import_bundle(git.bundle(clone, base), ref="d", expect=sha, base=base)
    return sha


async def test_every_status(git, mirror: Mirror, clone: Path, base: str) -> None:
    """Added, modified, deleted, renamed, of another type, executable, binary: each as such, with its counts."""
    many = "".join(f"line {n}\n" for n in range(20))
    first = git.commit(clone, "a", {"old name.txt": many, "kind": "text\n", "run.sh": "#!/bin/sh\n", "gone": "1\n2\n"})
    (clone / "old name.txt").rename(clone / "näw.txt")
    (clone / "näw.txt").write_text(many.replace("line 3\n", "line three\n"))
    (clone / "kind").unlink()
    (clone / "kind").symlink_to("README.md")
    (clone / "run.sh").chmod(0o755)
    files = {"gone": None, "bin": b"\0\1\2", "empty": "", "src/app.py": "def main():\n    return 3\n"}
    head = await taken(git, mirror, clone, base, git.commit(clone, "b", files))
    diff = await mirror.diff(first, head)
    seen = {f.path: (f.status, f.old_path, f.added, f.removed, f.binary) for f in diff.files}
    assert seen == {
        "bin": ("A", "bin", 0, 0, True),
        "empty": ("A", "empty", 0, 0, False),
        "gone": ("D", "gone", 0, 2, False),
        "kind": ("T", "kind", 1, 1, False),
        "näw.txt": ("R", "old name.txt", 1, 1, False),
        "run.sh": ("M", "run.sh", 0, 0, False),
        "src/app.py": ("M", "src/app.py", 1, 1, False),
    }
    modes = {f.path: (f.old_mode, f.new_mode) for f in diff.files}
    assert modes["run.sh"] == ("100644", "100755")
    assert modes["kind"] == ("100644", "120000")
    changed = {f.path: [(k.kind, k.text) for h in f.hunks for k in h.lines if k.kind != " "] for f in diff.files}
    assert changed["näw.txt"] == [("-", "line 3"), ("+", "line three")]
    assert changed["kind"] == [("-", "text"), ("+", "README.md")]
    assert changed["gone"] == [("-", "1"), ("-", "2")]
    assert changed["run.sh"] == changed["bin"] == changed["empty"] == []
    assert not diff.truncated
    assert "rename from old name.txt" in diff.patch


async def test_line_numbers(git, mirror: Mirror, clone: Path, base: str) -> None:
    """Old and new numbers are those of the files, in every hunk."""
    lines = [f"l{n}" for n in range(1, 61)]
    first = git.commit(clone, "a", {"f": "\n".join(lines) + "\n"})
    changed = ["new first", *lines[:30], *lines[31:59], "l60 changed"]
    head = await taken(git, mirror, clone, base, git.commit(clone, "b", {"f": "\n".join(changed)}))
    change = (await mirror.diff(first, head)).file("f")
    assert change
    assert [(hunk.old_start, hunk.new_start) for hunk in change.hunks] == [(1, 1), (28, 29), (57, 57)]
    for hunk in change.hunks:
        for line in hunk.lines:
            if line.old_no:
                assert lines[line.old_no - 1] == line.text
            if line.new_no:
                assert changed[line.new_no - 1] == line.text
    flat = [line for hunk in change.hunks for line in hunk.lines]
    assert Line("+", "new first", None, 1) in flat
    assert Line("-", "l31", 31, None) in flat
    assert Line("+", "l60 changed", None, 60) in flat


async def test_lines_that_look_like_headers(git, mirror: Mirror, clone: Path, base: str) -> None:
    """A file's text cannot pass for another file, a hunk, or the end of one."""
    text = "diff --git a/x b/x\n@@ -1,1 +1,1 @@\n--- a/x\n+++ b/x\n\\ No newline at end of file\nGIT binary patch\r\n"
    files = {"a": text, "b": "plain\n"}
    head = await taken(git, mirror, clone, base, git.commit(clone, "a", files))
    diff = await mirror.diff(base, head)
    assert [file.path for file in diff.files] == ["a", "b"]
    added = ["".join(line.text + "\n" for hunk in file.hunks for line in hunk.lines) for file in diff.files]
    assert added == [text, "plain\n"]
    back = await mirror.diff(head, base)
    assert ["".join(k.text + "\n" for h in f.hunks for k in h.lines) for f in back.files] == added


async def test_truncated(git, mirror: Mirror, clone: Path, base: str) -> None:
    """A patch past the limit is cut between lines, said, and all files are listed with their counts all the same."""
    files = {f"f{n}": f"file {n}\n" * 100 for n in range(9)}
    head = await taken(git, mirror, clone, base, git.commit(clone, "many", files))
    diff = await mirror.diff(base, head, max_bytes=2500)
    assert diff.truncated
    assert len(diff.patch) <= 2500
    assert diff.patch.endswith("\n")
    assert [(file.path, file.added) for file in diff.files] == [(f"f{n}", 100) for n in range(9)]
    assert len(diff.files[0].hunks) == 1
    assert all(line.text == "file 0" for line in diff.files[0].hunks[0].lines)
    assert diff.files[8].hunks == []


async def test_nothing_and_unknown(mirror: Mirror, base: str) -> None:
    """No difference is an empty diff; an unknown commit is an error with a name."""
    assert (await mirror.diff(base, base)).files == []
    with pytest.raises(NoSuchRef):
        await mirror.diff(base, "1" * 40)
    with pytest.raises(NoSuchRef):
        await mirror.diff("--output=/tmp/x", base)


def test_a_broken_patch_ends_early() -> None:
    """A hunk that lacks lines, or has odd ones, is dropped and nothing after it invented."""
    assert with_hunks([], b"") == []
    assert with_hunks([], b"diff --git a/x b/x\n@@ -1,2 +1,2 @@\n-a\n") == []
