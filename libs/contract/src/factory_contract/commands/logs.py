"""`factory logs`: what services have said."""

import argparse

from factory_contract import logs, words
from factory_contract.checkout import Checkout
from factory_contract.errors import NoSuchService, Usage
from factory_contract.output import Output


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    if args.follow and args.json:
        raise Usage(problem="--follow has no end, so it cannot be one JSON object", hint="Leave one of them out.")
    what = logs.wanted(args.tail, args.grep, args.since)
    known = logs.services(checkout.logs)
    for name in args.service or []:
        if name not in known:
            raise NoSuchService(service=name, hint=words.suggestion(name, known) or "Nothing was started here yet.")
    names = args.service or known
    follower = logs.Follower(checkout.logs, args.service, what) if args.follow else None
    found = logs.read(checkout.logs, names, what, before=follower)
    out.result(lines=[line._asdict() for line in found])
    width = max(map(len, names), default=0) if len(names) > 1 else 0
    for line in found:
        out.line(_shown(line, width, out))
    if follower is not None:
        for line in follower.lines():
            print(_shown(line, width, out), flush=True)
    return 0


def _shown(line: logs.Line, width: int, out: Output) -> str:
    name = f"{line.service.ljust(width)}  " if width else ""
    return f"{line.at[11:23]}  {name}{line.text}"
