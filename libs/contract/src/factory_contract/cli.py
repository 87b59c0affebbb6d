"""The `factory` command: its arguments, and which module answers. Nothing but the standard library until a verb needs more."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from factory_contract import checkout, implementation
from factory_contract.errors import ContractError, Interrupted, Usage
from factory_contract.output import Output

DESCRIPTION = "Makes a repo runnable and testable, by what its factory.yaml says."
EXAMPLES = """\
examples:
  factory setup && factory start        install what the repo needs, start its services, wait until they are ready
  factory status --json                 what runs, for machines (exit code 3 when it is not ready)
  factory urls                          where to look
  factory logs --service api --tail 50  what a service says
  factory test unit                     run one suite
  factory stop; factory clean           end it; give the ports back and remove what was made

exit codes: 0 done, 1 the repo's own command failed, 2 usage or invalid factory.yaml,
            3 not ready or unhealthy, 4 refused (lock, limit, port), 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Errors of usage come out as every other error does."""

    def error(self, message: str) -> NoReturn:
        raise Usage(problem=message, hint=f"{self.format_usage().strip()}")


def _ports(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--port-range", metavar="LO-HI", help="lease ports from this range; LO alone is its begin")
    verb.add_argument("--worktree-id", metavar="ID", help="the name of this checkout in host names and ledgers")


def _start(verb: argparse.ArgumentParser) -> None:
    _ports(verb)
    verb.add_argument("--attach", action="store_true", help="only wait for a supervisor that somebody else starts")


def _test(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("suites", nargs="*", metavar="SUITE")


def _validate(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--feature", metavar="TEXT", help="only scenarios whose name or criterion has this text")


def _logs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--service", action="append", metavar="X", help="only this service (again for more)")
    verb.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    verb.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    verb.add_argument("--grep", metavar="REGEX", help="only lines that match")
    verb.add_argument("--since", metavar="5m", help="only lines that are not older")


def _restart(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("services", nargs="*", metavar="SERVICE")


def _nothing(verb: argparse.ArgumentParser) -> None:
    """A verb without arguments of its own."""


VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "setup": ("run the repo's setup commands", _nothing),
    "start": ("start all services in the background and wait until they are ready", _start),
    "supervise": ("what `start` puts into the background, in the foreground", _ports),
    "status": ("what runs, and how it is", _nothing),
    "test": ("run test suites, all or the named ones", _test),
    "validate": ("open the app in a browser: the repo's scenarios, else a look at every URL", _validate),
    "urls": ("where the app answers", _nothing),
    "logs": ("what services have said", _logs),
    "restart": ("restart services; without names the contract is read anew and all start again", _restart),
    "stop": ("end everything that `start` has started", _nothing),
    "clean": ("stop, give the ports back, remove state and logs", _nothing),
    "schema": ("print the JSON Schema of factory.yaml", _nothing),
    "check": ("check factory.yaml without running anything", _nothing),
}


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The command line; with `only`, as much of it as that verb needs, because each verb costs a millisecond."""
    raw = argparse.RawDescriptionHelpFormatter
    top = Parser("factory", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw)
    top.add_argument("-C", dest="directory", metavar="DIR", default=".", help="as if started in DIR")
    verbs = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="factory")
    for name in [only] if only in VERBS else VERBS:
        about, add_arguments = VERBS[name]
        verb = verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        verb.add_argument("--json", action="store_true", help="one JSON object on stdout; progress goes to stderr")
        add_arguments(verb)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv and not argv[0].startswith("-") else None
    out = Output(verb or "factory", as_json="--json" in argv)
    try:
        args = parser(verb).parse_args(argv)
        out.command = args.command
        return _run(args, argv, out)
    except ContractError as e:
        return out.failed(e)
    except KeyboardInterrupt:
        return out.failed(Interrupted())
    except BrokenPipeError:  # `factory logs | head`
        sys.stderr.close()
        return 0


def _run(args: argparse.Namespace, argv: list[str], out: Output) -> int:
    module = importlib.import_module(f"factory_contract.commands.{args.command}")
    if args.command == "schema":
        return module.run(out)
    here = checkout.find(Path(args.directory))
    if args.command != "check":
        implementation.take_over(here, argv[argv.index(args.command) :])
    return module.run(here, args, out)
