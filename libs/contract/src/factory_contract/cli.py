"""The `factory` command's arguments. Standard library only."""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from factory_contract.errors import Usage

DESCRIPTION = "Makes a repo runnable and testable, by what its factory.yaml says."
EXAMPLES = """\
examples:
  factory                               what there is here, and what to do next
  factory setup && factory start        install what the repo needs, start its services, wait until they are ready
  factory status --json                 what runs, for machines (exit code 3 when it is not ready)
  factory test && factory validate      run the tests; open the app in a browser
  factory stop; factory clean           end it; give the ports back and remove what was made
  factory start --help                  examples for each command

exit codes: 0 done, 1 the repo's own command failed, 2 usage or invalid factory.yaml,
            3 not ready or unhealthy, 4 refused (lock, limit, port), 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Errors of usage come out as every other error does."""

    def error(self, message: str) -> NoReturn:
        raise Usage(problem=message, hint=f"{self.format_usage().strip()}")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of lines, got {text!r}")
    return int(text)


def _id(text: str) -> str:
    if not any(character.isascii() and character.isalnum() for character in text):
        raise argparse.ArgumentTypeError(f"expected letters and digits, got {text!r}")
    return text


# Metavars say what a value is, also for shell completion: DIR, SERVICE and SUITE are completed by name.


def _ports(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--port-range", metavar="LO-HI", help="lease ports from this range; LO alone is its begin")
    verb.add_argument(
        "--worktree-id", metavar="ID", type=_id, help="the name of this checkout in host names and ledgers"
    )


def _start(verb: argparse.ArgumentParser) -> None:
    _ports(verb)
    verb.add_argument("--attach", action="store_true", help="only wait for a supervisor that somebody else starts")


def _test(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("suites", nargs="*", metavar="SUITE", help="which; without names all")


def _validate(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--feature", metavar="TEXT", help="only scenarios about this: all its words are in what they say")
    verb.add_argument("--no-video", action="store_true", help="no film, which takes time")


def _artifacts(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--to", metavar="DIR", help="copy them into DIR")


def _logs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--service", action="append", metavar="SERVICE", help="only this service (again for more)")
    verb.add_argument("--tail", type=_count, metavar="N", help="only the last N lines")
    verb.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    verb.add_argument("--grep", metavar="REGEX", help="only lines that match")
    verb.add_argument("--since", metavar="5m", help="only lines that are not older")


def _restart(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("services", nargs="*", metavar="SERVICE", help="which; without names all")


def _under(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--under", metavar="DIR", help="only environments whose checkout is or was beneath DIR")


def _clean(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--stale", action="store_true", help="what dead environments have left on this machine, instead")
    _under(verb)


def _completion(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")


def _nothing(verb: argparse.ArgumentParser) -> None:
    """A verb without arguments of its own."""


class Verb(NamedTuple):
    """One command: what it does, its arguments, and examples as pairs of a command line and what it does."""

    about: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    examples: tuple[tuple[str, str], ...]


VERBS: dict[str, Verb] = {
    "check": Verb(
        "check factory.yaml without running anything",
        _nothing,
        (
            ("factory check", "every mistake with its line and column, all at once"),
            ("factory check --json", "the same, and the whole contract with its defaults, for machines"),
        ),
    ),
    "setup": Verb(
        "copy the ignored files that are listed, run the repo's setup commands",
        _nothing,
        (("factory setup", "once in a new checkout, and when dependencies have changed"),),
    ),
    "start": Verb(
        "start all services in the background and wait until they are ready",
        _start,
        (
            ("factory start", "ready, or it says which service is not and why"),
            ("factory start --port-range 46200", "ports from 46200 on"),
            ("factory start --worktree-id job_123", "this checkout is `job-123` in host names"),
        ),
    ),
    "supervise": Verb(
        "what `start` puts into the background, in the foreground",
        _ports,
        (("factory supervise", "in a container, where something else keeps processes; Ctrl-C ends it all"),),
    ),
    "status": Verb(
        "what runs, and how it is",
        _nothing,
        (
            ("factory status", "each service: its state, pid, address, what is wrong"),
            ("factory status --json", "for machines; exit code 0 only when all is ready"),
        ),
    ),
    "urls": Verb(
        "where the app answers",
        _nothing,
        (
            ("factory urls", "one line a service, the primary one first"),
            ("factory urls --json", "with `internal_url` for programs that cannot resolve *.localhost"),
        ),
    ),
    "logs": Verb(
        "what services have said",
        _logs,
        (
            ("factory logs --service api --tail 50", "the last lines of one service"),
            ("factory logs --follow --grep '(?i)error'", "what comes, as far as it matches"),
            ("factory logs --since 5m", "what all of them said in the last five minutes"),
        ),
    ),
    "test": Verb(
        "run test suites, all or the named ones",
        _test,
        (
            ("factory test", "all suites"),
            ("factory test unit types", "two of them"),
            ("factory test --json", "counts, failed names, durations"),
        ),
    ),
    "validate": Verb(
        "open the app in a browser: the repo's scenarios, else a look at every URL",
        _validate,
        (
            ("factory validate", "all scenarios, filmed; where there are none, every URL"),
            ('factory validate --feature "user can create project"', "the scenarios about that"),
        ),
    ),
    "artifacts": Verb(
        "list the files that are kept as evidence, or copy them",
        _artifacts,
        (
            ("factory artifacts", "what `artifacts.collect` finds now"),
            ("factory artifacts --to /tmp/evidence", "copied there, each below its path in the repo"),
        ),
    ),
    "restart": Verb(
        "restart services; without names the contract is read anew and all start again",
        _restart,
        (
            ("factory restart api", "and what depends on it"),
            ("factory restart", "after factory.yaml was changed"),
        ),
    ),
    "stop": Verb(
        "end everything that `start` has started",
        _nothing,
        (("factory stop", "in the order of the graph; ports and logs stay"),),
    ),
    "clean": Verb(
        "stop, give the ports back, remove state and logs",
        _clean,
        (
            ("factory clean", "the checkout is as it was before the first setup, but for what setup has made"),
            ("factory clean --stale", "what checkouts that are gone, and supervisors that were killed, have left"),
        ),
    ),
    "ps": Verb(
        "all environments on this machine, and what dead ones have left",
        _under,
        (
            ("factory ps", "each checkout: its state, services, ports, processes"),
            ("factory ps --json --under ~/work", "for machines; only those beneath ~/work"),
        ),
    ),
    "schema": Verb(
        "print the JSON Schema of factory.yaml",
        _nothing,
        (
            (
                "factory schema > factory.schema.json",
                "for an editor: # yaml-language-server: $schema=factory.schema.json",
            ),
        ),
    ),
    "completion": Verb(
        "print the completion script of a shell",
        _completion,
        (
            ('eval "$(factory completion bash)"', "in ~/.bashrc"),
            ('eval "$(factory completion zsh)"', "in ~/.zshrc, after compinit"),
            ("factory completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
}


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """The command line; with `only`, as much of it as that verb needs, because each verb costs a millisecond."""
    raw = argparse.RawDescriptionHelpFormatter
    top = Parser("factory", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw)
    top.add_argument("-C", dest="directory", metavar="DIR", default=".", help="as if started in DIR")
    top.add_argument("--version", action="store_true", help="which version this is")
    verbs = top.add_subparsers(dest="command", metavar="COMMAND", prog="factory")
    for name in [only] if only in VERBS else VERBS:
        about, add_arguments, examples = VERBS[name]
        sentence = f"{about[0].upper()}{about[1:]}."
        verb = verbs.add_parser(name, help=about, description=sentence, epilog=_shown(examples), formatter_class=raw)
        verb.add_argument("--json", action="store_true", help="one JSON object on stdout; progress goes to stderr")
        add_arguments(verb)
    return top


def _shown(examples: Sequence[tuple[str, str]]) -> str:
    width = max(len(command) for command, _ in examples)
    return "\n".join(["examples:", *(f"  {command.ljust(width)}  {does}" for command, does in examples)])


def begin(argv: Sequence[str]) -> int:
    """Where in `argv` the verb stands: behind `-C DIR` and the like. Its length where there is none."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] == "-C" else 1
    return min(at, len(argv))
