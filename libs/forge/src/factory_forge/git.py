"""The trusted mirror, and every git call of the factory's host side.

A mirror is a bare repository that only the host writes. Jobs get private clones that borrow its objects; what a job
made comes back as a bundle, is looked at in quarantine, and leaves for the forge from here.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from . import quarantine
from .branches import check_branch
from .errors import (
    CannotClone,
    EmptyRepository,
    GitFailed,
    MirrorBusy,
    NoSuchRef,
    NotFastForward,
    OtherUrl,
    PathTaken,
    ProtectedBranch,
    PushRefused,
    RemoteUnreachable,
)
from .incoming import Limits
from .repository import Repository, whole_hash
from .runner import REMOTE_S, Credentials, Output, check_url, credential_config, git, is_away, is_local, reason_of

AUTHOR_NAME = "Software Factory"  # of commits made in a job's clone
AUTHOR_EMAIL = "software-factory@localhost"  # nobody's: an address at a forge would be shown as that account's work
CHECKPOINT_REF = "refs/heads/checkpoint"  # the one head of a bundle made here

Access = Callable[[], Awaitable[Credentials | None]]  # asked each time: some are good for an hour only

_FACTORY_REF = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*")
# The far side of a local URL is started by us, so its hooks are not run either.
_LOCAL_SIDE = "git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=true -c gc.auto=0"


class Mirror(Repository):
    """A bare copy of one remote that the host owns, shared by the services of a node.

    The remote's branches lie in refs/remotes/origin/, what came out of sandboxes in refs/factory/. Objects are never
    dropped: clones of jobs borrow them.
    """

    _heads = "refs/remotes/origin/"

    def __init__(self, path: Path, url: str, access: Access | None = None) -> None:
        """Use `open`."""
        super().__init__(path)
        self.url, self._access = url, access

    @classmethod
    async def open(cls, path: Path, url: str, access: Access | None = None) -> "Mirror":
        """Opens the mirror at `path`, made empty where nothing is; `access` gives what fetching needs.

        Raises BadRepoUrl, OtherUrl.
        """
        mirror = cls(path.absolute(), check_url(url), access)
        async with mirror._locked():
            if not (mirror.path / "HEAD").exists():
                await mirror._create()
            await asyncio.to_thread(mirror._sweep)
        found = (await git(mirror.path, "config", "--get", "remote.origin.url")).stdout.decode().strip()
        if found != url:
            raise OtherUrl(path=str(path), found=found, url=url)
        return mirror

    async def _create(self) -> None:
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            await git(part, "init", "--quiet", "--bare", "--template=", "--initial-branch=nothing")
            await git(part, "config", "remote.origin.url", self.url)
            part.rename(self.path)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
            raise

    def _sweep(self) -> None:
        """Removes what processes that were killed left half-made a day ago or longer."""
        old = time.time() - 24 * 3600
        objects = self.path / "objects"
        for left in (*objects.glob(quarantine.PREFIX + "*"), *objects.glob("pack/tmp_*")):
            if left.lstat().st_mtime < old:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    @asynccontextmanager
    async def _locked(self, timeout: float = 600.0) -> AsyncIterator[None]:
        """Holds the mirror's file lock: services of a node, whatever their number, fetch one after another."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise MirrorBusy(path=str(self.path), seconds=timeout) from None
                    await asyncio.sleep(0.05)
            yield
        finally:
            os.close(fd)

    async def fetch(self) -> None:
        """Brings the remote's branches up to date; a branch deleted there goes here too, its commits stay.

        Raises CannotClone (no such repository, no right to read), RemoteUnreachable (try later), EmptyRepository, and
        what `access` raises.
        """
        credentials = await self._access() if self._access else None
        async with self._locked():
            with credential_config(credentials, self.url) as config:
                try:
                    head = await self._remote("ls-remote", "--symref", self.url, "HEAD", config=config)
                    fetch = (
                        "fetch",
                        "--quiet",
                        "--prune",
                        "--no-tags",
                        "--force",
                        "--no-write-fetch-head",
                        "--refmap=",
                    )
                    await self._remote(*fetch, self.url, "+refs/heads/*:refs/remotes/origin/*", config=config)
                except GitFailed as error:
                    kind = RemoteUnreachable if is_away(error) else CannotClone
                    raise kind(url=self.url, reason=reason_of(error)) from error
            named = re.match(rb"ref: refs/heads/(\S+)\tHEAD\n", head.stdout)
            branch = named[1].decode() if named else await self._likely_default()
            await git(self.path, "config", "factory.defaultBranch", branch)

    async def _likely_default(self) -> str:
        """For a remote whose HEAD names no branch: main, master, or the first there is. Raises EmptyRepository."""
        out = await git(self.path, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin/")
        branches = out.stdout.decode().split()
        if not branches:
            raise EmptyRepository(url=self.url)
        return next((name for name in ("main", "master") if name in branches), branches[0])

    async def _remote(self, *args: str, config: Sequence[str]) -> Output:
        return await git(self.path, *args, config=config, timeout=REMOTE_S)

    async def default_branch(self) -> str:
        """The remote's default branch as of the last fetch. Raises NoSuchRef before the first."""
        found = await git(self.path, "config", "--get", "factory.defaultBranch", ok=(0, 1))
        if found.status:
            raise NoSuchRef(ref="HEAD (nothing was fetched yet)", where=str(self.path))
        return found.stdout.decode().strip()

    async def clone_for_job(self, dest: Path, sha: str, branch: str) -> None:
        """Makes at `dest` a clone with `branch` checked out at `sha`, which knows no remote.

        Its `.git` is its own; only the objects of the past are borrowed (objects/info/alternates), and they are
        read-only, so a sandbox has to see this mirror's `objects` at the same path. `dest` appears when it is whole.
        Raises PathTaken, NoSuchRef, BadBranchName.
        """
        sha = await self.resolve(whole_hash(sha))
        check_branch(branch)
        if os.path.lexists(dest):
            raise PathTaken(path=str(dest))
        dest.parent.mkdir(parents=True, exist_ok=True)
        part = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}")
        inside = part / ".git"
        try:
            await git(inside, "init", "--quiet", "--template=", f"--initial-branch={branch}", str(part))
            (inside / "objects/info/alternates").write_text(f"{self.path / 'objects'}\n")
            await git(inside, "config", "user.name", AUTHOR_NAME)
            await git(inside, "config", "user.email", AUTHOR_EMAIL)
            await git(inside, "reset", "--quiet", "--hard", sha, work_tree=part, timeout=REMOTE_S)
            part.rename(dest)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
            raise

    async def import_bundle(
        self, bundle: Path, *, ref: str, expect: str, base: str, limits: Limits | None = None
    ) -> None:
        """Takes the commit `expect` out of a sandbox's bundle and names it refs/factory/`ref`.

        The pack is unpacked and looked at in quarantine; this mirror changes only when nothing is refused: as a whole,
        and again and again to the same effect. Every commit that is new here is judged, not only the last.

        Raises BundleRefused, by name: NotABundle, BundleTooLarge, NotThatCommit, BrokenObjects (git's own check: nested
        `.git` in any spelling, missing objects), BaseNotAncestor, SubmoduleAdded, PathRefused, LinkEscapes,
        CommitTooLarge, TooManyFiles; NoSuchRef for an unknown `base`.
        """
        base = await self.resolve(whole_hash(base))
        if not _FACTORY_REF.fullmatch(ref):
            raise NoSuchRef(ref=ref[:200], where="refs/factory/")
        await quarantine.admit(self.path, bundle, expect, base, limits or Limits())
        await git(self.path, "update-ref", f"refs/factory/{ref}", expect)

    async def bundle(self, dest: Path, sha: str, base: str) -> None:
        """Writes a bundle with the one head `refs/heads/checkpoint` at `sha` for who has `base`; replaces `dest` whole.

        Raises NoSuchRef.
        """
        sha, base = await self.resolve(whole_hash(sha)), await self.resolve(whole_hash(base))
        part = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}")
        wanted = f"{sha}\n^{base}\n".encode()
        try:
            with part.open("wb") as file:
                file.write(f"# v2 git bundle\n-{base} \n{sha} {CHECKPOINT_REF}\n\n".encode())
                file.flush()
                pack = ("pack-objects", "--quiet", "--stdout", "--revs", "--thin", "--delta-base-offset")
                await git(self.path, *pack, stdin=wanted, stdout=file.fileno(), timeout=REMOTE_S)
            part.rename(dest)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    async def write_news(self, sha: str, file: BinaryIO) -> None:
        """Writes what a push of `sha` would bring beside what the remote's branches held at the last fetch.

        Of each commit, oldest first, a line `\\0<hash> <parents>`, then its patch: no context, binary files as text, of
        a merge what differs from both sides. Raises NoSuchRef.
        """
        await self.resolve(whole_hash(sha))
        form = ("--reverse", "--topo-order", "--format=tformat:%x00%H %P", "--no-show-signature")
        patch = ("-p", "-c", "-U0", "--text", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")
        news = (sha, "--not", "--remotes")
        await git(self.path, "log", *form, *patch, *news, stdout=file.fileno(), timeout=REMOTE_S)

    async def push(
        self,
        url: str,
        sha: str,
        branch: str,
        *,
        credentials: Credentials | None = None,
        protected: Sequence[str] = (),
    ) -> None:
        """Moves `branch` at `url` forward to `sha`; where it is there already, nothing is done. Never with force.

        Raises ProtectedBranch for the default branch and those named, BadBranchName for what the factory did not name
        itself, NotFastForward (with their commit) when a person pushed, PushRefused, RemoteUnreachable, NoSuchRef.
        """
        check_url(url)
        if branch in await self._protected(protected):
            raise ProtectedBranch(branch=branch)
        check_branch(branch)
        sha = await self.resolve(whole_hash(sha))
        with credential_config(credentials, url) as config:
            theirs = await self._tip(url, branch, config)
            if theirs == sha:
                return
            if theirs and not await self._holds(theirs, sha):
                raise NotFastForward(branch=branch, ours=sha, theirs=theirs)
            await self._push(url, sha, branch, config)

    async def _protected(self, names: Sequence[str]) -> set[str]:
        try:
            return {*names, await self.default_branch()}
        except NoSuchRef:  # nothing was fetched, so no default is known
            return {*names}

    async def _push(self, url: str, sha: str, branch: str, config: Sequence[str]) -> None:
        flags = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--no-force-with-lease")
        local = [f"--receive-pack={_LOCAL_SIDE} receive-pack"] if is_local(url) else []
        try:
            await self._remote("push", *flags, *local, url, f"{sha}:refs/heads/{branch}", config=config)
        except GitFailed as error:
            if is_away(error):
                raise RemoteUnreachable(url=url, reason=reason_of(error)) from error
            # Somebody may have pushed between the look and the push; the remote compares and refuses by itself.
            theirs = await self._tip(url, branch, config)
            if theirs == sha:
                return
            if theirs and not await self._holds(theirs, sha):
                raise NotFastForward(branch=branch, ours=sha, theirs=theirs) from error
            raise PushRefused(url=url, branch=branch, reason=reason_of(error)) from error

    async def _tip(self, url: str, branch: str, config: Sequence[str]) -> str | None:
        try:
            out = await self._remote("ls-remote", url, f"refs/heads/{branch}", config=config)
        except GitFailed as error:
            if is_away(error):
                raise RemoteUnreachable(url=url, reason=reason_of(error)) from error
            raise PushRefused(url=url, branch=branch, reason=reason_of(error)) from error
        return out.stdout[:40].decode() or None

    async def _holds(self, theirs: str, sha: str) -> bool:
        """Whether `sha` builds on `theirs`; a commit that this mirror has never seen is not built upon."""
        try:
            return await self.is_ancestor(theirs, sha)
        except NoSuchRef:
            return False


async def mirror_of(directory: Path, url: str, access: Access | None = None) -> Mirror:
    """The mirror of `url` among those of a node: `<directory>/<name>-<hash of the URL>.git`. Raises as `open` does."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", url.rstrip("/").removesuffix(".git").rpartition("/")[2])[:40].strip("-")
    path = directory / f"{name or 'repo'}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.git"
    return await Mirror.open(path, url, access)
