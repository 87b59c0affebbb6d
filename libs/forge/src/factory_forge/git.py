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
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from . import diff as diffs
from .branches import check_branch
from .diff import Diff
from .errors import (
    BaseNotAncestor,
    BrokenObjects,
    BundleRefused,
    BundleTooLarge,
    CannotClone,
    CommitTooLarge,
    EmptyRepository,
    FileTooLarge,
    GitFailed,
    LinkEscapes,
    MergeConflict,
    MirrorBusy,
    NoSuchFile,
    NoSuchRef,
    NotABundle,
    NotFastForward,
    NotThatCommit,
    OtherUrl,
    PathTaken,
    ProtectedBranch,
    PushRefused,
    RemoteUnreachable,
    TooManyFiles,
    TooMuchOutput,
)
from .incoming import Change, Header, Limits, check_change, check_link, read_changes, read_header
from .runner import MIB, REMOTE_S, Credentials, Output, check_url, credential_config, git, is_away, is_local, reason_of

AUTHOR_NAME = "Software Factory"  # of commits made in a job's clone
AUTHOR_EMAIL = "software-factory@localhost"  # nobody's: an address at a forge would be shown as that account's work
CHECKPOINT_REF = "refs/heads/checkpoint"  # the one head of a bundle made here

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|\.lock$|[/.]$")
_FACTORY_REF = re.compile(r"[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*")
# The far side of a local URL is started by us, so its hooks are not run either.
_LOCAL_SIDE = "git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.alternateRefsCommand=true -c gc.auto=0"


class Entry(msgspec.Struct, frozen=True):
    """An entry of a tree: file (mode 100644, or 100755 when executable), symbolic link (120000), submodule (160000)."""

    path: str
    mode: str
    sha: str
    size: int  # bytes; of a link its target's length, of a submodule 0

    @property
    def is_file(self) -> bool:
        """Whether `read` gives it: links and submodules are no files."""
        return self.mode.startswith("100")


class Commit(msgspec.Struct, frozen=True):
    """A commit as written; its author is whatever was put there."""

    sha: str
    parents: list[str]
    author: str
    email: str
    at: str  # ISO 8601, the author's time zone
    subject: str
    body: str


class Repository:
    """The reading side of a bare repository, whoever owns it: nothing of its configuration or hooks is run."""

    _heads = "refs/heads/"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def resolve(self, ref: str) -> str:
        """The commit that a branch, a full ref name or a hash names. Raises NoSuchRef."""
        missing = NoSuchRef(ref=ref[:200], where=str(self.path))
        if not ref or _NOT_IN_REF.search(ref):
            raise missing
        names = [ref] if ref.startswith("refs/") else [self._heads + ref, f"refs/factory/{ref}"]
        if re.fullmatch(r"[0-9a-f]{7,64}", ref):
            names.append(ref)
        for name in names:
            found = await git(self.path, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", ok=(0, 1, 128))
            if found.status == 0:
                return found.stdout.decode().strip()
        raise missing

    async def default_branch(self) -> str:
        """The branch that HEAD names. Raises NoSuchRef where HEAD names none."""
        head = await git(self.path, "symbolic-ref", "--quiet", "--short", "HEAD", ok=(0, 1, 128))
        if head.status:
            raise NoSuchRef(ref="HEAD", where=str(self.path))
        return head.stdout.decode().strip()

    async def files(self, sha: str) -> list[Entry]:
        """Every file at a commit, by path. Raises NoSuchRef."""
        out = await self._at([sha], "ls-tree", "-r", "-z", "-l", "--full-tree")
        return [_entry(record) for record in out.stdout.split(b"\0") if record]

    async def read(self, sha: str, path: str, max_bytes: int = MIB) -> bytes:
        """The content of a regular file at a commit. Raises NoSuchFile (also for a link), FileTooLarge, NoSuchRef."""
        missing = NoSuchFile(path=path[:200], sha=sha)
        if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise missing
        await self.resolve(_sha(sha))
        out = await git(self.path, "ls-tree", "-z", "-l", "--full-tree", sha, path)
        entry = _entry(out.stdout.rstrip(b"\0")) if out.stdout else None
        if entry is None or not entry.is_file or entry.path != path:
            raise missing
        if entry.size > max_bytes:
            raise FileTooLarge(path=path, size=entry.size, max_bytes=max_bytes)
        return (await git(self.path, "cat-file", "blob", entry.sha, max_bytes=max_bytes)).stdout

    async def diff(self, base: str, head: str, max_bytes: int = 4 * MIB) -> Diff:
        """What differs from `base` to `head` (two commits; take `merge_base` first for a branch's own changes).

        All files are listed; of the patch the first `max_bytes`, then `truncated` is set. Attributes, drivers and
        converters of the repository have no say. Raises NoSuchRef.
        """
        command = ("diff-tree", "-r", "-M", "-l", "2000", "--no-ext-diff", "--no-textconv", "--no-color")
        listed = await self._at([base, head], *command, "-z", "--raw", "--numstat")
        truncated = False
        try:
            patch = (await git(self.path, *command, "-p", "--full-index", base, head, max_bytes=max_bytes)).stdout
        except TooMuchOutput as cut:
            truncated, patch = True, cut.printed[: cut.printed.rfind(b"\n") + 1]
        files = diffs.with_hunks(diffs.parse_files(listed.stdout), patch)
        text = patch.decode(errors="replace")
        return Diff(base=base, head=head, files=files, patch=text, truncated=truncated)

    async def merge_base(self, one: str, other: str) -> str:
        """The best common ancestor. Raises NoSuchRef where there is none."""
        found = await self._at([one, other], "merge-base", ok=(0, 1))
        if found.status:
            raise NoSuchRef(ref=f"merge base of {one} and {other}", where=str(self.path))
        return found.stdout.decode().strip()

    async def is_ancestor(self, ancestor: str, sha: str) -> bool:
        """Whether `sha` holds everything of `ancestor`; a commit is its own ancestor. Raises NoSuchRef."""
        found = await self._at([ancestor, sha], "merge-base", "--is-ancestor", ok=(0, 1))
        return found.status == 0

    async def log(self, base: str, head: str) -> list[Commit]:
        """The commits of `head` that `base` lacks, newest first. Raises NoSuchRef."""
        form = "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%aI%x00%s%x00%b"
        command = ("log", "-z", "--topo-order", "--no-show-signature", "--no-color", "--no-ext-diff", form)
        for sha in (base, head):
            await self.resolve(_sha(sha))
        out = await git(self.path, *command, f"{base}..{head}")
        words = out.stdout.decode(errors="replace").split("\0")
        commits = zip(*[iter(words)] * 7, strict=False)
        return [Commit(sha, parents.split(), *rest) for sha, parents, *rest in commits]

    async def merge(self, branch: str, sha: str, message: str, author: str) -> str:
        """Puts a merge commit of `branch` and `sha` on `branch` and returns it. Raises MergeConflict, NoSuchRef."""
        tip = await self.resolve(f"refs/heads/{branch}")
        flags = ("--write-tree", "--name-only", "--no-messages", "-z")
        tried = await self._at([tip, sha], "merge-tree", *flags, ok=(0, 1))
        tree, *paths = tried.stdout.decode(errors="replace").rstrip("\0").split("\0")
        if tried.status:
            raise MergeConflict(branch=branch, sha=sha, paths=", ".join(paths))
        who: dict[str, str] = {}
        for role in ("AUTHOR", "COMMITTER"):
            who |= {f"GIT_{role}_NAME": author, f"GIT_{role}_EMAIL": f"{author}@localhost"}
        made = await git(self.path, "commit-tree", tree, "-p", tip, "-p", sha, stdin=message.encode(), env=who)
        merged = made.stdout.decode().strip()
        await git(self.path, "update-ref", f"refs/heads/{branch}", merged, tip)
        return merged

    async def _at(self, commits: Sequence[str], *args: str, ok: Sequence[int] = (0,)) -> Output:
        """A call about commits, whole hashes, which follow `args`. Raises NoSuchRef for one that is not there."""
        for sha in commits:
            _sha(sha)
        try:
            return await git(self.path, *args, *commits, ok=ok)
        except GitFailed:
            for sha in commits:
                await self.resolve(sha)
            raise


class Mirror(Repository):
    """A bare copy of one remote that the host owns, shared by the services of a node.

    The remote's branches lie in refs/remotes/origin/, what came out of sandboxes in refs/factory/. Objects are never
    dropped: clones of jobs borrow them.
    """

    _heads = "refs/remotes/origin/"

    def __init__(self, path: Path, url: str) -> None:
        """Use `open`."""
        super().__init__(path)
        self.url = url

    @classmethod
    async def open(cls, path: Path, url: str) -> "Mirror":
        """Opens the mirror at `path`, made empty where nothing is. Raises BadRepoUrl, OtherUrl."""
        mirror = cls(path.absolute(), check_url(url))
        async with mirror._locked():
            if not (mirror.path / "HEAD").exists():
                await mirror._create()
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

    async def fetch(self, *, credentials: Credentials | None = None) -> None:
        """Brings the remote's branches up to date; a branch deleted there goes here too, its commits stay.

        Raises CannotClone (no such repository, no right to read), RemoteUnreachable (try later), EmptyRepository.
        """
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
        sha = await self.resolve(_sha(sha))
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
        limits = limits or Limits()
        base = await self.resolve(_sha(base))
        if not _FACTORY_REF.fullmatch(ref):
            raise NoSuchRef(ref=ref[:200], where="refs/factory/")
        quarantine = Path(tempfile.mkdtemp(prefix="incoming-", dir=self.path / "objects"))
        try:
            await self._unpack(bundle, quarantine, expect, limits)
            await self._judge(quarantine, expect, base, limits)
            _move_packs(quarantine / "pack", self.path / "objects/pack")
        finally:
            await asyncio.to_thread(shutil.rmtree, quarantine, ignore_errors=True)
        await git(self.path, "update-ref", f"refs/factory/{ref}", expect)

    async def _unpack(self, bundle: Path, quarantine: Path, expect: str, limits: Limits) -> None:
        """Indexes the bundle's pack in quarantine, with git's check of every object (fsck) and of every link."""
        (quarantine / "info").mkdir()
        (quarantine / "info/alternates").write_text(f"{self.path / 'objects'}\n")
        try:
            fd = os.open(bundle, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotABundle(reason=error.strerror or str(error)) from error
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                raise NotABundle(reason="it is no regular file")
            if seen.st_size > limits.bundle_bytes:
                raise BundleTooLarge(size=seen.st_size, limit=limits.bundle_bytes)
            header, begin = _header(fd)
            if expect not in header.heads.values():
                raise NotThatCommit(expect=expect[:64])
            os.lseek(fd, begin, os.SEEK_SET)
            size = f"--max-input-size={limits.bundle_bytes}"
            await self._quarantined(quarantine, "index-pack", "--stdin", "--fix-thin", "--strict", size, stdin=fd)
        except GitFailed as error:
            raise BrokenObjects(reason=reason_of(error)) from error
        finally:
            os.close(fd)

    async def _judge(self, quarantine: Path, expect: str, base: str, limits: Limits) -> None:
        """Looks at what each new commit brings."""
        kind = await self._quarantined(quarantine, "cat-file", "-t", expect, ok=(0, 128))
        if kind.stdout != b"commit\n":
            raise NotThatCommit(expect=expect)
        ancestor = await self._quarantined(quarantine, "merge-base", "--is-ancestor", base, expect, ok=(0, 1))
        if ancestor.status:
            raise BaseNotAncestor(sha=expect, base=base)
        known = ["--glob=refs/remotes/origin/*"]
        new = await self._quarantined(quarantine, "rev-list", "--reverse", expect, f"^{base}", "--not", *known)
        if new.stdout.count(b"\n") > limits.commits:
            raise BundleRefused(reason=f"it brings more than {limits.commits} commits")
        try:
            each = ("diff-tree", "--stdin", "--root", "-r", "-c", "-z", "--raw", "--no-renames", "--no-commit-id")
            raw = await self._quarantined(quarantine, *each, stdin=new.stdout, max_bytes=limits.files * 1500)
        except TooMuchOutput as error:
            raise TooManyFiles(limit=limits.files) from error
        changes = list(read_changes(raw.stdout))
        if len({change.path for change in changes}) > limits.files:
            raise TooManyFiles(limit=limits.files)
        for change in changes:
            check_change(change)
        await self._judge_contents(quarantine, [change for change in changes if change.mode != "000000"], limits)

    async def _judge_contents(self, quarantine: Path, changes: list[Change], limits: Limits) -> None:
        """Sizes of files and targets of links."""
        ids = "".join(f"{change.blob}\n" for change in changes).encode()
        checked = await self._quarantined(quarantine, "cat-file", "--batch-check=%(objectsize)", stdin=ids)
        for change, size in zip(changes, checked.stdout.split(b"\n"), strict=False):
            path = change.path.decode()
            if int(size) > limits.file_bytes:
                raise CommitTooLarge(path=path, size=int(size), limit=limits.file_bytes)
            if change.mode == "120000":
                if int(size) > 4096:  # PATH_MAX: no system could follow it
                    raise LinkEscapes(path=path, target="(longer than any path)")
                target = await self._quarantined(quarantine, "cat-file", "blob", change.blob)
                check_link(path, target.stdout.decode(errors="replace"))

    async def _quarantined(
        self,
        quarantine: Path,
        *args: str,
        stdin: bytes | int = b"",
        max_bytes: int = 64 * MIB,
        ok: Sequence[int] = (0,),
    ) -> Output:
        """A call that writes objects into `quarantine` and sees the mirror's behind it."""
        env = {"GIT_OBJECT_DIRECTORY": str(quarantine)}
        return await git(self.path, *args, stdin=stdin, env=env, max_bytes=max_bytes, ok=ok, timeout=REMOTE_S)

    async def bundle(self, dest: Path, sha: str, base: str) -> None:
        """Writes a bundle with the one head `refs/heads/checkpoint` at `sha` for who has `base`; replaces `dest` whole.

        Raises NoSuchRef.
        """
        sha, base = await self.resolve(_sha(sha)), await self.resolve(_sha(base))
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
        sha = await self.resolve(_sha(sha))
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


async def mirror_of(directory: Path, url: str) -> Mirror:
    """The mirror of `url` among those of a node, `<directory>/<name>-<hash of the URL>.git`. Raises as `Mirror.open`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", url.rstrip("/").removesuffix(".git").rpartition("/")[2])[:40].strip("-")
    return await Mirror.open(directory / f"{name or 'repo'}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.git", url)


def _sha(value: str) -> str:
    """`value` itself where it is a whole hash, so that it can be nothing else to git. Raises NoSuchRef."""
    if not _SHA.fullmatch(value):
        raise NoSuchRef(ref=value[:200], where="full commit hashes")
    return value


def _entry(record: bytes) -> Entry:
    facts, path = record.split(b"\t", 1)
    mode, _kind, sha, size = facts.decode().split()
    return Entry(path.decode(errors="replace"), mode, sha, 0 if size == "-" else int(size))


def _header(fd: int) -> tuple[Header, int]:
    """The bundle's header and where its pack begins."""
    with os.fdopen(os.dup(fd), "rb") as buffered:
        return read_header(buffered), buffered.tell()


def _move_packs(source: Path, target: Path) -> None:
    """Hands packs over as git does: the index last, for with it a pack is seen."""
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.suffix == ".idx"):
        file.rename(target / file.name)
