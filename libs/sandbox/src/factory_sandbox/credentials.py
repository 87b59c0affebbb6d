"""Knows how a caller shows that it may call: keys derived from the node's, and the code in a hello.

The node's key never reaches a server; a server gets the key of its own placement, so one that is taken over
cannot speak for another job.
"""

import hashlib
import hmac
import os
from pathlib import Path

from .errors import SandboxError

_KEY_BYTES = 32


def node_key(node_dir: Path) -> bytes:
    """The node's key (32 bytes) at `<node_dir>/key`, mode 0600; made by whoever asks first.

    Raises SandboxError (`bad-node-key`) where the file holds something else.
    """
    path = node_dir / "key"
    if not path.exists():
        node_dir.mkdir(parents=True, exist_ok=True)
        _make(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise SandboxError(f"{path} is no node key: {len(key)} bytes, not {_KEY_BYTES}", code="bad-node-key")
    return key


def _make(path: Path) -> None:
    """Written aside and linked into place, so that nobody reads half a key and only one of two makers wins."""
    aside = path.with_name(f".key-{os.urandom(8).hex()}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, os.urandom(_KEY_BYTES))
        os.link(aside, path)
    except FileExistsError:
        pass  # another process was first: its key is the node's
    finally:
        os.close(fd)
        aside.unlink()


def placement_key(key: bytes, job_id: str, placement: int) -> bytes:
    """The key of one placement's server, from the node's key."""
    return hmac.digest(key, f"factory-sandbox 1\n{job_id}\n{placement}".encode(), hashlib.sha256)


def sign(key: bytes, epoch: int | None) -> str:
    """The code in a hello; `key` is the placement's, `epoch` None for a call that only looks."""
    return hmac.digest(key, f"epoch {'none' if epoch is None else epoch}".encode(), hashlib.sha256).hex()


def verify(key: bytes, epoch: int | None, code: str) -> bool:
    return hmac.compare_digest(sign(key, epoch).encode(), code.encode())
