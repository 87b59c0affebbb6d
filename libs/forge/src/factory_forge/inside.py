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

from .errors import CheckoutBroken
from .git import AUTHOR_EMAIL, AUTHOR_NAME

INDEX = ".git/factory-index"
BUNDLE = ".git/factory.bundle"
OURS = ".software-factory"  # the contract's own directory: never committed
OWN_INDEX = {"GIT_INDEX_FILE": INDEX}
FROM_STDIN = ("--pathspec-from-file=-", "--pathspec-file-nul")
DEEPEST = 10  # repositories within repositories
ENVIRONMENT = {
    "GIT_AUTHOR_NAME": AUTHOR_NAME,
    "GIT_AUTHOR_EMAIL": AUTHOR_EMAIL,
    "GIT_COMMITTER_NAME": AUTHOR_NAME,
    "GIT_COMMITTER_EMAIL": AUTHOR_EMAIL,
    "LC_ALL": "C",  # a message is read here
}
# No discovery: where an agent has deleted .git, the repository around the node's directory is not ours to touch.
OPTIONS = (
    "--git-dir=.git",
    "--work-tree=.",
    "--literal-pathspecs",
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.quotePath=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)


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
    files: tuple[str, ...]  # paths that differ from the one it was made of; empty: nothing changed


class GitInside:
    """git in one sandbox's checkout, on one branch.

    Where the repository there is none any more every call raises CheckoutBroken. It is known by `base`, a commit that
    the clone was made with: an agent that has deleted `.git` and begun another one has not got it.
    """

    def __init__(self, place: Place, branch: str, base: str = "") -> None:
        self.place, self.branch, self.base = place, branch, base

    async def _git(
        self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", ok: tuple[int, ...] = (0,)
    ) -> str:
        """What it printed, as it is. Raises FactoryError."""
        done = await self._run(args, env, stdin)
        if done.code not in ok and b".lock': File exists" in done.stderr:
            # Left by a git that was killed with its agent or builder; nobody else works here while a round is closed.
            await self.place.exec(["find", ".git", "-name", "*.lock", "-type", "f", "-delete"], timeout=60)
            done = await self._run(args, env, stdin)
        if done.code not in ok:
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            if not await self._holds(self.base):
                raise CheckoutBroken(f"The checkout's repository is gone or broken: {said}")
            raise FactoryError(
                f"git {args[0]} in the sandbox: {said or f'exit code {done.code}'}", code="git_inside", log_tail=said
            )
        return done.stdout.decode(errors="replace")

    async def _run(self, args: Sequence[str], env: Mapping[str, str] | None, stdin: bytes) -> Any:
        env = ENVIRONMENT | dict(env or {})
        return await self.place.exec(["git", *OPTIONS, *args], env=env, stdin=stdin, timeout=300, max_output=8 << 20)

    async def _holds(self, sha: str) -> bool:
        """Whether there is a repository, and this commit with its tree in it."""
        look = ("rev-parse", "--quiet", "--verify", f"{sha}^{{tree}}") if sha else ("rev-parse", "--git-dir")
        return (await self._run(look, None, b"")).code == 0

    async def _must_hold(self, *commits: str) -> None:
        for sha in (self.base, *commits):
            if not await self._holds(sha):
                raise CheckoutBroken(f"The checkout's repository is gone or broken: it lacks {sha or 'its .git'}.")

    async def _hash(self, *args: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
        return (await self._git(*args, env=env, stdin=stdin)).strip()

    async def _list(self, *args: str, env: Mapping[str, str] | None = None) -> list[str]:
        """The records of an answer with -z."""
        return [record for record in (await self._git(*args, env=env)).split("\0") if record]

    async def commit(
        self, parent: str, message: str, *, leave: Mapping[str, str] | None = None, parents: Sequence[str] = ()
    ) -> Commit:
        """The whole tree as one commit on `parent`, whatever the agent did with commits, amends and branches.

        Made by commit-tree from an index of its own; afterwards the branch, HEAD and index stand at it, or at the
        parent where nothing has changed. `leave` is what the base's own setup and suites change (`changes`): a file
        that they make anew is left out, and one that the repo has where its content is the same.

        Of a merge `parent` is the commit that the agent was given, with the conflicts in it; the new one takes its
        place under `parents`, ours first, also where nothing has changed.
        """
        leave = leave or {}
        await self._must_hold(parent)
        await self._git("read-tree", parent, env=OWN_INDEX)
        repositories = await self._unwrapped(leave)
        await self._git("add", "-A", env=OWN_INDEX)
        if repositories:
            await self._git("rm", "-rfq", "--cached", "--ignore-unmatch", "--", *repositories, env=OWN_INDEX)
        changed = await self._changed(parent)
        out = [
            path for path, (status, blob) in changed.items() if path in leave and (status == "A" or blob == leave[path])
        ]
        # as it was in the parent, in the index alone
        await self._git("reset", "-q", *FROM_STDIN, parent, env=OWN_INDEX, stdin="\0".join([OURS, *out]).encode())
        tree = await self._hash("write-tree", env=OWN_INDEX)
        files = await self._list("diff-tree", "-r", "-z", "--name-only", "--no-ext-diff", parent, tree)
        sha = parent
        if files or parents:
            said = message.replace("\0", "").encode(errors="replace")
            above = [word for each in parents or (parent,) for word in ("-p", each)]
            sha = await self._hash("commit-tree", tree, *above, stdin=said)
        await self._stand_at(sha)
        return Commit(sha, parent, tuple(files))

    async def changes(self) -> dict[str, str]:
        """What differs from HEAD now: path → blob; empty for what is gone, and for a repository within (`path/`)."""
        paths = await self.dirt()
        await self._git("read-tree", "HEAD", env=OWN_INDEX)
        if paths:
            await self._git("add", "-A", *FROM_STDIN, env=OWN_INDEX, stdin="\0".join(paths).encode())
        found = {path: blob for path, (_, blob) in (await self._changed("HEAD")).items()}
        return found | dict.fromkeys(await self._nested(), "")

    async def _changed(self, parent: str) -> dict[str, tuple[str, str]]:
        """How the own index differs from a commit: path → (A, M, D or T; blob, empty where it is gone)."""
        records = await self._list(
            "diff-index", "--cached", "--raw", "--no-abbrev", "-z", "--no-renames", parent, env=OWN_INDEX
        )
        found = {}
        for facts, path in zip(records[::2], records[1::2], strict=True):
            *_, blob, status = facts.split(" ")
            found[path] = (status, blob if blob.strip("0") else "")
        return found

    async def _nested(self) -> list[str]:
        """Repositories within that the own index does not know, as `path/`."""
        others = await self._list("ls-files", "-z", "--others", "--exclude-standard", env=OWN_INDEX)
        return [path for path in others if path.endswith("/")]

    async def _unwrapped(self, leave: Mapping[str, str]) -> list[str]:
        """Makes plain directories of new repositories within: they would become submodules that nobody can fetch.

        Those of the base's own setup, and linked worktrees, whole copies of what is here, stay and stay out of the
        commit: they are what is returned.
        """
        stay: list[str] = []
        for _ in range(DEEPEST):
            nested = await self._nested()
            new = [path for path in nested if path not in leave]
            if new == stay:
                return nested
            gits = [f"./{path}.git" for path in new]
            await self.place.exec(["find", *gits, "-maxdepth", "0", "-type", "d", "-exec", "rm", "-rf", "{}", "+"])
            stay = new
        raise FactoryError("The repositories within the repository do not end.", code="git_inside")

    async def _stand_at(self, sha: str) -> None:
        """The index becomes the commit's own, so that no bit that an agent has set hides a later change."""
        await self.place.exec(["mv", "-f", INDEX, ".git/index"])
        await self._git("update-ref", f"refs/heads/{self.branch}", sha)
        await self._git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
        await self._git("reset", "-q")

    async def dirt(self) -> list[str]:
        """Paths that differ from HEAD, untracked ones included; the contract's own directory and worktrees left out."""
        flags = ("--porcelain=v1", "--untracked-files=all", "--ignore-submodules=all", "--no-renames", "-z")
        paths = [entry[3:] for entry in await self._list("status", *flags)]
        return sorted(p for p in paths if not p.startswith(f"{OURS}/") and not p.endswith("/"))

    async def head(self) -> str:
        """The commit that HEAD names; empty where it names none."""
        return (await self._git("rev-parse", "--quiet", "--verify", "HEAD^{commit}", ok=(0, 1, 128))).strip()

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
        await self._must_hold()
        await self._git("update-ref", f"refs/heads/{self.branch}", sha)
        await self._git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
        await self._git("reset", "-q", "--hard")
        await self._git("clean", "-ffdq", "-e", OURS)
