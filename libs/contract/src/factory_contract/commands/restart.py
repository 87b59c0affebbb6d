"""`factory restart`: ends services and starts them again, and waits until they are ready."""

import argparse

from factory_contract import control, live
from factory_contract.checkout import Checkout
from factory_contract.commands.status import show
from factory_contract.errors import NotRunning, SupervisorGone
from factory_contract.output import Output
from factory_contract.progress import Progress


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    running = live.supervisor(checkout)
    if running is None:
        raise live.look(checkout).error or NotRunning()
    try:
        told = control.ask(running.socket, running.pid, {"do": "restart", "services": args.services}, Progress(out))
    except ConnectionError:
        raise live.look(checkout).error or SupervisorGone(pid=running.pid, leftover="") from None
    fields = {key: told[key] for key in live.STATUS}
    out.result(**fields)
    if not out.as_json:
        show(fields, out)
    return 0
