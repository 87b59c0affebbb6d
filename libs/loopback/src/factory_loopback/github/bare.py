"""A bare repository as GitHub sees it: refs, commits, differences, merges; all by the real git.

What is asked about commits by their sha never changes, so it is asked once.
"""

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from factory_loopback.errors import LoopbackError

from .diff import FileChange, changes
from .records import iso

T = TypeVar("T")
SHA = re.compile(r"[0-9a-f]{40}")
# Nobody's configuration, and repositories of other users are read as well.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}


class GitFailed(LoopbackError):
    """git … failed: …"""

    code = "git"

    def __init__(self, arguments: tuple[str, ...], status: int, words: str) -> None:
        super().__init__(f"git {' '.join(arguments)} failed: {words.strip()}")
        self.status, self.words = status, words


def configured(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as the environment variables by which git and its children take them."""
    pairs = {"safe.directory": "*", "gc.auto": "0", "core.quotePath": "false", **settings}
    numbered = [
        (f"GIT_CONFIG_{kind}_{n}", text)
        for n, (key, value) in enumerate(pairs.items())
        for kind, text in (("KEY", key), ("VALUE", value))
    ]
    return {"GIT_CONFIG_COUNT": str(len(pairs)), **dict(numbered)}


async def git(directory: Path, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
    """Runs git there and returns what it writes. Raises GitFailed."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=directory,
        env={**ENVIRONMENT, **configured({}), **(more or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    if process.returncode:
        raise GitFailed(arguments, process.returncode, (err or out).decode(errors="replace"))
    return out


@dataclass(frozen=True)
class Signature:
    name: str
    email: str
    date: str  # ISO 8601, UTC

    def environment(self, *roles: str) -> dict[str, str]:
        """As git's environment variables, for `AUTHOR` and `COMMITTER` where nothing else is said."""
        named = {"NAME": self.name, "EMAIL": self.email, "DATE": self.date}
        return {f"GIT_{r}_{what}": text for r in roles or ("AUTHOR", "COMMITTER") for what, text in named.items()}


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: list[str]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class Entry:
    """An entry of a tree."""

    mode: str
    kind: str  # blob, tree, commit
    sha: str
    path: str
    size: int | None


@dataclass
class Bare:
    """The repository at `path`."""

    path: Path
    _known: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    async def git(self, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        return await git(self.path, *arguments, stdin=stdin, more=more)

    async def _once(self, key: tuple[Any, ...], make: Callable[[], Awaitable[T]]) -> T:
        if key not in self._known:
            self._known[key] = await make()
        return self._known[key]

    # Refs

    async def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Full names and what they point to, by name."""
        out = await self.git("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        return {name: sha for sha, name in (line.split(" ", 1) for line in out.decode().splitlines())}

    async def ref(self, name: str) -> str | None:
        """What the ref of this full name points to."""
        return (await self.refs(name)).get(name)

    async def branch(self, name: str) -> str | None:
        return await self.ref(f"refs/heads/{name}")

    async def branches(self) -> dict[str, str]:
        return {name.removeprefix("refs/heads/"): sha for name, sha in (await self.refs("refs/heads/")).items()}

    async def resolve(self, name: str) -> str | None:
        """The commit that a branch, a tag or a (shortened) sha means; None where there is none."""
        spellings = [f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}"]
        if name == "HEAD" or re.fullmatch(r"[0-9a-f]{7,40}", name):
            spellings.insert(0 if SHA.fullmatch(name) else len(spellings), name)
        for spelled in spellings:
            try:
                return (await self.git("rev-parse", "--verify", "--quiet", f"{spelled}^{{commit}}")).decode().strip()
            except GitFailed:
                continue
        return None

    async def set_ref(self, name: str, sha: str, old: str | None = None) -> None:
        """Moves a ref; with `old`, only from there. `old` of zeros: only where there is none."""
        await self.git("update-ref", name, sha, *([old] if old else []))

    async def drop_ref(self, name: str) -> None:
        await self.git("update-ref", "-d", name)

    # Commits

    async def commit(self, sha: str) -> Commit:
        return await self._once(("commit", sha), lambda: self._first(sha))

    async def _first(self, sha: str) -> Commit:
        [commit] = await self.log(sha, limit=1)
        return commit

    async def log(self, head: str, *, without: str = "", limit: int = 10_000, path: str = "") -> list[Commit]:
        """Commits that `head` contains (and `without` does not), newest first."""
        form = "%x1f".join(("%H", "%T", "%P", "%an", "%ae", "%at", "%cn", "%ce", "%ct", "%B"))
        ends = [head, *([f"^{without}"] if without else [])]
        out = await self.git("log", "-z", f"--format={form}", f"-n{limit}", *ends, "--", *([path] if path else []))
        return [_commit(record) for record in out.decode(errors="replace").split("\0") if record]

    async def contains(self, head: str, ancestor: str) -> bool:
        """Whether `ancestor` is `head` or lies behind it."""
        return await self.merge_base(head, ancestor) == ancestor

    async def merge_base(self, one: str, other: str) -> str | None:
        return await self._once(("base", one, other), lambda: self._merge_base(one, other))

    async def _merge_base(self, one: str, other: str) -> str | None:
        try:
            return (await self.git("merge-base", one, other)).decode().strip()
        except GitFailed as error:
            if error.status == 1:
                return None
            raise

    async def between(self, base: str, head: str) -> list[Commit]:
        """Commits of `head` that `base` lacks, oldest first."""
        return (await self._once(("log", base, head), lambda: self.log(head, without=base)))[::-1]

    async def diff(self, old: str, new: str) -> list[FileChange]:
        """What changed from one commit or tree to another, by path."""
        return await self._once(("diff", old, new), lambda: self._diff(old, new))

    async def _diff(self, old: str, new: str) -> list[FileChange]:
        kind = ("diff", "--no-color", "--no-ext-diff", "-M", old, new)
        facts = (await self.git(*kind, "--raw", "--numstat", "-z", "--no-abbrev")).decode(errors="replace")
        text = (await self.git(*kind, "-p")).decode(errors="replace")
        return changes(facts.split("\0"), re.split(r"^diff --git .*\n", text, flags=re.MULTILINE)[1:])

    # Writing

    async def merge_tree(self, ours: str, theirs: str) -> str | None:
        """The tree of a merge; None where they conflict."""
        return await self._once(("merge", ours, theirs), lambda: self._merge_tree(ours, theirs))

    async def _merge_tree(self, ours: str, theirs: str) -> str | None:
        try:
            return (await self.git("merge-tree", "--write-tree", ours, theirs)).decode().splitlines()[0]
        except GitFailed as error:
            if error.status == 1:
                return None
            raise

    async def commit_tree(self, tree: str, parents: list[str], message: str, who: Signature) -> str:
        arguments = [word for parent in parents for word in ("-p", parent)]
        return (
            (await self.git("commit-tree", tree, *arguments, stdin=message.encode(), more=who.environment()))
            .decode()
            .strip()
        )

    async def with_file(self, commit: str, path: str, data: bytes | None) -> str:
        """The commit's tree with this file changed, or gone where `data` is None."""
        with tempfile.TemporaryDirectory(prefix="loopback-github-") as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            await self.git("read-tree", commit, more=index)
            sha = "0" * 40
            if data is not None:
                sha = (await self.git("hash-object", "-w", "--stdin", stdin=data)).decode().strip()
            line = f"{0 if data is None else 100644} {sha}\t{path}\n"
            await self.git("update-index", "--add", "--index-info", stdin=line.encode(), more=index)
            return (await self.git("write-tree", more=index)).decode().strip()

    async def empty_tree(self) -> str:
        return (await self.git("hash-object", "-w", "-t", "tree", "--stdin")).decode().strip()

    @contextlib.asynccontextmanager
    async def worktree(self, sha: str) -> AsyncIterator[Path]:
        """A checkout of this commit; commits that are made there are in the repository."""
        with tempfile.TemporaryDirectory(prefix="loopback-github-") as scratch:
            checkout = Path(scratch) / "tree"
            await self.git("worktree", "add", "-q", "--detach", str(checkout), sha)
            try:
                yield checkout
            finally:
                await self.git("worktree", "remove", "--force", str(checkout))

    async def rebased(self, onto: str, commits: list[Commit], who: Signature) -> str:
        """The commits again, on another base. Raises GitFailed where they conflict."""
        async with self.worktree(onto) as checkout:
            await git(checkout, "cherry-pick", *(commit.sha for commit in commits), more=who.environment("COMMITTER"))
            return (await git(checkout, "rev-parse", "HEAD")).decode().strip()

    # Content

    async def tree(self, tree: str, *, path: str = "", recursive: bool = False) -> list[Entry]:
        """The entries of a tree (or of a folder in it, with whole paths); none where there is no such folder."""
        options = ["-r", "-t"] if recursive else []
        where = ["--", f"{path}/"] if path else []
        out = await self.git("ls-tree", "-z", "-l", *options, tree, *where)
        return [_entry(line) for line in out.decode(errors="replace").split("\0") if line]

    async def entry(self, tree: str, path: str) -> Entry | None:
        """What lies at this path."""
        out = await self.git("ls-tree", "-z", "-l", tree, "--", path)
        return next((_entry(line) for line in out.decode(errors="replace").split("\0") if line), None)

    async def kind(self, sha: str) -> str | None:
        """commit, tree, blob or tag."""
        try:
            return (await self.git("cat-file", "-t", sha)).decode().strip()
        except GitFailed:
            return None

    async def blob(self, sha: str) -> bytes:
        return await self.git("cat-file", "blob", sha)


def _commit(record: str) -> Commit:
    sha, tree, parents, *names, message = record.split("\x1f", 9)
    author, committer = (Signature(name, email, iso(float(seconds))) for name, email, seconds in (names[:3], names[3:]))
    return Commit(sha, tree, parents.split(), author, committer, message.strip("\n"))


def _entry(line: str) -> Entry:
    facts, path = line.split("\t", 1)
    mode, kind, sha, size = facts.split()
    return Entry(mode, kind, sha, path, None if size == "-" else int(size))


async def new_repo(path: Path, files: Mapping[str, str], branch: str = "main") -> Path:
    """A bare repository at `path` with one commit of these files on `branch`."""
    path.mkdir(parents=True)
    await git(path, "init", "-q", "--bare", f"--initial-branch={branch}")
    repo, who = Bare(path), Signature("Loopback", "loopback@example.invalid", iso(0))
    blobs = {
        name: (await repo.git("hash-object", "-w", "--stdin", stdin=text.encode())).decode().strip()
        for name, text in files.items()
    }
    index = {"GIT_INDEX_FILE": str(path / "first.index")}
    listed = "".join(f"100644 {sha}\t{name}\n" for name, sha in blobs.items())
    await repo.git("update-index", "--add", "--index-info", stdin=listed.encode(), more=index)
    tree = (await repo.git("write-tree", more=index)).decode().strip()
    (path / "first.index").unlink()
    await repo.set_ref(f"refs/heads/{branch}", await repo.commit_tree(tree, [], "First\n", who))
    return path
