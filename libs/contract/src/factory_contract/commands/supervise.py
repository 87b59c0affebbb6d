"""`factory supervise`: the supervisor, in the foreground; and what `factory start` puts into the background."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory_contract import lock
from factory_contract.checkout import Checkout
from factory_contract.errors import ContractError
from factory_contract.output import Output
from factory_contract.progress import Progress


def run(checkout: Checkout, args: Any, out: Output) -> int:
    try:
        last = _supervise(checkout, args, Progress(out), ahead=False)
    except ContractError as e:
        return out.failed(e)
    out.result(**{k: v for k, v in last.items() if k != "error"})
    return 0


def in_background(checkout: Checkout, args: Any, path: Path) -> None:
    """Raises what keeps the first start from getting ready, when everything is down again."""
    from factory_contract.logs import Log

    log = Log(path)

    class Written(Output):
        def progress(self, text: str) -> None:
            log.feed(f"{text.strip()}\n".encode())

    _supervise(checkout, args, Progress(Written("supervise", as_json=False)), ahead=True)


def _supervise(checkout: Checkout, args: Any, say: Callable[[dict[str, Any]], None], *, ahead: bool) -> dict[str, Any]:
    """ahead: the first services may be started before all is loaded, since somebody ends them if this process dies."""
    with lock.held(checkout):
        # imported under the lock: it takes long enough for a `start` to put a second supervisor beside this one
        from factory_contract import headstart
        from factory_contract.leasing import Options

        options = Options(args.port_range, args.worktree_id)
        head = headstart.begin(checkout, options) if ahead else None
        import asyncio
        import gc

        from factory_contract.supervisor import supervise

        gc.enable()  # it stays
        return asyncio.run(supervise(checkout, options, say, head))
