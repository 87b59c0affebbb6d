"""Knows the regular files beneath a checkout, and refuses everything that only looks like one.

An agent writes here: a name may be a link out of the tree, a FIFO that blocks whoever opens it, a device. So a path
is walked one directory at a time without following links, and a file is looked at after it was opened, not before.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import Refused

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(path: str) -> list[str]:
    """The names in a path relative to the checkout; `.` is none. Raises Refused (`bad-path`)."""
    if path.startswith("/") or "\0" in path:
        raise Refused(f"{path!r} is refused: a path is relative to the checkout", code="bad-path")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise Refused(f"{path!r} is refused: no `..` in a path", code="bad-path")
    return names


def open_for_reading(root: Path, path: str) -> int:
    """A descriptor of the regular file at this path.

    Raises Refused: `bad-path`, `no-such-file`, `link`, `not-a-file`, `unreadable`.
    """
    with _parent(root, path, make=False) as (parent, name):
        try:
            # O_NONBLOCK: a FIFO without a writer would block here for ever
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent)
        except OSError as e:
            raise _refusal(path, name, parent, e) from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(f"{path!r} is refused: it is no regular file", code="not-a-file")
    return fd


class NewFile:
    """A file that is written aside and takes its name only when it is whole.

    Raises as `open_for_reading`, and Refused (`unwritable`), for a name that is taken by something else than a
    regular file too. Missing directories are made. `write` waits for the disk: call it in a thread.
    """

    def __init__(self, root: Path, path: str, mode: int) -> None:
        self.path = path
        self.bytes = 0
        with _parent(root, path, make=True) as (parent, name):
            _check_replaceable(path, name, parent)
            aside = f".{os.urandom(8).hex()}.part"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._fd = os.open(aside, flags, 0o600, dir_fd=parent)
            except OSError as e:
                raise Refused(f"{path!r} cannot be written: {e.strerror}", code="unwritable") from e
            self._parent = os.dup(parent)
            self._name, self._aside, self._mode = name, aside, mode

    def write(self, data: bytes) -> None:
        """Raises Refused (`unwritable`): the disk is full, a quota is reached."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as e:
            raise Refused(f"{self.path!r} cannot be written: {e.strerror}", code="unwritable") from e
        self.bytes += len(data)

    def keep(self) -> None:
        """The file takes its name."""
        _check_replaceable(self.path, self._name, self._parent)
        os.fchmod(self._fd, self._mode)
        os.rename(self._aside, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        self._aside = ""

    def close(self) -> None:
        """Ends it; what was not kept is gone."""
        os.close(self._fd)
        if self._aside:
            try:
                os.unlink(self._aside, dir_fd=self._parent)
            except FileNotFoundError:
                pass  # an agent cleaned its tree meanwhile
        os.close(self._parent)


@contextmanager
def _parent(root: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The directory that holds the path's last name, reached without following a link."""
    names = parts_of(path)
    if not names or path.endswith("/"):
        raise Refused(f"{path!r} is refused: it names no file", code="bad-path")
    try:
        here = os.open(root, _STEP)
    except OSError as e:
        raise Refused(f"the checkout itself cannot be opened: {e.strerror}", code="no-checkout") from e
    try:
        for name in names[:-1]:
            try:
                if make:
                    _make_directory(name, here)
                below = os.open(name, _STEP, dir_fd=here)
            except OSError as e:
                raise _refusal(path, name, here, e) from e
            os.close(here)
            here = below
        yield here, names[-1]
    finally:
        os.close(here)


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass  # a directory is what we want; anything else is refused when it is opened


def _check_replaceable(path: str, name: str, parent: int) -> None:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise Refused(f"{path!r} is refused: it is a link", code="link")
    if not stat.S_ISREG(mode):
        raise Refused(f"{path!r} is refused: it is no regular file", code="not-a-file")


def _refusal(path: str, name: str, parent: int, error: OSError) -> Refused:
    """Why a name could not be opened; the system's own word differs from one to the next, so it is looked at again."""
    if isinstance(error, FileNotFoundError):
        return Refused(f"there is no {path!r} in the checkout", code="no-such-file")
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        mode = 0
    if stat.S_ISLNK(mode):
        return Refused(f"{path!r} is refused: {name!r} is a link", code="link")
    if isinstance(error, PermissionError):
        return Refused(f"{path!r} cannot be opened: {error.strerror}", code="unreadable")
    return Refused(f"{path!r} is refused: {name!r} is not what a path of a regular file needs", code="not-a-file")
