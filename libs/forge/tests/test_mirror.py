"""The mirror follows its remote, answers from its own objects, and hands out private clones."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factory_forge import runner
from factory_forge.errors import (
    BadBranchName,
    BadRepoUrl,
    CannotClone,
    EmptyRepository,
    FileTooLarge,
    GitTimeout,
    MirrorBusy,
    NoSuchFile,
    NoSuchRef,
    OtherUrl,
    PathTaken,
    RemoteUnreachable,
)
from factory_forge.git import Mirror
from factory_jobs.errors import OutsideError, RepoError


async def test_open_remembers_its_url(tmp_path: Path, remote: Path) -> None:
    """A mirror is made once, found again, and refuses to be another repository's."""
    path = tmp_path / "m.git"
    await Mirror.open(path, str(remote))
    again = await Mirror.open(path, str(remote))
    assert again.url == str(remote)
    with pytest.raises(OtherUrl) as caught:
        await Mirror.open(path, "https://example.com/other.git")
    assert caught.value.found == str(remote)


async def test_many_open_at_once(tmp_path: Path, remote: Path) -> None:
    """Services that start together make one mirror and leave nothing else beside it."""
    path = tmp_path / "m/app.git"
    mirrors = await asyncio.gather(*(Mirror.open(path, str(remote)) for _ in range(5)))
    await asyncio.gather(*(mirror.fetch() for mirror in mirrors))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["app.git", "app.git.lock"]
    assert await mirrors[0].default_branch() == "main"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c 'touch /tmp/x'",
        "fd::17/foo",
        "git://example.com/x.git",
        "ftp://example.com/x.git",
        "https://user:secret-pw@example.com/x.git",
        "https://ghp-token@example.com/x.git",
        "ssh://-oProxyCommand=touch/x",
        "relative/path",
        "https://example.com/x\n.git",
    ],
)
async def test_urls_that_are_refused(tmp_path: Path, url: str) -> None:
    """What could run a command, travel unprotected or show a secret is no repository's URL; nothing is made."""
    with pytest.raises(BadRepoUrl) as caught:
        await Mirror.open(tmp_path / "m.git", url)
    assert "secret-pw" not in str(caught.value)
    assert not (tmp_path / "m.git").exists()


@pytest.mark.parametrize(
    "url",
    ["/srv/x.git", "file:///srv/x.git", "https://github.com/o/r.git", "git@github.com:o/r.git", "ssh://git@host:22/r"],
)
def test_urls_that_are_taken(url: str) -> None:
    """The usual ways to write a repository's place are taken as they are."""
    assert runner.check_url(url) == url


async def test_cannot_clone(tmp_path: Path) -> None:
    """A repository that is not there is the repository's fault, said with git's reason."""
    mirror = await Mirror.open(tmp_path / "m.git", str(tmp_path / "missing.git"))
    with pytest.raises(CannotClone) as caught:
        await mirror.fetch()
    assert "does not appear to be a git repository" in caught.value.reason
    assert isinstance(caught.value, RepoError)
    assert caught.value.code == "cannot_clone"


async def test_remote_away(tmp_path: Path) -> None:
    """A remote that does not answer is the outside's fault, to be tried again."""
    mirror = await Mirror.open(tmp_path / "m.git", "http://127.0.0.1:9/x.git")
    with pytest.raises(RemoteUnreachable) as caught:
        await mirror.fetch()
    assert isinstance(caught.value, OutsideError)


async def test_empty_repository(tmp_path: Path) -> None:
    """A repository without a commit is named as that."""
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "empty.git")], check=True)
    mirror = await Mirror.open(tmp_path / "m.git", str(tmp_path / "empty.git"))
    with pytest.raises(EmptyRepository):
        await mirror.fetch()
    with pytest.raises(NoSuchRef):
        await mirror.default_branch()


async def test_default_branch(tmp_path: Path, git, mirror: Mirror, remote: Path) -> None:
    """The default is what the remote's HEAD names; where that names nothing, the likeliest branch."""
    git(remote, "branch", "trunk", "main")
    git(remote, "symbolic-ref", "HEAD", "refs/heads/trunk")
    await mirror.fetch()
    assert await mirror.default_branch() == "trunk"
    git(remote, "symbolic-ref", "HEAD", "refs/heads/gone")
    await mirror.fetch()
    assert await mirror.default_branch() == "main"


async def test_fetch_follows(git, mirror: Mirror, remote: Path, person: Path, base: str) -> None:
    """New commits come, rewritten branches are followed, deleted ones go; their commits stay readable."""
    newer = git.commit(person, "third", {"new.txt": "x"})
    git(person, "push", "-q", "origin", "main", "main:side/a")
    await mirror.fetch()
    assert await mirror.resolve("main") == newer
    assert await mirror.resolve("side/a") == newer
    git(person, "reset", "-q", "--hard", base)
    git(person, "push", "-q", "--force", "origin", "main", ":side/a", "main:side")  # side was a directory of refs
    await mirror.fetch()
    assert await mirror.resolve("main") == base
    assert await mirror.resolve("side") == base
    with pytest.raises(NoSuchRef):
        await mirror.resolve("side/a")
    assert await mirror.read(newer, "new.txt") == b"x"


@pytest.mark.parametrize(
    "ref", ["", "nope", "-x", "a..b", "main@{1}", "main~1", ":/first", "HEAD^{tree}", "a b", "x\n"]
)
async def test_names_of_nothing(mirror: Mirror, ref: str) -> None:
    """What is no branch, ref or hash is an error with a name, and never an option or expression to git."""
    with pytest.raises(NoSuchRef):
        await mirror.resolve(ref)


async def test_resolve(mirror: Mirror, base: str) -> None:
    """Branches, full refs, whole and short hashes name commits."""
    for ref in ("main", "refs/remotes/origin/main", base, base[:10]):
        assert await mirror.resolve(ref) == base


async def test_files_and_read(mirror: Mirror, base: str) -> None:
    """The tree of a commit with sizes; a file's bytes up to a limit."""
    entries = {entry.path: entry for entry in await mirror.files(base)}
    assert sorted(entries) == ["README.md", "docs/guide.md", "src/app.py"]
    assert (entries["README.md"].mode, entries["README.md"].size) == ("100644", 6)
    assert await mirror.read(base, "src/app.py") == b"def main():\n    return 2\n"
    with pytest.raises(FileTooLarge):
        await mirror.read(base, "src/app.py", max_bytes=10)
    for path in ("nope", "src", "", "../x", "./README.md", "src/", "/README.md", ":(glob)*", "*.md", "README.md\0"):
        with pytest.raises(NoSuchFile):
            await mirror.read(base, path)
    for sha in ("0" * 40, "--help", "main", base[:12]):
        with pytest.raises(NoSuchRef):
            await mirror.read(sha, "README.md")
        with pytest.raises(NoSuchRef):
            await mirror.files(sha)


async def test_history(git, mirror: Mirror, person: Path, base: str) -> None:
    """Log, merge base and ancestry of a branch that grew beside main."""
    git(person, "checkout", "-q", "-b", "side")
    side = git.commit(person, "on the side\n\nwhy:\n\nbecause\x01", {"s.txt": "s"})
    git(person, "checkout", "-q", "main")
    main = git.commit(person, "on main", {"m.txt": "m"})
    git(person, "push", "-q", "origin", "main", "side")
    await mirror.fetch()
    assert await mirror.merge_base(main, side) == base
    assert await mirror.is_ancestor(base, side)
    assert await mirror.is_ancestor(base, base)
    assert not await mirror.is_ancestor(main, side)
    [only] = await mirror.log(main, side)
    assert (only.sha, only.parents, only.author, only.subject) == (side, [base], "Ada", "on the side")
    assert only.body.startswith("why:\n\nbecause")
    assert await mirror.log(side, side) == []
    assert [commit.sha for commit in await mirror.log(base, main)] == [main]
    with pytest.raises(NoSuchRef):
        await mirror.is_ancestor("1" * 40, side)
    with pytest.raises(NoSuchRef):
        await mirror.log("1" * 40, side)


async def test_clone_for_job(git, tmp_path: Path, mirror: Mirror, base: str) -> None:
    """A clone is private: its branch at the commit, clean, an identity, no remote, objects borrowed and not copied."""
    dest = tmp_path / "jobs/one/checkout"
    await mirror.clone_for_job(dest, base, git.BRANCH)
    assert git(dest, "status", "--porcelain", "--branch") == f"## {git.BRANCH}"
    assert git(dest, "rev-parse", "HEAD") == base
    assert git(dest, "remote") == ""
    assert "url" not in (dest / ".git/config").read_text()
    assert git(dest, "config", "user.email") == "software-factory@localhost"
    assert git(dest, "count-objects") == "0 objects, 0 kilobytes"
    assert list((dest / ".git/hooks").glob("*") if (dest / ".git/hooks").exists() else []) == []
    assert [entry.name for entry in dest.parent.iterdir()] == ["checkout"]
    git.commit(dest, "works", {"x": "y"})
    with pytest.raises(NoSuchRef):
        await mirror.resolve(git.BRANCH)


async def test_clone_refusals(git, tmp_path: Path, mirror: Mirror, base: str) -> None:
    """A taken place, an unknown commit and a foreign branch name are refused, and nothing is left."""
    taken = tmp_path / "taken"
    taken.symlink_to("nowhere")
    with pytest.raises(PathTaken):
        await mirror.clone_for_job(taken, base, git.BRANCH)
    with pytest.raises(NoSuchRef):
        await mirror.clone_for_job(tmp_path / "jobs/x", "1" * 40, git.BRANCH)
    for branch in ("main", "-b", "factory/../x", "factory/jabcdefghi2"):
        with pytest.raises(BadBranchName):
            await mirror.clone_for_job(tmp_path / "jobs/x", base, branch)
    assert not (tmp_path / "jobs").exists()


async def test_a_failed_clone_leaves_nothing(git, tmp_path: Path, mirror: Mirror, base: str) -> None:
    """When the checkout fails in the middle, the half clone is removed."""
    missing = git(mirror.path, "rev-parse", f"{base}:src/app.py")
    for path in mirror.path.rglob(missing[2:]):
        path.unlink()
    with pytest.raises(runner.GitFailed):
        await mirror.clone_for_job(tmp_path / "jobs/x", base, git.BRANCH)
    assert list((tmp_path / "jobs").iterdir()) == []


async def test_clones_do_not_see_one_another(git, tmp_path: Path, mirror: Mirror, base: str) -> None:
    """Two jobs' clones share nothing that one of them could move or read in the other."""
    one, two = tmp_path / "one", tmp_path / "two"
    await asyncio.gather(
        mirror.clone_for_job(one, base, "factory/jaaaaaaaaa2-x"),
        mirror.clone_for_job(two, base, "factory/jbbbbbbbbb2-x"),
    )
    secret = git.commit(one, "only here", {"x": "y"})
    assert git(two, "for-each-ref", "--format=%(refname)") == "refs/heads/factory/jbbbbbbbbb2-x"
    assert subprocess.run(["git", "-C", str(two), "cat-file", "-e", secret], capture_output=True).returncode != 0


def slow_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git that starts a child and hangs; returns the file where the child's pid will be."""
    pids = tmp_path / "pids"
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {pids}.part && mv {pids}.part {pids}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return pids


async def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_cancel_ends_the_whole_group(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cancels a call ends git and what git started, and the mirror's lock is free again."""
    pids = slow_git(tmp_path, monkeypatch)
    task = asyncio.create_task(mirror.fetch())
    while not pids.exists():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(int(pids.read_text()))
    monkeypatch.undo()
    await asyncio.wait_for(mirror.fetch(), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_time_out(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes too long is ended, with all its children, and says which it was."""
    pids = slow_git(tmp_path, monkeypatch)
    with pytest.raises(GitTimeout) as caught:
        await runner.git(mirror.path, "fetch", timeout=0.5)
    assert caught.value.command == "fetch"
    assert await gone(int(pids.read_text()))


async def test_fetches_wait_for_one_another(mirror: Mirror) -> None:
    """The lock holds between processes: a fetch begins when the other is over, or gives up by name."""
    holder = (
        "import fcntl,sys,time; f=open(sys.argv[1]); fcntl.flock(f,fcntl.LOCK_EX); print(1,flush=True); time.sleep(60)"
    )
    lock = f"{mirror.path}.lock"
    command = (sys.executable, "-c", holder, lock)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        await process.stdout.readline()
        with pytest.raises(MirrorBusy):
            async with mirror._locked(timeout=0.3):
                pass
        waiting = asyncio.create_task(mirror.fetch())
        await asyncio.sleep(0.5)
        assert not waiting.done()
    finally:
        process.kill()
        await process.communicate()
    await asyncio.wait_for(waiting, 20)
