"""Attacks by whoever can write a job's clone: whatever they prepare there, no program of theirs runs on the host.

The letters are those of the collection the design stands on. Each test plants its trap, shows with ordinary git that it
is live (so that it cannot pass by being harmless), and then does with the mirror all that the host ever does.
"""

import os
import subprocess
from pathlib import Path

import pytest
from factory_forge.git import Mirror
from factory_forge.repository import Repository


class Trap:
    """A program that leaves a trace when it runs."""

    def __init__(self, directory: Path) -> None:
        self.trace = directory / "ran"
        self.program = directory / "trap.sh"
        self.program.write_text(f"#!/bin/sh\necho ran >> {self.trace}\ncat 2>/dev/null\nexit 0\n")
        self.program.chmod(0o755)

    def is_live(self, directory: Path, *args: str) -> None:
        """Asserts that git as people run it falls into the trap, and sets it again."""
        env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@y", *args]
        subprocess.run(command, cwd=directory, env=env, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        assert self.trace.exists(), f"the trap is not live: {command}"
        self.trace.unlink()


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    (tmp_path / "trap").mkdir()
    return Trap(tmp_path / "trap")


async def everything(git, mirror: Mirror, clone: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host does with a job's result, run from inside the hostile tree."""
    head = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", "-C", str(clone), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    bundle = clone.parent / "out.bundle"
    subprocess.run(["git", "-C", str(clone), "bundle", "create", "-q", str(bundle), "HEAD", f"^{base}"], check=True)
    trace = clone.parent.parent / "trap/ran"
    trace.unlink(missing_ok=True)  # what ran in the sandbox, for the sandbox, is not meant
    monkeypatch.chdir(clone)
    await mirror.import_bundle(bundle, ref="j1/1", expect=head, base=base)
    await mirror.files(head)
    await mirror.diff(base, head)
    await mirror.log(base, head)
    await mirror.merge_base(base, head)
    await mirror.read(head, "README.md")
    await mirror.bundle(clone.parent / "checkpoint.bundle", head, base)
    await mirror.clone_for_job(clone.parent / "again", head, git.BRANCH)
    await mirror.push(mirror.url, head, git.BRANCH)
    await mirror.fetch()
    assert not trace.exists(), "code of the agent's ran on the host"


async def test_a1_fsmonitor(git, mirror, clone, base, trap, monkeypatch) -> None:
    """A1: core.fsmonitor in the clone's configuration."""
    git.commit(clone, "x", {"x": "x"})
    git(clone, "config", "core.fsmonitor", str(trap.program))
    trap.is_live(clone, "status")
    await everything(git, mirror, clone, base, monkeypatch)


async def test_a3_git_file(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A3: the clone's .git replaced by a pointer to a repository of the agent's."""
    git.commit(clone, "x", {"x": "x"})
    own = tmp_path / "own.git"
    (clone / ".git").rename(own)
    (clone / ".git").write_text(f"gitdir: {own}\n")
    git(own, "config", "core.fsmonitor", str(trap.program))
    trap.is_live(clone, "status")
    await everything(git, mirror, clone, base, monkeypatch)


async def test_a5_nested_repository(git, mirror, clone, base, trap, monkeypatch) -> None:
    """A5: a nested repository with traps; the host looks at commits, never at the tree on disk."""
    nested = git.init(clone / "vendor/lib")
    git.commit(nested, "n", {"n": "n"})
    git(nested, "config", "core.fsmonitor", str(trap.program))
    trap.is_live(nested, "status")
    (clone / "x").write_text("x")
    git(clone, "add", "x")
    git(clone, "commit", "-q", "-m", "x")
    await everything(git, mirror, clone, base, monkeypatch)


async def test_a6_embedded_bare_repository(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A6: a bare repository inside the tree, and the host's working directory in it."""
    bare = clone / "docs/bare"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    git(bare, "config", "core.fsmonitor", str(trap.program))
    git(bare, "config", "core.bare", "false")
    git(bare, "config", "core.worktree", str(bare))
    trap.is_live(bare, "status")
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "a bare repository as plain files")
    await everything(git, mirror, clone, base, monkeypatch)
    monkeypatch.chdir(bare)
    await mirror.fetch()
    await mirror.files(base)
    assert not trap.trace.exists()


async def test_a7_hooks(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A7: hooks in the clone, in a template, in the mirror itself and on the receiving side."""
    names = "post-checkout pre-push reference-transaction pre-receive update post-receive post-update post-commit"
    for repository in (clone / ".git", mirror.path, Path(mirror.url)):
        (repository / "hooks").mkdir(exist_ok=True)
        for name in names.split():
            (repository / "hooks" / name).symlink_to(trap.program)
    template = tmp_path / "template/hooks"
    template.mkdir(parents=True)
    (template / "post-checkout").symlink_to(trap.program)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template.parent))
    trap.is_live(clone, "commit", "--allow-empty", "-m", "x")
    await everything(git, mirror, clone, base, monkeypatch)


async def test_a8_filters(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A8: filter drivers, named by committed attributes, defined in the clone or in the user's configuration."""
    git.commit(clone, "x", {".gitattributes": "* filter=x diff=x merge=x\n", "x": "x"})
    config = f'[filter "x"]\n\tclean = {trap.program}\n\tsmudge = {trap.program}\n\trequired\n'
    (clone / ".git/config").write_text((clone / ".git/config").read_text() + config)
    (clone / "README.md").write_text("changed\n")
    trap.is_live(clone, "status")
    trap.is_live(clone, "checkout", "README.md")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(config)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    await everything(git, mirror, clone, base, monkeypatch)


async def test_a9_diff_programs(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A9: diff.external, textconv and GIT_EXTERNAL_DIFF, even where the repository that is read has them configured."""
    git.commit(clone, "x", {".gitattributes": "*.md diff=x\n", "README.md": "other\n"})
    for name in ("diff.external", "diff.x.command", "diff.x.textconv"):
        git(clone, "config", name, str(trap.program))
        git(Path(mirror.url), "config", name, str(trap.program))
    trap.is_live(clone, "diff", base, "HEAD")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap.program))
    await everything(git, mirror, clone, base, monkeypatch)
    head = await mirror.resolve(f"refs/remotes/origin/{git.BRANCH}")
    assert (await Repository(Path(mirror.url)).diff(base, head)).file("README.md")
    assert not trap.trace.exists()


async def test_a10_other_branches(git, tmp_path, mirror, clone, base, trap, monkeypatch) -> None:
    """A10: refs of another job, moved in the clone and sent along in the bundle, move nothing outside."""
    other = tmp_path / "other"
    await mirror.clone_for_job(other, base, "factory/jbbbbbbbbb2-other")
    head = git.commit(clone, "mine", {"x": "x"})
    for ref in ("refs/heads/factory/jbbbbbbbbb2-other", "refs/remotes/origin/main", "refs/factory/j2/1"):
        git(clone, "update-ref", ref, head)
    bundle = tmp_path / "all.bundle"
    git(clone, "bundle", "create", "-q", str(bundle), "--all", f"^{base}")
    await mirror.import_bundle(bundle, ref="j1/1", expect=head, base=base)
    assert git(other, "rev-parse", "HEAD") == base
    assert await mirror.resolve("main") == base
    assert git(mirror.path, "for-each-ref", "--format=%(refname)").split() == [
        "refs/factory/j1/1",
        "refs/remotes/origin/main",
    ]


async def test_a11_links(git, tmp_path, mirror, clone, base) -> None:
    """A11: a bundle that is a link to a file of the host, and a link in a commit, are never followed."""
    from factory_forge.errors import NoSuchFile, NotABundle

    (clone / "artifact.txt").symlink_to("README.md")
    head = git.commit(clone, "a link inside the tree")
    real = git.bundle(clone, base)
    link = tmp_path / "link.bundle"
    link.symlink_to(real)
    with pytest.raises(NotABundle):
        await mirror.import_bundle(link, ref="j1/1", expect=head, base=base)
    await mirror.import_bundle(real, ref="j1/1", expect=head, base=base)
    with pytest.raises(NoSuchFile):
        await mirror.read(head, "artifact.txt")


async def test_replaced_commits(git, mirror, clone, base) -> None:
    """A replacement ref, should one ever get into the mirror, changes nothing that is shown or pushed."""
    good = git.commit(clone, "good", {"x": "good"})
    git(clone, "reset", "-q", "--hard", base)
    evil = git.commit(clone, "evil", {"x": "evil"})
    await mirror.import_bundle(git.bundle(clone, base), ref="e", expect=evil, base=base)
    git(clone, "reset", "-q", "--hard", good)
    await mirror.import_bundle(git.bundle(clone, base), ref="g", expect=good, base=base)
    git(mirror.path, "update-ref", f"refs/replace/{evil}", good)
    assert await mirror.read(evil, "x") == b"evil"


async def test_hidden_by_attributes(git, mirror, clone, base) -> None:
    """Attributes that an agent commits do not hide its changes from the diff."""
    head = git.commit(
        clone, "x", {".gitattributes": "*.py -diff binary linguist-generated\n", "src/app.py": "evil()\n"}
    )
    await mirror.import_bundle(git.bundle(clone, base), ref="e", expect=head, base=base)
    change = (await mirror.diff(base, head)).file("src/app.py")
    assert change
    assert not change.binary
    assert [line.text for hunk in change.hunks for line in hunk.lines if line.kind == "+"] == ["evil()"]


async def test_the_environment_is_not_passed_on(git, mirror, base, clone, trap, monkeypatch) -> None:
    """Git's own variables in the service's environment (GIT_DIR, injected configuration, a pager) have no effect."""
    monkeypatch.setenv("GIT_DIR", str(clone / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(trap.program))
    monkeypatch.setenv("GIT_PAGER", str(trap.program))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(trap.program))
    monkeypatch.setenv("GIT_ASKPASS", str(trap.program))
    await mirror.fetch()
    assert await mirror.resolve("main") == base
    await mirror.clone_for_job(clone.parent / "again", base, git.BRANCH)
    assert not trap.trace.exists()
