"""Knows how a socket with a long path is bound and dialled: a Unix socket's address holds 108 bytes (macOS: 104)."""

import hashlib
import os
import stat
from pathlib import Path

from .errors import SandboxError

_ADDRESS_MAX = 103  # without the closing NUL, on the stricter system


def address(socket: Path) -> str:
    """The path itself where it is short enough, else one through a link to its directory from a short place.

    The link is made anew whenever it is missing, so it may be removed at any time (`forget`, or who cleans up there).
    Raises SandboxError (`bad-alias`) where somebody else's file is in the link's way.
    """
    if len(os.fsencode(socket)) <= _ADDRESS_MAX:
        return str(socket)
    directory = socket.parent.resolve()
    alias = _alias(directory)
    try:
        alias.symlink_to(directory)
    except FileExistsError:
        found = alias.lstat()
        if not (stat.S_ISLNK(found.st_mode) and found.st_uid == os.getuid() and alias.readlink() == directory):
            raise SandboxError(
                f"{alias} is in the way of a short path to {directory}: remove it", code="bad-alias"
            ) from None
    return str(alias / socket.name)


def forget(directory: Path) -> None:
    """Removes the link to this directory of sockets, where there is one."""
    alias = _alias(directory.resolve())
    if alias.is_symlink() and alias.readlink() == directory.resolve():
        alias.unlink(missing_ok=True)


def _alias(directory: Path) -> Path:
    """In /tmp by name: what TMPDIR says may be long, and differs between the processes of a node."""
    return Path("/tmp") / f"sandbox-{os.getuid()}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
