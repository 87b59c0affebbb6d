"""What may come out of a sandbox: a bundle's header, and what its commits may not contain. Pure: no git, no disk."""

import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from .errors import LinkEscapes, NotABundle, PathRefused, SubmoduleAdded

MIB = 1024 * 1024
HEADER_MAX = 64 * 1024  # bytes


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one bundle may bring. GitHub itself refuses files over 100 MiB and warns from 50."""

    bundle_bytes: int = 256 * MIB
    file_bytes: int = 50 * MIB
    files: int = 5000
    commits: int = 500


class Header(msgspec.Struct, frozen=True):
    """The text before a bundle's pack: commits it needs, commits it brings."""

    needs: list[str]
    heads: dict[str, str]  # ref: commit


_LINE = re.compile(rb"(-?)([0-9a-f]{40}|[0-9a-f]{64})(?: (.*))?")


def read_header(file: BinaryIO) -> Header:
    """Reads up to the first byte of the pack (gitformat-bundle(5), v2 and v3). Raises NotABundle."""
    signature = file.readline(100)
    if signature not in (b"# v2 git bundle\n", b"# v3 git bundle\n"):
        raise NotABundle(reason="it has no bundle's signature")
    header, left = Header([], {}), HEADER_MAX
    while (line := file.readline(left + 1)) != b"\n":
        left -= len(line)
        if left < 0 or not line.endswith(b"\n"):
            raise NotABundle(reason="its header does not end")
        if line.startswith(b"@"):
            if line != b"@object-format=sha1\n":
                raise NotABundle(reason=f"capability {line[1:80].decode(errors='replace').strip()} is not used here")
            continue
        match = _LINE.fullmatch(line[:-1])
        if not match:
            raise NotABundle(reason="a line of its header is neither a ref nor a prerequisite")
        sha = match[2].decode()
        if match[1]:
            header.needs.append(sha)
        else:
            header.heads[(match[3] or b"").decode(errors="replace")] = sha
    return header


class Change(msgspec.Struct, frozen=True):
    """One entry that a commit makes different from all of its parents."""

    mode: str
    blob: str
    path: bytes


def read_changes(raw: bytes) -> Iterator[Change]:
    """Reads `git diff-tree --stdin -r -c -z --raw`; an entry of a merge has a colon, mode and hash for each parent."""
    fields = iter(raw.split(b"\0"))
    for entry in fields:
        if not entry.startswith(b":"):
            continue
        parents = len(entry) - len(entry.lstrip(b":"))
        words = entry[parents:].decode().split(" ")
        yield Change(words[parents], words[2 * parents + 1], next(fields))


_INVISIBLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")  # HFS+ ignores these in names
_DOT_GIT = re.compile(r"\.git[ .]*(?::.*)?|git~1[ .]*", re.IGNORECASE)  # NTFS drops final dots, blanks and streams


def check_change(change: Change) -> None:
    """Raises SubmoduleAdded or PathRefused for an entry that no commit of an agent may bring."""
    shown = change.path.decode(errors="replace")
    if change.mode == "160000":
        raise SubmoduleAdded(path=shown)
    if change.mode == "000000":  # deleted
        return
    if change.mode not in ("100644", "100755", "120000"):
        raise PathRefused(path=shown, reason=f"mode {change.mode} is no file's and no link's")
    try:
        path = change.path.decode()
    except UnicodeDecodeError:
        raise PathRefused(path=shown, reason="its name is not UTF-8") from None
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise PathRefused(path=repr(path), reason="its name holds control characters")
    if len(change.path) > 1024:
        raise PathRefused(path=path[:100] + "…", reason="it is longer than 1024 bytes")
    for part in re.split(r"[/\\]", path):
        plain = _INVISIBLE.sub("", part)
        if plain in ("", ".", ".."):
            raise PathRefused(path=path, reason="it has an empty or dotted part")
        if _DOT_GIT.fullmatch(plain):
            raise PathRefused(path=path, reason="it lies in a .git directory")
    if path.lower() == ".gitmodules":
        raise PathRefused(path=path, reason="submodules are not the factory's to change")


def check_link(path: str, target: str) -> None:
    """Raises LinkEscapes for a symbolic link whose target leaves the tree, or might.

    `..` is allowed at the beginning only, as often as directories lie above the link: those are real directories.
    After a name it could step out through another link.
    """
    parts = target.split("/")
    rest = [part for part in parts if part not in ("", ".")]
    up = next((index for index, part in enumerate(rest) if part != ".."), len(rest))
    inside = up <= path.count("/") and ".." not in rest[up:]
    if not target or target.startswith("/") or "\\" in target or "\0" in target or not inside:
        raise LinkEscapes(path=path, target=target[:200])
    if any(_DOT_GIT.fullmatch(_INVISIBLE.sub("", part)) for part in rest):
        raise LinkEscapes(path=path, target=target[:200])
