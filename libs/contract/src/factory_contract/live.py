"""What is so in a checkout now: asked of its supervisor, else read from what it has left. Standard library only."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import control, ledger, proc, state
from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError, Moved, Rebooted, Reported, StateUnwritable, SupervisorGone
from factory_contract.ledger import Project

STATUS = ("state", "worktree", "supervisor", "services", "ports", "urls")


class Running(NamedTuple):
    """A supervisor that lives. `socket` is empty until it listens."""

    pid: int
    started: str
    socket: str


class Situation(NamedTuple):
    """The fields of `status`, and the error that explains them."""

    fields: dict[str, Any]
    error: ContractError | None = None


def supervisor(checkout: Checkout) -> Running | None:
    """The supervisor of the checkout; None where none lives."""
    told = state.read(checkout.state_file)
    return _running(told) if told is not None and told.get("root") == str(checkout.root) else None


def supervisor_before_the_move(checkout: Checkout) -> Running | None:
    """The supervisor that this checkout has had at the place where it was before."""
    told = state.read(checkout.state_file)
    return _running(told) if told is not None and _has_moved(checkout, told) else None


def _running(told: dict[str, Any]) -> Running | None:
    pid, started = told["supervisor"]["pid"], told["started"]
    lives = told["boot"] == proc.boot_id() and proc.alive(pid, started)
    return Running(pid, started, told["socket"]) if lives else None


def look(checkout: Checkout) -> Situation:
    """How the checkout is. Never raises for what it finds: that is `error`."""
    told = state.read(checkout.state_file)
    if told is None or _is_copy(checkout, told):
        return Situation(_nothing(checkout))
    fields = {key: told.get(key) for key in STATUS}
    if _has_moved(checkout, told):
        return _moved(told, fields)
    ended = not told["socket"]  # in order: it has said its last word
    if ended:
        return Situation({**fields, "supervisor": None}, Reported(told["error"]) if told.get("error") else None)
    if told["boot"] != proc.boot_id():
        return Situation({**_stopped(fields), "state": "failed"}, Rebooted())
    running = supervisor(checkout)
    if running is None:
        pids, containers = left(checkout), left_containers(checkout)
        what = f", it has left {len(pids)} running: {', '.join(map(str, pids))}" if pids else ""
        what += f"{' and' if pids else ', it has left'} the containers {', '.join(containers)}" if containers else ""
        error = SupervisorGone(pid=told["supervisor"]["pid"], pids=pids, containers=containers or None, leftover=what)
        return Situation({**fields, "state": "failed", "services": _unwatched(told["services"], pids)}, error)
    return _asked(running, fields)


def _asked(running: Running, fields: dict[str, Any]) -> Situation:
    try:
        told = control.ask(running.socket, running.pid, {"do": "status"})
    except ConnectionError:  # it is just coming or going
        return Situation(fields)
    except ContractError as e:
        return Situation({**fields, "state": "failed"}, e)
    return Situation({key: told.get(key) for key in STATUS}, Reported(told["error"]) if told.get("error") else None)


def left(checkout: Checkout) -> list[int]:
    """The pids that a supervisor which was killed has left running."""
    return ledger.left(checkout.ledger_file, root(checkout))


def has_left(checkout: Checkout) -> bool:
    """Whether a supervisor that was killed has left processes, or containers for all that is known."""
    return bool(left(checkout)) or any(project.left for project in projects(checkout))


def projects(checkout: Checkout) -> list[Project]:
    """Every Compose project that was made for this checkout, also at the place where it was before."""
    return ledger.projects(checkout.ledger_file, root(checkout))


def forget(checkout: Checkout) -> None:
    """Nothing is left of a supervisor that was killed: from now on the checkout is stopped."""
    told = state.read(checkout.state_file)
    if told is None or not told["socket"] or told.get("root") != str(checkout.root) or _running(told) is not None:
        return
    control.remove_socket(checkout.root)
    services = _stopped(told)["services"]
    try:
        state.write(
            checkout.state_file, {**told, "state": "stopped", "services": services, "socket": "", "error": None}
        )
    except StateUnwritable:
        checkout.state_file.unlink(missing_ok=True)  # a full disk; then it says nothing of it, which is as true


def root(checkout: Checkout) -> Path:
    """Where the checkout was when it was last started; where it is, if it has not moved."""
    told = state.read(checkout.state_file)
    return Path(told["root"]) if told is not None and _has_moved(checkout, told) else checkout.root


def left_containers(checkout: Checkout) -> list[str]:
    """The names of the containers that a supervisor which was killed has left."""
    left = [project for project in projects(checkout) if project.left]
    if not left:
        return []
    from factory_contract.compose import engine  # more than `status` may load where all is well

    return [name for project in left for name in engine.names(project.name, {**os.environ, **project.docker})]


def _nothing(checkout: Checkout) -> dict[str, Any]:
    named = state.named(checkout)
    nothing = {"state": "stopped", "supervisor": None, "services": [], "urls": []}
    return {**nothing, "worktree": named.worktree, "ports": named.ports}


def _is_copy(checkout: Checkout, told: dict[str, Any]) -> bool:
    """Whether the state was copied with its checkout, which is still where it was."""
    was = Path(str(told.get("root")))
    return was != checkout.root and was.joinpath(checkout.state_dir.name, "state.json").exists()


def _has_moved(checkout: Checkout, told: dict[str, Any]) -> bool:
    return told.get("root") != str(checkout.root) and not _is_copy(checkout, told)


def _moved(told: dict[str, Any], fields: dict[str, Any]) -> Situation:
    running = _running(told)
    if running is None:
        return Situation(_stopped(fields), Moved(was=told["root"], leftover=""))
    leftover = f"; its supervisor {running.pid} lives"
    return Situation({**fields, "state": "failed"}, Moved(was=told["root"], pids=[running.pid], leftover=leftover))


def _unwatched(services: list[dict[str, Any]], living: list[int]) -> list[dict[str, Any]]:
    """Services that nobody keeps: what lives is called unhealthy, since nothing is known of it."""
    return [
        {**s, "state": "unhealthy"} if s["pid"] in living else {**s, "state": "exited", "pid": None} if s["pid"] else s
        for s in services
    ]


def _stopped(fields: dict[str, Any]) -> dict[str, Any]:
    services = [{**s, "state": "stopped", "pid": None} for s in fields["services"] or []]
    return {**fields, "state": "stopped", "supervisor": None, "services": services}
