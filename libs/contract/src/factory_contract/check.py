"""From the bytes of factory.yaml to a Contract, or to everything that is wrong with it, each with its place."""

import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from factory_contract import document, graph, variables, words
from factory_contract.checkout import Checkout
from factory_contract.compose import members
from factory_contract.compose.members import Joined
from factory_contract.document import Node
from factory_contract.errors import ForeignContract, InvalidContract, NoContract, Problem
from factory_contract.model import PORT_NAME, SERVICE_NAME, SUITE_NAME, VARIABLE_NAME, Contract, Service

# The root file of Warp Factories has the same name (docs.warp.dev/factories/factory-as-code); these keys are theirs alone.
WARP_KEYS = {
    *("schemaVersion", "repositories", "agentDefaults", "credentialStrategy"),
    *("alias", "integrations", "mcpServers", "cloudProviders"),
}
ONCE = ("setup", "env_file", "implementation")  # under `runtime` or at the top

WORDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}
EXPECTED = {
    "string_type": "text",
    "list_type": "text or a list",  # but for `login`, one stands for a list of one everywhere
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
}
NAMES = {
    SERVICE_NAME: "at most 40 of a-z, 0-9, - and _",
    SUITE_NAME: "at most 40 of letters, digits, `.`, `-` and `_`",
    VARIABLE_NAME: "letters, digits and _",
    PORT_NAME: "capital letters, digits and _ that end in _PORT",
}


class Loaded(NamedTuple):
    """A valid contract, with the services of its Compose files; and the tree that it was read from."""

    contract: Contract
    tree: Node
    ports: list[str]  # every X_PORT that is named anywhere, fixed ones too
    compose: Joined


def load(checkout: Checkout) -> Loaded:
    """Reads the checkout's contract. Raises NoContract, ForeignContract, InvalidContract."""
    path = checkout.contract
    if path is None:
        raise NoContract(directory=str(checkout.root))
    if not path.resolve().is_relative_to(checkout.root.resolve()):
        raise InvalidContract(path.name, [Problem("outside", "it is a link that leads out of the repo")])
    with path.open("rb") as f:
        return parse(f.read(document.MAX_BYTES + 1), path.name, checkout.root)


def parse(data: bytes, file: str, root: Path) -> Loaded:
    """The contract in `data`; `root` is where its paths start. Raises ForeignContract, InvalidContract."""
    tree, problems = document.parse(data)
    if tree is None:
        raise InvalidContract(file, problems)
    if _is_warps(tree):
        raise ForeignContract(file=file, product="Warp Factories")
    typed, found = _typed(tree)
    problems += found
    if typed is None:
        raise InvalidContract(file, problems)
    joined = members.join(typed, root)
    problems += [p for p in _meaning(joined, tree, root) if not _follows(p, found)]
    if problems:
        raise InvalidContract(file, problems)
    contract = joined.contract
    declared = [name for service in contract.services.values() for name in service.ports or ()]
    names = list(dict.fromkeys([*declared, *variables.ports_in(tree.scalars())]))
    return Loaded(contract, tree, names, joined)


def _is_warps(tree: Node) -> bool:
    if not isinstance(tree.value, dict):
        return False
    ours = {_name(name, f) for name, f in Contract.model_fields.items()} - {"name"}
    return bool(WARP_KEYS & tree.value.keys()) and not ours & tree.value.keys()


# --- shape ------------------------------------------------------------------------------------------------------------


def _typed(tree: Node) -> tuple[Contract | None, list[Problem]]:
    """The contract, without what has no valid shape, so that all the rest can be judged in the same go."""
    data, problems = tree.plain(), list[Problem]()
    while True:
        try:
            return Contract.model_validate(data), problems
        except ValidationError as e:
            details = e.errors(include_url=False)
        told = [problem.path for problem in problems]  # what was taken out for it is missing only now
        problems += [
            p for p in (_translated(d, tree) for d in details) if p.kind != "missing_key" or p.path not in told
        ]
        taken_out = [_without(data, detail["loc"]) for detail in reversed(details)]
        if not all(taken_out):
            return None, problems


def _without(data: Any, path: tuple[str | int, ...]) -> bool:
    """Takes out what `path` leads to, or the nearest thing above it; says whether something was taken out."""
    path = tuple(step for step in path if step != "[key]")
    if path == ("name",):  # the one key that has to be there
        had = data.get("name") != "x"
        data["name"] = "x"
        return had
    for i, step in enumerate(path):
        if not _has(data, step):
            return False
        if i == len(path) - 1 or not _has(data[step], path[i + 1]):
            del data[step]
            return True
        data = data[step]
    return False


def _has(data: Any, step: str | int) -> bool:
    if isinstance(data, dict):
        return step in data
    return isinstance(data, list) and isinstance(step, int) and step < len(data)


def _follows(problem: Problem, found: list[Problem]) -> bool:
    """Whether the problem only comes of what was taken out for another one."""
    return any(other.path[: len(problem.path)] == problem.path for other in found)


def _translated(detail: ErrorDetails, tree: Node) -> Problem:
    """pydantic's finding in a person's words, with its place in the file."""
    path = tuple(step for step in detail["loc"] if step != "[key]")
    line, column = tree.at(path)
    kind, name, given = detail["type"], str(path[-1]) if path else "the file", detail.get("input")
    about = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        hint = _belongs_to(name, path) or words.suggestion(name, _keys_at(path[:-1]))
        return Problem("unknown_key", f"`{name}` is no key here", path=path, line=line, column=column, hint=hint)
    if kind == "missing":
        return Problem("missing_key", f"`{name}` is missing", path=path, line=line, column=column)
    if kind in EXPECTED:
        expected = "a list" if path == ("login",) else EXPECTED[kind]
        what = f"`{_dotted(path)}`: expected {expected}, got {_got(given)}"
        hint = "Quote it." if kind == "string_type" and not isinstance(given, dict | list | None) else ""
        return Problem("wrong_type", what, path=path, line=line, column=column, hint=hint)
    if detail["loc"] and detail["loc"][-1] == "[key]":
        what = f"`{name}` is no valid name here: expected {NAMES.get(str(about.get('pattern')), 'another')}"
        return Problem("wrong_name", what, path=path, line=line, column=column)
    if kind == "literal_error":
        known = re.findall(r"'([^']+)'", str(about.get("expected")))
        what = f"`{_dotted(path)}`: expected one of {', '.join(known)}, got {_got(given)}"
        return Problem(
            "wrong_value", what, path=path, line=line, column=column, hint=words.suggestion(str(given), known)
        )
    return Problem("wrong_value", f"`{_dotted(path)}`: {detail['msg']}", path=path, line=line, column=column)


def _dotted(path: document.Path) -> str:
    return ".".join(str(step) for step in path) or "the file"


def _got(value: Any) -> str:
    name = WORDS.get(type(value), type(value).__name__)
    return name if isinstance(value, dict | list | None) else f"{name} ({words.short(value)})"


def _keys_at(path: document.Path) -> list[str]:
    """The keys that the model knows at `path`."""
    here: Any = Contract
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {_name(name, f): f.annotation for name, f in here.model_fields.items()}
            here = _bare(fields.get(str(step)))
        elif get_origin(here) is dict:
            here = _bare(get_args(here)[1])
    if isinstance(here, type) and issubclass(here, BaseModel):
        return [_name(name, f) for name, f in here.model_fields.items()]
    return []


def _belongs_to(name: str, path: document.Path) -> str:
    """A hint for a key that is known, but elsewhere: lost indentation is the commonest mistake in YAML."""
    homes = ("", "runtime", "isolation", "validation", "validation.browser", "artifacts", "services.x")
    found = [home for home in homes if name in _keys_at(tuple(home.split(".")) if home else ())]
    here = ".".join(map(str, path[:-1]))
    if len(found) != 1 or found[0] == here:
        return ""
    return f"It belongs under `{found[0].replace('.x', '.<name>')}`." if found[0] else "It belongs at the top."


def _bare(annotation: Any) -> Any:
    """An annotation out of its Annotated and Optional."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(a for a in get_args(annotation) if a is not type(None)))
    return annotation


def _name(name: str, field: Any) -> str:
    return field.alias or name


# --- meaning ----------------------------------------------------------------------------------------------------------


def _meaning(joined: Joined, tree: Node, root: Path) -> list[Problem]:
    """What the types cannot say."""
    contract = joined.contract
    found = [
        *_said_twice(tree),
        *_services(joined, tree),
        *joined.problems,
        *_fixed_ports(contract),
        *_paths(contract, root),
        *_env(contract),
    ]
    for problem in found:
        problem.line, problem.column = tree.at(problem.path)
        problem.data.update(line=problem.line, column=problem.column)
    return found


def _said_twice(tree: Node) -> Iterator[Problem]:
    runtime = tree.value.get("runtime")
    below = runtime.value if runtime is not None and isinstance(runtime.value, dict) else {}
    for key in ONCE:
        if key in tree.value and key in below:
            yield Problem("said_twice", f"`{key}` is at the top and under `runtime`: keep one", path=("runtime", key))


def _services(joined: Joined, tree: Node) -> Iterator[Problem]:
    contract = joined.contract
    names = contract.services.keys() | (tree.value["services"].value.keys() if contract.services else set[str]())
    for name, service in contract.services.items():
        path = ("services", name)
        yield from _one_service(service, path)
        for i, dependency in enumerate(service.depends_on):
            if dependency not in names:
                hint = f"Add `{dependency}: {{type: docker-compose}}`."
                if not any(dependency in known.services for known in joined.files.values()):
                    hint = words.suggestion(dependency, names - {name})
                yield Problem(
                    "unknown_service", f"there is no service `{dependency}`", path=(*path, "depends_on", i), hint=hint
                )
    needs = {n: [d for d in s.depends_on if d in contract.services] for n, s in contract.services.items()}
    if circle := graph.cycle(needs):
        what = f"these wait for each other: {' → '.join(circle)}"
        yield Problem("cycle", what, path=("services", circle[0], "depends_on"))


def _one_service(service: Service, path: document.Path) -> Iterator[Problem]:
    name = path[-1]
    if service.type == "docker-compose":
        if service.command:
            yield Problem("wrong_value", f"{name}: a docker-compose service has no command", path=(*path, "command"))
        if "signal" in service.stop.model_fields_set:
            what = f"{name}: a docker-compose service ends by `stop_signal` of its Compose file"
            yield Problem("wrong_value", what, path=(*path, "stop", "signal"))
    else:
        if not service.command:
            yield Problem("missing_key", f"{name}: `command` is missing", path=path)
        if service.compose_file:
            what = f"{name}: `compose_file` is for `type: docker-compose`"
            yield Problem("wrong_value", what, path=(*path, "compose_file"))
    if service.also and service.url is None:
        yield Problem("wrong_value", f"{name}: `also` adds to a `url`, and there is none", path=(*path, "also"))
    if service.type == "task" and service.healthcheck:
        what = f"{name}: a task is done when it ends, it has no healthcheck"
        yield Problem("wrong_value", what, path=(*path, "healthcheck"))
    check = service.healthcheck
    if check is not None:
        given = [k for k in ("http", "tcp", "command", "log") if getattr(check, k) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            what = f"{name}: a healthcheck has one of http, tcp, command, log; here: {said}"
            yield Problem("wrong_value", what, path=(*path, "healthcheck"))


def _fixed_ports(contract: Contract) -> Iterator[Problem]:
    numbers: dict[int, str] = {}
    owners: dict[str, str] = {}
    for service_name, service in contract.services.items():
        for name, number in (service.ports or {}).items():
            path = ("services", service_name, "ports", name)
            if name in owners:
                yield Problem("port_twice", f"{name} belongs to {owners[name]} already", path=path)
            elif number is not None and number in numbers:
                yield Problem("port_twice", f"port {number} is fixed for {numbers[number]} already", path=path)
            owners.setdefault(name, service_name)
            if number is not None:
                numbers.setdefault(number, name)


def _paths(contract: Contract, root: Path) -> Iterator[Problem]:
    """A link in the repo may lead out of it although its name does not."""
    runtime = contract.runtime
    named: list[tuple[document.Path, str | None]] = [
        *((("env_file", i), f.path) for i, f in enumerate(contract.env_file or [])),
        *((("runtime", "env_file", i), f.path) for i, f in enumerate(runtime.env_file or [])),
        (("implementation",), contract.implementation),
        (("runtime", "implementation"), runtime.implementation),
        (("validation", "scenarios"), contract.validation.scenarios),
        *((("copy", i), p) for i, p in enumerate(contract.copy_)),
    ]
    for name, service in contract.services.items():
        named += [(("services", name, "cwd"), service.cwd), (("services", name, "compose_file"), service.compose_file)]
    top = root.resolve()
    for path, value in named:
        if value is None:
            continue
        if not (top / value).resolve().is_relative_to(top):
            yield Problem("outside", f"`{value}` leads out of the repo", path=path)
        elif path[-1] == "cwd" and value != "." and not os.path.isdir(top / value):  # noqa: PTH112 - it takes any name, Path.is_dir does not
            yield Problem("no_directory", f"`{value}` is no directory of this repo", path=path)


def _env(contract: Contract) -> Iterator[Problem]:
    places: list[tuple[document.Path, dict[str, str]]] = [(("env",), contract.env)]
    places += [(("services", n, "env"), s.env) for n, s in contract.services.items()]
    for path, env in places:
        for name, value in env.items():
            if name.startswith("FACTORY_"):
                yield Problem(
                    "reserved", f"{name}: names that begin with FACTORY_ are the factory's", path=(*path, name)
                )
            elif name.endswith("_PORT") and value.isdecimal():
                hint = f"Leave it out: `${{{name}}}` is leased. If it has to be {value}: `ports: {{{name}: {value}}}`."
                what = f"{name}: two checkouts would collide on a port that is set here"
                yield Problem("port_in_env", what, path=(*path, name), hint=hint)
