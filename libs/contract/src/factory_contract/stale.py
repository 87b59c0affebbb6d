"""Removes what dead environments of the caller have left on this machine; never anything of one that lives."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from factory_contract import control, lock, ports, registry
from factory_contract.checkout import Checkout
from factory_contract.compose.engine import Engine
from factory_contract.errors import AlreadyRunning, ContractError
from factory_contract.machine import Environment, Left
from factory_contract.process import Children, end_pids
from factory_contract.supervisor import LEFTOVER_GRACE, end_leftovers


class Removed(NamedTuple):
    """What was removed of one environment, and why not all of it, where something was in the way."""

    environment: Environment
    gone: Left
    error: ContractError | None = None


async def remove(environment: Environment) -> Removed | None:
    """None where it has come to life again since it was looked at."""
    here = Checkout(environment.root, None)
    gone = Left([], [], [], [])
    try:
        with _alone(environment, here):
            if environment.state == "gone":
                return Removed(environment, await _all(environment, here, gone))
            return Removed(environment, await _abandoned(environment, here, gone))
    except AlreadyRunning:
        return None
    except ContractError as e:
        return Removed(environment, gone, e)


@contextmanager
def _alone(environment: Environment, here: Checkout) -> Iterator[None]:
    """So that no supervisor comes meanwhile. Raises AlreadyRunning."""
    if environment.state != "gone":
        with lock.held(here):
            yield
        return
    held = registry.hold(environment.root)
    if here.root.exists() or (held is None and any(r.root == here.root and r.live for r in registry.records())):
        raise AlreadyRunning(pid="?")
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


async def _abandoned(environment: Environment, here: Checkout, gone: Left) -> Left:
    """Of a checkout that is still there: what runs. Its ports, logs and volumes stay, as after `factory stop`."""
    left = environment.left
    await _end(left.processes, gone)
    gone.containers.extend((await end_leftovers(here)).containers)
    gone.ports.extend(ports.Leases(here).free(left.ports))
    return gone


async def _all(environment: Environment, here: Checkout, gone: Left) -> Left:
    left = environment.left
    await _end(left.processes, gone)
    engines = {project: {} for project in left.projects} | environment.projects
    async with Children() as children:
        for project in left.projects:
            engine = Engine(children, {**os.environ, **engines[project]})
            gone.containers.extend(await engine.remove(project, everything=True))
            gone.projects.append(project)
    gone.ports.extend(ports.Leases(here).free(left.ports))
    control.remove_socket(here.root)
    registry.remove(here.root)
    return gone


async def _end(pids: list[int], gone: Left) -> None:
    await end_pids(pids, LEFTOVER_GRACE)
    gone.processes.extend(pids)
