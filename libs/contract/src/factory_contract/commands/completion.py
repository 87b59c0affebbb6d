"""`factory completion SHELL`: a script that asks `factory completion --words` at each press of Tab.

Standard library only. Names of services and suites are read from factory.yaml by its lines: loading YAML takes longer than a
person waits for Tab, and the file is often half written then.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from factory_contract import checkout, cli
from factory_contract.errors import NoContract
from factory_contract.output import Output

DIRECTORIES = ":directories"  # in place of candidates: the shell completes names of directories itself
READ = 64 * 1024

# Each script gives the words up to the cursor, the last of them half typed, and gets lines of `word<TAB>what it is`.
SCRIPTS = {
    "bash": r"""_factory() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = ":directories" ]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}")
    else
      COMPREPLY+=("${line%%$'\t'*}")
    fi
  done < <(command factory completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _factory factory swfactory ./factory.sh
""",
    "zsh": r"""_factory() {
  local line word found=()
  for line in ${(f)"$(command factory completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
    if [[ $line == ":directories" ]]; then
      _directories
      return
    fi
    word=${line%%$'\t'*}
    found+=("${word//:/\\:}:${line#*$'\t'}")
  done
  _describe -V factory found
}
compdef _factory factory swfactory factory.sh
""",
    "fish": r"""function __factory_words
  set -l found (command factory completion --words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if test "$found[1]" = ":directories"
    __fish_complete_directories (commandline -ct)
  else
    printf '%s\n' $found
  end
end
complete -c factory -f -a "(__factory_words)"
complete -c swfactory -f -a "(__factory_words)"
complete -c factory.sh -f -a "(__factory_words)"
""",
}


def run(args: argparse.Namespace, out: Output) -> int:
    script = SCRIPTS[args.shell]
    out.result(shell=args.shell, script=script)
    out.line(script.rstrip())
    return 0


def answer(words: list[str]) -> int:
    """Prints what can stand for the last of `words`, which is half typed or empty."""
    for word, about in candidates(words or [""]):
        sys.stdout.write(f"{word}\t{about}\n" if about else f"{word}\n")
    return 0


def candidates(words: list[str]) -> list[tuple[str, str]]:
    """(word, what it is), in order."""
    *before, typed = words
    at = cli.begin(before)
    if before[-1:] == ["-C"]:
        found = [(DIRECTORIES, "")]
    elif at == len(before):
        found = [(name, verb.about) for name, verb in cli.VERBS.items()]
        found += _options(cli.parser("check"), before) if typed.startswith("-") else []
    else:
        found = _of_verb(before[:at], before[at:], typed) if before[at] in cli.VERBS else []
    return [(word, about) for word, about in found if word.startswith(typed) or word == DIRECTORIES]


def _of_verb(top: list[str], words: list[str], typed: str) -> list[tuple[str, str]]:
    verb = argparse.ArgumentParser(add_help=False)
    verb.add_argument("--json", action="store_true", help="one JSON object on stdout")
    cli.VERBS[words[0]].add_arguments(verb)
    actions = verb._actions
    awaited = next((a for a in actions if words[-1] in a.option_strings and a.nargs != 0), None)
    if awaited is not None:
        return _values(awaited, top, words)
    if typed.startswith("-"):
        return _options(verb, words)
    return [pair for a in actions if not a.option_strings for pair in _values(a, top, words)]


def _options(of: argparse.ArgumentParser, given: list[str]) -> list[tuple[str, str]]:
    """The options that were not given yet, or that may be given again, each by its long name."""
    offered = [
        (max(action.option_strings, key=len), action.help or "")
        for action in of._actions
        if action.option_strings and "--help" not in action.option_strings
        if not set(action.option_strings) & set(given) or isinstance(action, argparse._AppendAction)
    ]
    return [*offered, ("--help", "examples")]


def _values(action: argparse.Action, top: list[str], words: list[str]) -> list[tuple[str, str]]:
    if action.choices:
        return [(str(choice), "") for choice in action.choices]
    directory = next((top[i + 1] for i, word in enumerate(top[:-1]) if word == "-C"), ".")
    match action.metavar:
        case "DIR":
            return [(DIRECTORIES, "")]
        case "SERVICE":
            found, what = names(Path(directory), "services"), "a service"
        case "SUITE":
            found, what = names(Path(directory), "tests"), "a suite"
        case _:
            return []
    return [(name, what) for name in found if name not in words]


def names(directory: Path, key: str) -> list[str]:
    """The names that stand below a key at the top of the contract (`services`, `tests`)."""
    try:
        here = checkout.find(directory)
        if here.contract is None:
            return []
        with here.contract.open(encoding="utf-8", errors="replace") as f:
            text = f.read(READ)
    except (NoContract, OSError):
        return []
    return list(dict.fromkeys(_below(text, key)))


def _below(text: str, key: str) -> Iterator[str]:
    begins = re.search(rf"^{key}:[ \t]*(\{{)?", text, re.M)
    if begins is None:
        return
    rest = text[begins.end() :]
    if begins[1]:
        yield from _flow(rest)
        return
    indent = None
    for line in rest.splitlines()[1:]:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.match(r"( +)[\"']?([A-Za-z0-9][A-Za-z0-9_.-]*)[\"']?\s*:(?:\s|$)", line)
        if not line.startswith(" "):
            return
        if found and indent in (None, found[1]):
            indent = found[1]
            yield found[2]


def _flow(text: str) -> Iterator[str]:
    """The keys of `{a: …, b: {…}}`, from behind its first brace."""
    depth, key = 1, True
    for part in re.findall(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[{}\[\],:]|[^{}\[\],:\"']+", text):
        if part in "{[":
            depth += 1
        elif part in "}]":
            depth -= 1
            if depth == 0:
                return
        elif depth == 1 and part in ",:":
            key = part == ","
        elif depth == 1 and key and part.strip():
            yield part.strip().strip("\"'")
