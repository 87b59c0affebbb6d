"""The browser's process: Chromium runs in a child that holds no secrets and is ended as a group."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory_browser.plan import Plan
from factory_browser.run import RESULT
from factory_jobs.errors import FactoryError

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PLAYWRIGHT_BROWSERS_PATH", "FACTORY_CHROMIUM", "DISPLAY")
GRACE = 3.0  # seconds to end by itself


async def run(plan: Plan, directory: Path, *, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs the plan in a child and gives its recording as data. Raises FactoryError where it broke."""
    written = directory / "plan.json"
    written.write_text(plan.as_json())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "factory_browser.run",
        str(written),
        env={k: os.environ[k] for k in PASSED_ON if k in os.environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            assert process.stdout is not None
            async for line in process.stdout:
                text = line.decode(errors="replace").rstrip()
                output.append(text)
                say(f"browser: {text}")
            await process.wait()
    except TimeoutError:
        raise FactoryError(f"The browser took longer than {seconds:.0f} s.", code="browser_timeout") from None
    finally:
        await _end(process)
    recording = plan.out / RESULT
    if not recording.exists():
        tail = "\n".join(output[-40:])
        raise FactoryError(
            f"The browser run broke (exit code {process.returncode}).", code="browser_broke", log_tail=tail
        )
    return json.loads(recording.read_text())


async def _end(process: asyncio.subprocess.Process) -> None:
    """The whole group, so that no Chromium outlives its job."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            pass  # killed below
    _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, sig: int) -> None:
    try:
        os.killpg(group, sig)
    except ProcessLookupError:
        pass  # all of it is gone
