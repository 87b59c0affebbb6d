"""An operation of the REST API: its name and address as the description has them, who may, and what it does."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from . import refusals
from .bare import Bare
from .git_shapes import GitShapes
from .hub import Hub
from .identities import APP, Identities, Identity
from .rates import Rates
from .records import Issue, Pull, Repo
from .refusals import Refusal
from .shapes import Shapes, Wire
from .store import Store

REST = {"path": ".*", **dict.fromkeys(("ref", "branch", "basehead", "name"), ".+")}  # the rest, with its slashes


@dataclass
class Answer:
    """What is answered: JSON, or nothing with a 204; `headers` go with it."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """A list that is answered in parts: what of it is asked for is put in shape, the rest is linked to.

    `envelope` makes the answer of the list where it is not the list itself.
    """

    records: Sequence[Any]
    shape: Callable[[Any], Any]
    envelope: Callable[[list[Any]], Wire] | None = None


@dataclass
class Ask:
    """One request: who, to what, with what."""

    hub: Hub
    rates: Rates
    identities: Identities
    identity: Identity
    path: dict[str, str]
    query: dict[str, str]
    body: Any = None  # what the JSON body is; of most operations an object
    _repo: Repo | None = None

    @property
    def store(self) -> Store:
        return self.hub.store

    @property
    def shapes(self) -> Shapes:
        return self.hub.shapes

    @property
    def git_shapes(self) -> GitShapes:
        return GitShapes(self.hub.site, self.repo)

    @property
    def login(self) -> str:
        return self.identity.login

    @property
    def app(self) -> int | None:
        return self.identity.app.id if self.identity.app else None

    @property
    def repo(self) -> Repo:
        assert self._repo  # operations below /repos have one
        return self._repo

    @property
    def bare(self) -> Bare:
        return self.hub.bare(self.repo)

    def field(self, name: str, default: Any = None) -> Any:
        """A field of the body; null counts as left out."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        return default if value is None else value

    def required(self, resource: str, name: str) -> Any:
        """A field that must be there. Raises Refusal (422)."""
        value = self.field(name)
        if value is None:
            raise refusals.invalid(resource, name, "missing_field")
        return value

    def number(self, name: str) -> int:
        """A number in the address. Raises Refusal (404) where there is none."""
        if not self.path[name].isdecimal():
            raise refusals.not_found()
        return int(self.path[name])

    def issue(self) -> Issue:
        """The issue or pull request of the address. Raises Refusal (404)."""
        issue = self.store.issues.get(f"{self.repo.name}#{self.number('issue_number')}")
        if issue is None:
            raise refusals.not_found()
        return issue

    def pull(self) -> Pull:
        """The pull request of the address. Raises Refusal (404)."""
        pull = self.store.pulls.get(f"{self.repo.name}#{self.number('pull_number')}")
        if pull is None:
            raise refusals.not_found()
        return pull

    async def commit(self, name: str = "ref") -> str:
        """The commit that the address means. Raises Refusal (422), as GitHub does for a commit that is not there."""
        sha = await self.bare.resolve(self.path[name])
        if sha is None:
            raise Refusal(422, f"No commit found for SHA: {self.path[name]}")
        return sha


Act = Callable[[Ask], Awaitable[Answer | Page]]


@dataclass(frozen=True)
class Operation:
    """`needs`: an app's permission and its level; `people`: the level (see records.LEVELS) that a user needs."""

    name: str  # the description's operationId
    method: str
    path: str
    act: Act
    needs: tuple[str, str]
    people: str

    @property
    def in_repo(self) -> bool:
        return self.path.startswith("/repos/")

    @property
    def by_app(self) -> bool:
        """Whether an app asks as itself."""
        return f"{self.needs[0]}:" == APP


OPERATIONS: list[Operation] = []


def operation(name: str, where: str, needs: str = "metadata:read", people: str = "") -> Callable[[Act], Act]:
    """Registers what answers `where` ("GET /repos/…"); without `people`, users need the level that apps need."""
    method, _, path = where.partition(" ")
    permission, _, level = needs.partition(":")

    def register(act: Act) -> Act:
        OPERATIONS.append(Operation(name, method, path, act, (permission, level), people or level))
        return act

    return register


@dataclass(frozen=True)
class Route:
    """An address of the description, and what answers it, by method; None: described and not built."""

    path: str
    pattern: re.Pattern[str]
    operations: dict[str, tuple[str, Operation | None]]  # method: name, operation


class Routes:
    """Finds what is asked for; of two addresses that fit, the one with more words of its own."""

    def __init__(self, described: dict[tuple[str, str], str]) -> None:
        """described: method and path to name, of everything that GitHub has, built or not."""
        built = {(operation.method, operation.path): operation for operation in OPERATIONS}
        paths: dict[str, dict[str, tuple[str, Operation | None]]] = {}
        for (method, path), name in described.items():
            paths.setdefault(path, {})[method] = (name, None)
        for (method, path), operation in built.items():
            paths.setdefault(path, {})[method] = (operation.name, operation)
        routes = [Route(path, _pattern(path), operations) for path, operations in paths.items()]
        self._routes = sorted(routes, key=lambda route: -len(re.sub(r"{\w+}", "", route.path)))

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
        """raw_path: still quoted, without query."""
        for route in self._routes:
            if method in route.operations and (found := route.pattern.fullmatch(raw_path)):
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        return None


def _pattern(path: str) -> re.Pattern[str]:
    def parameter(found: re.Match[str]) -> str:
        name = found[1]
        return f"(?P<{name}>{REST.get(name, '[^/]+')})"

    return re.compile(re.sub(r"{(\w+)}", parameter, path))
