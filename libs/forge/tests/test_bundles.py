"""What comes out of a sandbox is taken as a whole or refused by name, and a refusal leaves the mirror as it was."""

import os
from pathlib import Path

import pytest
from factory_forge.errors import (
    BaseNotAncestor,
    BrokenObjects,
    BundleRefused,
    BundleTooLarge,
    CommitTooLarge,
    LinkEscapes,
    NoSuchRef,
    NotABundle,
    NotThatCommit,
    PathRefused,
    SubmoduleAdded,
    TooManyFiles,
)
from factory_forge.git import CHECKPOINT_REF, Mirror
from factory_forge.incoming import Limits
from factory_jobs.errors import WorkError


def contents(mirror: Mirror) -> list[tuple[str, int]]:
    """Everything that the mirror holds."""
    return sorted((str(path), path.stat().st_size) for path in mirror.path.rglob("*") if path.is_file())


async def refused(mirror: Mirror, bundle: Path, kind: type[BundleRefused], **args: object) -> BundleRefused:
    """Imports, expects this refusal, and that nothing changed."""
    before = contents(mirror)
    with pytest.raises(BundleRefused) as caught:
        await mirror.import_bundle(bundle, ref="j1/1", **args)  # pyright: ignore[reportArgumentType]
    assert type(caught.value) is kind, caught.value
    assert isinstance(caught.value, WorkError)
    assert contents(mirror) == before
    return caught.value


async def test_import(git, mirror: Mirror, clone: Path, base: str) -> None:
    """The one commit arrives under its ref, with all that led to it; a second time is the same."""
    first = git.commit(clone, "one", {"a/b.txt": "b", "run.sh": "#!/bin/sh\n"})
    (clone / "inner").symlink_to("a/b.txt")
    (clone / "a/up").symlink_to("../README.md")
    second = git.commit(clone, "two", {"README.md": None})
    for _ in range(2):
        await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=second, base=base)
    assert await mirror.resolve("j1/1") == second
    assert await mirror.resolve("refs/factory/j1/1") == second
    assert await mirror.is_ancestor(first, second)
    assert await mirror.read(second, "a/b.txt") == b"b"
    paths = [entry.path for entry in await mirror.files(second)]
    assert paths == ["a/b.txt", "a/up", "docs/guide.md", "inner", "run.sh", "src/app.py"]
    assert not list(mirror.path.rglob("incoming-*"))


async def test_what_was_agreed_must_be_there(git, mirror: Mirror, clone: Path, base: str) -> None:
    """A bundle with another commit, or none of that name, is refused even where the commit is good."""
    git.commit(clone, "one", {"a": "b"})
    await refused(mirror, git.bundle(clone, base), NotThatCommit, expect="1" * 40, base=base)
    await refused(mirror, git.bundle(clone, base), NotThatCommit, expect="main", base=base)
    tree = git(clone, "rev-parse", "HEAD^{tree}")
    git(clone, "update-ref", "refs/tags/tree", tree)
    bundle = git.bundle(clone, base, "refs/tags/tree")
    await refused(mirror, bundle, NotThatCommit, expect=tree, base=base)


async def test_base(git, mirror: Mirror, clone: Path, base: str, person: Path) -> None:
    """What does not build on the base is refused; an unknown base is the caller's error."""
    git(clone, "checkout", "-q", "--orphan", "other")
    orphan = git.commit(clone, "from nothing", {"a": "b"})
    await refused(mirror, git.bundle(clone, base, "other"), BaseNotAncestor, expect=orphan, base=base)
    with pytest.raises(NoSuchRef):
        await mirror.import_bundle(git.bundle(clone, base, "other"), ref="j1", expect=orphan, base="2" * 40)
    for ref in ("", "../x", "a..b", "-x", "A", "a/", "a b"):
        with pytest.raises(NoSuchRef):
            await mirror.import_bundle(git.bundle(clone, base, "other"), ref=ref, expect=orphan, base=base)


async def test_what_is_no_bundle(git, tmp_path: Path, mirror: Mirror, clone: Path, base: str) -> None:
    """Text, a link, a FIFO, a directory, nothing, a cut or altered bundle: each has its name."""
    head = git.commit(clone, "one", {"a": os.urandom(5000)})
    good = git.bundle(clone, base)
    bad = tmp_path / "bad.bundle"
    bad.write_text("hello\n")
    await refused(mirror, bad, NotABundle, expect=head, base=base)
    bad.write_bytes(b"# v2 git bundle\n" + f"{head} refs/heads/x\n".encode() * 2000)
    await refused(mirror, bad, NotABundle, expect=head, base=base)
    bad.write_bytes(b"# v3 git bundle\n@filter=blob:none\n" + good.read_bytes().split(b"\n", 1)[1])
    await refused(mirror, bad, NotABundle, expect=head, base=base)
    data = good.read_bytes()
    bad.write_bytes(data[:-700])
    await refused(mirror, bad, BrokenObjects, expect=head, base=base)
    bad.write_bytes(data[:-2000] + b"\0" * 50 + data[-1950:])
    await refused(mirror, bad, BrokenObjects, expect=head, base=base)
    link = tmp_path / "link"
    link.symlink_to(good)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path, tmp_path / "none"):
        await refused(mirror, path, NotABundle, expect=head, base=base)


async def test_missing_objects(git, tmp_path: Path, mirror: Mirror, clone: Path, base: str) -> None:
    """A commit whose tree or parent the bundle leaves out, and nobody has, is refused: it could not be pushed."""
    middle = git.commit(clone, "one", {"a": "a"})
    head = git.commit(clone, "two", {"b": "b"})
    bundle = git.bundle(clone, middle)  # needs `middle`, which the mirror has never seen
    await refused(mirror, bundle, BrokenObjects, expect=head, base=base)
    lying = tmp_path / "lying.bundle"
    lying.write_bytes(bundle.read_bytes().replace(f"-{middle}".encode(), f"-{base}".encode()))
    await refused(mirror, lying, BrokenObjects, expect=head, base=base)


async def test_sizes(git, mirror: Mirror, clone: Path, base: str) -> None:
    """Bundle, file, number of files and of commits have limits; a large file hidden in the history counts too."""
    git.commit(clone, "large", {"big.bin": os.urandom(200_000)})
    head = git.commit(clone, "gone again", {"big.bin": None})
    bundle = git.bundle(clone, base)
    await refused(mirror, bundle, BundleTooLarge, expect=head, base=base, limits=Limits(bundle_bytes=100_000))
    error = await refused(mirror, bundle, CommitTooLarge, expect=head, base=base, limits=Limits(file_bytes=199_999))
    assert "big.bin" in str(error)
    await mirror.import_bundle(bundle, ref="ok", expect=head, base=base, limits=Limits(file_bytes=200_000))
    many = git.commit(clone, "many", {f"node_modules/{n}.js": str(n) for n in range(60)})
    bundle = git.bundle(clone, base)
    for limit in (3, 60):  # the first ends while git still prints
        await refused(mirror, bundle, TooManyFiles, expect=many, base=base, limits=Limits(files=limit))
    await refused(mirror, bundle, BundleRefused, expect=many, base=base, limits=Limits(commits=2))
    await mirror.import_bundle(bundle, ref="ok", expect=many, base=base, limits=Limits(files=61, commits=3))


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../outside", "..", "a/../../..", "docs/../x", ".git/config", "x" * 5000]
)
async def test_links_that_lead_out(git, mirror: Mirror, clone: Path, base: str, target: str) -> None:
    """A link that leaves the repository, might, or looks into .git, is refused, also where it was removed again."""
    linked = git.commit_tree(clone, [("120000", "link", target.encode())], base)
    head = git(clone, "commit-tree", f"{base}^{{tree}}", "-p", linked, "-m", "removed again")
    git(clone, "update-ref", "HEAD", head)
    await refused(mirror, git.bundle(clone, base), LinkEscapes, expect=head, base=base)


async def test_submodule(git, tmp_path: Path, mirror: Mirror, clone: Path, base: str) -> None:
    """A repository within the repository (an agent's `git init` in a subdirectory) is refused with its path."""
    nested = git.init(clone / "vendor/lib")
    git.commit(nested, "nested", {"x": "y"})
    head = git.commit(clone, "adds it")
    error = await refused(mirror, git.bundle(clone, base), SubmoduleAdded, expect=head, base=base)
    assert "vendor/lib" in str(error)


async def test_gitmodules(git, mirror: Mirror, clone: Path, base: str) -> None:
    """Nor may .gitmodules change."""
    head = git.commit(clone, "x", {".gitmodules": '[submodule "a"]\n\tpath = a\n\turl = https://example.com/a\n'})
    await refused(mirror, git.bundle(clone, base), PathRefused, expect=head, base=base)


@pytest.mark.parametrize(
    "name",
    [".git", ".GIT", ".Git", "git~1", ".g\u200cit", "..", ".", ".git ", "a\nb", "a\x1bb", "\udcff.txt", "a\\.git\\b"],
)
async def test_odd_names(git, mirror: Mirror, clone: Path, base: str, name: str) -> None:
    """Names that some file system takes for .git, that climb, or that no report can show are refused."""
    head = git.commit_tree(clone, [("100644", name, b"x")], base)
    bundle = git.bundle(clone, base)
    before = contents(mirror)
    with pytest.raises((BrokenObjects, PathRefused)):
        await mirror.import_bundle(bundle, ref="j1/1", expect=head, base=base)
    assert contents(mirror) == before


async def test_a_git_directory_in_the_tree(git, mirror: Mirror, clone: Path, base: str) -> None:
    """A tree that brings a whole .git directory along is refused by git's own check."""
    hooks = git.commit_tree(clone, [("100755", "post-checkout", b"#!/bin/sh\n")], base)
    tree = git(clone, "rev-parse", f"{hooks}:")
    head = git.commit_tree(clone, [("40000", ".git", tree.encode())], base)
    await refused(mirror, git.bundle(clone, base), BrokenObjects, expect=head, base=base)


async def test_what_people_brought_is_not_judged(git, mirror: Mirror, clone: Path, person: Path, base: str) -> None:
    """A merge of what a person pushed is taken, whatever that holds; only what is new here is the agent's."""
    (person / "out").symlink_to("/opt/shared")
    theirs = git.commit(person, "a person's link")
    git(person, "push", "-q", "origin", "main")
    await mirror.fetch()
    git.commit(clone, "ours", {"a": "b"})
    git(clone, "merge", "-q", "-m", "theirs", theirs)
    head = git(clone, "rev-parse", "HEAD")
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=head, base=base)
    git(clone, "checkout", "-q", "-B", "evil", theirs)
    other = git.commit(clone, "beside", {"c": "d"})
    git(clone, "checkout", "-q", git.BRANCH)
    git(clone, "merge", "-q", "--no-commit", other)
    (clone / "in-the-merge").symlink_to("/etc/passwd")
    evil = git.commit(clone, "a merge that brings more than both sides")
    await refused(mirror, git.bundle(clone, base), LinkEscapes, expect=evil, base=base)


async def test_bundle_out(git, tmp_path: Path, mirror: Mirror, clone: Path, base: str) -> None:
    """A checkpoint's bundle is what a new clone of the base needs to stand at the commit; odd input makes no file."""
    head = git.commit(clone, "one", {"a": "b", "src/app.py": "changed\n"})
    await mirror.import_bundle(git.bundle(clone, base), ref="j1/1", expect=head, base=base)
    out, fresh = tmp_path / "checkpoint.bundle", tmp_path / "fresh"
    await mirror.bundle(out, head, base)
    assert out.stat().st_size < 2000
    await mirror.clone_for_job(fresh, base, git.BRANCH)
    git(fresh, "fetch", "-q", str(out), CHECKPOINT_REF)
    git(fresh, "reset", "-q", "--hard", "FETCH_HEAD")
    assert git(fresh, "rev-parse", "HEAD") == head
    assert (fresh / "a").read_text() == "b"
    again = await Mirror.open(tmp_path / "other.git", mirror.url)
    await again.fetch()
    await again.import_bundle(out, ref="j1/1", expect=head, base=base)
    assert await again.resolve("j1/1") == head
    with pytest.raises(NoSuchRef):
        await mirror.bundle(tmp_path / "none.bundle", "3" * 40, base)
    assert sorted(path.name for path in tmp_path.glob("*.bundle")) == ["checkpoint.bundle"]
