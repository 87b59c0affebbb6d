"""Scenarios as data: what a browser does and what must then be seen, for each criterion; read from YAML with precise errors.

The words are Playwright's (https://playwright.dev/python/docs/locators); README.md shows each of them once.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import yaml

from factory_browser.errors import ScenarioErrors
from factory_browser.nodes import Reader, closest

MAX_SCENARIOS = 50
MAX_STEPS = 60
MAX_TIMEOUT_S = 60.0
MAX_WITHIN = 4

ACTIONS = ("goto", "fill", "click", "press", "select", "upload", "expect")
BASES = ("role", "label", "text", "placeholder", "testid", "css")
LOCATOR_KEYS = (*BASES, "name", "exact", "nth", "within")
SEEN = ("visible", "count", "contains", "value")
# WAI-ARIA 1.2 roles that Playwright's get_by_role knows.
ROLES = tuple(
    """alert alertdialog application article banner blockquote button caption cell checkbox code columnheader combobox
    complementary contentinfo definition deletion dialog directory document emphasis feed figure form generic grid gridcell
    group heading img insertion link list listbox listitem log main marquee math menu menubar menuitem menuitemcheckbox
    menuitemradio meter navigation none note option paragraph presentation progressbar radio radiogroup region row rowgroup
    rowheader scrollbar search searchbox separator slider spinbutton status strong subscript superscript switch tab table
    tablist tabpanel term textbox time timer toolbar tooltip tree treegrid treeitem""".split()
)
KEYS = tuple(
    """Enter Tab Escape Space Backspace Delete Insert Home End PageUp PageDown ArrowUp ArrowDown ArrowLeft ArrowRight
    F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 Shift Control Alt Meta ControlOrMeta""".split()
)
CRITERION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True, slots=True)
class Locator:
    """Which element: one of BASES with its value, narrowed by the rest. `nth` counts from 0, -1 is the last."""

    by: str
    value: str
    name: str | None = None
    exact: bool = False
    nth: int | None = None
    within: "Locator | None" = None

    def as_dict(self) -> dict[str, object]:
        """The form of the file."""
        written: dict[str, object] = {self.by: self.value}
        if self.name is not None:
            written["name"] = self.name
        if self.exact:
            written["exact"] = True
        if self.nth is not None:
            written["nth"] = self.nth
        if self.within:
            written["within"] = self.within.as_dict()
        return written

    def __str__(self) -> str:
        place = f" in {self.within}" if self.within else ""
        nth = "" if self.nth is None else " (last)" if self.nth == -1 else f" (number {self.nth + 1})"
        if self.by == "role":
            return f"{self.value}{f' “{self.name}”' if self.name else ''}{nth}{place}"
        what = {"label": "", "text": "", "placeholder": "placeholder ", "testid": "test id ", "css": "CSS "}[self.by]
        return f"{what}“{self.value}”{nth}{place}"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come true: `sees` is one of SEEN (of the step's target), `url` or `title`."""

    sees: str
    wanted: bool | int | str
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One action. `value` is a path or URL (goto), the text (fill), a key (press), an option (select), a file (upload)."""

    action: str
    target: Locator | None = None
    value: str | None = None
    service: str | None = None
    expect: Expectation | None = None
    timeout: float | None = None  # seconds

    def as_dict(self) -> dict[str, object]:
        """The form of the file."""
        written: dict[str, object] = self.target.as_dict() if self.target else {}
        if self.expect:
            if self.expect.sees != "visible" or self.expect.wanted is not True:
                written[self.expect.sees] = self.expect.wanted
            if self.expect.exact:
                written["exact"] = True
        if self.service:
            written |= {"service": self.service} | ({"path": self.value} if self.value else {})
        elif self.action == "goto":
            return {"goto": self.value, "timeout": self.timeout} if self.timeout else {"goto": self.value}
        elif self.value is not None:
            written[{"press": "key", "upload": "path"}.get(self.action, "value")] = self.value
        if self.timeout:
            written["timeout"] = self.timeout
        return {self.action: written}

    def __str__(self) -> str:
        """For people. A filled-in value is not told: it may be a password."""
        if self.expect:
            return _told(self.expect, self.target)
        match self.action:
            case "goto":
                return f"Open {self.service + ' ' if self.service else ''}{self.value or '/'}"
            case "fill":
                return f"Fill in {self.target}"
            case "click":
                return f"Click {self.target}"
            case "press":
                return f"Press {self.value}{f' in {self.target}' if self.target else ''}"
            case "select":
                return f"Select “{self.value}” in {self.target}"
            case _:
                return f"Upload {self.value} to {self.target}"


def _told(expect: Expectation, target: Locator | None) -> str:
    match expect.sees:
        case "visible":
            return f"See {target}" if expect.wanted else f"See no {target}"
        case "count":
            return f"See {expect.wanted} × {target}"
        case "contains":
            return f"See “{expect.wanted}” in {target}"
        case "value":
            return f"See that {target} holds “{expect.wanted}”"
        case sees:
            return f"See that the {'address' if sees == 'url' else sees} is “{expect.wanted}”"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named list of steps that shows its criteria. `allow_status`: 4xx answers that it provokes on purpose."""

    name: str
    criteria: tuple[str, ...]
    steps: tuple[Step, ...]
    allow_status: tuple[int, ...] = ()

    @property
    def has_expect(self) -> bool:
        """Whether it can fail on what is seen."""
        return any(step.expect for step in self.steps)

    def as_dict(self) -> dict[str, object]:
        """The form of the file."""
        written: dict[str, object] = {"name": self.name, "criteria": list(self.criteria)}
        if self.allow_status:
            written["allow_status"] = list(self.allow_status)
        return written | {"steps": [step.as_dict() for step in self.steps]}


def load(text: str | bytes, source: str = "scenarios.yaml") -> list[Scenario]:
    """The scenarios of a file (at most 64 KB). Raises ScenarioErrors with every problem in it."""
    reader = Reader(source)
    root = reader.document(text)
    if root is None and reader.noted:
        raise ScenarioErrors(reader.problems)
    top = reader.mapping(root, "the file", ["scenarios"])
    scenarios: list[Scenario] = []
    if top is not None and "scenarios" not in top:
        reader.note(root, "no scenarios", "a key “scenarios” with a list")
    elif top:
        scenarios = _scenarios(reader, top["scenarios"])
    if reader.noted:
        raise ScenarioErrors(reader.problems)
    return scenarios


def load_steps(text: str | bytes, source: str = "login") -> list[Step]:
    """A bare list of steps, as a `login` has it. Raises ScenarioErrors."""
    reader = Reader(source)
    root = reader.document(text)
    steps = [] if root is None and reader.noted else _steps(reader, root, "the list")
    if reader.noted:
        raise ScenarioErrors(reader.problems)
    return steps


def dump(scenarios: Iterable[Scenario]) -> str:
    """A text that `load` reads back as the same scenarios (JSON, which is YAML too)."""
    return json.dumps({"scenarios": [s.as_dict() for s in scenarios]}, ensure_ascii=False)


def missing(scenarios: Iterable[Scenario], criteria: Iterable[str]) -> list[str]:
    """The criteria, in their order, that no scenario with an `expect` shows."""
    shown = {c for s in scenarios if s.has_expect for c in s.criteria}
    return [c for c in criteria if c not in shown]


def uploads(scenarios: Iterable[Scenario]) -> list[str]:
    """The files, relative to the repo, that the scenarios upload: whoever has them in a sandbox brings them first."""
    return list(dict.fromkeys(s.value for sc in scenarios for s in sc.steps if s.action == "upload" and s.value))


def _scenarios(reader: Reader, node: yaml.Node) -> list[Scenario]:
    items = reader.sequence(node, "scenarios", "scenarios")
    if items is None:
        return []
    if not items:
        reader.note(node, "no scenarios", "at least one scenario")
    if len(items) > MAX_SCENARIOS:
        reader.note(items[MAX_SCENARIOS], f"{len(items)} scenarios", f"at most {MAX_SCENARIOS}")
    scenarios: list[Scenario] = []
    names: set[str] = set()
    for number, item in enumerate(items[:MAX_SCENARIOS], 1):
        fields = reader.mapping(item, f"scenario {number}", ["name", "criteria", "allow_status", "steps"])
        if fields is None:
            continue
        for key in ("name", "steps"):
            if key not in fields:
                reader.note(item, f"scenario {number} has no {key}", f"a key “{key}”")
        name = reader.text(fields["name"], "name", most=120) if "name" in fields else None
        if name in names:
            reader.note(fields["name"], f"another scenario is named “{name}”", "a name of its own")
        steps = _steps(reader, fields["steps"], "steps") if "steps" in fields else []
        criteria = _criteria(reader, fields["criteria"]) if "criteria" in fields else ()
        allowed = _statuses(reader, fields["allow_status"]) if "allow_status" in fields else ()
        if name is not None:
            names.add(name)
            scenarios.append(Scenario(name, criteria, tuple(steps), allowed))
    return scenarios


def _criteria(reader: Reader, node: yaml.Node) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in reader.sequence(node, "criteria", "criterion ids, like [c1]") or []:
        word = reader.text(item, "a criterion")
        if word is not None and not CRITERION.fullmatch(word):
            reader.note(item, f"criterion “{word[:60]}”", "an id like c1")
        elif word is not None:
            found[word] = None
    return tuple(found)


def _statuses(reader: Reader, node: yaml.Node) -> tuple[int, ...]:
    items = reader.sequence(node, "allow_status", "statuses, like [422]") or []
    numbers = [reader.number(item, "a status", 400, 499, whole=True) for item in items]
    return tuple(sorted({int(n) for n in numbers if n is not None}))


def _steps(reader: Reader, node: yaml.Node | None, what: str) -> list[Step]:
    items = reader.sequence(node, what, "steps")
    if items is None:
        return []
    if not items:
        reader.note(node, f"{what} is empty", "at least one step")
    if len(items) > MAX_STEPS:
        reader.note(items[MAX_STEPS], f"{len(items)} steps", f"at most {MAX_STEPS}")
    before = reader.noted
    steps = [step for item in items[:MAX_STEPS] if (step := _step(reader, item))]
    if steps and reader.noted == before and steps[0].action != "goto":
        reader.note(items[0], f"the first step is {steps[0].action}", "goto: a scenario opens a page first")
    return steps


def _step(reader: Reader, node: yaml.Node) -> Step | None:
    fields = reader.mapping(node, "a step", [*ACTIONS, "timeout"])
    if fields is None:
        return None
    actions = [key for key in fields if key != "timeout"]
    if len(actions) != 1:
        if (
            actions or not isinstance(node, yaml.MappingNode) or len(node.value) == len(fields)
        ):  # else: noted as unknown
            reader.note(node, f"a step with {' and '.join(actions) or 'no action'}", f"one of {', '.join(ACTIONS)}")
        return None
    action = actions[0]
    body = fields[action]
    step = _goto(reader, body) if action == "goto" else _acts(reader, action, body)
    if step is None:
        return None
    target, value, service, expect, inside = step
    beside = (
        reader.number(fields["timeout"], "timeout", 0.1, MAX_TIMEOUT_S, whole=False) if "timeout" in fields else None
    )
    if inside is not None and beside is not None:
        reader.note(fields["timeout"], "timeout stands beside the step and inside it", "one of them")
    return Step(action, target, value, service, expect, inside or beside)


_Parts = tuple[Locator | None, str | None, str | None, Expectation | None, float | None]


def _goto(reader: Reader, node: yaml.Node) -> _Parts | None:
    if isinstance(node, yaml.ScalarNode):
        return None if (place := _place(reader, node, absolute=True)) is None else (None, place, None, None, None)
    fields = reader.mapping(node, "goto", ["service", "path", "timeout"])
    if fields is None:
        return None
    if "service" not in fields:
        return reader.note(node, "goto has no service", "a path like /tickets, a URL, or {service: web, path: /}")
    service = reader.text(fields["service"], "service", most=60)
    place = _place(reader, fields["path"], absolute=False) if "path" in fields else ""
    timeout = _timeout(reader, fields)
    return None if service is None or place is None else (None, place, service, None, timeout)


def _place(reader: Reader, node: yaml.Node, *, absolute: bool) -> str | None:
    """A path, or an http(s) URL where that is allowed."""
    written = reader.text(node, "the place to go to")
    if written is None:
        return None
    if written.startswith("/") and not written.startswith("//"):
        return written
    expected = "a path like /tickets" + (" or a URL that begins with http:// or https://" if absolute else "")
    try:
        parts = urlsplit(written)
        if absolute and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return written
    except ValueError as e:
        return reader.note(node, f"“{written}” is no URL: {e}", expected)
    return reader.note(node, f"the place to go to is “{written}”", expected)


def _acts(reader: Reader, action: str, node: yaml.Node) -> _Parts | None:
    """Everything that has a locator."""
    if action == "expect":
        return _expect(reader, node)
    own = {"fill": "value", "select": "value", "press": "key", "upload": "path"}.get(action)
    fields = reader.mapping(node, action, [*LOCATOR_KEYS, *([own] if own else []), "timeout"])
    if fields is None:
        return None
    before = reader.noted
    value = None
    if own and own not in fields:
        reader.note(node, f"{action} has no {own}", f"a key “{own}”")
    elif own:
        value = _value(reader, action, fields[own])
    bare = action == "press" and not any(key in fields for key in LOCATOR_KEYS)
    target = None if bare else _locator(reader, node, fields, action)
    timeout = _timeout(reader, fields)
    return (target, value, None, None, timeout) if reader.noted == before else None


def _value(reader: Reader, action: str, node: yaml.Node) -> str | None:
    value = reader.text(node, {"press": "key", "upload": "path"}.get(action, "value"), empty=action == "fill")
    if value is None:
        return None
    if action == "press":
        *held, key = value.split("+") if len(value) > 1 else [value]
        for part in [*held, key]:
            if part not in KEYS and len(part) != 1:
                return reader.note(node, f"key is “{value}”", "a key like Enter, a or Control+A", closest(part, KEYS))
    path = PurePosixPath(value)
    if action == "upload" and (path.is_absolute() or ".." in path.parts or "\\" in value):
        return reader.note(node, f"path is “{value}”", "a file of the repo, like fixtures/a.txt")
    return value


def _expect(reader: Reader, node: yaml.Node) -> _Parts | None:
    fields = reader.mapping(node, "expect", [*LOCATOR_KEYS, *SEEN, "url", "title", "timeout"])
    if fields is None:
        return None
    before = reader.noted
    timeout = _timeout(reader, fields)
    page = [key for key in ("url", "title") if key in fields]
    sees = [key for key in SEEN if key in fields]
    if page:
        others = [key for key in fields if key not in (page[0], "exact", "timeout")]
        if others:
            reader.note(fields[others[0]], f"expect has {page[0]} and {others[0]}", "one of them: two expect steps")
        wanted = reader.text(fields[page[0]], page[0])
        exact = _exact(reader, fields)
        made = Expectation(page[0], wanted or "", exact)
        return (None, None, None, made, timeout) if reader.noted == before else None
    if len(sees) > 1:
        reader.note(fields[sees[1]], f"expect has {sees[0]} and {sees[1]}", "one of them: two expect steps")
    target = _locator(reader, node, fields, "expect")
    wanted = _wanted(reader, sees[0], fields[sees[0]]) if sees else True
    if wanted is None or reader.noted != before:
        return None
    return target, None, None, Expectation(sees[0] if sees else "visible", wanted), timeout


def _wanted(reader: Reader, sees: str, node: yaml.Node) -> bool | int | str | None:
    if sees == "visible":
        return reader.flag(node, sees)
    if sees == "count":
        number = reader.number(node, sees, 0, 10_000, whole=True)
        return None if number is None else int(number)
    return reader.text(node, sees, empty=sees == "value")


def _locator(
    reader: Reader, node: yaml.Node, fields: Mapping[str, yaml.Node], what: str, deep: int = 0
) -> Locator | None:
    before = reader.noted
    bases = [key for key in BASES if key in fields]
    if len(bases) != 1:
        said = f"{what} has {' and '.join(bases)}" if bases else f"{what} does not say which element"
        return reader.note(fields[bases[1]] if bases else node, said, f"one of {', '.join(BASES)}")
    by = bases[0]
    value = reader.word(fields[by], by, ROLES) if by == "role" else reader.text(fields[by], by, most=500)
    name = reader.text(fields["name"], "name", most=500) if "name" in fields else None
    if name is not None and by != "role":
        reader.note(fields["name"], f"name goes with role, not with {by}", "role, or no name")
    exact = _exact(reader, fields)
    nth = reader.number(fields["nth"], "nth", -1, 1000, whole=True) if "nth" in fields else None
    within = _within(reader, fields["within"], deep + 1) if "within" in fields else None
    if value is None or reader.noted != before:
        return None
    return Locator(by, value, name, exact, None if nth is None else int(nth), within)


def _within(reader: Reader, node: yaml.Node, deep: int) -> Locator | None:
    if deep > MAX_WITHIN:
        return reader.note(node, f"within is nested more than {MAX_WITHIN} times")
    fields = reader.mapping(node, "within", LOCATOR_KEYS)
    return None if fields is None else _locator(reader, node, fields, "within", deep)


def _exact(reader: Reader, fields: Mapping[str, yaml.Node]) -> bool:
    return bool(reader.flag(fields["exact"], "exact")) if "exact" in fields else False


def _timeout(reader: Reader, fields: Mapping[str, yaml.Node]) -> float | None:
    return reader.number(fields["timeout"], "timeout", 0.1, MAX_TIMEOUT_S, whole=False) if "timeout" in fields else None
