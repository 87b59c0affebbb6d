"""What a Compose file says, read without Docker: its services, the ports that they publish, which of them need which.

`check`, `status`, `urls` and `test` know the ports by name where no engine answers. What comes from another file (`include`,
`extends`) is not followed: Compose itself renders the file at the start, and factory.yaml can say what is not seen here.
https://docs.docker.com/reference/compose-file/services/
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")  # the first wins, as for Compose
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
MAX_BYTES = 1024 * 1024
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE = "tag:yaml.org,2002:merge"
INSTEAD = ("!override", "!reset")  # tags of an override file that put a value in the place of the one below


class Unreadable(Exception):
    """A Compose file that is no YAML mapping; its text says where and why."""


class Published(NamedTuple):
    """A port that a service publishes. `host` and `target` are as written: numbers, `${NAME:-default}`; `host` may be empty."""

    host: str
    target: str
    protocol: str


@dataclass
class Declared:
    """One service of a Compose file. `whole` is False where a part of it stands in another file."""

    ports: list[Published] = field(default_factory=list)
    needs: dict[str, bool] = field(default_factory=dict)  # the other service → whether it has to have run to its end
    host_network: bool = False
    whole: bool = True


@dataclass
class ComposeFile:
    """A Compose file with the override beside it. `whole` is False where it includes others."""

    paths: list[Path]
    services: dict[str, Declared] = field(default_factory=dict)
    profiles: list[str] = field(default_factory=list)
    whole: bool = True


def default(directory: Path) -> str | None:
    """The name of the file that `docker compose` takes in `directory`."""
    return next((name for name in NAMES if (directory / name).is_file()), None)


def paths(path: Path) -> list[Path]:
    """The file, and the override beside it where Compose would take that by itself."""
    beside = (path.with_name(name) for name in OVERRIDES) if path.name in NAMES else ()
    return [path, *[override for override in beside if override.is_file()][:1]]


def read(path: Path) -> ComposeFile:
    """What the file says, and its override. Raises OSError, Unreadable."""
    found = ComposeFile(paths(path))
    for one in found.paths:
        _add(found, _Tree(), _compose(one))
    return found


def _compose(path: Path) -> yaml.Node:
    with path.open("rb") as f:
        data = f.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable(f"{path.name} has more than {MAX_BYTES} bytes")
    try:
        node = yaml.compose(data, Loader=LOADER)
    except yaml.MarkedYAMLError as e:
        place = f":{e.problem_mark.line + 1}:{e.problem_mark.column + 1}" if e.problem_mark else ""
        raise Unreadable(f"{path.name}{place} is no YAML: {e.problem}") from e
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as e:
        raise Unreadable(f"{path.name} is no YAML: {str(e).splitlines()[0]}") from e
    if not isinstance(node, yaml.MappingNode):
        raise Unreadable(f"{path.name} is no Compose file: expected a mapping with `services`")
    return node


class _Tree:
    """Looks into YAML nodes without constructing them: tags are left alone, and what aliases repeat is never expanded."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, yaml.Node]] = {}

    def keys(self, node: yaml.Node | None) -> dict[str, yaml.Node]:
        """The entries of a mapping with those that it merges (`<<`); nothing of what is no mapping."""
        if not isinstance(node, yaml.MappingNode):
            return {}
        if id(node) not in self._known:
            self._known[id(node)] = {}  # one that merges itself finds nothing
            merged: dict[str, yaml.Node] = {}
            own: dict[str, yaml.Node] = {}
            for key, value in node.value:
                if key.tag == MERGE:
                    for one in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                        merged = {**self.keys(one), **merged}
                else:
                    own[str(key.value)] = value
            self._known[id(node)] = {**merged, **own}
        return self._known[id(node)]

    def entry(self, node: yaml.Node) -> str | dict[str, str]:
        """An item of a list: text, or a mapping of texts."""
        if isinstance(node, yaml.ScalarNode):
            return node.value
        return {key: _text(value) for key, value in self.keys(node).items()}


def _text(node: yaml.Node | None) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _add(found: ComposeFile, tree: _Tree, top: yaml.Node) -> None:
    keys = tree.keys(top)
    found.whole = found.whole and "include" not in keys
    services = tree.keys(keys.get("services"))
    for name, node in services.items():
        _add_service(found.services.setdefault(name, Declared()), tree, node, services, {name})
        wanted = [_text(profile) for profile in _items(tree.keys(node).get("profiles"))]
        found.profiles += [profile for profile in wanted if profile not in found.profiles]


def _add_service(
    made: Declared, tree: _Tree, node: yaml.Node, services: Mapping[str, yaml.Node], above: set[str]
) -> None:
    keys = tree.keys(node)
    base, file = _extends(tree, keys.get("extends"))
    made.whole = made.whole and not file
    if base in services and not file and base not in above:
        _add_service(made, tree, services[base], services, above | {base})
    ports = keys.get("ports")
    if ports is not None and ports.tag in INSTEAD:
        made.ports = []
    made.ports += [p for item in _items(ports) for p in published(tree.entry(item))]
    mode = _text(keys.get("network_mode"))
    made.host_network = mode == "host" if mode else made.host_network
    made.needs |= _needs(tree, keys)


def _extends(tree: _Tree, node: yaml.Node | None) -> tuple[str, str]:
    """The service that is extended, and the other file that it stands in."""
    keys = tree.keys(node)
    return (_text(keys.get("service")), _text(keys.get("file"))) if keys else (_text(node), "")


def _needs(tree: _Tree, keys: Mapping[str, yaml.Node]) -> dict[str, bool]:
    on = keys.get("depends_on")
    found = {_text(item): False for item in _items(on)}
    for name, how in tree.keys(on).items():
        found[name] = _text(tree.keys(how).get("condition")) == "service_completed_successfully"
    linked = [_text(item).partition(":")[0] for key in ("links", "volumes_from") for item in _items(keys.get(key))]
    shared = [_text(keys.get(key)).partition("service:")[2] for key in ("network_mode", "ipc", "pid")]
    return {**dict.fromkeys((name for name in (*linked, *shared) if name and name != "container"), False), **found}


# --- ports ------------------------------------------------------------------------------------------------------------


def published(entry: str | Mapping[str, Any]) -> list[Published]:
    """The ports of one item of `ports`, in the short or the long syntax; a range of them is so many ports."""
    if not isinstance(entry, str):
        text = {key: str(value) for key, value in entry.items() if value is not None}
        host, target, protocol = text.get("published", ""), text.get("target", ""), text.get("protocol") or "tcp"
    else:
        *before, last = _split(entry)
        target, _, protocol = last.partition("/")
        host, protocol = before[-1] if before else "", protocol or "tcp"
    targets, hosts = _range(target), _range(host)
    if not host:
        return [Published("", one, protocol) for one in targets]
    if len(targets) == len(hosts):
        return [Published(*pair, protocol) for pair in zip(hosts, targets, strict=True)]
    return [Published(host, target, protocol)]  # any one of a range


def _split(text: str) -> list[str]:
    """At the colons that stand outside of `${…}` and of `[…]`."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "{[") - (sign in "}]")
        if sign == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _range(text: str) -> list[str]:
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    return [str(n) for n in range(int(found[1]), int(found[2]) + 1)] if found else [text]


def together(ports: Iterable[Published]) -> list[list[Published]]:
    """Those that share a number of the host, as tcp and udp of one server do, in one list: they get one port here, too."""
    groups: dict[str, list[Published]] = {}
    for n, port in enumerate(ports):
        groups.setdefault(port.host or f"#{n}", []).append(port)
    return list(groups.values())
