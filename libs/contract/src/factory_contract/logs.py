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
from typing import IO, Any, NamedTuple

from factory_contract import words
from factory_contract.errors import BadPattern, Usage

MAX_BYTES = 10 * 1024 * 1024
KEPT = 3
LONGEST = 64 * 1024  # a longer line is cut into pieces
TAIL = 40  # lines of output that an error shows
ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def now() -> str:
    """The time, as it stands in logs and in `since`: UTC, milliseconds (RFC 3339)."""
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


class Log:
    """One log file, for writing. A disk that is full loses lines (`lost` counts their bytes), never the process that logs."""

    def __init__(self, path: Path, *, stamped: bool = True, fresh: bool = False, kept: int = KEPT) -> None:
        self.path, self.lost = path, 0
        self.heard: Callable[[str], None] | None = None  # gets every line, for `healthcheck: {log: …}`
        self._stamped, self._kept = stamped, kept
        self._last: deque[str] = deque(maxlen=TAIL)
        self._rest = b""
        self._file: IO[bytes] | None = None
        self._size = 0
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
        try:
            if self._file is None:
                raise OSError("not open")
            self._file.write(data)
            self._size += len(data)
        except OSError:
            self.lost += len(data)

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
    return ANSI.sub(b"", line).decode(errors="replace").rstrip("\r")


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


def read(directory: Path, names: list[str], what: Wanted) -> list[Line]:
    """The wanted lines of these services, merged by time; `tail` counts after the merge."""
    streams = [_lines(directory / f"{name}.log", name) for name in names]
    lines = (line for line in heapq.merge(*streams, key=lambda line: line.at) if what.has(line))
    return list(deque(lines, maxlen=what.tail))


def follow(directory: Path, names: list[str], what: Wanted, pause: float = 0.2) -> Iterator[Line]:
    """Lines as they are written from now on, for ever; files that turn over or are begun anew are followed."""
    ends = [_End(directory / f"{name}.log", name) for name in names]
    try:
        while True:
            fresh = sorted((line for end in ends for line in end.more()), key=lambda line: line.at)
            yield from (line for line in fresh if what.has(line))
            if not fresh:
                time.sleep(pause)
    finally:
        for end in ends:
            end.close()


class _End:
    """The end of one growing file."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._file: IO[Any] | None = None
        self._rest = ""
        self._reopen(at_end=True)

    def more(self) -> list[Line]:
        text = self._file.read() if self._file is not None else ""
        if not text and self._is_another():
            self._reopen(at_end=False)
            text = self._file.read() if self._file is not None else ""
        *lines, self._rest = (self._rest + text).split("\n")
        return [_parse(line, self._name) for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _is_another(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        here = os.fstat(self._file.fileno())
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev) or there.st_size < self._file.tell()

    def _reopen(self, *, at_end: bool) -> None:
        self.close()
        try:
            self._file = self._path.open(errors="replace", newline="\n")
        except OSError:
            self._file = None
            return
        if at_end:
            self._file.seek(0, 2)


def _lines(path: Path, name: str) -> Iterator[Line]:
    for n in range(KEPT, -1, -1):
        try:
            with _numbered(path, n).open(errors="replace", newline="\n") as f:
                for text in f:
                    yield _parse(text.rstrip("\n"), name)
        except OSError:
            continue


def _parse(text: str, name: str) -> Line:
    at, _, rest = text.partition(" ")
    return Line(at, name, ANSI.sub(b"", rest.encode()).decode())
