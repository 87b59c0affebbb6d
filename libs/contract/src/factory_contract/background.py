"""Puts the supervisor into the background: a fork of `factory start`, which has loaded half of what it needs already.

It has a session of its own, nothing of the terminal, and a pipe over which it says what has kept it from starting. So that is
said on a full disk, too.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError, MachineRefused, tell

WORD = 3  # the descriptor in the child on which it says what went wrong
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MANY = 65536  # more descriptors than a process has


class Background:
    """The supervisor, for the `factory start` that it is a child of."""

    def __init__(self, pid: int, word: int) -> None:
        self.pid, self._word = pid, word
        self._ended = False

    def has_ended(self) -> bool:
        if not self._ended:
            self._ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return self._ended

    def ends_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def send(self, by: signal.Signals) -> None:
        if not self.has_ended():
            os.kill(self.pid, by)

    def word(self) -> dict[str, Any] | None:
        """The error, as data, that it has ended with; None where it has said nothing. It has to have ended."""
        try:
            return json.loads(os.read(self._word, 1 << 20))
        except ValueError:
            return None


def launch(checkout: Checkout, log: Path, supervise: Callable[[], None]) -> Background:
    """Calls `supervise` in the background; what it and its interpreter say goes to `log`.

    SIGINT, SIGTERM and SIGHUP wait from here on until `hear`: the child has to have left the terminal and its parent's handlers
    first, and the caller has to be able to end it.
    """
    word, say = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if pid == 0:
        _become(checkout, log, say, supervise)
    os.close(say)
    return Background(pid, word)


def hear() -> None:
    """Signals are heard again, also those that came since `launch`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _become(checkout: Checkout, log: Path, say: int, supervise: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        _leave(checkout, log, say)
        for sig in SIGNALS:
            signal.signal(sig, signal.SIG_DFL)
        hear()
        supervise()
        code = 0
    except (ContractError, OSError) as e:
        error = MachineRefused.by(e) if isinstance(e, OSError) else e
        code = error.exit_code
        _tell(tell(error))
    except BaseException:  # whatever it is, this process never becomes its parent again  # noqa: BLE001
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _leave(checkout: Checkout, log: Path, say: int) -> None:
    os.setsid()
    os.chdir(checkout.root)
    if not sys.flags.safe_path:
        del sys.path[0]  # with `-m` it is the working directory: the repo's own modules must not be taken for ours
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    except OSError:  # a full disk
        out = os.open(os.devnull, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if say != WORD:
        os.dup2(say, WORD, inheritable=False)
    os.closerange(WORD + 1, MANY)
    os.set_blocking(WORD, False)  # nobody may read it any more


def _tell(error: dict[str, Any]) -> None:
    try:
        os.write(WORD, json.dumps(error).encode())
    except OSError:
        pass  # `factory start` was done long ago, or is gone
