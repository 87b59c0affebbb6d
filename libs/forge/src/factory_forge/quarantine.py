"""Taking in a sandbox's bundle: unpacked apart, looked at whole, and only then part of the mirror."""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .errors import (
    BaseNotAncestor,
    BrokenObjects,
    BundleRefused,
    BundleTooLarge,
    CommitTooLarge,
    GitFailed,
    LinkEscapes,
    NotABundle,
    NotThatCommit,
    TooManyFiles,
    TooMuchOutput,
)
from .incoming import Change, Header, Limits, check_change, check_link, read_changes, read_header
from .runner import MIB, REMOTE_S, Output, git, reason_of

PREFIX = "incoming-"  # of quarantines, beside the objects that they may join


async def admit(git_dir: Path, bundle: Path, expect: str, base: str, limits: Limits) -> None:
    """Adds the objects of `bundle` to the repository, or nothing. Raises BundleRefused, by name."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=git_dir / "objects"))
    quarantine = _Quarantine(git_dir, place, limits)
    try:
        await quarantine.unpack(bundle, expect)
        await quarantine.judge(expect, base)
        _move_packs(place / "pack", git_dir / "objects/pack")
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


class _Quarantine:
    """A directory of objects with the repository's behind it."""

    def __init__(self, git_dir: Path, place: Path, limits: Limits) -> None:
        self.git_dir, self.place, self.limits = git_dir, place, limits
        (place / "info").mkdir()
        (place / "info/alternates").write_text(f"{git_dir / 'objects'}\n")

    async def _git(
        self, *args: str, stdin: bytes | int = b"", max_bytes: int = 64 * MIB, ok: Sequence[int] = (0,)
    ) -> Output:
        """A call that writes objects here only."""
        env = {"GIT_OBJECT_DIRECTORY": str(self.place)}
        return await git(self.git_dir, *args, stdin=stdin, env=env, max_bytes=max_bytes, ok=ok, timeout=REMOTE_S)

    async def unpack(self, bundle: Path, expect: str) -> None:
        """Indexes the bundle's pack here, with git's check of every object (fsck) and of every link."""
        try:
            fd = os.open(bundle, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotABundle(reason=error.strerror or str(error)) from error
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                raise NotABundle(reason="it is no regular file")
            if seen.st_size > self.limits.bundle_bytes:
                raise BundleTooLarge(size=seen.st_size, limit=self.limits.bundle_bytes)
            header, begin = _header(fd)
            if expect not in header.heads.values():
                raise NotThatCommit(expect=expect[:64])
            os.lseek(fd, begin, os.SEEK_SET)
            size = f"--max-input-size={self.limits.bundle_bytes}"
            await self._git("index-pack", "--stdin", "--fix-thin", "--strict", size, stdin=fd)
        except GitFailed as error:
            raise BrokenObjects(reason=reason_of(error)) from error
        finally:
            os.close(fd)

    async def judge(self, expect: str, base: str) -> None:
        """Looks at what each new commit brings."""
        kind = await self._git("cat-file", "-t", expect, ok=(0, 128))
        if kind.stdout != b"commit\n":
            raise NotThatCommit(expect=expect)
        ancestor = await self._git("merge-base", "--is-ancestor", base, expect, ok=(0, 1))
        if ancestor.status:
            raise BaseNotAncestor(sha=expect, base=base)
        known = ["--glob=refs/remotes/origin/*"]
        new = await self._git("rev-list", "--reverse", expect, f"^{base}", "--not", *known)
        if new.stdout.count(b"\n") > self.limits.commits:
            raise BundleRefused(reason=f"it brings more than {self.limits.commits} commits")
        try:
            each = ("diff-tree", "--stdin", "--root", "-r", "-c", "-z", "--raw", "--no-renames", "--no-commit-id")
            raw = await self._git(*each, stdin=new.stdout, max_bytes=self.limits.files * 1500)
        except TooMuchOutput as error:
            raise TooManyFiles(limit=self.limits.files) from error
        changes = list(read_changes(raw.stdout))
        if len({change.path for change in changes}) > self.limits.files:
            raise TooManyFiles(limit=self.limits.files)
        for change in changes:
            check_change(change)
        await self._judge_contents([change for change in changes if change.mode != "000000"])

    async def _judge_contents(self, changes: list[Change]) -> None:
        """Sizes of files and targets of links."""
        ids = "".join(f"{change.blob}\n" for change in changes).encode()
        checked = await self._git("cat-file", "--batch-check=%(objectsize)", stdin=ids)
        for change, size in zip(changes, checked.stdout.split(b"\n"), strict=False):
            path = change.path.decode()
            if int(size) > self.limits.file_bytes:
                raise CommitTooLarge(path=path, size=int(size), limit=self.limits.file_bytes)
            if change.mode == "120000":
                if int(size) > 4096:  # PATH_MAX: no system could follow it
                    raise LinkEscapes(path=path, target="(longer than any path)")
                target = await self._git("cat-file", "blob", change.blob)
                check_link(path, target.stdout.decode(errors="replace"))


def _header(fd: int) -> tuple[Header, int]:
    """The bundle's header and where its pack begins."""
    with os.fdopen(os.dup(fd), "rb") as buffered:
        return read_header(buffered), buffered.tell()


def _move_packs(source: Path, target: Path) -> None:
    """Hands packs over as git does: the index last, for with it a pack is seen."""
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.suffix == ".idx"):
        file.rename(target / file.name)
