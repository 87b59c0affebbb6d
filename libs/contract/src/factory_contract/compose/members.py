"""Which services of a contract are Compose's, joined with what their Compose files say: names of ports, who needs whom.

A service that a member needs in its Compose file is a member too, named in factory.yaml or not: it is started, watched and
stopped as all others are. A file that is not there is no problem yet: `setup` may make it, `start` looks again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from factory_contract import variables, words
from factory_contract.compose import file
from factory_contract.compose.file import ComposeFile, Declared
from factory_contract.environment import port_name, variable
from factory_contract.errors import Problem
from factory_contract.model import Contract, Service

PORT_NAME = re.compile(r"[A-Z][A-Z0-9_]*_PORT")


class Port(NamedTuple):
    """A port that is leased for a member. `target` is the container's, as the file writes it; empty where it is not seen."""

    name: str
    target: str


class Member(NamedTuple):
    """A service of a Compose file. `once`: others wait until it has run to its end. `shut`: `ports: []`, it publishes none."""

    file: str
    ports: list[Port]
    once: bool
    shut: bool


@dataclass
class Joined:
    """A contract with its members' ports and needs filled in. `files`: path in the repo → what it says."""

    contract: Contract
    members: dict[str, Member] = field(default_factory=dict)
    files: dict[str, ComposeFile] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def of(self, path: str) -> list[str]:
        """The members of a file."""
        return [name for name, member in self.members.items() if member.file == path]

    def declared(self, name: str, path: str) -> Declared:
        """What the file says of a service; of one that is not seen in it, that there may be more to it."""
        known = self.files.get(path)
        return (known.services.get(name) if known else None) or Declared(whole=False)


def join(contract: Contract, root: Path) -> Joined:
    """Reads the Compose files of the contract; what is wrong with them is in `problems`."""
    found = Joined(contract)
    own = {name: service for name, service in contract.services.items() if service.type == "docker-compose"}
    given = {s.compose_file for s in own.values() if s.compose_file}
    if not own:
        return found
    usual = given.pop() if len(given) == 1 else file.default(root) or file.NAMES[0]
    paths = {name: service.compose_file or usual for name, service in own.items()}
    for name, path in paths.items():
        _read(found, root, name, path)
    services: dict[str, Service] = dict(contract.services)
    for name, path in _with_needs(found, paths).items():
        declared = found.declared(name, path)
        service = services.get(name) or Service(type="docker-compose", ports=None, compose_file=path)
        ports = _ports(name, service, declared)
        found.problems += _problems(found, name, path, ports)
        found.members[name] = Member(path, ports, _runs_once(found, name, path), service.ports == {})
        services[name] = service.model_copy(
            update={
                "compose_file": path,
                "ports": {port.name: (service.ports or {}).get(port.name) for port in ports},
                "depends_on": list(dict.fromkeys([*service.depends_on, *_needs(found, name, path)])),
            }
        )
    found.contract = contract.model_copy(update={"services": services})
    return found


def _read(found: Joined, root: Path, name: str, path: str) -> None:
    if path in found.files or path in found.missing or not (root / path).resolve().is_relative_to(root.resolve()):
        return
    try:
        found.files[path] = file.read(root / path)
    except OSError:
        found.missing.append(path)
    except file.Unreadable as e:
        found.problems.append(Problem("compose_file", str(e), path=("services", name, "compose_file")))


def _with_needs(found: Joined, paths: Mapping[str, str]) -> dict[str, str]:
    """Every member and the file that it is of, those that are only needed by others after those of factory.yaml."""
    members, ahead = dict(paths), list(paths)
    while ahead:
        name = ahead.pop(0)
        for need in _needs(found, name, members[name]):
            if need in found.contract.services and need not in paths:
                continue  # a process of that name takes its place
            if need not in members:
                members[need] = members[name]
                ahead.append(need)
            elif members[need] != members[name]:
                what = f"`{need}` of {members[need]} is not the `{need}` that `{name}` needs in {members[name]}"
                hint = "Services of one name cannot be of two Compose files here: give one of them another name."
                found.problems.append(Problem("two_files", what, path=("services", name), hint=hint))
    return members


def _needs(found: Joined, name: str, path: str) -> list[str]:
    """What the service needs by its Compose file. A name that is not seen there may stand in a file that it includes."""
    known = found.files.get(path)
    if known is None:
        return []
    return [need for need in found.declared(name, path).needs if need in known.services or not known.whole]


def _runs_once(found: Joined, name: str, path: str) -> bool:
    known = found.files.get(path)
    return known is not None and any(declared.needs.get(name) for declared in known.services.values())


def _ports(name: str, service: Service, declared: Declared) -> list[Port]:
    """By the names of factory.yaml in their order, else by what is written: `${X_PORT}`, the first port, the others."""
    seen = [group[0] for group in file.together(declared.ports)]
    if service.ports is not None:
        targets = [port.target for port in seen[: len(service.ports)]]
        targets += [""] * (len(service.ports) - len(targets))
        return [Port(*pair) for pair in zip(service.ports, targets, strict=True)]
    return [Port(_port_name(name, n, port), port.target) for n, port in enumerate(seen)]


def _port_name(service: str, n: int, port: file.Published) -> str:
    for name in variables.ports_in([port.host]):
        return name
    if n == 0:
        return port_name(service)
    return f"{variable(service)}_{port.target if port.target.isdecimal() else n + 1}_PORT"


def _problems(found: Joined, name: str, path: str, ports: list[Port]) -> Iterator[Problem]:
    known, service = found.files.get(path), found.contract.services.get(name)
    place = ("services", name)
    if known is None:
        return
    if known.whole and name not in known.services:
        hint = words.suggestion(name, known.services)
        yield Problem("unknown_service", f"{path} has no service `{name}`", path=place, hint=hint)
        return
    declared = found.declared(name, path)
    seen = len(file.together(declared.ports))
    names = [port.name for port in ports]
    if service is not None and service.ports and declared.whole and len(service.ports) != seen:
        what = f"{name}: {path} publishes {words.counted(seen, 'port')}, {len(service.ports)} named here"
        hint = "Name them all, in their order there; `ports: []` publishes none."
        yield Problem("compose_ports", what, path=(*place, "ports"), hint=hint)
    elif len(set(names)) < len(names) or not all(PORT_NAME.fullmatch(port) for port in names):
        what = f"{name}: no names for its ports in {path} can be made that differ and end in _PORT"
        yield Problem(
            "compose_ports", what, path=place, hint="Name them in their order there: `ports: [A_PORT, B_PORT]`."
        )
    elif len(names) > (most := found.contract.isolation.port_range_size):
        what = f"{name}: {path} publishes {len(names)} ports, isolation.port_range_size is {most}"
        yield Problem("compose_ports", what, path=place)
    if declared.host_network:
        what = f"{name} has `network_mode: host` in {path}: two checkouts would collide on its ports"
        hint = "Let it publish `ports`, or run it by a `command`."
        yield Problem("host_network", what, path=place, hint=hint)
