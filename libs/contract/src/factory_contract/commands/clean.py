"""`factory clean`: stop, the repo's own `clean` commands, ports given back, state and logs removed."""

import argparse
import shutil

from factory_contract import check, control, foreground, leasing, live, ports, registry, steps
from factory_contract.checkout import Checkout
from factory_contract.commands.stop import stop
from factory_contract.errors import CleanFailed, ContractError
from factory_contract.ledger import Ledger
from factory_contract.logs import Log
from factory_contract.output import Output
from factory_contract.process import Children


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    stopped = stop(checkout, out)
    failure = foreground.run(_own_commands(checkout, out))
    if projects := live.projects(checkout):  # their volumes and images; nothing goes that is still needed to find them
        from factory_contract.supervisor import remove_projects

        foreground.run(remove_projects(checkout, projects, everything=True))
    with ports.one_at_a_time(checkout):
        released = ports.Leases(checkout).release()
    for root in {live.root(checkout), checkout.root}:
        control.remove_socket(root)
        registry.remove(root)
    removed = _remove_state(checkout)
    fields = {**stopped._asdict(), "ports": released, "removed": removed}
    if failure is not None:
        return out.failed(failure, **fields)
    out.result(**fields)
    out.line(f"clean: {len(released)} port{'' if len(released) == 1 else 's'} given back")
    return 0


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
