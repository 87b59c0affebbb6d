"""`factory ps`: every environment on this machine, and what dead ones have left."""

import argparse
from pathlib import Path
from typing import Any

from factory_contract import errors, machine, words
from factory_contract.errors import CheckoutGone
from factory_contract.machine import Environment, Left
from factory_contract.output import Output


def run(args: argparse.Namespace, out: Output) -> int:
    found = machine.environments(Path(args.under).resolve() if args.under else None)
    out.result(environments=[_as_dict(environment) for environment in found])
    out.line(
        f"{words.counted(len(found), 'environment')} on this machine{f' beneath {args.under}' if args.under else ''}"
    )
    width = max((len(environment.worktree) for environment in found), default=0)
    for environment in found:
        _show(environment, width, out)
    if any(environment.stale for environment in found):
        out.line()
        out.line("`factory clean --stale` removes what the dead ones have left.")
    return 0


def _as_dict(environment: Environment) -> dict[str, Any]:
    supervisor, error = environment.supervisor, environment.error
    told = {
        "checkout": str(environment.root),
        "worktree": environment.worktree,
        "user": environment.user,
        "mine": environment.mine,
        "state": environment.state,
        "since": supervisor["since"] if supervisor else None,
        "supervisor": supervisor,
        "services": [{key: s[key] for key in ("name", "state", "pid")} for s in environment.services],
        "ports": environment.ports,
        "processes": environment.processes,
        "containers": environment.containers,
        "left": environment.left._asdict(),
        "stale": environment.stale,
    }
    if error is not None:
        told["error"] = {key: value for key, value in errors.tell(error).items() if key != "exit_code"}
    return told


def _show(environment: Environment, width: int, out: Output) -> None:
    owner = "" if environment.mine else f"  (of {environment.user})"
    state = out.state(environment.state, 9)
    out.line(f"  {environment.worktree.ljust(width)}  {state}  {environment.root}{owner}")
    numbers = " ".join(str(port) for port in sorted(environment.ports.values()))
    facts = [
        f"since {environment.supervisor['since']}" if environment.supervisor else "",
        words.counted(len(environment.services), "service") if environment.services else "",
        words.counted(len(environment.processes), "process", "es") if environment.processes else "",
        words.counted(len(environment.containers), "container") if environment.containers else "",
        f"port{'' if len(environment.ports) == 1 else 's'} {numbers}" if numbers else "",
    ]
    indent = " " * (width + 4)
    if any(facts):
        out.line(f"{indent}{', '.join(fact for fact in facts if fact)}")
    if environment.error is not None and not isinstance(environment.error, CheckoutGone):
        out.line(f"{indent}{environment.error}. {environment.error.hint}")
    if any(environment.left):
        out.line(f"{indent}has left {in_words(environment.left)}")


def in_words(left: Left) -> str:
    """`process 12 13, port 46200, container a-db-1`."""
    kinds = {"process": left.processes, "port": left.ports, "container": left.containers, "project": left.projects}
    return ", ".join(f"{kind} {' '.join(map(str, what))}" for kind, what in kinds.items() if what)
