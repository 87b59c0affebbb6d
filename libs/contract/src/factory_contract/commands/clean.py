"""`factory clean`: stop, the repo's own `clean` commands, ports given back, state and logs removed."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory_contract import check, control, errors, foreground, leasing, live, ports, registry, steps, words
from factory_contract.checkout import Checkout
from factory_contract.commands.stop import stop
from factory_contract.errors import CleanFailed, ContractError
from factory_contract.ledger import Ledger
from factory_contract.logs import Log
from factory_contract.output import Output
from factory_contract.process import Children

if TYPE_CHECKING:
    from factory_contract.stale import Removed


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    stopped = stop(checkout, out)
    failure = foreground.run(_own_commands(checkout, out))
    if projects := live.projects(checkout):  # their volumes and images; nothing goes that is still needed to find them
        from factory_contract.supervisor import remove_projects

        foreground.run(remove_projects(checkout, projects, everything=True))
    with ports.one_at_a_time(checkout):
        released = ports.Leases(checkout).release()
    for root in {live.root(checkout), checkout.root}:  # both, of one that has moved
        mine = (lease.port for lease in ports.leases() if lease.root == root)
        released += ports.Leases(Checkout(root, None)).free(mine)
        control.remove_socket(root)
        registry.remove(root)
    removed = _remove_state(checkout)
    fields = {**stopped._asdict(), "ports": released, "removed": removed}
    if failure is not None:
        return out.failed(failure, **fields)
    out.result(**fields)
    out.line(f"clean: {words.counted(len(released), 'port')} given back")
    return 0


def stale(args: argparse.Namespace, out: Output) -> int:
    """`factory clean --stale`: what the caller's dead environments have left, wherever they are or were on this machine."""
    from factory_contract import machine
    from factory_contract.commands.ps import in_words
    from factory_contract.stale import remove

    found = machine.environments(Path(args.under).resolve() if args.under else None)
    looked = (foreground.run(remove(environment)) for environment in found if environment.stale)
    done = [removed for removed in looked if removed is not None]
    others = [e for e in found if not e.mine and not e.live and (e.state == "gone" or any(e.left))]
    for removed in done:
        what = in_words(removed.gone) or "its record"
        out.line(f"{removed.environment.root}  {what if removed.error is None else f'not all: {removed.error}'}")
    for other in others:
        out.line(f"{other.root}  is of {other.user} and was not touched")
    if not done and not others:
        out.line("no environment here is dead")
    fields = {
        "stopped": [],
        "leftovers": [pid for removed in done for pid in removed.gone.processes],
        "containers": [name for removed in done for name in removed.gone.containers],
        "ports": [port for removed in done for port in removed.gone.ports],
        "removed": [],
        "environments": [_told(removed) for removed in done],
        "others": [{"checkout": str(other.root), "user": other.user} for other in others],
    }
    if error := next((removed.error for removed in done if removed.error is not None), None):
        return out.failed(error, **fields)
    out.result(**fields)
    return 0


def _told(removed: "Removed") -> dict[str, Any]:
    environment = removed.environment
    told = {"checkout": str(environment.root), "worktree": environment.worktree, **removed.gone._asdict()}
    if removed.error is not None:
        told["error"] = {key: value for key, value in errors.tell(removed.error).items() if key != "exit_code"}
    return told


async def _own_commands(checkout: Checkout, out: Output) -> ContractError | None:
    """The contract's `clean`; a contract that cannot be read must not keep anything from being removed."""
    try:
        if not check.load(checkout).contract.clean:
            return None
        environment = leasing.borrow(checkout)
    except ContractError as e:
        return e
    log = Log(checkout.logs / "factory" / "clean.log", fresh=True)
    try:
        async with Children(Ledger(checkout.ledger_file, checkout.root)) as children:
            done = await steps.run_all(
                children,
                environment.contract.clean,
                owner="clean",
                env=environment.of(),
                cwd=checkout.root,
                log=log,
                echo=out.echo,
                begin=lambda command: out.progress(f"$ {command}"),
            )
    except ContractError as e:
        return e
    finally:
        log.close()
    last = done[-1]
    if last.exit_code != 0:
        return CleanFailed(command=last.command, exit_code_of_command=last.exit_code, log_tail=log.tail())
    return None


def _remove_state(checkout: Checkout) -> list[str]:
    """Everything in `.software-factory/` but what was not made by this command: the scenarios of an agent."""
    removed = []
    keep = {checkout.scenarios, checkout.state_dir / ".gitignore"} if checkout.scenarios.exists() else set()
    for path in sorted(checkout.state_dir.glob("*")) if checkout.state_dir.exists() else []:
        if path in keep:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        removed.append(path.name)
    if not keep and checkout.state_dir.exists():
        shutil.rmtree(checkout.state_dir)
    return removed
