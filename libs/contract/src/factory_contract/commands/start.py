"""`factory start`: puts the supervisor into the background, waits until all is ready, or leaves nothing."""

import signal
import time
from typing import Any

from factory_contract import control, live, lock, ports, state
from factory_contract.background import Background, hear, launch
from factory_contract.checkout import Checkout
from factory_contract.commands.status import show
from factory_contract.errors import (
    AlreadyRunning,
    ContractError,
    Interrupted,
    NotRunning,
    Reported,
    StateUnwritable,
    SupervisorFailed,
    Unhealthy,
)
from factory_contract.live import Running
from factory_contract.output import Output
from factory_contract.progress import Progress

COMING = 30.0  # seconds until a supervisor listens
GONE = 2.0  # seconds for the last steps of one whose socket is closed
GOING = 60.0  # seconds until one that was told to stop is gone; its services have their own waits


def run(checkout: Checkout, args: Any, out: Output) -> int:
    begun = time.monotonic()
    running = live.supervisor(checkout)
    already = running is not None
    if running is not None:
        _refuse_other_range(checkout, args, running)
        out.progress("the supervisor is running already")
        told = _wait_ready(checkout, running, Progress(out))
    elif args.attach or lock.is_held(checkout):
        told = _wait_ready(checkout, _coming(checkout), Progress(out))
    else:
        told = _start(checkout, args, Progress(out))
    fields = {key: told[key] for key in live.STATUS}
    fields |= {"already_running": already, "seconds": round(time.monotonic() - begun, 3)}
    if told["state"] != "ready":
        not_well = ", ".join(
            f"{s['name']} is {s['state']}" for s in told["services"] if s["state"] not in ("ready", "completed")
        )
        return out.failed(Unhealthy(what=not_well or f"the app is {told['state']}"), **fields)
    out.result(**fields)
    if not out.as_json:
        show(fields, out)
    return 0


def _start(checkout: Checkout, args: Any, progress: Progress) -> dict[str, Any]:
    """Starts a supervisor of our own; whatever goes wrong until it is ready ends it again."""
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, _interrupt)
    checkout.make_state_dir()
    supervisor = _launch(checkout, args)
    try:
        hear()
        return _wait_ready(checkout, _coming(checkout, supervisor), progress, supervisor)
    except (ContractError, KeyboardInterrupt) as e:
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        _end(checkout, supervisor)
        if isinstance(e, KeyboardInterrupt):
            raise Interrupted() from None
        raise


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _launch(checkout: Checkout, args: Any) -> Background:
    log = checkout.logs / "factory" / "supervisor.log"
    try:
        log.parent.mkdir(exist_ok=True)
    except OSError as e:
        raise StateUnwritable(file=str(log.parent), why=e.strerror) from e

    def supervise() -> None:
        from factory_contract.commands import supervise

        supervise.in_background(checkout, args, log)

    return launch(checkout, log, supervise)


def _coming(checkout: Checkout, supervisor: Background | None = None) -> Running:
    """The supervisor, as soon as it listens. Raises its own error when it has ended before."""
    begun = time.time()
    deadline = time.monotonic() + COMING
    while True:
        running = live.supervisor(checkout)
        if running is not None and running.socket:
            return running
        if supervisor is not None and supervisor.has_ended() and live.supervisor(checkout) is None:
            raise _why_it_ended(checkout, supervisor.pid, supervisor)
        if supervisor is None and running is None and (error := _ended_since(checkout, begun)):
            raise error
        if time.monotonic() >= deadline:
            raise SupervisorFailed(log_tail=_log_tail(checkout)) if supervisor else NotRunning()
        time.sleep(0.01)


def _wait_ready(
    checkout: Checkout, running: Running, progress: Progress, supervisor: Background | None = None
) -> dict[str, Any]:
    deadline = time.monotonic() + COMING
    while True:
        try:
            return control.ask(running.socket, running.pid, {"do": "start"}, progress)
        except ConnectionRefusedError:  # it is just coming, or going
            if time.monotonic() >= deadline or live.supervisor(checkout) is None:
                raise _why_it_ended(checkout, running.pid, supervisor) from None
            time.sleep(0.02)
        except ConnectionError:
            _gone(running)
            raise _why_it_ended(checkout, running.pid, supervisor) from None


def _why_it_ended(checkout: Checkout, pid: int, supervisor: Background | None) -> ContractError:
    if supervisor is not None and supervisor.ends_within(GONE) and (word := supervisor.word()):
        return Reported(word)
    told = state.read(checkout.state_file) or {}
    if (told.get("supervisor") or {}).get("pid") == pid and told.get("error"):
        return Reported(told["error"])
    return live.look(checkout).error or SupervisorFailed(log_tail=_log_tail(checkout))


def _ended_since(checkout: Checkout, begun: float) -> ContractError | None:
    """The error of a supervisor that somebody else has started and that is gone already."""
    told = state.read(checkout.state_file)
    if told is None or not told.get("error") or checkout.state_file.stat().st_mtime < begun:
        return None
    return Reported(told["error"])


def _log_tail(checkout: Checkout) -> list[str]:
    try:
        return (checkout.logs / "factory" / "supervisor.log").read_text(errors="replace").splitlines()[-20:]
    except OSError:
        return []


def _end(checkout: Checkout, supervisor: Background) -> None:
    """Ends our supervisor, and what it could not end itself."""
    supervisor.send(signal.SIGTERM)
    if not supervisor.ends_within(GOING):
        supervisor.send(signal.SIGKILL)
        supervisor.ends_within(GOING)
    if live.has_left(checkout):
        import asyncio

        from factory_contract.supervisor import end_leftovers

        asyncio.run(end_leftovers(checkout))


def _gone(running: Running) -> None:
    deadline = time.monotonic() + GONE
    while live.proc.alive(running.pid, running.started) and time.monotonic() < deadline:
        time.sleep(0.02)


def _refuse_other_range(checkout: Checkout, args: Any, running: Running) -> None:
    """The ports of a running app cannot move. Raises AlreadyRunning."""
    had = state.leased(checkout)
    if not args.port_range or had is None:
        return
    within = ports.parse_range(args.port_range, 10_000)
    if any(port not in within for port in had.ports.values()):
        hint = f"It has ports outside of {args.port_range}: `factory stop` first."
        raise AlreadyRunning(pid=running.pid, hint=hint)
