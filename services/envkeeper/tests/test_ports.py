"""Ranges of ports: free ones are found, and two jobs never get the same."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from factory_envkeeper import ports
from factory_jobs.errors import FactoryError


def a_free_range(count: int) -> int:
    """The first of `count` ports in a row that nobody has now."""
    for low in range(21_000, 30_000, count):
        if all(ports.bindable(p) for p in range(low, low + count)):
            return low
    raise AssertionError("no free ports on this machine")


@contextmanager
def listener(port: int, host: str) -> Iterator[None]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host, port))
        s.listen()
        yield


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_parse() -> None:
    """The ledger's words for a range."""
    assert ports.parse("46200-46219") == (46200, 46219)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_listener_is_seen(host: str) -> None:
    """On either loopback address, or on all of them."""
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = a_free_range(1)
    with listener(port, host):
        assert not ports.bindable(port)
    assert ports.bindable(port)


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has none has free ports all the same."""
    real = socket.socket

    def no_ipv6(family: int = socket.AF_INET, *args: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(ports.NO_IPV6[0], "Address family not supported by protocol")
        return real(family, *args)

    port = a_free_range(1)
    monkeypatch.setattr(socket, "socket", no_ipv6)
    assert ports.bindable(port)


def test_choose_passes_over_a_listener() -> None:
    """A block with a foreign listener in its middle is not given out; the next one is."""
    low = a_free_range(15)
    within = (low, low + 14)
    assert ports.choose(within, [], size=5) == (low, low + 4)
    with listener(low + 2, "127.0.0.1"):
        assert ports.choose(within, [], size=5) == (low + 5, low + 9)
        assert ports.choose(within, [(low + 9, low + 9)], size=5) == (low + 10, low + 14)


@pytest.mark.parametrize(
    ("taken", "block"),
    [
        ([], 0),
        ([(0, 4)], 5),
        ([(3, 6)], 10),
        ([(10, 14), (0, 4)], 5),
        ([(0, 14)], None),
        ([(-5, 0), (5, 5), (14, 20)], None),
    ],
)
def test_choose_passes_over_what_is_taken(taken: list[tuple[int, int]], block: int | None) -> None:
    """The first whole block that overlaps no lease, whatever the sizes of the leases."""
    low = a_free_range(15)
    leases = [(low + a, low + b) for a, b in taken]
    expected = None if block is None else (low + block, low + block + 4)
    assert ports.choose((low, low + 14), leases, size=5) == expected


def test_choose_stays_within() -> None:
    """A block that would reach over the end is none; one that ends there is."""
    low = a_free_range(10)
    assert ports.choose((low, low + 8), [(low, low + 4)], size=5) is None
    assert ports.choose((low, low + 9), [(low, low + 4)], size=5) == (low + 5, low + 9)


class Ledger:
    """The ledger's part that leases need, as slow as a database."""

    def __init__(self) -> None:
        self.rows: list[SimpleNamespace] = []

    async def owned_on(self, node: str) -> list[SimpleNamespace]:
        await asyncio.sleep(0.05)
        return [row for row in self.rows if row.node == node]

    async def own(self, job_id: str, placement: int, node: str, kind: str, ref: str) -> None:
        await asyncio.sleep(0.05)
        self.rows.append(SimpleNamespace(job_id=job_id, placement=placement, node=node, kind=kind, ref=ref))


async def lease(ledger: Ledger, directory: Path, job_id: str, within: tuple[int, int], placement: int = 1):
    return await ports.lease(ledger, directory, "node", job_id, placement, within)  # type: ignore[arg-type]


async def test_two_jobs_at_once(tmp_path: Path) -> None:
    """Two subscribers of one envkeeper lease at the same moment: neither blocks the loop, and the ranges differ."""
    ledger, low = Ledger(), a_free_range(3 * ports.SIZE)
    within = (low, low + 3 * ports.SIZE - 1)
    blocks = await asyncio.gather(*(lease(ledger, tmp_path, job, within) for job in ("ja", "jb", "jc")))
    assert len(set(blocks)) == 3
    assert {row.ref for row in ledger.rows} == {f"{a}-{b}" for a, b in blocks}


async def test_lease_again(tmp_path: Path) -> None:
    """The same placement gets the same range; another placement of the job, another one."""
    ledger, low = Ledger(), a_free_range(2 * ports.SIZE)
    within = (low, low + 2 * ports.SIZE - 1)
    first = await lease(ledger, tmp_path, "ja", within)
    assert await lease(ledger, tmp_path, "ja", within) == first
    assert await lease(ledger, tmp_path, "ja", within, placement=2) != first
    assert len(ledger.rows) == 2


async def test_no_ports(tmp_path: Path) -> None:
    """Where all are leased the error says which range, and is tried again later; the lock is free for the next."""
    ledger, low = Ledger(), a_free_range(ports.SIZE)
    within = (low, low + ports.SIZE - 1)
    await lease(ledger, tmp_path, "ja", within)
    for _ in range(2):
        with pytest.raises(FactoryError, match=f"between {low} and {low + ports.SIZE - 1}") as e:
            await lease(ledger, tmp_path, "jb", within)
        assert (e.value.code, e.value.retry_after) == ("no_ports", 30)
        assert "FACTORY_PORT_RANGE" in e.value.hint
