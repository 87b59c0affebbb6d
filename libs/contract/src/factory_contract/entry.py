"""Where the `factory` command begins: which module answers, and how an error comes out. Loads as little as it can.

A verb called in the usual way is answered without building a command line, which takes as long as the answer itself.
"""

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from factory_contract import checkout, implementation
from factory_contract.errors import ContractError, Interrupted, MachineRefused
from factory_contract.output import Output

# What the parser makes of these verbs where nothing but `--json` is said.
USUAL: dict[str, dict[str, Any]] = {
    "start": {"attach": False, "port_range": None, "worktree_id": None},
    "status": {},
    "stop": {},
    "urls": {},
}
ANYWHERE = ("schema", "completion", "ps", None)  # these need no checkout


def run() -> NoReturn:
    """The whole process. It ends without the interpreter's tidying up, for which nobody has to wait."""
    gc.disable()  # nothing to collect in a command that takes a tenth of a second; those that stay turn it on again
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # `factory logs | head`
        except OSError as e:
            code = Output("factory", as_json=False).failed(MachineRefused.by(e))
        except ValueError:
            pass  # it is closed
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show an arrow shows a question mark
    out = Output("factory", as_json="--json" in argv)
    try:
        args = usual(argv)
        if args is None:
            from factory_contract import cli

            at = cli.begin(argv)
            out.command = argv[at] if at < len(argv) else out.command
            if argv[at : at + 2] == ["completion", "--words"]:  # a shell asks, at each press of Tab
                return importlib.import_module("factory_contract.commands.completion").answer(argv[at + 2 :])
            args, argv = cli.parser(out.command).parse_args(argv), argv[at:]
        else:
            out.command = args.command
        return _answer(args, argv, out)
    except ContractError as e:
        return out.failed(e)
    except KeyboardInterrupt:
        return out.failed(Interrupted())
    except BrokenPipeError:  # `factory logs | head`
        sys.stderr.close()
        return 0
    except OSError as e:
        return out.failed(MachineRefused.by(e))


def usual(argv: Sequence[str]) -> Any:
    """The arguments, if it is one of the usual verbs with nothing but `--json`; else None."""
    if not argv or argv[0] not in USUAL or argv[1:] not in ([], ["--json"]):
        return None
    said = {"command": argv[0], "json": len(argv) > 1, "directory": ".", "version": False}
    return SimpleNamespace(**said, **USUAL[argv[0]])


def _answer(args: Any, argv: list[str], out: Output) -> int:
    if args.version:
        out.line(f"factory {importlib.import_module('importlib.metadata').version('software-factory-contract')}")
        return 0
    module = importlib.import_module(f"factory_contract.commands.{args.command or 'guide'}")
    if args.command in ANYWHERE:
        return module.run(args, out)
    if args.command == "clean" and args.stale:
        return module.stale(args, out)
    here = checkout.find(Path(args.directory))
    if args.command != "check":
        implementation.take_over(here, argv)
    return module.run(here, args, out)
