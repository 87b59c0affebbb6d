"""Real repositories to work with: a remote with a history, a mirror of it, a job's clone as an agent would have it."""

import os
import subprocess
from pathlib import Path

import pytest
from factory_forge.git import Mirror

JOB = "jabcdefghi2"
BRANCH = f"factory/{JOB}-add-a-page"


def git(directory: Path, *args: str, stdin: str = "", check: bool = True) -> str:
    """Git as a person or an agent runs it: with discovery, hooks and the repository's own configuration."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }
    command = ["git", "-C", str(directory), *args]
    done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout.strip()


def commit(directory: Path, message: str = "change", **files: str | bytes | None) -> str:
    """Writes (or with None deletes) files, whose names have `__` for `/` and `_dot_` for `.`, and commits all."""
    for name, content in files.items():
        path = directory / name.replace("__", "/").replace("_dot_", ".")
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository whose main has two commits."""
    work, bare = tmp_path / "person", tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    commit(work, "first", README_dot_md="# App\n", src__app_dot_py="def main():\n    return 1\n")
    commit(work, "second\n\nwith a body", src__app_dot_py="def main():\n    return 2\n", docs__guide_dot_md="guide\n")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    git(work, "remote", "add", "origin", str(bare))
    return bare


@pytest.fixture
def person(remote: Path) -> Path:
    """Somebody's working copy of the remote."""
    return remote.with_name("person")


@pytest.fixture
async def mirror(tmp_path: Path, remote: Path) -> Mirror:
    mirror = await Mirror.open(tmp_path / "mirrors/app.git", str(remote))
    await mirror.fetch()
    return mirror


@pytest.fixture
async def base(mirror: Mirror) -> str:
    return await mirror.resolve("main")


@pytest.fixture
async def clone(tmp_path: Path, mirror: Mirror, base: str) -> Path:
    """A job's clone, in which an agent may do whatever it likes."""
    dest = tmp_path / "job/checkout"
    await mirror.clone_for_job(dest, base, BRANCH)
    return dest


def bundle_of(clone: Path, base: str, ref: str = "HEAD") -> Path:
    """What the sandbox hands out."""
    file = clone.parent / "out.bundle"
    git(clone, "bundle", "create", "-q", str(file), ref, f"^{base}")
    return file
