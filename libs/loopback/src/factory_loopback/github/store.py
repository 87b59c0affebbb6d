"""GitHub's memory: tables of records, each change journalled, so that a killed server finds everything again."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from factory_loopback.journal import Journal

from . import records

T = TypeVar("T", bound=records.Record)
FIRST_ID = 1001  # ids are told from issue numbers at a glance


class Table(Generic[T]):
    """Records of one kind, oldest first, by their `key`."""

    def __init__(self, journal: Journal, kind: type[T]) -> None:
        self._journal, self._prefix = journal, f"{kind.__name__}:"
        self._records: dict[str, T] = {k: kind(**v) for k, v in journal.under(self._prefix).items()}

    def put(self, record: T) -> T:
        """Keeps a new or changed record."""
        self._records[record.key] = record
        self._journal.put(self._prefix + record.key, asdict(record))
        return record

    def drop(self, record: T) -> None:
        del self._records[record.key]
        self._journal.put(self._prefix + record.key, None)

    def get(self, key: str | int) -> T | None:
        return self._records.get(str(key))

    def of(self, repo: str, **fields: Any) -> list[T]:
        """Those of a repository whose fields have these values, oldest first."""
        wanted = {"repo": repo, **fields}
        return [r for r in self if all(getattr(r, name) == value for name, value in wanted.items())]

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._records.values()))


class Store:
    """Every table. Who changes a record puts it again."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.users = Table(journal, records.User)
        self.repos = Table(journal, records.Repo)
        self.labels = Table(journal, records.Label)
        self.issues = Table(journal, records.Issue)
        self.pulls = Table(journal, records.Pull)
        self.comments = Table(journal, records.Comment)
        self.reviews = Table(journal, records.Review)
        self.line_comments = Table(journal, records.LineComment)
        self.statuses = Table(journal, records.Status)
        self.checks = Table(journal, records.CheckRun)
        self.deployments = Table(journal, records.Deployment)
        self.deployment_statuses = Table(journal, records.DeploymentStatus)
        self.events = Table(journal, records.Event)
        self.reactions = Table(journal, records.Reaction)
        self.hooks = Table(journal, records.Hook)
        self.deliveries = Table(journal, records.Delivery)
        self.apps = Table(journal, records.App)
        self.grants = Table(journal, records.Grant)
        self._last_id: int = journal.records.get("last_id", FIRST_ID - 1)

    def next_id(self) -> int:
        self._last_id += 1
        self._journal.put("last_id", self._last_id)
        return self._last_id

    def user(self, login: str) -> records.User:
        """The user of this login, made where there is none: who acts here is known."""
        kind = "Bot" if login.endswith("[bot]") else "User"
        return self.users.get(login) or self.users.put(records.User(self.next_id(), login, kind))

    def next_number(self, repo: records.Repo) -> int:
        repo.last_number += 1
        self.repos.put(repo)
        return repo.last_number

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Everything, to look at; secrets of hooks and tokens left out."""
        kept = {name: table for name, table in vars(self).items() if isinstance(table, Table) and name != "grants"}
        dump = {name: [asdict(record) for record in table] for name, table in kept.items()}
        for hook in dump["hooks"]:
            del hook["secret"]
        return dump

    def close(self) -> None:
        self._journal.close()
