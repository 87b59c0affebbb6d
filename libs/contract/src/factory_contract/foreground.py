"""Runs asynchronous work in the foreground; SIGINT, SIGTERM and SIGHUP cut it short, so that it can end what it has started."""

import asyncio
import gc
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from factory_contract.errors import Interrupted

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises Interrupted when a signal came, after the work has cleaned up."""

    async def guarded() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(work)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(sig, task.cancel)
        return await task

    gc.enable()  # it may stay for long
    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise Interrupted() from None
