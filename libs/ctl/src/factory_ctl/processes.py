"""One child process of `factoryctl`: its log file, its end, and that it never outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(sig: int = signal.SIGTERM) -> Callable[[], None] | None:
    """For `preexec_fn`: the child gets `sig` when we die, however we die (Linux; elsewhere the next start ends it)."""
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def arm() -> None:
        prctl(PR_SET_PDEATHSIG, sig)
        if os.getppid() != parent:
            os._exit(1)

    return arm


class Child:
    """A started process in its own session, with a log file that grows over restarts."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ):
        self.name, self.argv, self.log = name, list(argv), log
        self.env, self.cwd = env, cwd
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def start(self) -> None:
        """Must be called from the main thread: the death signal is tied to it. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.stopping = False
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(self.env) if self.env is not None else None,
                cwd=self.cwd,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.poll() if self.process else None

    async def stop(self, sig: int = signal.SIGTERM, *, wait: float = 20) -> None:
        """Asks with `sig`; after its end, or after `wait` seconds, whatever is left of its group is killed."""
        self.stopping = True
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(sig)
        await self._gone(wait)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left (macOS: only its zombie)
            os.killpg(self.process.pid, signal.SIGKILL)
        await self._gone(5)

    async def _gone(self, seconds: float) -> bool:
        assert self.process is not None
        for _ in range(int(seconds / 0.02)):
            if self.process.poll() is not None:
                return True
            await asyncio.sleep(0.02)
        return False

    def tail(self, characters: int = 2000) -> str:
        try:
            with self.log.open("rb") as f:
                f.seek(max(0, self.log.stat().st_size - characters))
                return f.read().decode(errors="replace")
        except OSError:
            return ""
