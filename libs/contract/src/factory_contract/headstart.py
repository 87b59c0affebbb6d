"""The services that wait for nothing, started before the supervisor has loaded: that takes as long as many of them need themselves.

For the supervisor of `factory start` alone, which ends what is left if this process dies meanwhile.
"""

import os
from typing import NamedTuple

from factory_contract import control, leasing, ledger, live, logs, ports, proc, remembered, session, state
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.errors import ContractError
from factory_contract.leasing import Options
from factory_contract.ledger import Ledger
from factory_contract.remembered import Remembered
from factory_contract.session import Begun


class Head(NamedTuple):
    """How far it has come. `begun`: service → its process, whose output nobody has read yet."""

    loaded: Remembered
    leases: ports.Leases
    environment: Environment
    ledger: Ledger
    begun: dict[str, Begun]


def begin(checkout: Checkout, options: Options) -> Head | None:
    """None where there is more to it, or something is wrong: then the supervisor does it all and says what."""
    loaded = remembered.known(checkout)
    if loaded is None or live.has_left(checkout):
        return None
    ledger.tidy(checkout.ledger_file, checkout.root)
    leases = ports.Leases(checkout)
    try:
        environment = leasing.lease(checkout, loaded, options, leases)
        head = Head(loaded, leases, environment, Ledger(checkout.ledger_file, checkout.root), {})
        _announce(checkout, environment)
    except ContractError:
        leases.let_go()
        return None
    session.become_subreaper()
    try:
        for name, service in loaded.contract.services.items():
            if not service.depends_on and service.command is not None:
                head.begun[name] = session.begin(
                    service.command,
                    owner=name,
                    env=environment.of(name),
                    cwd=environment.root / service.cwd,
                    stays=service.type == "process",
                    ledger=head.ledger,
                )
    except ContractError:
        pass  # the supervisor meets it again
    return head


def _announce(checkout: Checkout, environment: Environment) -> None:
    """So that `status` names what is left if this process is killed before it listens."""
    me = proc.look(os.getpid())
    told = {
        "state": "starting",
        "worktree": environment.worktree,
        "services": [],
        "ports": environment.ports,
        "urls": [],
    }
    place = {"root": str(checkout.root), "boot": proc.boot_id(), "socket": str(control.socket_path(checkout.root))}
    who = {"supervisor": {"pid": os.getpid(), "since": logs.now()}, "started": me.started if me else ""}
    state.write(checkout.state_file, {**told, **place, **who})
