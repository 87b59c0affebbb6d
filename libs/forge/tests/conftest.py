"""Real repositories to work with: a remote with a history, a mirror of it, a job's clone as an agent would have it."""

import os
import subprocess
from pathlib import Path

import pytest
from factory_forge.git import Mirror


class Git:
    """Git as a person or an agent runs it: with discovery, hooks and the repository's own configuration."""

    JOB = "jabcdefghi2"
    BRANCH = "factory/jabcdefghi2-add-a-page"

    def __call__(self, directory: Path, *args: str, stdin: bytes = b"") -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": "Ada", f"GIT_{role}_EMAIL": "ada@example.com"}
        command = ["git", "-C", str(directory), *args]
        done = subprocess.run(command, input=stdin, env=env, capture_output=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="replace").strip()

    def init(self, directory: Path) -> Path:
        subprocess.run(["git", "init", "-q", "-b", "main", str(directory)], check=True)
        return directory

    def commit(self, directory: Path, message: str, files: dict[str, str | bytes | None] | None = None) -> str:
        """Writes (None: deletes) files, commits everything and returns the commit."""
        for name, content in (files or {}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        self(directory, "add", "-A")
        self(directory, "commit", "-q", "--allow-empty", "-m", message)
        return self(directory, "rev-parse", "HEAD")

    def commit_tree(self, directory: Path, entries: list[tuple[str, str, bytes]], parent: str) -> str:
        """Commits a tree with exactly these (mode, name, content or hash) entries, however odd, beside what there was.

        The tree object is written byte for byte, as an attacker would: git's own commands refuse such names.
        """
        records = []
        listed = self(directory, "ls-tree", parent)
        for line in listed.splitlines():
            facts, name = line.split("\t")
            mode, _, sha = facts.split()
            records.append((name.encode(), mode.lstrip("0"), sha))
        for mode, name, content in entries:
            given = mode in ("160000", "40000")
            sha = content.decode() if given else self(directory, "hash-object", "-w", "--stdin", stdin=content)
            records.append((name.encode("utf-8", "surrogateescape"), mode, sha))
        records.sort(key=lambda record: record[0] + (b"/" if record[1] == "40000" else b""))
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for name, mode, sha in records)
        tree = self(directory, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)
        commit = self(directory, "commit-tree", tree, "-p", parent, "-m", "odd")
        self(directory, "update-ref", "HEAD", commit)
        return commit

    def bundle(self, clone: Path, base: str, ref: str = "HEAD") -> Path:
        """What a sandbox hands out."""
        file = clone.parent / "out.bundle"
        file.unlink(missing_ok=True)
        self(clone, "bundle", "create", "-q", str(file), ref, f"^{base}")
        return file


@pytest.fixture(scope="session")
def git() -> Git:
    return Git()


@pytest.fixture
def remote(tmp_path: Path, git: Git) -> Path:
    """A bare repository whose main has two commits."""
    work, bare = git.init(tmp_path / "person"), tmp_path / "origin.git"
    git.commit(work, "first", {"README.md": "# App\n", "src/app.py": "def main():\n    return 1\n"})
    git.commit(work, "second\n\nwith a body", {"src/app.py": "def main():\n    return 2\n", "docs/guide.md": "guide\n"})
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
async def clone(tmp_path: Path, mirror: Mirror, base: str, git: Git) -> Path:
    """A job's clone, in which an agent may do whatever it likes."""
    dest = tmp_path / "job/checkout"
    await mirror.clone_for_job(dest, base, git.BRANCH)
    return dest
