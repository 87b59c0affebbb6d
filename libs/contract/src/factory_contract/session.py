"""A command of the repo as a process: in a shell, in a session of its own, its output in pipes. Without a loop."""

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from factory_contract import proc
from factory_contract.errors import CannotStart
from factory_contract.ledger import Ledger

PR_SET_CHILD_SUBREAPER = 36


class Begun(NamedTuple):
    """A process that was started. `key`: its entry in the ledger; `started` and its pid name it for good."""

    popen: "subprocess.Popen[bytes]"
    key: int | None
    started: str


def begin(
    command: str,
    *,
    owner: str,
    env: Mapping[str, str],
    cwd: Path,
    stays: bool = False,
    apart: bool = False,
    ledger: Ledger | None = None,
) -> Begun:
    """Starts `command`, which is in the ledger before it is there. Raises CannotStart, StateUnwritable.

    stays: give it a stdin that never ends, because some dev servers leave when theirs does.
    apart: stderr in a pipe of its own.
    """
    key = ledger.intend(owner, command) if ledger is not None else None
    try:
        popen = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE if stays else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
        )
    except OSError as e:  # the directory is gone, or there are too many processes
        if ledger is not None and key:
            ledger.ended(key)
        raise CannotStart(command=command, why=f"{e.strerror}: {e.filename or cwd}") from e
    seen = proc.look(popen.pid)
    started = seen.started if seen else ""
    if ledger is not None and key:
        ledger.started(key, owner, popen.pid, started)
    return Begun(popen, key, started)


def become_subreaper() -> None:
    """What our children leave behind becomes ours instead of init's. Linux only; elsewhere groups have to do."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
