"""One output taken apart into the packages of a workspace, as their tools mark them: a prefix on each line, or a headline.

Prefixes are learned from what announces them, never guessed, so that `error: x` is no package. Known are npm's headline
(`> name@1.0.0 test`, also pnpm's, and behind any prefix: turbo, lerna, concurrently), pnpm's `dir test$ command`, turbo's
`name:test: cache miss`, and the `[name]: ` of yarn's `workspaces foreach`, which is known by its last line.
"""

import re
from typing import NamedTuple

from factory_contract.logs import ANSI

NAME = r"(?:@[\w.~-]+/)?[\w.~-]+"
HEADLINE = re.compile(rf"(?P<prefix>\S.*?[:\]|] +|)> (?P<name>{NAME})@\d\S* \S+(?: /.*)?")
PNPM = re.compile(r"(?P<name>\S+) (?P<task>[\w:.-]+)\$ .*")
TURBO = re.compile(rf"(?P<prefix>(?P<name>{NAME}):[\w:.-]+: )(?:cache \w+|\$ ).*")
YARN = re.compile(rf"^\[({NAME})\]: ", re.MULTILINE)
SIGNS = ("> ", "$ ", "]: ")
YARN_END = re.compile(r"^(?:Done|Done with warnings|Failed with errors) in \d+s \d+ms$", re.MULTILINE)


class Stream(NamedTuple):
    """What one package has said. `where` is "" for what belongs to none, and where there is one package only."""

    where: str
    text: str


def plain(output: bytes) -> str:
    """As text that begins on a new line, without colours, movements of the cursor and empty space; a line written over counts."""
    text = ANSI.sub(b"", output).decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"\n{4,}", "\n\n\n", f"\n{text}")


def split(text: str) -> list[Stream]:
    """The streams, in the order in which they began."""
    if not any(sign in text for sign in SIGNS):
        return [Stream("", text)]
    said: dict[tuple[str, str], list[str]] = {}
    place = {"": ""}  # prefix → the package whose lines bear it now
    if YARN_END.search(text):
        place |= {f"[{name}]: ": name for name in YARN.findall(text)}
    for line in text.split("\n"):
        if announced := _announced(line):
            prefix, name = announced
            place[prefix] = name
        prefix = next((p for p in place if p and line.startswith(p)), "")
        said.setdefault((prefix, place[prefix]), []).append(line[len(prefix) :])
    several = len({name for _, name in said if name}) > 1
    return [Stream(name if several else "", "\n".join(lines) + "\n") for (_, name), lines in said.items()]


def _announced(line: str) -> tuple[str, str] | None:
    """The prefix and the package that this line makes known."""
    if "> " in line and (found := HEADLINE.fullmatch(line)):
        return found["prefix"], found["name"]
    if "$ " in line and (found := PNPM.fullmatch(line)):
        return f"{found['name']} {found['task']}: ", found["name"]
    if (": cache " in line or ": $ " in line) and (found := TURBO.fullmatch(line)):
        return found["prefix"], found["name"]
    return None
