"""The `factory` command: its arguments, and which module answers. Nothing but the standard library until a verb needs more."""

import argparse
import importlib
import sys
from collections.abc import Sequence
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


def parser() -> Parser:
    """The command line, whole."""
    top = Parser(
        "factory", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("-C", dest="directory", metavar="DIR", default=".", help="as if started in DIR")
    verbs = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="factory")

    def verb(name: str, about: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        made.add_argument("--json", action="store_true", help="one JSON object on stdout; progress goes to stderr")
        return made

    verb("setup", "run the repo's setup commands")
    start = verb("start", "start all services in the background and wait until they are ready")
    start.add_argument("--attach", action="store_true", help="only wait for a supervisor that somebody else starts")
    supervise = verb("supervise", "what `start` puts into the background, in the foreground")
    for made in (start, supervise):
        made.add_argument("--port-range", metavar="LO-HI", help="lease ports from this range; LO alone is its begin")
        made.add_argument("--worktree-id", metavar="ID", help="the name of this checkout in host names and ledgers")
    verb("status", "what runs, and how it is")
    test = verb("test", "run test suites, all or the named ones")
    test.add_argument("suites", nargs="*", metavar="SUITE")
    validate = verb("validate", "open the app in a browser: the repo's scenarios, else a look at every URL")
    validate.add_argument("--feature", metavar="TEXT", help="only scenarios whose name or criterion has this text")
    verb("urls", "where the app answers")
    logs = verb("logs", "what services have said")
    logs.add_argument("--service", action="append", metavar="X", help="only this service (again for more)")
    logs.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    logs.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    logs.add_argument("--grep", metavar="REGEX", help="only lines that match")
    logs.add_argument("--since", metavar="5m", help="only lines that are not older")
    restart = verb("restart", "restart services; without names the contract is read anew and all start again")
    restart.add_argument("services", nargs="*", metavar="SERVICE")
    verb("stop", "end everything that `start` has started")
    verb("clean", "stop, give the ports back, remove state and logs")
    verb("schema", "print the JSON Schema of factory.yaml")
    verb("check", "check factory.yaml without running anything")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = next((a for a in argv if not a.startswith("-")), "factory")
    out = Output(verb, as_json="--json" in argv)
    try:
        args = parser().parse_args(argv)
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
