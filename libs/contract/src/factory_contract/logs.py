"""Log files: lines with the time, in files that turn over; and reading them again. Standard library only.

A line is `2026-01-31T12:00:00.123Z text`. At 10 MB `x.log` becomes `x.log.1`, and so on up to `x.log.3`.
"""

import heapq
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from factory_contract import words
from factory_contract.errors import BadPattern, Usage

MAX_BYTES = 10 * 1024 * 1024
KEPT = 3
LONGEST = 64 * 1024  # a longer line is cut into pieces
TAIL = 40  # lines of output that an error shows
ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def now() -> str:
    """The time, as it stands in logs and in `since`: UTC, milliseconds (RFC 3339)."""
    return _stamp(time.time())


def _stamp(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


class Log:
    """One log file, for writing. A disk that is full loses output, never the process that logs.

    `lost` counts its bytes; where writing goes on, a line says how many are missing.
    """

    def __init__(self, path: Path, *, stamped: bool = True, fresh: bool = False, kept: int = KEPT) -> None:
        self.path, self.lost = path, 0
        self.heard: Callable[[str], None] | None = None  # gets every line, for `healthcheck: {log: …}`
        self._stamped, self._kept = stamped, kept
        self._last: deque[str] = deque(maxlen=TAIL)
        self._rest = b""
        self._file: IO[bytes] | None = None
        self._size = 0
        self._missing, self._torn = (
            0,
            False,
        )  # bytes since the last that could be written; whether that was within a line
        self._open(fresh=fresh)

    def feed(self, data: bytes) -> None:
        """Takes output as it comes, in any pieces."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LONGEST:
            lines.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._rest = rest
        if lines:
            self._write(lines)

    def note(self, text: str) -> None:
        """A line of the factory's own between the output."""
        self.feed(b"\n" if self._rest else b"")
        self.feed(f"[factory] {text}\n".encode())

    def tail(self, lines: int = TAIL) -> list[str]:
        """The last lines, without colours."""
        rest = [_clean(self._rest)] if self._rest else []
        return [*self._last, *rest][-lines:]

    def forget_tail(self) -> None:
        """What was said until now is another run's."""
        self._last.clear()

    def close(self) -> None:
        if self._rest:
            self.feed(b"\n")
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, lines: list[bytes]) -> None:
        for line in lines[-TAIL:] if self.heard is None else lines:
            text = _clean(line)
            self._last.append(text)
            if self.heard is not None:
                self.heard(text)
        stamp = f"{now()} ".encode() if self._stamped else b""
        data = b"".join(stamp + line.rstrip(b"\r") + b"\n" for line in lines)
        if self._size + len(data) > MAX_BYTES and self._kept:
            self._turn_over()
        if self._missing:
            end = b"\n" if self._torn else b""
            note = f"[factory] {self._missing} bytes are missing here: they could not be written".encode()
            if self._put(end + stamp + note + b"\n") == 0:
                self._missing, self._torn = 0, False
        lost = self._put(data)
        self.lost += lost
        self._missing += lost

    def _put(self, data: bytes) -> int:
        """Writes as much as the disk takes. The number of bytes that it does not."""
        written = 0
        if self._file is None:
            self._open(fresh=False)
        try:
            written = (self._file.write(data) or 0) if self._file is not None else 0
        except OSError:
            pass
        self._size += written
        self._torn = self._torn or 0 < written < len(data)
        return len(data) - written

    def _open(self, *, fresh: bool) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb" if fresh else "ab", buffering=0)
            self._size = self._file.tell()
        except OSError:
            self._file = None

    def _turn_over(self) -> None:
        if self._file is not None:
            self._file.close()
        try:
            for n in range(self._kept, 0, -1):
                older = _numbered(self.path, n - 1)
                if older.exists():
                    older.replace(_numbered(self.path, n))
        except OSError:
            pass  # then the file goes on growing, or lines are lost: `_write` counts them
        self._open(fresh=False)


def _numbered(path: Path, n: int) -> Path:
    return path.with_name(f"{path.name}.{n}") if n else path


def _clean(line: bytes) -> str:
    return (ANSI.sub(b"", line) if b"\x1b" in line else line).decode(errors="replace").rstrip("\r")


# --- reading ----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    at: str
    service: str
    text: str


class Wanted(NamedTuple):
    """Which lines. `since` is a time as it stands in the logs."""

    tail: int | None = None
    grep: re.Pattern[str] | None = None
    since: str | None = None

    def has(self, line: Line) -> bool:
        return (self.since is None or line.at >= self.since) and (
            self.grep is None or bool(self.grep.search(line.text))
        )


def wanted(tail: int | None, grep: str | None, since: str | None) -> Wanted:
    """From the command's options; `since` is a duration back from now. Raises BadPattern, Usage."""
    try:
        pattern = re.compile(grep) if grep is not None else None
    except re.error as e:
        raise BadPattern(text=grep, why=e) from e
    if since is None:
        return Wanted(tail, pattern)
    try:
        ago = words.seconds(since)
    except ValueError as e:
        raise Usage(problem=f"--since: {e}") from e
    return Wanted(tail, pattern, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - ago)))


def services(directory: Path) -> list[str]:
    """The services that have a log."""
    return sorted(p.name.removesuffix(".log") for p in directory.glob("*.log"))


def read(directory: Path, names: list[str], what: Wanted, before: "Follower | None" = None) -> list[Line]:
    """The wanted lines of these services, merged by time; `tail` counts after the merge.

    before: only what this one will not tell.
    """
    ends = before.ends if before is not None else {}
    streams = [_lines(directory / f"{name}.log", name, what.since, ends.get(name)) for name in names]
    lines = (line for line in heapq.merge(*streams, key=lambda line: line.at) if what.has(line))
    return list(deque(lines, maxlen=what.tail))


class Follower:
    """The lines that are written from now on; files that turn over or are begun anew are followed.

    names: of which services; None for all, also those that are yet to come.
    """

    def __init__(self, directory: Path, names: list[str] | None, what: Wanted) -> None:
        self._directory, self._names, self._what = directory, names, what
        self.ends = {name: _End(directory / f"{name}.log", name, at_end=True) for name in names or services(directory)}

    def lines(self, pause: float = 0.2) -> Iterator[Line]:
        """For ever."""
        try:
            while True:
                for name in self._names or services(self._directory):
                    if name not in self.ends:
                        self.ends[name] = _End(self._directory / f"{name}.log", name, at_end=False)
                fresh = sorted((line for end in self.ends.values() for line in end.more()), key=lambda line: line.at)
                yield from (line for line in fresh if self._what.has(line))
                if not fresh:
                    time.sleep(pause)
        finally:
            for end in self.ends.values():
                end.close()


class _End:
    """The end of one growing file. `position` is where in the file `inode` it began."""

    def __init__(self, path: Path, name: str, *, at_end: bool) -> None:
        self._path, self._name = path, name
        self._file: IO[bytes] | None = None
        self._rest = b""
        self.inode, self.position = 0, 0
        self._reopen(path)
        if self._file is not None and at_end:
            self.position = self._file.seek(0, 2)

    def more(self) -> list[Line]:
        data = self._read()
        if not data and self._is_another():
            data = self._read()  # what came between the two looks
            for path in self._newer():
                self._reopen(path)
                data += self._read()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_parse(line, self._name) for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        return self._file.read() if self._file is not None else b""

    def _is_another(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        return self._file is None or there.st_ino != self.inode or there.st_size < self._file.tell()

    def _newer(self) -> list[Path]:
        """The files that were begun after the one that was read until now, in order."""
        turned = [_numbered(self._path, n) for n in range(1, KEPT + 1)]
        for n, path in enumerate(turned):
            if path.exists() and path.stat().st_ino == self.inode:
                return [*reversed(turned[:n]), self._path]
        return [self._path]

    def _reopen(self, path: Path) -> None:
        self.close()
        try:
            self._file = path.open("rb")
        except OSError:
            self._file = None
            return
        self.inode = os.fstat(self._file.fileno()).st_ino


def _lines(path: Path, name: str, since: str | None, end: _End | None) -> Iterator[Line]:
    for n in range(KEPT, -1, -1):
        try:
            with _numbered(path, n).open("rb") as f:
                seen = os.fstat(f.fileno())
                last = end is not None and seen.st_ino == end.inode
                if since is not None and _stamp(seen.st_mtime) < since:
                    continue
                left = end.position if end is not None and last else seen.st_size
                for text in f:
                    left -= len(text)
                    if left < 0:
                        break
                    yield _parse(text.rstrip(b"\n"), name)
                if last:
                    return
        except OSError:
            continue


def _parse(data: bytes, name: str) -> Line:
    at, _, rest = data.partition(b" ")
    return Line(at.decode(errors="replace"), name, _clean(rest))
