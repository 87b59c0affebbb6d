"""Ranges of ports, leased to placements on this node: nobody inside a sandbox can see who else is here."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from factory_jobs.errors import FactoryError
from factory_jobs.records import Records

SIZE = 20  # ports a placement gets where the repo asks for nothing else
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def parse(ref: str) -> tuple[int, int]:
    low, high = ref.split("-")
    return int(low), int(high)


def bindable(port: int) -> bool:
    """Nobody listens there, on either loopback address."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((host, port))
        except OSError as e:
            if family is socket.AF_INET6 and e.errno in NO_IPV6:
                continue
            return False
    return True


def choose(within: tuple[int, int], taken: Iterable[tuple[int, int]], size: int = SIZE) -> tuple[int, int] | None:
    """The first block of `size` free ports."""
    taken = list(taken)
    for low in range(within[0], within[1] - size + 2, size):
        high = low + size - 1
        if any(low <= t_high and t_low <= high for t_low, t_high in taken):
            continue
        if all(bindable(p) for p in range(low, high + 1)):
            return low, high
    return None


@asynccontextmanager
async def _locked(node_dir: Path) -> AsyncIterator[None]:
    """One lease at a time on the node, whichever process it is in. Tried, not waited for: the holder may be on this loop."""
    with (node_dir / "ports.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.05)
        yield


async def lease(
    records: Records,
    node_dir: Path,
    node: str,
    job_id: str,
    placement: int,
    within: tuple[int, int],
    size: int = SIZE,
) -> tuple[int, int]:
    """Writes the range into the ledger before anybody uses it. Raises FactoryError where none is free."""
    async with _locked(node_dir):
        owned = [o for o in await records.owned_on(node) if o.kind == "ports"]
        for o in owned:
            if (o.job_id, o.placement) == (job_id, placement):
                return parse(o.ref)
        block = choose(within, [parse(o.ref) for o in owned], size)
        if block is None:
            raise FactoryError(
                f"No {size} ports in a row are free between {within[0]} and {within[1]} on this node.",
                code="no_ports",
                hint="Let jobs end, or widen FACTORY_PORT_RANGE.",
                retry_after=30,
            )
        await records.own(job_id, placement, node, "ports", f"{block[0]}-{block[1]}")
        return block
