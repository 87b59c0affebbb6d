"""A Compose file as Compose itself has read it (`config`), rewritten for one checkout: what two checkouts would share goes. Pure.

A second file beside the repo's could only add ports, so the whole is written anew. Both of v2's and v1's renderings are read.
"""

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from factory_contract.compose.file import Published, published
from factory_contract.errors import ComposeHostNetwork, ComposePorts, NeededUnseen, NoComposeService

LOOPBACK = "127.0.0.1"
PROJECT_LABEL = "com.docker.compose.project"
USER_LABEL = "software-factory.uid"  # whose containers they are, when their checkout cannot tell any more

Config = dict[str, Any]


class Binding(NamedTuple):
    """A port of the host that stands for one of a container. `target` is empty where the file's own is not known."""

    number: int
    target: str


class Wanted(NamedTuple):
    """What is wanted of a member: its ports on this machine, in their order, and variables for its container."""

    bindings: list[Binding]
    env: Mapping[str, str]
    shut: bool = False


def rewrite(
    config: Config, *, project: str, file: str, members: Mapping[str, Wanted], known: Container[str]
) -> tuple[Config, list[str]]:
    """`config` for this checkout, and what people should know of it. Changes `config`.

    file: its name, for messages. known: every service of the contract.
    Raises NoComposeService, NeededUnseen, ComposeHostNetwork, ComposePorts.
    """
    services: dict[str, Config] = config.get("services") or {}
    for name in members:
        if name not in services:
            raise NoComposeService(service=name, file=file)
    for name, service in services.items():
        _unshare(service)
        if name in members:
            _member(name, service, members[name], file)
            # the supervisor waits for them; v1 would do so even while it only makes containers, for ever
            for need in service.pop("depends_on", None) or ():
                if need not in known:
                    raise NeededUnseen(service=name, need=need, file=file)
        else:
            service.pop("ports", None)
    _own_images(project, services)
    return config, [*_own_names(config), *_own_addresses(config, services)]


def _unshare(service: Config) -> None:
    """No name that the whole engine shares, one container, and nobody but the supervisor to start it again."""
    alias: str | None = service.pop("container_name", None)
    if alias and not service.get("network_mode"):  # others may reach it by that name
        networks: Any = service.get("networks") or ["default"]
        joined: Config = dict.fromkeys(networks) if isinstance(networks, list) else networks
        service["networks"] = {name: _also_known_as(alias, how or {}) for name, how in joined.items()}
    service["restart"] = "no"
    service.pop("scale", None)
    for key in ("replicas", "restart_policy"):
        (service.get("deploy") or {}).pop(key, None)


def _also_known_as(alias: str, network: Config) -> Config:
    return {**network, "aliases": [*(network.get("aliases") or []), alias]}


def _member(name: str, service: Config, wanted: Wanted, file: str) -> None:
    if service.get("network_mode") == "host":
        raise ComposeHostNetwork(service=name, file=file)
    service.pop("profiles", None)
    entries = [port for entry in service.pop("ports", None) or () for port in published(entry)]
    if entries and not wanted.shut:
        service["ports"] = _bound(name, entries, wanted.bindings, file)
    if wanted.env:
        own = {key: value.replace("$", "$$") for key, value in wanted.env.items()}
        service["environment"] = {**(service.get("environment") or {}), **own}


def _bound(name: str, entries: list[Published], bindings: list[Binding], file: str) -> list[str]:
    """`127.0.0.1:LEASED:TARGET/PROTOCOL` for each entry: by the number that it names already, else by the container's port."""
    left, known, made = list(bindings), dict[str, int](), list[str]()
    for n, entry in enumerate(entries):
        key = entry.host or f"#{n}"
        if key not in known:
            found = next((b for b in left if str(b.number) == entry.host), None)
            found = found or next((b for b in left if b.target in ("", entry.target)), None)
            # `${PORT}:${PORT}`: its target is known only now
            found = found or next((b for b in left if not b.target.isdecimal()), None)
            if found is None:
                raise ComposePorts(service=name, target=entry.target, file=file)
            left.remove(found)
            known[key] = found.number
        made.append(f"{LOOPBACK}:{known[key]}:{entry.target}/{entry.protocol}")
    return made


def _own_images(project: str, services: Mapping[str, Config]) -> None:
    """What is built here gets a name of its own: one `image:` for all checkouts would be whichever was built last."""
    own: dict[str, str] = {}
    for name, service in services.items():
        if service.get("build") is None:
            continue
        service["build"] = _labelled(service["build"], project)
        image = f"{project}-{name}"
        own.setdefault(service.get("image") or image, image)
        service["image"] = image
    for service in services.values():
        if service.get("build") is None and service.get("image") in own:
            service["image"] = own[service["image"]]


def _labelled(build: Any, project: str) -> Config:
    """So that `clean` finds the image; without further names, which other checkouts would take over."""
    made: Config = {"context": build} if isinstance(build, str) else {k: v for k, v in build.items() if k != "tags"}
    return {**made, "labels": {**_labels(made), PROJECT_LABEL: project}}


def _labels(of: Config) -> Config:
    labels: Any = of.get("labels") or {}
    return dict(label.partition("=")[::2] for label in labels) if isinstance(labels, list) else labels


def owned(config: Config, uid: int) -> Config:
    """`config` with the label of its user on every container. Changes `config`."""
    for service in config["services"].values():
        service["labels"] = {**_labels(service), USER_LABEL: str(uid)}
    return config


def _own_names(config: Config) -> list[str]:
    """Volumes and networks get names with the project's; what is external is shared on purpose, and said."""
    notes = []
    for kind in ("volumes", "networks"):
        for name, how in (config.get(kind) or {}).items():
            if not how:
                continue
            if how.get("external"):
                notes.append(f"the {kind.removesuffix('s')} {name} is external: every checkout shares it")
            else:
                how.pop("name", None)
    return notes


def _own_addresses(config: Config, services: Mapping[str, Config]) -> list[str]:
    """A subnet can be one checkout's only. It goes where nobody has a fixed address in it."""
    notes = []
    for name, how in (config.get("networks") or {}).items():
        if not how or how.get("external") or not (how.get("ipam") or {}).get("config"):
            continue
        joined = [(s.get("networks") or {}).get(name) for s in services.values() if isinstance(s.get("networks"), dict)]
        if any(key in (own or {}) for own in joined for key in ("ipv4_address", "ipv6_address")):
            notes.append(f"the network {name} has fixed addresses: one checkout can run at a time")
        else:
            del how["ipam"]
    return notes
