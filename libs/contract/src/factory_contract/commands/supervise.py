"""`factory supervise`: the supervisor, in the foreground."""

import argparse

from factory_contract import lock
from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError
from factory_contract.output import Output


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    with lock.held(checkout):
        # imported under the lock: it takes long enough for a `start` to put a second supervisor beside this one
        import asyncio

        from factory_contract.leasing import Options
        from factory_contract.progress import Progress
        from factory_contract.supervisor import supervise

        try:
            last = asyncio.run(supervise(checkout, Options(args.port_range, args.worktree_id), Progress(out)))
        except ContractError as e:
            return out.failed(e)
    out.result(**{k: v for k, v in last.items() if k != "error"})
    return 0
