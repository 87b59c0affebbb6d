"""One supervisor a checkout: a lock that it holds from its first moment to its last. Standard library only."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from factory_contract import state
from factory_contract.checkout import Checkout
from factory_contract.errors import AlreadyRunning

PATIENCE = 0.2  # seconds: `is_held` has the lock for a moment too


@contextmanager
def held(checkout: Checkout) -> Iterator[None]:
    """Raises AlreadyRunning where another process has it."""
    checkout.make_state_dir()
    with checkout.lock_file.open("a") as f:
        deadline = time.monotonic() + PATIENCE
        while not _take(f):
            if time.monotonic() >= deadline:
                running = (state.read(checkout.state_file) or {}).get("supervisor") or {}
                raise AlreadyRunning(pid=running.get("pid", "?"))
            time.sleep(0.02)
        yield


def is_held(checkout: Checkout) -> bool:
    """Whether a supervisor is there, or on its way."""
    checkout.make_state_dir()
    with checkout.lock_file.open("a") as f:
        return not _take(f)


def _take(f: IO[str]) -> bool:
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
