"""People's way in from outside of a container: a twin for each port, piped into the sandbox that has leased it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory_chassis.settings import BadSettings
from factory_envkeeper import ports
from factory_envkeeper.place import Places
from factory_envkeeper.previews import Previews
from factory_sandbox.client import Sandbox
from factory_sandbox.local import Local
from factory_sandbox.providers import Spec


def a_free_range(count: int) -> int:
    """The first of `count` ports in a row that nobody has now."""
    for low in range(22_000, 30_000, count):
        if all(ports.bindable(p) for p in range(low, low + count)):
            return low
    raise AssertionError("no free ports on this machine")


class Ledger:
    """What Postgres says of this node's ports."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, str]] = []
        self.asked = 0

    async def owned_on(self, node: str) -> list[Any]:
        self.asked += 1
        return [SimpleNamespace(kind="ports", job_id=j, placement=p, ref=ref) for j, p, ref in self.rows]


@asynccontextmanager
async def sandbox(node_dir: Path, job_id: str, block: tuple[int, int]) -> AsyncIterator[None]:
    """A sandbox whose app serves its checkout on the first port, on loopback alone."""
    checkout = node_dir / "checkouts" / job_id
    checkout.mkdir(parents=True)
    (checkout / "who.txt").write_text(job_id)
    spec = Spec(
        node="node", node_dir=node_dir, job_id=job_id, placement=1, checkout=checkout, shims={}, env={}, ports=block
    )
    local = Local()
    handle = await local.create(spec, 1)
    try:
        places = Places("node", node_dir, SimpleNamespace(), {})  # type: ignore[arg-type]
        inside = Sandbox(handle, places.key, 1)
        serve = ["python3", "-m", "http.server", str(block[0]), "--bind", "127.0.0.1"]
        async with await inside.spawn(serve, pipe=False):
            yield
    finally:
        await local.destroy(handle)


async def get(port: int) -> bytes:
    """The page through a port, or nothing where it is closed at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /who.txt HTTP/1.0\r\n\r\n")
    try:
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        answer = b""
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2]


async def get_within(port: int, seconds: float = 20) -> bytes:
    """As `get`, once the app listens."""
    async with asyncio.timeout(seconds):
        while not (answer := await get(port)):
            await asyncio.sleep(0.05)
        return answer


@pytest.fixture
async def previews(tmp_path: Path) -> AsyncIterator[Previews]:
    low = a_free_range(80)
    places = Places("node", tmp_path, SimpleNamespace(), {})  # type: ignore[arg-type]
    made = Previews(Ledger(), places, leased=(low, low + 39), twins=(low + 40, low + 79), host="127.0.0.1")  # type: ignore[arg-type]
    running = asyncio.create_task(made.run())
    async with asyncio.timeout(10):
        while not await _listens(low + 79):
            await asyncio.sleep(0.01)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_each_twin_leads_to_the_sandbox_that_has_the_port(previews: Previews, tmp_path: Path) -> None:
    """Two jobs, two apps on loopback; a port that nobody has, and one where nobody listens, are closed at once."""
    low, twin = previews.leased[0], previews.twins[0]
    ledger: Ledger = previews.records  # type: ignore[assignment]
    ledger.rows = [("ja", 1, f"{low}-{low + 19}"), ("jb", 1, f"{low + 20}-{low + 39}")]
    async with sandbox(tmp_path, "ja", (low, low + 19)), sandbox(tmp_path, "jb", (low + 20, low + 39)):
        assert await get_within(twin) == b"ja"
        assert await get_within(twin + 20) == b"jb"
        assert await get(twin + 1) == b""
        ledger.rows = ledger.rows[:1]
        previews._owners = {}
        assert await get(twin + 20) == b""


async def test_a_port_that_went_to_another_job_leads_there(previews: Previews, tmp_path: Path) -> None:
    """What was heard last is asked again when it does not answer; while it does, Postgres is not asked."""
    low, twin = previews.leased[0], previews.twins[0]
    ledger: Ledger = previews.records  # type: ignore[assignment]
    ledger.rows = [("ja", 1, f"{low}-{low + 19}")]
    async with sandbox(tmp_path, "ja", (low, low + 19)):
        assert await get_within(twin) == b"ja"
        asked = ledger.asked
        assert await get(twin) == b"ja" and ledger.asked == asked
    ledger.rows = [("jb", 1, f"{low}-{low + 19}")]
    async with sandbox(tmp_path, "jb", (low, low + 19)):
        assert await get_within(twin) == b"jb"


async def test_a_port_that_is_taken_is_named(previews: Previews) -> None:
    """A broken configuration, and no trace."""
    again = Previews(previews.records, previews.places, leased=previews.leased, twins=previews.twins, host="127.0.0.1")
    with pytest.raises(BadSettings, match=f"FACTORY_PREVIEW_RANGE: .*:{previews.twins[0]}: Address already in use"):
        await again.run()
