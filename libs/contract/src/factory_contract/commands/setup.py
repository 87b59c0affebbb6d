"""`factory setup`: the repo's setup commands, one after another, in its environment."""

import argparse
import shutil

from factory_contract import answers, copies, foreground, leasing, steps, words
from factory_contract.checkout import Checkout
from factory_contract.environment import Environment
from factory_contract.errors import SetupFailed
from factory_contract.ledger import Ledger
from factory_contract.logs import Log
from factory_contract.output import Output
from factory_contract.process import Children


def run(checkout: Checkout, args: argparse.Namespace, out: Output) -> int:
    return foreground.run(_run(checkout, out))


async def _run(checkout: Checkout, out: Output) -> int:
    checkout.make_state_dir()
    copied = copies.bring(checkout)
    for path in copied.brought:
        out.progress(f"copied {path} from {copied.source}")
    for path in copied.missing:
        out.progress(f"{path} is listed under `copy` and is not here: copy it from where you keep it")
    if copied.unread:
        out.progress(f"{copies.PATTERNS} was not read: {copied.unread}")
    environment = leasing.borrow(checkout)
    log = Log(checkout.logs / "factory" / "setup.log", fresh=True)
    try:
        async with Children(Ledger(checkout.ledger_file, checkout.root)) as children:
            done = await steps.run_all(
                children,
                environment.contract.setup_commands,
                owner="setup",
                env=environment.of(),
                cwd=checkout.root,
                log=log,
                echo=out.echo,
                begin=lambda command: out.progress(f"$ {command}"),
            )
    finally:
        log.close()
    fields = answers.Setup(
        steps=[answers.Step(**step._asdict(), log=str(log.path)) for step in done],
        copied=copied.brought,
        missing=copied.missing,
    )
    if done and done[-1].exit_code != 0:
        error = SetupFailed(
            command=done[-1].command,
            exit_code_of_command=done[-1].exit_code,
            log=str(log.path),
            log_tail=log.tail(),
            hint=_not_installed(environment),
        )
        return out.failed(error, **fields)
    out.result(**fields)
    seconds = sum(step.seconds for step in done)
    out.line(f"setup is done: {words.counted(len(done), 'command')} in {seconds:.1f} s")
    return 0


def _not_installed(environment: Environment) -> str:
    """The reason why setups fail on a fresh machine, where it is this one."""
    program = environment.contract.runtime.package_manager
    if program is None or shutil.which(program, path=environment.of().get("PATH")):
        return ""
    return f"{program}, this repo's package manager, is not installed here. Install it, then `factory setup` again."
