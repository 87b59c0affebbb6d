"""`factory supervise`: the supervisor, in the foreground."""

import argparse
import asyncio

from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError
from factory_contract.leasing import Options
from factory_contract.output import Output
from factory_contract.progress import Progress
from factory_contract.supervisor import supervise


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    try:
        last = asyncio.run(supervise(checkout, Options(args.port_range, args.worktree_id), Progress(out)))
    except ContractError as e:
        return out.failed(e)
    out.result(**{k: v for k, v in last.items() if k != "error"})
    return 0
