"""The listener reaches this job and public addresses, and nothing else of this machine or its network."""

import asyncio
import ipaddress
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator

import pytest
from factory_browser import socks
from factory_browser.socks import SocksListener

NOT_ALLOWED, REFUSED, FAILED = 2, 5, 1


@pytest.fixture
async def dialled() -> list[int]:
    """The ports that the job was asked for."""
    return []


@pytest.fixture
async def way(dialled: list[int]) -> AsyncIterator[SocksListener]:
    """A listener of job j1, in which an echo server stands behind every port but 1 and 2."""

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)

    async def dial(port: int) -> tuple[StreamReader, StreamWriter]:
        dialled.append(port)
        if port == 1:
            raise ConnectionRefusedError
        if port == 2:
            raise RuntimeError("an error of a sandbox")
        return await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

    async with SocksListener(dial, ["j1.localhost"]) as listener:
        yield listener
    server.close()
    await server.wait_closed()


def target(host: str) -> bytes:
    """A host as RFC 1928 writes it: an address as such, a name as a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return b"\x03" + bytes([len(host)]) + host.encode()
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


async def connect(way: SocksListener, host: str, port: int = 3000) -> tuple[int, StreamReader, StreamWriter]:
    """(reply, …) of a CONNECT."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(way.url.rpartition(":")[2]))
    writer.write(b"\x05\x01\x00")
    assert await reader.readexactly(2) == b"\x05\x00"
    writer.write(b"\x05\x01\x00" + target(host) + port.to_bytes(2, "big"))
    answer = await reader.readexactly(10)
    return answer[1], reader, writer


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "127.0.0.1", "::1", "::ffff:127.0.0.1", "j1.localhost", "web.j1.localhost"]
)
async def test_the_job_is_reached_under_all_its_names(way: SocksListener, dialled: list[int], host: str) -> None:
    """Loopback and the job's names go to `dial`, with the port; bytes go both ways and so does the end of them."""
    reply, reader, writer = await connect(way, host, 8123)
    assert (reply, dialled) == (0, [8123])
    writer.write(b"x" * 300_000)
    writer.write_eof()
    assert len(await reader.read(-1)) == 300_000
    writer.close()


@pytest.mark.parametrize(
    "host",
    [
        "j2.localhost", "web.j2.localhost", "xj1.localhost", "127.0.0.2", "127.1", "0.0.0.0", "::", "10.0.0.1",
        "192.168.1.1", "172.17.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "fe80::1", "fd00::1", "ff02::1",
        "::ffff:a00:1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1",
    ],
)  # fmt: skip
async def test_everything_else_near_is_refused(way: SocksListener, dialled: list[int], host: str) -> None:
    """Another job's names, private, link-local and translated addresses get reply 2 and are kept by name."""
    reply, _, writer = await connect(way, host)
    assert (reply, dialled) == (NOT_ALLOWED, [])
    assert len(way.refused) == 1 and way.refused[0].startswith(f"{host}:3000: ")
    writer.close()


async def test_a_public_name_is_dialled_where_it_resolves_to(
    way: SocksListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was judged is the one that is dialled; a name with a private address among its own is refused."""
    names = {
        "good.example": ["93.184.216.34"],
        "bad.example": ["93.184.216.34", "10.0.0.7"],
        "mine.example": ["93.184.216.35"],
    }
    real, seen = asyncio.open_connection, []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    async def open_connection(host: str, port: int) -> tuple[StreamReader, StreamWriter]:
        if host == "127.0.0.1":
            return await real(host, port)
        seen.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    monkeypatch.setattr(socks, "_is_mine", lambda address: str(address) == "93.184.216.35")
    for host, wanted in (("good.example", REFUSED), ("bad.example", NOT_ALLOWED), ("mine.example", NOT_ALLOWED)):
        reply, _, writer = await connect(way, host, 80)
        assert reply == wanted, host
        writer.close()
    assert seen == [("93.184.216.34", 80)]


def test_an_address_of_this_machine_is_known_as_such() -> None:
    """A public address of our own leads to our own services, so it counts as near."""
    assert socks._is_mine(ipaddress.ip_address("127.0.0.1"))  # pyright: ignore[reportPrivateUsage]
    assert not socks._is_mine(ipaddress.ip_address("93.184.216.34"))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("port", "reply"), [(1, REFUSED), (2, FAILED)])
async def test_a_dial_that_fails_is_told(way: SocksListener, port: int, reply: int) -> None:
    """A closed port and an error of the sandbox have their reply codes, and the listener goes on."""
    assert (await connect(way, "localhost", port))[0] == reply
    assert (await connect(way, "localhost"))[0] == 0


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x09", b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
    ],
)
async def test_what_is_no_connect_is_answered_and_closed(
    way: SocksListener, dialled: list[int], sent: bytes, answer: bytes
) -> None:
    """Another protocol, BIND, passwords and unknown address types end at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(way.url.rpartition(":")[2]))
    writer.write(sent)
    try:
        assert await reader.read(-1) == answer
    except ConnectionResetError:
        assert answer == b""  # closed with bytes of theirs unread
    assert dialled == []
    writer.close()
