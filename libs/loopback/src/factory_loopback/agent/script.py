"""What a script may say: rounds of steps, read from YAML, with the line of everything that is wrong.

vars: {TITLE: Invoices}                  # ${TITLE} in the texts of write and replace; other ${…} stay as they are
rounds:
  - expect: ["Round 1 of", "c1"]         # regexes that the prompt must match, else the agent refuses
    say: "I start with a failing test."
    plan: ["a failing test", "then the code"]
    do:
      - write: {path: web/app.js, text: "…"}
      - replace: {path: api/app.py, old: "…", new: "…"}
      - run: "factory status --json"
        allow_failure: true
      - ask_permission: "delete the old table"
      - append_forever: {path: x.log, every_ms: 100, child: true}
      - sleep: 2
      - exit: 0
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

Names = AbstractSet[str]


class ScriptError(Exception):
    """{file}:{line}: {what is wrong there}"""

    code = "script"

    def __init__(self, file: Path, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file, self.line, self.problem = file, line, problem


@dataclass(frozen=True)
class Write:
    """Make `path` hold exactly `text`."""

    path: str
    text: str


@dataclass(frozen=True)
class Replace:
    """Put `new` where `old` stands in `path`; it must stand there exactly once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Run:
    """Run a shell command in the checkout."""

    command: str
    allow_failure: bool


@dataclass(frozen=True)
class AskPermission:
    """Ask the client whether the agent may do this."""

    title: str


@dataclass(frozen=True)
class AppendForever:
    """Append a line to `path` every `every_ms` until cancelled; with `child`, a child process does so too."""

    path: str
    every_ms: int
    child: bool


@dataclass(frozen=True)
class Sleep:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Exit:
    """Die at once with this exit code, in the middle of the turn."""

    exit_code: int


Step = Write | Replace | Run | AskPermission | AppendForever | Sleep | Exit


@dataclass(frozen=True)
class Round:
    """One turn: what must have been said, what is said back, what is done."""

    expect: tuple[re.Pattern[str], ...]
    say: str
    plan: tuple[str, ...]
    do: tuple[Step, ...]


@dataclass(frozen=True)
class Script:
    """`rounds[0]` is round 1."""

    rounds: tuple[Round, ...]


def read_script(path: Path) -> Script:
    """Raises ScriptError with file and line for whatever is not as the module's docstring shows."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(path, 1, f"the script cannot be read: {error}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScriptError(path, line, f"no valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ScriptError(path, 1, f"no valid YAML: {error}") from None
    if root is None:
        raise ScriptError(path, 1, "the script is empty; it needs `rounds`")
    return _script(_Place(path, root))


class _Place:
    """A node of the YAML that knows its line."""

    def __init__(self, file: Path, node: yaml.Node) -> None:
        self._file, self._node = file, node

    def error(self, problem: str) -> ScriptError:
        return ScriptError(self._file, self._node.start_mark.line + 1, problem)

    def mapping(self) -> dict[str, "_Place"]:
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error("expected a mapping (`name: value`)")
        found: dict[str, _Place] = {}
        for key_node, value_node in self._node.value:
            key = _Place(self._file, key_node)
            name = key.text("a name")
            if name in found:
                raise key.error(f"`{name}` is given twice")
            found[name] = _Place(self._file, value_node)
        return found

    def fields(self, what: str, required: Names, optional: Names = frozenset()) -> dict[str, "_Place"]:
        found = self.mapping()
        for name, place in found.items():
            if name not in required | optional:
                raise place.error(f"{what} has no `{name}`; it has: {', '.join(sorted(required | optional))}")
        if missing := required - found.keys():
            raise self.error(f"{what} lacks `{'`, `'.join(sorted(missing))}`")
        return found

    def items(self, what: str) -> list["_Place"]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"{what} must be a list")
        return [_Place(self._file, node) for node in self._node.value]

    def text(self, what: str) -> str:
        return self._scalar(what, str, "text (put it in quotes)")

    def whole(self, what: str) -> int:
        return self._scalar(what, int, "a whole number")

    def number(self, what: str) -> float:
        return self._scalar(what, (int, float), "a number")

    def flag(self, what: str) -> bool:
        return self._scalar(what, bool, "true or false")

    def word(self, what: str) -> str:
        """Any scalar as it is written."""
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.error(f"{what} must be a single value")
        return self._node.value

    def _scalar(self, what: str, kind: Any, kind_name: str) -> Any:
        if isinstance(self._node, yaml.ScalarNode):
            value = yaml.constructor.SafeConstructor().construct_object(self._node)
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                return value
        raise self.error(f"{what} must be {kind_name}")


def _script(root: _Place) -> Script:
    fields = root.fields("a script", {"rounds"}, {"vars"})
    variables = {}
    if "vars" in fields:
        variables = {name: place.word(f"`{name}`") for name, place in fields["vars"].mapping().items()}
    rounds = [_round(place, variables) for place in fields["rounds"].items("`rounds`")]
    if not rounds:
        raise fields["rounds"].error("`rounds` is empty")
    return Script(tuple(rounds))


def _round(place: _Place, variables: dict[str, str]) -> Round:
    fields = place.fields("a round", set(), {"expect", "say", "plan", "do"})
    return Round(
        expect=tuple(_regex(item) for item in fields["expect"].items("`expect`")) if "expect" in fields else (),
        say=fields["say"].text("`say`") if "say" in fields else "",
        plan=tuple(item.text("a plan entry") for item in fields["plan"].items("`plan`")) if "plan" in fields else (),
        do=tuple(_step(item, variables) for item in fields["do"].items("`do`")) if "do" in fields else (),
    )


def _regex(place: _Place) -> re.Pattern[str]:
    try:
        return re.compile(place.text("a regex of `expect`"), re.MULTILINE)
    except re.error as error:
        raise place.error(f"no valid regex: {error}") from None


KINDS = ("write", "replace", "run", "ask_permission", "append_forever", "sleep", "exit")


def _step(place: _Place, variables: dict[str, str]) -> Step:
    fields = place.mapping()
    kind = next((name for name in KINDS if name in fields), None)
    if kind is None:
        raise place.error(f"a step is one of: {', '.join(KINDS)}; this has: {', '.join(fields) or 'nothing'}")
    place.fields(f"a step `{kind}`", {kind}, {"allow_failure"} if kind == "run" else set())
    what = fields[kind]
    match kind:
        case "write":
            inner = what.fields("`write`", {"path", "text"})
            return Write(_path(inner["path"]), _filled(inner["text"], variables))
        case "replace":
            inner = what.fields("`replace`", {"path", "old", "new"})
            old, new = _filled(inner["old"], variables), _filled(inner["new"], variables)
            if not old:
                raise inner["old"].error("`old` is empty; it must stand in the file exactly once")
            return Replace(_path(inner["path"]), old, new)
        case "run":
            allow_failure = fields["allow_failure"].flag("`allow_failure`") if "allow_failure" in fields else False
            return Run(what.text("`run`"), allow_failure)
        case "ask_permission":
            return AskPermission(what.text("`ask_permission`"))
        case "append_forever":
            inner = what.fields("`append_forever`", {"path"}, {"every_ms", "child"})
            every_ms = inner["every_ms"].whole("`every_ms`") if "every_ms" in inner else 100
            if every_ms < 1:
                raise inner["every_ms"].error("`every_ms` must be at least 1")
            child = inner["child"].flag("`child`") if "child" in inner else False
            return AppendForever(_path(inner["path"]), every_ms, child)
        case "sleep":
            seconds = what.number("`sleep`")
            if seconds < 0:
                raise what.error("`sleep` must not be negative")
            return Sleep(seconds)
        case _:
            return Exit(what.whole("`exit`"))


def _path(place: _Place) -> str:
    path = place.text("`path`")
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise place.error(f"`path` must lie in the checkout and be relative to it, not {path!r}")
    return path


def _filled(place: _Place, variables: dict[str, str]) -> str:
    """`${NAME}` of `vars` filled in; any other `${…}` belongs to the text (a template of JavaScript, a shell's)."""
    return re.sub(r"\$\{(\w+)\}", lambda found: variables.get(found[1], found[0]), place.text("the text of a file"))
