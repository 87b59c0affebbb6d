"""`factory stop`: ends everything that was started, also what a killed supervisor has left. Ports and logs stay."""

import os
import signal
import time
from typing import Any, NamedTuple

from factory_contract import control, live, proc
from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError, LeftBehind, SupervisorSilent
from factory_contract.output import Output
from factory_contract.progress import Progress

GOING = 120.0  # seconds; services have their own, shorter waits


def run(checkout: Checkout, args: Any, out: Output) -> int:
    stopped = stop(checkout, out)
    out.result(state="stopped", **stopped._asdict())
    out.line("stopped" if any(stopped) else "nothing was running")
    return 0


class Stopped(NamedTuple):
    """Names of services that were ended; pids, and names of containers, that a killed supervisor had left behind."""

    stopped: list[str]
    leftovers: list[int]
    containers: list[str]


def stop(checkout: Checkout, out: Output) -> Stopped:
    """Raises LeftBehind, EngineSilent."""
    running = live.supervisor(checkout) or live.supervisor_before_the_move(checkout)
    names: list[str] = []
    if running is not None:
        fields, error = live.look(checkout)
        names = [s["name"] for s in fields["services"] or [] if s["pid"]]
        _end(running, out, hangs=isinstance(error, SupervisorSilent))
    if not live.has_left(checkout):
        live.forget(checkout)
        return Stopped(names, [], [])
    import asyncio

    from factory_contract.supervisor import end_leftovers

    return Stopped(names, *asyncio.run(end_leftovers(checkout, Progress(out))))


def _end(running: live.Running, out: Output, *, hangs: bool) -> None:
    try:
        if hangs:
            raise SupervisorSilent(pid=running.pid)
        control.ask(running.socket, running.pid, {"do": "stop"}, Progress(out), GOING)
    except SupervisorSilent:
        _kill(running.pid, signal.SIGKILL)  # what it has left is ended next
    except (ConnectionError, ContractError):
        _kill(running.pid, signal.SIGTERM)  # the signal says the same
    deadline = time.monotonic() + GOING
    while proc.alive(running.pid, running.started):
        if time.monotonic() >= deadline:
            _kill(running.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    while proc.alive(running.pid, running.started):
        if time.monotonic() >= deadline + 5:
            raise LeftBehind(pids=[running.pid])
        time.sleep(0.01)


def _kill(pid: int, by: signal.Signals) -> None:
    try:
        os.kill(pid, by)
    except ProcessLookupError:
        pass  # it has gone by itself
