"""YAML as a tree that remembers where everything stands, and refuses what a contract has no use for.

Scalars are read by the core schema of YAML 1.2 (section 10.3): `no`, `on` and `0123` are text or numbers, never surprises.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from factory_contract.errors import Problem

MAX_BYTES = 64 * 1024
MAX_ALIASES = 20
MAX_NODES = 5_000  # with every alias counted as often as it is used: what a YAML bomb makes big
MAX_DEPTH = 20

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CORE = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),  # a longer one is no number that a contract has a use for
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,2})?"), float),
)


@dataclass
class Node:
    """A place in the file. `value` is a Scalar, a list of nodes, or a dict of nodes whose keys stand at `keys`."""

    value: Any
    line: int
    column: int
    text: str = ""  # a scalar as it is written
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self, *, raw: bool = False) -> Any:
        """The value without places. Below a key `env` scalars stay as they are written: `1.10` is not 1.1 there."""
        if isinstance(self.value, dict):
            return {k: n.plain(raw=raw or k == "env") for k, n in self.value.items()}
        if isinstance(self.value, list):
            return [n.plain() for n in self.value]
        return self.text if raw and self.value is not None else self.value

    def scalars(self) -> Iterator[str]:
        """Every piece of text in values, not in keys."""
        if isinstance(self.value, dict):
            for node in self.value.values():
                yield from node.scalars()
        elif isinstance(self.value, list):
            for node in self.value:
                yield from node.scalars()
        else:
            yield self.text

    def at(self, path: Path) -> tuple[int, int]:
        """Line and column of the key or item that `path` leads to, or of the nearest one above it that is written."""
        node, place = self, (self.line, self.column)
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                place, node = node.keys[str(step)], node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                place = (node.line, node.column)
            else:
                break
        return place


def parse(data: bytes) -> tuple[Node | None, list[Problem]]:
    """The document's tree and what is wrong with it as YAML. Without a tree nothing more can be said about it."""
    if len(data) > MAX_BYTES:
        return None, [Problem("too_big", f"the file is too big: at most {MAX_BYTES} bytes are read")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        return None, [Problem("not_utf8", f"byte {e.start} is not UTF-8", line=line)]
    try:
        problems = _refused(text)
        composed = None if problems else yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        said = " ".join(part for part in (e.context, e.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [Problem("yaml_syntax", f"this is no YAML: {said}", line=line, column=column)]
    except yaml.YAMLError as e:  # a control character, for one: it has no mark
        return None, [Problem("yaml_syntax", f"this is no YAML: {str(e).splitlines()[0]}")]
    if problems:
        return None, problems
    if composed is None:
        return None, [Problem("empty", "the file is empty")]
    walk = _Walk()
    try:
        tree = walk.node(composed, ())
    except _TooMuch as e:
        return None, [e.problem]
    return tree, walk.problems


def _refused(text: str) -> list[Problem]:
    """Tags, more aliases than a person writes, a second document: seen in the events, before anything is expanded."""
    problems: list[Problem] = []
    aliases = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if tag := getattr(event, "tag", None):
            problems.append(Problem("tag", f"the tag {tag} is not allowed", line=line, column=column))
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases == MAX_ALIASES + 1:
                what = f"more than {MAX_ALIASES} aliases"
                problems.append(Problem("too_many_aliases", what, line=line, column=column))
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                problems.append(
                    Problem("documents", "one document is read, this is a second", line=line, column=column)
                )
    return problems


class _TooMuch(Exception):
    """A document that grows beyond its bounds when its aliases are followed."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class _Walk:
    """From PyYAML's nodes to ours."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._seen = 0

    def node(self, node: Any, path: Path) -> Node:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self._seen += 1
        if self._seen > MAX_NODES or len(path) > MAX_DEPTH:
            raise _TooMuch(Problem("too_much", "the document is too big or too deep when its aliases are followed"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, Node({}, line, column))
        if isinstance(node, yaml.SequenceNode):
            items = [self.node(item, (*path, i)) for i, item in enumerate(node.value)]
            return Node(items, line, column)
        return Node(_scalar(node), line, column, text=node.value)

    def _mapping(self, node: Any, path: Path, made: Node) -> Node:
        for key, value in node.value:
            where = {"line": key.start_mark.line + 1, "column": key.start_mark.column + 1}
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem("wrong_type", "a key has to be text", path=path, **where))
                continue
            name = key.value
            if name == "<<" and not key.style:
                what = "merge keys (<<) are not read here"
                self.problems.append(Problem("merge_key", what, path=path, hint="Write the keys out.", **where))
                continue
            if name in made.value:
                first = made.keys[name][0]
                what = f"`{name}` is here twice, first in line {first}"
                self.problems.append(Problem("duplicate_key", what, path=(*path, name), **where))
                continue
            made.keys[name] = (where["line"], where["column"])
            made.value[name] = self.node(value, (*path, name))
        return made


def _scalar(node: Any) -> Scalar:
    if not node.style:  # plain: quoted scalars and blocks are text
        for pattern, read in CORE:
            if pattern.fullmatch(node.value):
                return read(node.value)
    return node.value
