"""git inside a sandbox, in a tree that nobody trusts: a round's one commit, bundles out, checkpoints in.

Everything here runs where the agent runs, with the agent's rights; what comes out is believed only after the trusted
mirror has fetched it (`Mirror.import_bundle`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from factory_jobs.errors import FactoryError

from .git import AUTHOR_EMAIL, AUTHOR_NAME

INDEX = ".git/factory-index"
BUNDLE = ".git/factory.bundle"
OURS = ".software-factory"  # the contract's own directory: never committed
AUTHOR = {
    "GIT_AUTHOR_NAME": AUTHOR_NAME,
    "GIT_AUTHOR_EMAIL": AUTHOR_EMAIL,
    "GIT_COMMITTER_NAME": AUTHOR_NAME,
    "GIT_COMMITTER_EMAIL": AUTHOR_EMAIL,
}


class Place(Protocol):
    """What is needed of a sandbox; `factory_sandbox.Sandbox` is one."""

    async def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = None,
        max_output: int = 1 << 20,
    ) -> Any: ...

    def read_chunks(self, path: str, offset: int = 0) -> AsyncIterator[bytes]: ...

    async def write(self, path: str, data: bytes | AsyncIterator[bytes], *, mode: int = 0o644) -> int: ...


class Commit(msgspec.Struct, frozen=True):
    sha: str
    parent: str
    files: tuple[str, ...]  # paths that differ from the parent; empty: nothing changed


class GitInside:
    """git in one sandbox's checkout, on one branch."""

    def __init__(self, place: Place, branch: str) -> None:
        self.place, self.branch = place, branch

    async def _git(
        self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", ok: tuple[int, ...] = (0,)
    ) -> str:
        argv = [
            "git",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.quotePath=false",
            *args,
        ]
        done = await self.place.exec(argv, env={**AUTHOR, **(env or {})}, stdin=stdin, timeout=300, max_output=8 << 20)
        if done.code not in ok:
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            raise FactoryError(
                f"git {args[0]} in the sandbox: {said or f'exit code {done.code}'}", code="git_inside", log_tail=said
            )
        return done.stdout.decode(errors="replace").strip()

    async def commit(self, parent: str, message: str) -> Commit:
        """The whole tree as one commit on `parent`, whatever the agent did with commits, amends and branches.

        Made by commit-tree from an index of its own; afterwards the branch, HEAD and index stand at it.
        """
        env = {"GIT_INDEX_FILE": INDEX}
        await self._git("read-tree", parent, env=env)
        await self._git("add", "-A", env=env)
        await self._git("reset", "-q", parent, "--", OURS, env=env)  # as it was in the parent, in the index alone
        tree = await self._git("write-tree", env=env)
        files = await self._git("diff-tree", "-r", "--name-only", "--no-ext-diff", parent, tree)
        if not files:
            return Commit(parent, parent, ())
        sha = await self._git("commit-tree", tree, "-p", parent, stdin=message.encode())
        await self._stand_at(sha)
        return Commit(sha, parent, tuple(files.splitlines()))

    async def _stand_at(self, sha: str) -> None:
        await self._git("update-ref", f"refs/heads/{self.branch}", sha)
        await self._git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
        await self._git("reset", "-q")

    async def dirt(self) -> list[str]:
        """Paths that differ from HEAD, untracked ones included; the contract's own directory left out."""
        said = await self._git("status", "--porcelain=v1", "--untracked-files=all", "--ignore-submodules=all", "-z")
        paths = [entry[3:] for entry in said.split("\0") if len(entry) > 3]
        return sorted(p for p in paths if not p.startswith(f"{OURS}/"))

    async def head(self) -> str:
        return await self._git("rev-parse", "HEAD")

    async def bundle_to(self, dest: Path, base: str, sha: str) -> None:
        """Writes `base..sha` as a bundle to a file of ours."""
        await self._git("update-ref", "refs/factory/bundle", sha)
        await self._git("bundle", "create", "-q", BUNDLE, "refs/factory/bundle", f"^{base}")
        with dest.open("wb") as out:
            async for chunk in self.place.read_chunks(BUNDLE):
                out.write(chunk)

    async def apply(self, bundle: bytes, sha: str) -> None:
        """A checkpoint: fetch the bundle, hard reset, clean."""
        await self.place.write(BUNDLE, bundle)
        await self._git("fetch", "-q", BUNDLE, "+refs/*:refs/factory/checkpoint/*")
        await self.reset(sha)

    async def reset(self, sha: str) -> None:
        """The tree as it is at `sha`, ignored files kept. Raises FactoryError where the commit is not here."""
        await self._git("update-ref", f"refs/heads/{self.branch}", sha)
        await self._git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
        await self._git("reset", "-q", "--hard")
        await self._git("clean", "-fdq", "-e", OURS)
