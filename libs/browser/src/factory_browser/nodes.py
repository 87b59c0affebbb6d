"""YAML (and JSON, its subset) read as nodes that know their place, with every problem collected instead of the first."""

import difflib
from collections.abc import Iterable

import yaml

from factory_browser.errors import Problem

MAX_BYTES = 64 * 1024
MAX_DEPTH = 12
STR, INT, FLOAT, BOOL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool"))


class Reader:
    """Reads one document. Methods answer None where they have noted a problem; `problems` is in the file's order."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What was noted, from the first line to the last, each once."""
        return sorted(dict.fromkeys(self._problems), key=lambda p: (p.line, p.column))

    @property
    def noted(self) -> int:
        """How many problems there are so far."""
        return len(self._problems)

    def note(self, at: yaml.Node | yaml.Mark | None, what: str, expected: str = "", nearest: str = "") -> None:
        """Notes a problem at a node, at a mark or, with None, at the document's start."""
        mark = at.start_mark if isinstance(at, yaml.Node) else at
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self._problems.append(Problem(self.source, line, column, what, expected, nearest))

    def document(self, text: str | bytes) -> yaml.Node | None:
        """The root node. Refuses what is too big or too deep, anchors, aliases and tags, before anything is composed."""
        raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        if len(raw) > MAX_BYTES:
            return self.note(None, f"the file has {len(raw)} bytes", f"at most {MAX_BYTES}")
        try:
            content = raw.decode("utf-8")
        except UnicodeDecodeError as e:
            return self.note(None, f"byte {e.start} is not UTF-8", "a text file in UTF-8")
        try:
            if not self._plain(content):
                return None
            return yaml.compose(content, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as e:
            return self.note(e.problem_mark or e.context_mark, f"not valid YAML: {e.problem or e.context}")
        except yaml.reader.ReaderError as e:
            before = content[: int(e.position)]
            mark = yaml.Mark(self.source, 0, before.count("\n"), len(before) - before.rfind("\n") - 1, None, 0)
            return self.note(mark, f"a control character ({content[int(e.position)]!r})", "plain text")

    def _plain(self, content: str) -> bool:
        """Whether the event stream has no anchors, aliases or tags and stays shallow; parsing events never recurses."""
        depth, before = 0, self.noted
        for event in yaml.parse(content, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                self.note(
                    event.start_mark, f"alias *{event.anchor}", "the value written out: aliases are not read here"
                )
            elif isinstance(event, yaml.NodeEvent) and event.anchor:
                self.note(event.start_mark, f"anchor &{event.anchor}", "no anchor: anchors are not read here")
            elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag:
                self.note(event.start_mark, f"tag {event.tag}", "no tag: plain text, numbers, lists and mappings only")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                self.note(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
                return False
        return self.noted == before

    def mapping(self, node: yaml.Node | None, what: str, keys: Iterable[str]) -> dict[str, yaml.Node] | None:
        """A mapping's values by key. Unknown keys and repeated ones are problems, and are left out."""
        known = list(keys)
        if not isinstance(node, yaml.MappingNode):
            return self.note(node, f"{what} is {kind(node)}", f"a mapping with {any_of(known)}")
        values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else None
            if word is None or word not in known:
                written = f"“{word}”" if word is not None else kind(key)
                self.note(key, f"{what} has an unknown key {written}", any_of(known), closest(word, known))
            elif word in values:
                self.note(key, f"{what} has “{word}” twice", "each key once")
            else:
                values[word] = value
        return values

    def sequence(self, node: yaml.Node | None, what: str, of: str) -> list[yaml.Node] | None:
        """A list's items."""
        if not isinstance(node, yaml.SequenceNode):
            return self.note(node, f"{what} is {kind(node)}", f"a list of {of}")
        return list(node.value)

    def text(self, node: yaml.Node | None, what: str, *, empty: bool = False, most: int = 2000) -> str | None:
        """Text as it is written: `007` and `yes` stay what they are."""
        if not isinstance(node, yaml.ScalarNode) or (kind(node) == "nothing" and not empty):
            return self.note(node, f"{what} is {kind(node)}", "text")
        if not node.value.strip() and not empty:
            return self.note(node, f"{what} is empty", "text")
        if len(node.value) > most:
            return self.note(node, f"{what} has {len(node.value)} characters", f"at most {most}")
        return node.value

    def word(self, node: yaml.Node | None, what: str, words: Iterable[str]) -> str | None:
        """One of these words."""
        known = list(words)
        written = self.text(node, what)
        if written is None or written in known:
            return written
        return self.note(node, f"{what} is “{written}”", any_of(known), closest(written, known))

    def flag(self, node: yaml.Node, what: str) -> bool | None:
        """`true` or `false`."""
        if isinstance(node, yaml.ScalarNode) and node.tag == BOOL and node.value.lower() in ("true", "false"):
            return node.value.lower() == "true"
        return self.note(node, f"{what} is {kind(node)}", "true or false")

    def number(self, node: yaml.Node, what: str, least: float, most: float, *, whole: bool) -> float | None:
        """A decimal number within bounds, both included."""
        expected = f"a {'whole ' if whole else ''}number from {least:g} to {most:g}"
        if not isinstance(node, yaml.ScalarNode) or node.tag not in ((INT,) if whole else (INT, FLOAT)):
            return self.note(node, f"{what} is {kind(node)}", expected)
        try:
            value = float(node.value)
        except ValueError:
            return self.note(node, f"{what} is “{node.value}”", expected)
        if not least <= value <= most:
            return self.note(node, f"{what} is {node.value}", expected)
        return value


def kind(node: yaml.Node | None) -> str:
    """What a node is, in words for a message."""
    if node is None:
        return "nothing"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if node.tag == "tag:yaml.org,2002:null":
        return "nothing"
    return f"“{node.value[:60]}”"


def closest(word: str | None, words: Iterable[str]) -> str:
    """The nearest of the words, or '' where none is near."""
    return next(iter(difflib.get_close_matches(word or "", list(words), 1, 0.6)), "")


def any_of(words: list[str]) -> str:
    """`a, b or c`; of many words only the first."""
    if len(words) == 1:
        return words[0]
    if len(words) > 24:
        return f"one of {', '.join(words[:12])} …"
    return f"{', '.join(words[:-1])} or {words[-1]}"
