"""Named places where a test can kill or stall this process: FACTORY_FAILPOINT=name:kill9|stop|sleep=SECONDS[:times].

Several stand with commas between. A sleep holds up the work at that place and leaves the loop free.
"""

import asyncio
import os
import signal

_hits: dict[str, int] = {}


async def reached(name: str) -> None:
    """Does what FACTORY_FAILPOINT asks for at this place; nothing where it asks for nothing."""
    wanted = os.environ.get("FACTORY_FAILPOINT")
    if not wanted:
        return
    for one in wanted.split(","):
        place, act, *times = one.split(":")
        if place != name:
            continue
        _hits[name] = _hits.get(name, 0) + 1
        if _hits[name] > int(times[0] if times else 1):
            continue
        if act == "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif act.startswith("sleep="):
            await asyncio.sleep(float(act.removeprefix("sleep=")))
