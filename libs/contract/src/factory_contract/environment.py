"""What children are told: the environment of each service and command, the URLs, whose port is whose. Pure but for env files.

From weak to strong: addresses of services without a `url`, the shell's environment, env files, addresses of services with
one, `env` of the contract, `env` of the service, leased ports and the factory's own names. `FACTORY_*` of the shell never passes.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from factory_contract import checkout, dotenv, variables
from factory_contract.errors import ContractError, UndefinedVariable

if TYPE_CHECKING:  # a contract that is remembered needs no pydantic
    from factory_contract.model import Contract, Service

PASSED = ("FACTORY_INSIDE", "FACTORY_CHROMIUM")  # besides what `_names` makes, and FACTORY_JUNIT


class Url(NamedTuple):
    """One address of the app. `internal_url` is for programs on this machine that cannot resolve *.localhost.

    also: where people find it by other names of this machine; nothing opens them by itself.
    """

    service: str
    url: str
    internal_url: str
    port: int | None
    primary: bool
    also: list[str]


class Environment:
    """One contract on one set of ports. `shell` is the environment that the command itself was called with."""

    def __init__(
        self, contract: "Contract", root: Path, worktree: str, ports: Mapping[str, int], shell: Mapping[str, str]
    ) -> None:
        self.contract, self.root, self.worktree, self.ports = contract, root, worktree, dict(ports)
        self._shell = {k: v for k, v in shell.items() if not k.startswith("FACTORY_") or k in PASSED}
        self._own = {name: str(port) for name, port in ports.items()}
        self.owners = owners(contract, ports)
        self._files: dict[str, str] = {}
        for file in contract.env_files:
            if file.required or (root / file.path).exists():
                known = {**self._shell, **self._files, **self._own}
                self._files |= dotenv.read(root / file.path, file.path, known)

    def of(self, service: str | None = None, **more: str) -> dict[str, str]:
        """The environment of a service, or of a command of the repo (setup, tests, seed). Raises UndefinedVariable."""
        firm, loose = self._addresses()
        env = {**loose, **self._shell, **self._files, **firm}
        own = {**self._own, **self._names(service), **more}
        own |= self._compose(service)
        layers = [("env", self.contract.env)]
        if service is not None:
            layers.append((f"services.{service}.env", self.contract.services[service].env))
        for where, layer in layers:
            for name, value in layer.items():
                env[name] = self._fill(f"{where}.{name}", value, {**env, **own})
        return {**env, **own}

    def _names(self, service: str | None) -> dict[str, str]:
        return {
            "FACTORY_ROOT": str(self.root),
            "FACTORY_WORKTREE": self.worktree,
            "FACTORY_HOST": self.host(service),
        }

    def fill(self, where: str, text: str, service: str | None = None) -> str:
        """`text` with its variables. `where` is its key, for the message. Raises UndefinedVariable."""
        return self._fill(where, text, self.of(service))

    def host(self, service: str | None) -> str:
        """The host name of a service, which a browser resolves to this machine (RFC 6761, section 6.3)."""
        return f"{checkout.slug(service)}.{self.worktree}.localhost" if service else f"{self.worktree}.localhost"

    def compose_project(self, file: str) -> str:
        """The Compose project of one Compose file of the contract, its own in every checkout."""
        prefix = self.contract.isolation.docker_project_prefix or checkout.slug(self.contract.name)
        name = f"{prefix}-{self.worktree}"
        return name if len(self._compose_files()) == 1 else f"{name}-{checkout.slug(file, 60)}"

    def _compose_files(self) -> list[str]:
        services = self.contract.services.values()
        return list(dict.fromkeys(s.compose_file for s in services if s.compose_file))

    def _compose(self, service: str | None) -> dict[str, str]:
        """So that `docker compose` in a command means this checkout's: a service's own file, else the only one that there is."""
        files = self._compose_files()
        file = self.contract.services[service].compose_file if service else None
        if file is None and len(files) != 1:
            return {}
        file = file or files[0]
        from factory_contract.compose.file import paths as compose_paths

        project = self.compose_project(file)
        made = checkout.compose_file(self.root, project)
        # before the first start there is only the repo's
        run = [made] if made.exists() else compose_paths(self.root / file)
        return {"COMPOSE_PROJECT_NAME": project, "COMPOSE_FILE": os.pathsep.join(map(str, run))}

    def ports_of(self, service: str) -> dict[str, int]:
        """The leased ports that are the service's own, the one that it is reached on first."""
        return {name: port for name, port in self.ports.items() if self.owners.get(name) == service}

    def main_port(self, service: str) -> int | None:
        """The port that the service is reached on: the one in its `url`, the one that bears its name, the first one."""
        own = self.ports_of(service)
        named = variables.ports_in([self.contract.services[service].url or ""])
        for name in (*named, port_name(service)):
            if name in own:
                return own[name]
        return next(iter(own.values()), None)

    def url_of(self, service: str) -> str | None:
        """The `url` of the service, with its variables."""
        url = self.contract.services[service].url
        if url is None:
            return None
        return self._fill(f"services.{service}.url", url, self._known_to_urls(service))

    def _known_to_urls(self, service: str) -> dict[str, str]:
        """Not `env` as a whole, which may refer to URLs itself."""
        literal = {k: v for k, v in self.contract.env.items() if "${" not in v}
        return {**self._shell, **self._files, **literal, **self._own, **self._names(service)}

    def also(self, service: str) -> list[str]:
        """Its further addresses, without those that name something which is not set here."""
        known = self._known_to_urls(service)
        addresses = self.contract.services[service].also
        return [
            variables.fill(address, known.get, KeyError)
            for address in addresses
            if all(known.get(name) for name in variables.names_in(address))
        ]

    def start_url(self) -> str | None:
        """`validation.browser.start_url`, with the host name of the service whose port it names."""
        url = self.contract.validation.browser.start_url
        if url is None:
            return None
        return self.fill("validation.browser.start_url", url, self._service_in(url))

    def urls(self) -> list[Url]:
        """The addresses of all services that have a `url`, the primary one first."""
        found = {name: url for name in self.contract.services if (url := self.url_of(name)) is not None}
        start = self.contract.validation.browser.start_url
        first = self._service_in(start) if start else None
        if first not in found:
            first = next(iter(found), None)
        made = [self._url(name, url, primary=name == first) for name, url in found.items()]
        return sorted(made, key=lambda u: not u.primary)

    def _url(self, service: str, url: str, *, primary: bool) -> Url:
        port = self.main_port(service) or urlsplit(url).port
        internal = f"http://127.0.0.1:{port}" if port else url
        return Url(service, url, internal, port, primary, self.also(service))

    def _service_in(self, url: str) -> str | None:
        """The service that a URL of the contract leads to, by the port that it names."""
        return next((self.owners[name] for name in variables.ports_in([url]) if name in self.owners), None)

    def _addresses(self) -> tuple[dict[str, str], dict[str, str]]:
        """X_URL and X_INTERNAL_URL, for each port and for each service with one.

        Firm ones come from a `url` and override env files; loose ones are a guess (`DATABASE_PORT` is no web server), so they don't.
        """
        firm: dict[str, str] = {}
        loose: dict[str, str] = {}
        for name, port in self.ports.items():
            loose[f"{name.removesuffix('_PORT')}_URL"] = f"http://localhost:{port}"
            loose[f"{name.removesuffix('_PORT')}_INTERNAL_URL"] = f"http://127.0.0.1:{port}"
        for service in self.contract.services:
            port = self.main_port(service)
            prefixes = {variable(service)}
            prefixes |= {n.removesuffix("_PORT") for n, p in self.ports_of(service).items() if p == port}
            url = self.url_of(service)
            for prefix in prefixes:
                if url is not None:
                    firm[f"{prefix}_URL"] = url
                elif port is not None:
                    loose[f"{prefix}_URL"] = f"http://localhost:{port}"
                if port is not None:
                    firm[f"{prefix}_INTERNAL_URL"] = f"http://127.0.0.1:{port}"
        return firm, loose

    def _fill(self, where: str, text: str, known: Mapping[str, str]) -> str:
        def missing(name: str) -> ContractError:
            return UndefinedVariable(where=where, name=name)

        return variables.fill(text, known.get, missing)


def variable(service: str) -> str:
    """The service's name as the begin of a variable's: `web-app` → `WEB_APP`."""
    return re.sub(r"[^A-Z0-9]", "_", service.upper())


def port_name(service: str) -> str:
    return f"{variable(service)}_PORT"


def owners(contract: "Contract", names: Iterable[str]) -> dict[str, str]:
    """Which service listens on which port, by the strongest sign: declared, in its url, in its healthcheck, by its name, in its command."""
    found: dict[str, str] = {}
    known = set(names)
    signs = (
        lambda _, s: list(s.ports or ()),
        lambda _, s: variables.ports_in([s.url or ""]),
        lambda _, s: variables.ports_in(_healthcheck_texts(s)),
        lambda name, _: [port_name(name)],
        lambda _, s: variables.ports_in([s.command or ""]),
        # `PORT: ${API_PORT}` is a server's; a port inside of a longer value is the address of somebody else
        lambda _, s: variables.ports_in([v for v in s.env.values() if re.fullmatch(r"\$\{\w+\}", v)]),
    )
    for sign in signs:
        for name, service in contract.services.items():
            declared = service.ports is not None and sign is not signs[0]  # then nothing is guessed of it
            for port in () if declared or service.type == "task" else sign(name, service):
                if port in known:
                    found.setdefault(port, name)
    return found


def _healthcheck_texts(service: "Service") -> list[str]:
    check = service.healthcheck
    return [t for t in (check.http, check.tcp, check.command) if t] if check else []
