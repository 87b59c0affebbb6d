"""The control socket of a supervisor: one request a connection, answered by lines of JSON.

Request `{"do": "status" | "start" | "restart" | "stop", "services": [...]}`; answers: any number of `{"progress": {...}}`, then
`{"done": {...}}` or `{"failed": {...}}` (the `error` object of `--json`, and `exit_code`). The client's part needs the
standard library only; asyncio is imported where the server begins.
"""

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factory_contract import checkout as checkouts
from factory_contract.errors import Reported, SocketDirectory, SupervisorSilent

LONGEST_PATH = 104  # bytes, macOS; Linux has 108 (sys/un.h)
ANSWER = 5.0  # seconds that a living supervisor has for the first line of an answer

Progress = Callable[[dict[str, Any]], None]


def socket_path(root: Path) -> Path:
    """Where the socket of the checkout at `root` belongs: short, whatever the checkout's own path. Raises SocketDirectory."""
    name = f"{checkouts.digest(root)[:16]}.sock"
    path = Path()
    for parent in (os.environ.get("TMPDIR", ""), "/tmp"):
        path = Path(parent) / f"software-factory-{os.getuid()}" / name
        if parent and len(os.fsencode(path)) < LONGEST_PATH and path.parent.parent.is_dir():
            break
    _make_private(path.parent)
    return path


def _make_private(directory: Path) -> None:
    """In a directory that all may write to somebody else could have been first."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        seen = directory.lstat()
    except OSError as e:
        raise SocketDirectory(directory=str(directory)) from e
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise SocketDirectory(directory=str(directory))


def ask(
    path: str, pid: int, what: dict[str, Any], progress: Progress | None = None, patience: float | None = None
) -> dict[str, Any]:
    """Sends a request and waits for its end. Raises ConnectionError (nobody is there), SupervisorSilent, Reported.

    patience: seconds from one sign of life to the next; without it there is no end to it, once the request was heard.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(ANSWER)
        try:
            s.connect(path)
            s.sendall(json.dumps(what).encode() + b"\n")
            with s.makefile("rb") as lines:
                for line in lines:
                    s.settimeout(patience)  # it lives: what was asked for may take its time
                    answer = json.loads(line)
                    if "done" in answer:
                        return answer["done"]
                    if "failed" in answer:
                        raise Reported(answer["failed"])
                    if progress is not None and "progress" in answer:
                        progress(answer["progress"])
        except TimeoutError as e:
            raise SupervisorSilent(pid=pid) from e
        except FileNotFoundError as e:
            raise ConnectionRefusedError(str(e)) from e
        except BrokenPipeError as e:
            raise ConnectionResetError(str(e)) from e
    raise ConnectionResetError("the supervisor went away before it had answered")


def remove_socket(root: Path) -> None:
    """What a supervisor that was killed has left of the socket of the checkout at `root`."""
    try:
        socket_path(root).unlink(missing_ok=True)
    except (SocketDirectory, OSError):
        pass  # then it is not ours


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at `path` for its owner alone; its file is gone afterwards, unless it is another supervisor's by then."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.bind(str(path))
        path.chmod(0o600)
        ours = path.stat()
        try:
            yield s
        finally:
            try:
                if os.path.samestat(path.stat(), ours):
                    path.unlink()
            except OSError:
                pass  # somebody has tidied up /tmp
