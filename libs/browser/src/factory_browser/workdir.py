"""A directory for what Chromium leaves behind, that is cleared up even when its process was killed."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "factory-browser-"
LONGEST = 40  # characters: Chromium puts a socket beneath it, whose path may have 104 bytes on macOS, 108 on Linux


class Workdir:
    """`with Workdir() as work:` makes it the place of temporary files of this process and its children.

    A lock in it lives as long as this process. On entering, directories of this user whose process is gone are removed,
    with any browser that still runs in them.
    """

    def __enter__(self) -> Self:
        sweep()
        self._was = os.environ.get("TMPDIR"), tempfile.tempdir
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_root()))
        self._lock = os.open(self.path / "new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.path / "new").rename(self.path / "lock")  # nobody sees a lock that is not held yet
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
        directory, tempfile.tempdir = self._was
        os.environ.pop("TMPDIR", None)
        if directory:
            os.environ["TMPDIR"] = directory
        os.close(self._lock)

    def remove(self) -> None:
        """Ends what still runs in it and takes it away."""
        _clear(self.path)


def sweep() -> None:
    """Clears up after processes that were killed."""
    for path in _root().glob(f"{PREFIX}*"):
        try:
            info = path.lstat()
            if not path.is_dir() or path.is_symlink() or info.st_uid != os.geteuid():
                continue
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # being made, or being removed, by another process
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(path)
        except BlockingIOError:
            pass  # in use
        finally:
            os.close(lock)


def _root() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST else "/tmp")


def _clear(path: Path) -> None:
    for pid in _inside(path):
        _kill(pid)
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():  # a browser that was just killed may have written once more
        shutil.rmtree(path, ignore_errors=True)


def _kill(pid: int) -> None:
    """A browser leads a group of its own, with all its helpers in it."""
    try:
        os.kill(pid, signal.SIGKILL)
        if os.getpgid(pid) == pid and pid != os.getpgid(0):
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _inside(path: Path) -> list[int]:
    """Processes that name the directory in their arguments, as a browser does its profile."""
    if sys.platform == "linux":
        found = [(int(p.name), _arguments(p)) for p in Path("/proc").iterdir() if p.name.isdigit()]
    else:
        lines = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
        found = [(int(pid), rest) for line in lines.splitlines() for pid, _, rest in [line.strip().partition(" ")]]
    return [pid for pid, arguments in found if f"{path}/" in arguments and pid != os.getpid()]


def _arguments(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it ended meanwhile
