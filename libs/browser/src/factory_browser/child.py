"""Starts a recording in a process that holds no secrets, and ends it with everything that it started."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from factory_browser import run, workdir
from factory_browser.browser import ENVIRONMENT
from factory_browser.errors import RecordingFailed
from factory_browser.plan import Plan

PASSED_ON = (*ENVIRONMENT, "HOME", "FACTORY_CHROMIUM", "PLAYWRIGHT_BROWSERS_PATH")
END_S = run.GRACE_S + 0.5


async def record(plan: Plan) -> dict[str, Any]:
    """`Recording.as_dict()` of a plan, from `out/recording.json`.

    When cancelled it first ends the process and its Chromium, within 4 s. Raises RecordingFailed.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    result = plan.out / run.RESULT
    result.unlink(missing_ok=True)
    written = plan.out / "plan.json"
    written.write_text(plan.as_json())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "factory_browser.run", str(written),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ}, start_new_session=True,
    )  # fmt: skip
    try:
        said = (await process.communicate())[1].decode(errors="replace").strip()
    except asyncio.CancelledError:
        await _end(process)
        raise
    if process.returncode or not result.exists():
        workdir.sweep()
        raise RecordingFailed(process.returncode or 0, said[-2000:])
    return json.loads(result.read_text())


async def _end(process: asyncio.subprocess.Process) -> None:
    """Tells the whole group to end, and then makes it."""
    try:
        _signal(process.pid, signal.SIGTERM)
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal(process.pid, signal.SIGKILL)
        workdir.sweep()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # all of it has ended
