"""Every environment on this machine, of all users: what runs, and what those have left whose supervisor or checkout is gone.

Found by four signs, each of which outlives the others: the records, the port leases, FACTORY_ROOT of processes, labels of containers.
"""

import os
import pwd
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import ledger, live, ports, proc, registry
from factory_contract.checkout import Checkout, default_worktree
from factory_contract.compose import found as engines
from factory_contract.compose.found import Container
from factory_contract.errors import CheckoutGone, CheckoutMoved, ContractError, Rebooted, SupervisorGone
from factory_contract.registry import Record


class Left(NamedTuple):
    """What nobody keeps: processes, leases of ports, containers, and Compose projects of which at least volumes are there."""

    processes: list[int]
    ports: list[int]
    containers: list[str]
    projects: list[str]


class Environment(NamedTuple):
    """One environment.

    state: as of `status`; `gone`, where the checkout is; of another user, who is not asked, only `running` or `stopped`.
    projects: its Compose projects → the variables that lead to their engines.
    live: a supervisor or another command of it lives, so that nothing of it may be touched.
    """

    root: Path
    worktree: str
    uid: int | None
    state: str
    live: bool
    supervisor: dict[str, Any] | None
    services: list[dict[str, Any]]
    ports: dict[str, int]
    projects: dict[str, dict[str, str]]
    processes: list[int]
    containers: list[str]
    left: Left
    error: ContractError | None

    @property
    def mine(self) -> bool:
        return self.uid == os.getuid()

    @property
    def stale(self) -> bool:
        """Whether `factory clean --stale` has something to do here."""
        return self.mine and not self.live and (self.state == "gone" or any(self.left) or isinstance(self.error, DEAD))

    @property
    def user(self) -> str:
        try:
            return "?" if self.uid is None else pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


DEAD = (SupervisorGone, Rebooted)


def environments(under: Path | None = None) -> list[Environment]:
    """All of them, by their paths; `under`: only those whose checkout is or was beneath this directory."""
    seen = _Machine()
    wanted = sorted(key for key in seen.found() if under is None or key[0].is_relative_to(under))
    return [seen.judge(*key) for key in wanted]


Key = tuple[Path, int]  # the checkout, whose; the same one can be two users'
NOBODY = -1  # whose containers do not tell


class _Machine:
    """One look at everything. What a later part says is of the same moment as what an earlier one did."""

    def __init__(self) -> None:
        self.table = proc.table()
        self.records = {(r.root, r.uid): r for r in registry.records()}
        self.leases: dict[Key, list[ports.Lease]] = defaultdict(list)
        self.marked: dict[Key, set[int]] = defaultdict(set)
        self.containers: dict[Key, list[Container]] = defaultdict(list)
        for lease in ports.leases():
            self.leases[lease.root, lease.uid].append(lease)
        for pid in self.table:
            if (root := proc.environ(pid).get(ledger.MARK)) and _is_here(pid):
                self.marked[Path(root), _user(pid)].add(pid)
        for container in self._containers():
            self.containers[container.root, self._whose(container)].append(container)

    def found(self) -> set[Key]:
        return {*self.records, *self.leases, *self.marked, *self.containers}

    def _containers(self) -> Iterable[Container]:
        """Of the engine that commands of this shell would use, and of those that records name."""
        asked = [dict[str, str](), *(docker for r in self.records.values() for docker in r.projects.values())]
        distinct = {tuple(sorted(docker.items())): docker for docker in asked}
        found = (container for docker in distinct.values() for container in engines.containers(docker) or [])
        return {container.name: container for container in found}.values()

    def _whose(self, container: Container) -> int:
        if container.uid is not None:
            return container.uid
        return next((uid for root, uid in self.records if root == container.root), NOBODY)

    # --- one environment ----------------------------------------------------------------------------------------------

    def judge(self, root: Path, uid: int) -> Environment:
        record = self.records.get((root, uid))
        if uid != os.getuid():
            return self._of_another(root, uid, record)
        return self._here(root, record) if root.is_dir() else self._gone(root, record)

    def _here(self, root: Path, record: Record | None) -> Environment:
        here = Checkout(root, None)
        fields, error = live.look(here)
        written = ledger.read(here.ledger_file, root)
        beneath = proc.descendants(written.writers, self.table)
        loose = self._loose(root, set(live.left(here)), written.writers)
        supervised = fields["supervisor"] is not None and fields["supervisor"]["pid"] in written.writers
        lives = bool(written.writers) or (record is not None and record.live)
        containers = [c.name for c in self.containers[root, os.getuid()]]
        abandoned = [] if lives or fields["state"] == "stopped" else containers
        return Environment(
            root,
            fields["worktree"],
            os.getuid(),
            fields["state"],
            lives,
            fields["supervisor"] if supervised else None,
            fields["services"] or [],
            fields["ports"],
            record.projects if record is not None else {},
            sorted(beneath),
            containers,
            Left(loose, self._void(root, os.getuid()), abandoned, []),
            error,
        )

    def _gone(self, root: Path, record: Record | None) -> Environment:
        """A supervisor of a checkout that has moved goes on; one of a checkout that was deleted is about to end."""
        lives = record is not None and record.live
        last = record.supervisor if record is not None else None
        writers = [last["pid"]] if lives and last is not None else []
        found = self.containers[root, os.getuid()]
        loose = self._loose(root, set(), writers)
        left = Left(loose, self._void(root, os.getuid()), [c.name for c in found], self._projects(record, found))
        now = _directory_of(writers[0]) if writers else None
        moved = CheckoutMoved(root=str(root), now=str(now)) if now not in (None, root) else None
        return Environment(
            root,
            record.worktree if record is not None else default_worktree(root),
            os.getuid(),
            "gone",
            lives,
            last if lives else None,
            [],
            record.ports if record is not None else {},
            record.projects if record is not None else {},
            sorted(proc.descendants(writers, self.table)),
            [c.name for c in found],
            Left([], [], [], []) if lives else left,
            moved or CheckoutGone(root=str(root)),
        )

    def _of_another(self, root: Path, uid: int, record: Record | None) -> Environment:
        lives = record is not None and record.live
        marked = sorted(self.marked[root, uid])
        return Environment(
            root,
            record.worktree if record is not None else default_worktree(root),
            None if uid == NOBODY else uid,
            "running" if lives else "gone" if _is_missing(root) else "stopped",
            lives,
            record.supervisor if record is not None and lives else None,
            [],
            record.ports if record is not None else {},
            {},
            marked,
            [c.name for c in self.containers[root, uid]],
            Left([], self._void(root, uid), [], []),
            None,
        )

    def _loose(self, root: Path, known: set[int], writers: list[int]) -> list[int]:
        """The processes of an environment that are beneath nobody who keeps them."""
        pids = known | self.marked[root, os.getuid()]
        return sorted((pids | proc.descendants(pids, self.table)) - ledger.kept(writers, self.table))

    def _void(self, root: Path, uid: int) -> list[int]:
        return sorted(lease.port for lease in self.leases[root, uid] if lease.void)

    def _projects(self, record: Record | None, found: list[Container]) -> list[str]:
        named = record.projects if record is not None else {}
        return sorted({c.project for c in found} | {p for p, docker in named.items() if engines.remains(p, docker)})


def _is_here(pid: int) -> bool:
    """Whether the process sees the same files and processes as we do; one in a container or sandbox has environments of its own."""
    try:
        return all(os.readlink(f"/proc/{pid}/ns/{ns}") == os.readlink(f"/proc/self/ns/{ns}") for ns in ("mnt", "pid"))  # noqa: PTH115
    except OSError:
        return False


def _user(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return NOBODY


def _directory_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True)
    except OSError:
        return None


def _is_missing(root: Path) -> bool:
    try:
        root.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass  # we may not look
    return False
