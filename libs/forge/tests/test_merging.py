"""Two lines of work brought together in the mirror, and what a pull request is compared with when its base has moved."""

import os
from pathlib import Path

import pytest
from factory_forge.basis import basis_of, conflict
from factory_forge.errors import BaseNotAncestor, GitTooOld, LinkEscapes, MergeConflict, NoSuchRef
from factory_forge.git import AUTHOR_EMAIL, AUTHOR_NAME, Mirror
from factory_forge.repository import Merge, Repository

OURS = {"src/app.py": "def main():\n    return 3\n", "ours.py": "x\n"}


@pytest.fixture
async def ours(git, mirror: Mirror, clone: Path, base: str) -> str:
    """A job's commit, in the mirror by way of a bundle."""
    sha = git.commit(clone, "ours", OURS)
    await mirror.import_bundle(git.bundle(clone, base), ref=git.JOB, expect=sha, base=base)
    return sha


async def pushed(git, person: Path, mirror: Mirror, branch: str, files: dict[str, str | bytes | None]) -> str:
    """A person's commit on top of the base, on a branch of the remote, fetched."""
    git(person, "checkout", "-q", "-B", "work", "HEAD" if branch == "main" else "main")
    sha = git.commit(person, "theirs", files)
    git(person, "push", "-q", "-f", "origin", f"HEAD:refs/heads/{branch}")
    await mirror.fetch()
    return sha


async def merged(mirror: Mirror, merge: Merge) -> str:
    return await mirror.commit_tree(merge.tree, [merge.ours, merge.theirs], "both\n", AUTHOR_NAME, AUTHOR_EMAIL)


async def test_a_clean_merge(git, mirror: Mirror, person: Path, ours: str) -> None:
    """Holds both, as a commit with both parents, ours first; no ref has moved."""
    theirs = await pushed(git, person, mirror, git.BRANCH, {"docs/guide.md": "better\n"})
    refs = git(mirror.path, "--git-dir=.", "show-ref")
    merge = await mirror.try_merge(ours, theirs)
    assert (merge.conflicts, merge.says) == ((), ())
    sha = await merged(mirror, merge)
    assert await mirror.read(sha, "docs/guide.md") == b"better\n"
    assert await mirror.read(sha, "ours.py") == b"x\n"
    (commit, *_) = await mirror.log(ours, sha)
    assert (commit.sha, commit.parents, commit.author) == (sha, [ours, theirs], AUTHOR_NAME)
    assert git(mirror.path, "--git-dir=.", "show-ref") == refs


async def test_conflicts(git, mirror: Mirror, person: Path, ours: str) -> None:
    """Each file is named, lines stand between markers that name the commits, and git's sentences say of what kind."""
    files: dict[str, str | bytes | None] = {
        "src/app.py": "def main():\n    return 4\n",
        "ours.py": "y\n",
        "README.md": None,
    }
    theirs = await pushed(git, person, mirror, git.BRANCH, files)
    merge = await mirror.try_merge(ours, theirs)
    assert set(merge.conflicts) == {"ours.py", "src/app.py"}
    assert any("(add/add)" in s and "ours.py" in s for s in merge.says)
    text = (await mirror.read(await merged(mirror, merge), "src/app.py")).decode()
    assert text == (f"def main():\n<<<<<<< {ours}\n    return 3\n=======\n    return 4\n>>>>>>> {theirs}\n")


async def test_conflicts_without_markers(git, mirror: Mirror, person: Path, clone: Path, base: str) -> None:
    """Deleted on one side and changed on the other, or binary: they are named all the same."""
    ours = git.commit(clone, "ours", {"docs/guide.md": None, "pic.png": b"\0ours"})
    await mirror.import_bundle(git.bundle(clone, base), ref=git.JOB, expect=ours, base=base)
    theirs = await pushed(git, person, mirror, git.BRANCH, {"docs/guide.md": "better\n", "pic.png": b"\0theirs"})
    merge = await mirror.try_merge(ours, theirs)
    assert set(merge.conflicts) == {"docs/guide.md", "pic.png"}
    assert any("modify/delete" in s for s in merge.says)
    assert await mirror.with_markers(await merged(mirror, merge), merge) == []


async def test_markers_that_are_left(git, mirror: Mirror, person: Path, ours: str) -> None:
    """Those of this merge, wherever they went to; a text about merges is none."""
    theirs = await pushed(git, person, mirror, git.BRANCH, {"src/app.py": "def main():\n    return 4\n"})
    merge = await mirror.try_merge(ours, theirs)
    sha = await merged(mirror, merge)
    assert await mirror.with_markers(sha, merge) == ["src/app.py"]
    clone = person.with_name("half")
    git(person, "clone", "-q", str(mirror.path), str(clone))
    git(clone, "fetch", "-q", str(mirror.path), sha)
    git(clone, "checkout", "-q", sha)
    git.commit(clone, "half", {"src/app.py": "ok\n", "docs/how.md": "<<<<<<< HEAD\n=======\n>>>>>>> theirs\n"})
    left = git.commit(clone, "moved away", {"new name.py": f"x\n>>>>>>> {theirs}\n"})
    there = Repository(clone / ".git")
    assert await there.with_markers(left, merge) == ["new name.py"]
    assert await there.with_markers(f"{git(clone, 'rev-parse', 'HEAD~1')}", merge) == []


async def test_unrelated_histories(git, mirror: Mirror, person: Path, ours: str) -> None:
    """A person may have pushed another history altogether: it is merged, file by file."""
    git(person, "checkout", "-q", "--orphan", "fresh")
    theirs = git.commit(person, "from nothing", {"fresh.py": "x\n"})
    git(person, "push", "-q", "origin", f"HEAD:refs/heads/{git.BRANCH}")
    await mirror.fetch()
    merge = await mirror.try_merge(ours, theirs)
    assert await mirror.read(await merged(mirror, merge), "fresh.py") == b"x\n"


async def test_attributes_and_drivers_have_no_say(git, mirror: Mirror, person: Path, ours: str) -> None:
    """What a repository says of how it is merged is data: no program runs, and a conflict stays one."""
    ran = person.with_name("ran")
    git(mirror.path, "--git-dir=.", "config", "merge.evil.driver", f"touch {ran}; true")
    files: dict[str, str | bytes | None] = {
        "src/app.py": "def main():\n    return 4\n",
        ".gitattributes": "*.py merge=evil\n*.md merge=union\n",
    }
    merge = await mirror.try_merge(ours, await pushed(git, person, mirror, git.BRANCH, files))
    assert merge.conflicts == ("src/app.py",)
    assert not ran.exists()


async def test_an_old_git(
    git, mirror: Mirror, ours: str, base: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before 2.38 there is no merge without a checkout: that is said, and what to do."""
    old = tmp_path / "bin/git"
    old.parent.mkdir()
    real = next(p for d in os.environ["PATH"].split(":") if (p := Path(d, "git")).exists())
    old.write_text(
        f'#!/bin/sh\ncase "$*" in *merge-tree*) echo usage: git merge-tree >&2; exit 129;; esac\nexec {real} "$@"\n'
    )
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    with pytest.raises(GitTooOld) as e:
        await mirror.try_merge(ours, base)
    assert "2.38" in e.value.hint


async def test_what_is_not_there(mirror: Mirror, ours: str) -> None:
    """Is the caller's error, by name."""
    for call in (
        mirror.try_merge(ours, "1" * 40),
        mirror.behind(ours, "1" * 40),
        mirror.commit_tree("1" * 40, ["2" * 40], "m", "a", "b"),
    ):
        with pytest.raises(NoSuchRef):
            await call


async def test_a_local_merge_still_refuses_conflicts(git, mirror: Mirror, remote: Path, person: Path) -> None:
    """The button of the local forge merges what is clean and nothing else."""
    await pushed(git, person, mirror, "theirs", {"src/app.py": "def main():\n    return 4\n"})
    await pushed(git, person, mirror, "ours", {"src/app.py": "def main():\n    return 5\n"})
    forge = Repository(remote)
    await forge.merge("main", await forge.resolve("theirs"), "m", "ada")
    with pytest.raises(MergeConflict, match=r"src/app\.py"):
        await forge.merge("main", await forge.resolve("ours"), "m", "ada")


# ── out of the sandbox again ──────────────────────────────────────────────────


async def test_a_merge_comes_back_as_a_bundle(
    git, mirror: Mirror, person: Path, clone: Path, base: str, ours: str
) -> None:
    """With both parents, into this mirror and into another one that has never seen their branch."""
    theirs = await pushed(git, person, mirror, git.BRANCH, {"docs/guide.md": "better\n"})
    given = await merged(mirror, await mirror.try_merge(ours, theirs))
    bundle = clone.parent / "in.bundle"
    await mirror.bundle(bundle, given, base)
    git(clone, "fetch", "-q", str(bundle), "refs/heads/checkpoint")
    git(clone, "reset", "-q", "--hard", given)
    both = git.commit(clone, "and more", {"more.py": "x\n"})
    await mirror.import_bundle(git.bundle(clone, base), ref=git.JOB, expect=both, base=base)
    assert await mirror.is_ancestor(theirs, both)
    git(person, "push", "-q", "origin", f":refs/heads/{git.BRANCH}")
    other = await Mirror.open(clone.parent / "other.git", mirror.url)
    await other.fetch()
    await other.import_bundle(clone.parent / "out.bundle", ref=git.JOB, expect=both, base=base)
    assert await other.is_ancestor(theirs, both)


async def test_what_comes_in_with_a_merge_is_judged(git, mirror: Mirror, clone: Path, base: str, ours: str) -> None:
    """A second parent of the agent's own is looked at like everything that is new; one that the forge has is known."""
    git(clone, "checkout", "-q", "-b", "side", base)
    evil = git.commit_tree(clone, [("120000", "way-out", b"/etc/passwd")], base)
    tree = git(clone, "rev-parse", f"{ours}^{{tree}}")  # what it brings is in no tree at the end
    hidden = git(clone, "commit-tree", tree, "-p", ours, "-p", evil, "-m", "hidden")
    git(clone, "update-ref", "refs/heads/side", hidden)
    with pytest.raises(LinkEscapes):
        await mirror.import_bundle(git.bundle(clone, base, "side"), ref=git.JOB, expect=hidden, base=base)


async def test_a_merge_with_another_past(git, mirror: Mirror, clone: Path, base: str) -> None:
    """That has left the base is refused as any commit is."""
    git(clone, "checkout", "-q", "--orphan", "other")
    one = git.commit(clone, "from nothing", {"a": "b"})
    two = git(clone, "commit-tree", f"{one}^{{tree}}", "-m", "another")
    both = git(clone, "commit-tree", f"{one}^{{tree}}", "-p", one, "-p", two, "-m", "both")
    git(clone, "update-ref", "refs/heads/other", both)
    with pytest.raises(BaseNotAncestor):
        await mirror.import_bundle(git.bundle(clone, base, "other"), ref=git.JOB, expect=both, base=base)


async def test_it_is_pushed_forward(git, mirror: Mirror, remote: Path, person: Path, ours: str) -> None:
    """On top of what a person pushed, without force."""
    theirs = await pushed(git, person, mirror, git.BRANCH, {"docs/guide.md": "better\n"})
    both = await merged(mirror, await mirror.try_merge(ours, theirs))
    git(remote, "--git-dir=.", "config", "receive.denyNonFastForwards", "true")
    await mirror.push(str(remote), both, git.BRANCH)
    assert git(remote, "--git-dir=.", "rev-parse", f"refs/heads/{git.BRANCH}") == both


# ── the base beside a commit ──────────────────────────────────────────────────


async def test_a_base_that_stands_still(mirror: Mirror, base: str, ours: str) -> None:
    """The pull request shows the job's commits."""
    basis = await basis_of(mirror, None, ours)
    assert (basis.name, basis.tip, basis.moved, basis.conflicts) == ("main", base, 0, ())
    assert [f.path for f in basis.diff.files] == ["ours.py", "src/app.py"]
    assert await conflict(mirror, None, ours) is None


async def test_a_base_that_moved_on(git, mirror: Mirror, person: Path, ours: str) -> None:
    """How far, and whether git can merge it; what the pull request shows is the same as before."""
    await pushed(git, person, mirror, "main", {"docs/guide.md": "better\n"})
    await pushed(git, person, mirror, "main", {"more.py": "x\n"})
    basis = await basis_of(mirror, "main", ours)
    assert (basis.moved, basis.conflicts) == (2, ())
    assert [f.path for f in basis.diff.files] == ["ours.py", "src/app.py"]
    assert await conflict(mirror, "main", ours) is None


async def test_a_base_that_conflicts(git, mirror: Mirror, person: Path, ours: str) -> None:
    """The files are named; merged in, the pull request shows what differs from the base as it is now."""
    tip = await pushed(git, person, mirror, "main", {"src/app.py": "def main():\n    return 4\n", "theirs.py": "x\n"})
    basis = await basis_of(mirror, None, ours)
    assert (basis.tip, basis.moved, basis.conflicts) == (tip, 1, ("src/app.py",))
    clash = await conflict(mirror, None, ours)
    assert clash is not None
    assert clash.theirs == tip
    both = await merged(mirror, clash)
    after = await basis_of(mirror, None, both)
    assert (after.moved, after.conflicts) == (0, ())
    assert {f.path for f in after.diff.files} == {"ours.py", "src/app.py"}, "what the base brought is not the job's"


async def test_a_base_that_is_gone(mirror: Mirror, ours: str) -> None:
    """Is the repo's fault, by name."""
    with pytest.raises(NoSuchRef, match="release"):
        await basis_of(mirror, "release", ours)
