"""From a contract to the environment of its children: the ports that it names are leased, its env files read."""

import os
from typing import TYPE_CHECKING, NamedTuple

from factory_contract import ports, registry, remembered, state
from factory_contract.checkout import Checkout, slug
from factory_contract.environment import Environment
from factory_contract.remembered import Remembered

if TYPE_CHECKING:
    from factory_contract.check import Loaded


class Options(NamedTuple):
    """What `start` and `supervise` are called with."""

    port_range: str | None = None
    worktree: str | None = None


def lease(checkout: Checkout, loaded: "Loaded | Remembered", options: Options, leases: ports.Leases) -> Environment:
    """For the supervisor: every port is leased anew and its lock kept by `leases`. Raises what `Leases.take` does."""
    size = loaded.contract.isolation.port_range_size
    within = ports.parse_range(options.port_range, size) if options.port_range else ports.DEFAULT
    with ports.one_at_a_time(checkout):
        worktree = slug(options.worktree) if options.worktree else state.named(checkout).worktree
        leased = leases.take(loaded.ports, _fixed(loaded), within, worktree)
    return Environment(loaded.contract, checkout.root, worktree, leased, os.environ)


def borrow(checkout: Checkout) -> Environment:
    """For commands that run beside the app or before it: what is leased is used as it is, what is missing is leased."""
    loaded = remembered.load(checkout)
    leases = ports.Leases(checkout)
    with ports.one_at_a_time(checkout):
        worktree = state.named(checkout).worktree
        try:
            leased = leases.add(loaded.ports, _fixed(loaded), worktree)
            registry.enter(checkout.root, worktree, state.named(checkout).ports)
        finally:
            leases.let_go()
    return Environment(loaded.contract, checkout.root, worktree, leased, os.environ)


def _fixed(loaded: "Loaded | Remembered") -> dict[str, int]:
    services = loaded.contract.services.values()
    return {name: port for s in services for name, port in (s.ports or {}).items() if port is not None}
