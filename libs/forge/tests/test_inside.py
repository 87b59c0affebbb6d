"""A round's commit, checkpoints and dirt, in a real clone in which an agent has done whatever it likes."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory_forge.errors import CheckoutBroken
from factory_forge.git import AUTHOR_NAME, Mirror
from factory_forge.inside import GitInside
from factory_jobs.errors import FactoryError

JOB = "jabcdefghi2"
BRANCH = f"factory/{JOB}-add-a-page"


class LocalPlace:
    """The part of a sandbox that is used here, as processes and files of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        max_output: int = 1 << 20,
    ) -> SimpleNamespace:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "HOME": str(self.root.parent), **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
        return SimpleNamespace(code=process.returncode, stdout=out[-max_output:], stderr=err[-max_output:])

    async def read_chunks(self, path: str, offset: int = 0) -> AsyncIterator[bytes]:
        yield (self.root / path).read_bytes()[offset:]

    async def write(self, path: str, data: bytes | AsyncIterator[bytes], *, mode: int = 0o644) -> int:
        assert isinstance(data, bytes)
        (self.root / path).write_bytes(data)
        return len(data)


@pytest.fixture
def inside(clone: Path) -> GitInside:
    return GitInside(LocalPlace(clone), BRANCH)


def tree(git, clone: Path, sha: str) -> dict[str, str]:
    """Path → mode of everything in a commit."""
    lines = git(clone, "-c", "core.quotePath=false", "ls-tree", "-r", sha).splitlines()
    return {line.split("\t")[1]: line.split()[0] for line in lines}


def stands_at(git, clone: Path, sha: str) -> bool:
    """HEAD, the job's branch and the index are at this commit, and the tree is too."""
    return (
        git(clone, "symbolic-ref", "HEAD") == f"refs/heads/{BRANCH}"
        and git(clone, "rev-parse", "HEAD") == sha
        and git(clone, "status", "--porcelain") == ""
    )


async def test_a_round(git, clone: Path, base: str, inside: GitInside) -> None:
    """All that the agent has written is one commit of the factory's on the parent."""
    (clone / "src/app.py").write_text("def main():\n    return 3\n")
    (clone / "new").mkdir()
    (clone / "new/página ü.py").write_text("x\n")
    made = await inside.commit(base, "Add a page\n\nBecause.\n")
    assert made.parent == base
    assert made.files == ("new/página ü.py", "src/app.py")
    said = git(clone, "log", "-1", "--format=%P|%an|%cn|%s|%b", made.sha)
    assert said == f"{base}|{AUTHOR_NAME}|{AUTHOR_NAME}|Add a page|Because."
    assert stands_at(git, clone, made.sha)


async def test_deleted_renamed_executable_linked(git, clone: Path, base: str, inside: GitInside) -> None:
    """Deletions, renames, exec bits and links are in the commit as they are in the tree."""
    (clone / "README.md").unlink()
    (clone / "src/app.py").rename(clone / "src/main.py")
    (clone / "docs/guide.md").chmod(0o755)
    (clone / "link").symlink_to("docs/guide.md")
    made = await inside.commit(base, "m")
    assert tree(git, clone, made.sha) == {"docs/guide.md": "100755", "link": "120000", "src/main.py": "100644"}
    assert stands_at(git, clone, made.sha)


async def test_ignored_files_stay_out(git, clone: Path, base: str, inside: GitInside) -> None:
    """What the repo ignores is not committed, nor is the contract's own directory, forced or not."""
    (clone / ".gitignore").write_text("*.log\n")
    (clone / "debug.log").write_text("x")
    ours = clone / ".software-factory"
    ours.mkdir()
    (ours / "scenarios.yaml").write_text("scenarios: []\n")
    git(clone, "add", "-f", ".software-factory/scenarios.yaml")
    made = await inside.commit(base, "m")
    assert made.files == (".gitignore",)
    assert ".software-factory/scenarios.yaml" not in tree(git, clone, made.sha)
    assert (ours / "scenarios.yaml").exists()
    assert await inside.dirt() == []


async def test_a_repo_that_tracks_the_contracts_directory(git, clone: Path, base: str, inside: GitInside) -> None:
    """Where the repo itself tracks something there, a round neither changes nor deletes it."""
    scenarios = clone / ".software-factory/scenarios.yaml"
    tracked = git.commit(clone, "tracked", {".software-factory/scenarios.yaml": "old\n", ".software-factory/a": "a\n"})
    scenarios.write_text("new\n")
    (clone / ".software-factory/a").unlink()
    (clone / "x.py").write_text("x\n")
    made = await inside.commit(tracked, "m")
    assert made.files == ("x.py",)
    assert git(clone, "show", f"{made.sha}:.software-factory/scenarios.yaml") == "old"
    assert await inside.dirt() == []


@pytest.mark.parametrize("way", ["commit", "amend", "branch", "detached", "orphan", "staged", "merge"])
async def test_whatever_the_agent_did_with_git(git, clone: Path, base: str, inside: GitInside, way: str) -> None:
    """Its own commits, amends, branches and staged halves change nothing: one commit of the tree, on the parent."""
    page = clone / "page.py"
    page.write_text("one\n")
    match way:
        case "commit":
            git.commit(clone, "agent's own")
        case "amend":
            git(clone, "add", "-A")
            git(clone, "commit", "-q", "--amend", "-m", "rewritten past")
        case "branch":
            git(clone, "checkout", "-q", "-b", "mine")
            git.commit(clone, "elsewhere")
        case "detached":
            git(clone, "checkout", "-q", "--detach")
            git.commit(clone, "nowhere")
        case "orphan":
            git(clone, "checkout", "-q", "--orphan", "fresh")
            git.commit(clone, "without a past")
            git(clone, "branch", "-D", BRANCH)
        case "staged":
            git(clone, "add", "-A")
            git(clone, "rm", "-q", "--cached", "README.md")
        case "merge":
            git(clone, "checkout", "-q", "-b", "other", base)
            git.commit(clone, "theirs", {"page.py": "theirs\n"})
            git(clone, "checkout", "-q", BRANCH)
            git.commit(clone, "ours", {"page.py": "ours\n"})
            with pytest.raises(AssertionError):
                git(clone, "merge", "other")
    page.write_text("two\n")
    made = await inside.commit(base, "m")
    assert made.files == ("page.py",)
    assert git(clone, "show", f"{made.sha}:page.py") == "two"
    assert git(clone, "rev-list", f"{base}..{made.sha}") == made.sha
    assert stands_at(git, clone, made.sha)


async def test_nothing_changed(git, clone: Path, base: str, inside: GitInside) -> None:
    """A round that leaves the tree as it was makes no commit, and what the agent did to the branch is undone."""
    git.commit(clone, "there", {"page.py": "one\n"})
    git.commit(clone, "and back", {"page.py": None})
    made = await inside.commit(base, "m")
    assert (made.sha, made.files) == (base, ())
    assert stands_at(git, clone, base)


async def test_a_commit_the_mirror_takes(mirror: Mirror, clone: Path, base: str, inside: GitInside) -> None:
    """Two rounds leave the sandbox as one bundle that the mirror lets in."""
    (clone / "a.py").write_text("1\n")
    first = await inside.commit(base, "one")
    (clone / "a.py").write_text("2\n")
    second = await inside.commit(first.sha, "two")
    out = clone.parent / "out.bundle"
    await inside.bundle_to(out, base, second.sha)
    await mirror.import_bundle(out, ref=JOB, expect=second.sha, base=base)
    assert [c.subject for c in await mirror.log(base, second.sha)] == ["two", "one"]


async def test_apply(git, tmp_path: Path, mirror: Mirror, clone: Path, base: str, inside: GitInside) -> None:
    """A checkpoint brings a fresh clone to its commit: own files and changes go, ignored ones and ours stay."""
    (clone / "a.py").write_text("1\n")
    (clone / ".gitignore").write_text("*.cache\n")
    made = await inside.commit(base, "one")
    bundle = tmp_path / "checkpoint.bundle"
    await inside.bundle_to(bundle, base, made.sha)
    other = tmp_path / "other"
    await mirror.clone_for_job(other, base, BRANCH)
    for path in ("x.cache", "left.py", ".software-factory/scenarios.yaml"):
        (other / path).parent.mkdir(exist_ok=True)
        (other / path).write_text("x")
    (other / "README.md").write_text("changed")
    there = GitInside(LocalPlace(other), BRANCH)
    await there.apply(bundle.read_bytes(), made.sha)
    assert await there.head() == made.sha
    assert (other / "a.py").read_text() == "1\n"
    assert not (other / "left.py").exists()
    assert (other / ".software-factory/scenarios.yaml").exists()
    assert (other / "x.cache").exists()
    assert await there.dirt() == []


async def test_apply_a_bundle_of_the_mirror(
    git, tmp_path: Path, mirror: Mirror, person: Path, clone: Path, base: str, inside: GitInside
) -> None:
    """A person's push comes into the sandbox by way of the mirror."""
    sha = git.commit(person, "by hand", {"hand.py": "x\n"})
    git(person, "push", "-q", "origin", "HEAD:refs/heads/hand")
    await mirror.fetch()
    await mirror.bundle(tmp_path / "push.bundle", sha, base)
    await inside.apply((tmp_path / "push.bundle").read_bytes(), sha)
    assert stands_at(git, clone, sha)


async def test_broken_bundle(git, clone: Path, base: str, inside: GitInside) -> None:
    """What is no bundle is an error, and the tree stays as it was."""
    with pytest.raises(FactoryError) as e:
        await inside.apply(b"no bundle", base)
    assert e.value.code == "git_inside"
    assert stands_at(git, clone, base)


async def test_reset_to_what_is_not_there(clone: Path, inside: GitInside) -> None:
    """A commit that the clone lacks is an error, and the agent's work is still there."""
    (clone / "work.py").write_text("x\n")
    with pytest.raises(FactoryError):
        await inside.reset("1" * 40)
    assert (clone / "work.py").exists()


async def test_reset(git, clone: Path, base: str, inside: GitInside) -> None:
    """Everything that is not ignored goes, repositories within the repository too."""
    (clone / "README.md").unlink()
    git.commit(git.init(clone / "nested"), "nested", {"x.py": "x\n"})
    (clone / "src/app.py").write_text("changed\n")
    git(clone, "checkout", "-q", "-b", "mine")
    await inside.reset(base)
    assert stands_at(git, clone, base)
    assert not (clone / "nested").exists()


async def test_dirt(clone: Path, base: str, inside: GitInside) -> None:
    """Whole paths of what differs from HEAD, whatever the change and the name; ours left out."""
    assert await inside.dirt() == []
    (clone / "README.md").write_text("changed\n")  # the first entry, and unstaged: it begins with a blank
    assert await inside.dirt() == ["README.md"]
    (clone / "docs/guide.md").unlink()
    (clone / "src/a b\tc.py").write_text("x")
    (clone / " edge ").write_text("x")
    (clone / ".software-factory").mkdir()
    (clone / ".software-factory/x").write_text("x")
    assert await inside.dirt() == [" edge ", "README.md", "docs/guide.md", "src/a b\tc.py"]


async def test_dirt_of_a_staged_rename(git, clone: Path, inside: GitInside) -> None:
    """A setup that stages a rename is two paths, both whole."""
    git(clone, "mv", "README.md", "LIESMICH.md")
    assert await inside.dirt() == ["LIESMICH.md", "README.md"]


async def test_hidden_changes(git, clone: Path, base: str, inside: GitInside) -> None:
    """Bits by which an agent told git to look away do not hide a change from the commit, nor later from dirt."""
    git(clone, "update-index", "--assume-unchanged", "src/app.py")
    git(clone, "update-index", "--skip-worktree", "README.md")
    (clone / "src/app.py").write_text("hidden\n")
    (clone / "README.md").write_text("hidden\n")
    made = await inside.commit(base, "m")
    assert made.files == ("README.md", "src/app.py")
    (clone / "src/app.py").write_text("hidden again\n")
    (clone / "README.md").write_text("hidden again\n")
    assert await inside.dirt() == ["README.md", "src/app.py"]


async def test_another_tree(git, clone: Path, base: str, inside: GitInside) -> None:
    """A configuration that points git to another tree does not decide what is committed: what was run is."""
    other = clone.parent / "other"
    other.mkdir()
    (other / "evil.py").write_text("x\n")
    (clone / "page.py").write_text("x\n")
    git(clone, "config", "core.worktree", str(other))
    git(clone, "config", "core.bare", "false")
    assert (await inside.commit(base, "m")).files == ("page.py",)
    git(clone, "config", "--unset", "core.worktree")
    git(clone, "config", "core.bare", "true")
    (clone / "page.py").write_text("y\n")
    assert (await inside.commit(base, "m")).files == ("page.py",)


async def test_hooks_and_filters_of_the_clone(git, clone: Path, base: str, inside: GitInside) -> None:
    """The agent's hooks do not run when the factory commits."""
    hooks = clone / ".git/hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {clone.parent}/ran\n")
        (hooks / name).chmod(0o755)
    (clone / "page.py").write_text("x\n")
    await inside.commit(base, "m")
    await inside.reset(base)
    assert not (clone.parent / "ran").exists()


async def test_without_its_own_repository(git, tmp_path: Path, base: str, mirror: Mirror) -> None:
    """Where the agent has deleted .git, the repository around it is not touched, though it knows the commits."""
    around = tmp_path / "around"
    await mirror.clone_for_job(around, base, "factory/jaround234-x")
    git.commit(around, "later work", {"later.py": "x\n"})
    (around / "unsaved.py").write_text("x\n")
    before = git(around, "rev-parse", "HEAD"), git(around, "status", "--porcelain"), git(around, "show-ref")
    checkout = around / "var/checkout"
    checkout.mkdir(parents=True)
    inside = GitInside(LocalPlace(checkout), BRANCH)
    for call in (
        inside.commit(base, "m"),
        inside.reset(base),
        inside.dirt(),
        inside.bundle_to(tmp_path / "b", base, base),
    ):
        with pytest.raises(CheckoutBroken, match=r"not a git repository|lacks"):
            await call
    assert (around / "unsaved.py").exists()
    assert (git(around, "rev-parse", "HEAD"), git(around, "status", "--porcelain"), git(around, "show-ref")) == before


@pytest.mark.parametrize("way", ["gone", "begun anew", "without objects", "bad config", "empty", "a file"])
async def test_a_broken_repository(git, clone: Path, base: str, way: str) -> None:
    """However an agent has broken it, each call says that the place is lost, and none believes what is there now."""
    inside = GitInside(LocalPlace(clone), BRANCH, base)
    (clone / "page.py").write_text("x\n")
    made = await inside.commit(base, "one")
    match way:
        case "gone" | "begun anew" | "empty" | "a file":
            shutil.rmtree(clone / ".git")
        case "without objects":
            (clone / ".git/objects/info/alternates").unlink()
        case "bad config":
            (clone / ".git/config").write_text("[core")
    match way:
        case "begun anew":
            git.commit(git.init(clone), "all of it")
        case "empty":
            (clone / ".git").mkdir()
        case "a file":
            (clone / ".git").write_text("gitdir: /nowhere")
    for call in (inside.commit(made.sha, "m"), inside.reset(made.sha), inside.reset(base)):
        with pytest.raises(CheckoutBroken) as e:
            await call
        assert e.value.code == "sandbox-lost"  # by this code a worker places the job anew


async def test_a_merge(git, mirror: Mirror, clone: Path, base: str, inside: GitInside) -> None:
    """What the agent was given is replaced by one commit with both parents, whatever it did with git meanwhile."""
    (clone / "a.py").write_text("ours\n")
    ours = (await inside.commit(base, "ours")).sha
    theirs = git(clone, "commit-tree", f"{base}^{{tree}}", "-p", base, "-m", "theirs")
    git(clone, "merge", "-q", "-m", "as given", theirs)
    given = git(clone, "rev-parse", "HEAD")
    git.commit(clone, "agent's own", {"b.py": "x\n"})
    git(clone, "branch", "-f", "mine", base)
    git(clone, "symbolic-ref", "HEAD", "refs/heads/mine")
    made = await inside.commit(given, "both", parents=[ours, theirs])
    assert git(clone, "log", "-1", "--format=%P|%s", made.sha) == f"{ours} {theirs}|both"
    assert made.files == ("b.py",)
    assert stands_at(git, clone, made.sha)


async def test_a_merge_that_changes_nothing(git, clone: Path, base: str, inside: GitInside) -> None:
    """Is a commit all the same: it holds both."""
    (clone / "a.py").write_text("ours\n")
    ours = (await inside.commit(base, "ours")).sha
    theirs = git(clone, "commit-tree", f"{base}^{{tree}}", "-p", base, "-m", "theirs")
    git(clone, "merge", "-q", "-m", "as given", theirs)
    made = await inside.commit(git(clone, "rev-parse", "HEAD"), "both", parents=[ours, theirs])
    assert made.files == ()
    assert git(clone, "log", "-1", "--format=%P", made.sha) == f"{ours} {theirs}"


@pytest.mark.parametrize("commits", [True, False])
async def test_a_repository_within(git, clone: Path, base: str, inside: GitInside, commits: bool) -> None:
    """What a scaffolder put under git is committed as files, not as a submodule that nobody could fetch."""
    nested = git.init(clone / "web")
    deeper = git.init(nested / "deep")
    (nested / "x.js").write_text("x\n")
    (deeper / "y.js").write_text("y\n")
    if commits:
        git.commit(deeper, "deeper")
        git.commit(nested, "nested")
    made = await inside.commit(base, "m")
    assert made.files == ("web/deep/y.js", "web/x.js")
    assert "160000" not in tree(git, clone, made.sha).values()


async def test_a_worktree_within(git, clone: Path, base: str, inside: GitInside) -> None:
    """An agent's linked worktree is a copy of the repo: no part of the commit, no dirt, and it may stay."""
    git(clone, "worktree", "add", "-q", "-b", "try", ".trees/one")
    (clone / ".trees/one/page.py").write_text("tried\n")
    (clone / "page.py").write_text("x\n")
    made = await inside.commit(base, "m")
    assert made.files == ("page.py",)
    assert (clone / ".trees/one/page.py").exists()
    assert await inside.dirt() == []


async def test_an_ignored_repository_within(git, clone: Path, base: str, inside: GitInside) -> None:
    """Installed packages that are repositories of their own stay what they are."""
    (clone / ".gitignore").write_text("lib/\n")
    nested = git.init(clone / "lib")
    git.commit(nested, "package", {"x.py": "x\n"})
    made = await inside.commit(base, "m")
    assert made.files == (".gitignore",)
    assert (nested / ".git").is_dir()


@pytest.mark.parametrize("lock", ["index.lock", "factory-index.lock", "HEAD.lock", f"refs/heads/{BRANCH}.lock"])
async def test_a_lock_left_behind(git, clone: Path, base: str, inside: GitInside, lock: str) -> None:
    """A git that was killed with its agent or its builder leaves a lock; the next round is not stopped by it."""
    (clone / "page.py").write_text("x\n")
    (clone / ".git" / lock).touch()
    made = await inside.commit(base, "m")
    assert made.files == ("page.py",)
    (clone / ".git" / lock).touch()
    await inside.reset(base)
    assert stands_at(git, clone, base)


async def test_head_of_a_branch_without_commits(git, clone: Path, base: str, inside: GitInside) -> None:
    """An agent's empty branch has no head; a checkpoint can be put on it all the same."""
    git(clone, "symbolic-ref", "HEAD", "refs/heads/empty")
    assert await inside.head() == ""
    await inside.reset(base)
    assert await inside.head() == base


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ("with\0nul", "withnul"),
        ("half of a pair \ud83d", "half of a pair ?"),
        ("-m flag", "-m flag"),
        ("# no comment", "# no comment"),
        ("\n\n", ""),
    ],
)
async def test_messages(git, clone: Path, base: str, inside: GitInside, message: str, subject: str) -> None:
    """Whatever an agent says about its work, the commit is made."""
    (clone / "page.py").write_text("x\n")
    made = await inside.commit(base, message)
    assert git(clone, "log", "-1", "--format=%s", made.sha) == subject


async def test_odd_names(git, clone: Path, base: str, inside: GitInside) -> None:
    """Names with breaks, quotes and leading dashes are told as they are."""
    for name in ("-rf", 'quo"te', "new\nline", "back\\slash", "*", ":(exclude)x"):
        (clone / name).write_text("x\n")
    made = await inside.commit(base, "m")
    assert set(made.files) == {"-rf", 'quo"te', "new\nline", "back\\slash", "*", ":(exclude)x"}
    assert stands_at(git, clone, made.sha)


async def test_changes(git, clone: Path, inside: GitInside) -> None:
    """What a setup has changed: each path with what it holds now, nothing where it is gone or a repository."""
    assert await inside.changes() == {}
    (clone / "README.md").write_text("rewritten\n")
    (clone / "docs/guide.md").unlink()
    (clone / ".coverage").write_text("x\n")
    git.commit(git.init(clone / "deps"), "package", {"x.py": "x\n"})
    git.init(clone / "empty")
    (clone / ".software-factory").mkdir()
    (clone / ".software-factory/state").write_text("x")
    assert await inside.changes() == {
        "README.md": git(clone, "hash-object", "README.md"),
        "docs/guide.md": "",
        ".coverage": git(clone, "hash-object", ".coverage"),
        "deps/": "",
        "empty/": "",
    }
    assert git(clone, "status", "--porcelain", "README.md") == "M README.md"  # nothing was staged by looking


async def test_what_the_bases_setup_changes(git, clone: Path, base: str, inside: GitInside) -> None:
    """Is no part of a round's commit: files it makes anew, whatever they hold, and others where they are the same."""
    (clone / "README.md").write_text("rewritten by setup\n")
    (clone / "src/app.py").write_text("rewritten by setup\n")
    (clone / "docs/guide.md").unlink()
    (clone / ".coverage").write_text("1\n")
    git.commit(git.init(clone / "deps"), "package", {"x.py": "x\n"})
    leave = await inside.changes()
    (clone / "src/app.py").write_text("rewritten by the agent\n")
    (clone / ".coverage").write_text("2\n")
    (clone / "page.py").write_text("x\n")
    made = await inside.commit(base, "m", leave=leave)
    assert made.files == ("page.py", "src/app.py")
    assert git(clone, "show", f"{made.sha}:README.md") == "# App"
    assert (clone / "README.md").read_text() == "rewritten by setup\n"
    assert (clone / "deps/.git").is_dir()
    assert set(await inside.dirt()) == {".coverage", "README.md", "docs/guide.md"}


async def test_only_what_the_bases_setup_changes(clone: Path, base: str, inside: GitInside) -> None:
    """A round that did nothing else has changed nothing."""
    (clone / "README.md").write_text("rewritten by setup\n")
    (clone / "new.lock").write_text("x\n")
    made = await inside.commit(base, "m", leave=await inside.changes())
    assert (made.sha, made.files) == (base, ())
    assert (clone / "new.lock").exists()
