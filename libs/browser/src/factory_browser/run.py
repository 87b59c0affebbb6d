"""A recording in a process of its own: `python -m factory_browser.run plan.json` leaves `recording.json` in the plan's `out`.

Exit codes: 0 recorded (whether or not the scenarios passed) · 1 it could not be · 2 the plan is not valid · 143 told to end.
On SIGTERM, to the process or to its group, and when its parent dies, Chromium and its profile are gone within GRACE_S.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from factory_browser import record
from factory_browser.chromium import NoChromium
from factory_browser.errors import BrowserError, PlanInvalid
from factory_browser.plan import Plan
from factory_browser.workdir import Workdir

RESULT = "recording.json"
GRACE_S = 2.5
RECORDED, FAILED, INVALID, ENDED = 0, 1, 2, 128 + signal.SIGTERM


def main(arguments: list[str]) -> int:
    """Runs the plan in the file that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m factory_browser.run plan.json\n")
        return INVALID
    try:
        plan = Plan.from_json(Path(arguments[0]).read_text())
        plan.check()
    except (OSError, UnicodeDecodeError, PlanInvalid) as e:
        sys.stderr.write(f"plan_invalid: {e}\n")
        return INVALID
    with Workdir() as work:
        try:
            recording = asyncio.run(_until_told(plan, work))
        except (BrowserError, NoChromium) as e:
            sys.stderr.write(f"{getattr(e, 'code', 'no_chromium')}: {e}\n")
            return FAILED
    if recording is None:
        return ENDED
    part = plan.out / f"{RESULT}.part"
    part.write_text(json.dumps(recording.as_dict(), ensure_ascii=False, indent=1))
    part.replace(plan.out / RESULT)
    return RECORDED


async def _until_told(plan: Plan, work: Workdir) -> record.Recording | None:
    """The recording, or None when a signal came first."""
    recording = asyncio.create_task(record.run(plan))
    told = False

    def end() -> None:
        nonlocal told
        if not told:
            told = True
            threading.Thread(target=_not_later, args=(work,), daemon=True).start()
            recording.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    orphaned = asyncio.create_task(_orphaned(end))
    try:
        return await recording
    except asyncio.CancelledError:
        return None
    except BrowserError:
        if told:
            return None  # the group was told, and Chromium's driver ended before we did
        raise
    finally:
        orphaned.cancel()


async def _orphaned(end: Callable[[], None]) -> None:
    """Calls `end` when the process that started this one is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)
    end()


def _not_later(work: Workdir) -> None:
    """Ends it all where the orderly way hangs."""
    threading.Event().wait(GRACE_S)
    work.remove()
    os._exit(ENDED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
