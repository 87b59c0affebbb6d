"""The recorder's way into one sandbox: a SOCKS5 listener (RFC 1928) on loopback that dials this job or public addresses only."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from asyncio import StreamReader, StreamWriter
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from factory_browser.errors import Refused

log = logging.getLogger(__name__)

Dial = Callable[[int], Awaitable[tuple[StreamReader, StreamWriter]]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HANDSHAKE_S = 10.0
CONNECT_S = 20.0
CHUNK = 64 * 1024
NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")  # all that is given out of IPv6

# RFC 1928, section 6.
SUCCEEDED, FAILED, NOT_ALLOWED, HOST_UNREACHABLE, REFUSED, NO_COMMAND, NO_ADDRESS_TYPE = 0, 1, 2, 4, 5, 7, 8


class _Unusable(Exception):
    """A request that is no SOCKS5 CONNECT; `reply` is the code to answer, None closes without an answer."""

    def __init__(self, reply: int | None) -> None:
        self.reply = reply
        super().__init__(f"not usable, reply {reply}")


class SocksListener:
    """One listener for one job's browser: `async with SocksListener(sandbox.connect, ["j1.localhost"]) as way: way.url`.

    `localhost`, 127.0.0.1, ::1 and the given names with what is beneath them all mean the job: they go to `dial(port)`.
    Public names are resolved here and dialled directly. Every other address of this machine, of its network or of
    another job is refused with reply 2 and kept in `refused` (the last hundred).
    """

    def __init__(self, dial: Dial, names: Iterable[str] = ()) -> None:
        self.refused: deque[str] = deque(maxlen=100)
        self._dial = dial
        self._names = frozenset(_plain(name) for name in names)
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """socks5://127.0.0.1:port, for Playwright's `proxy`."""
        assert self._server, "the listener is not open"
        return f"socks5://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        call = asyncio.create_task(self._serve(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    host, port = await _request(reader, writer)
            except _Unusable as e:
                if e.reply is not None:
                    await _reply(writer, e.reply)
                return
            there = await self._reach(host, port, writer)
            if there is None:
                return
            try:
                await _reply(writer, SUCCEEDED)
                await _join((reader, writer), there)
            finally:
                await _close(there[1])
        except (OSError, EOFError, TimeoutError):
            pass  # the browser went away: nobody is left to tell
        finally:
            await _close(writer)

    async def _reach(self, host: str, port: int, writer: StreamWriter) -> tuple[StreamReader, StreamWriter] | None:
        """The far side, or None after the browser was told why not."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._connect(host, port)
        except Refused as e:
            self.refused.append(str(e))
            log.warning("refused a browser's connection to %s", e)
            code = NOT_ALLOWED
        except socket.gaierror:
            code = HOST_UNREACHABLE
        except ConnectionRefusedError:
            code = REFUSED
        except (OSError, TimeoutError):
            code = HOST_UNREACHABLE
        except Exception:
            log.exception("the sandbox did not connect to port %s", port)  # its errors are of a member not known here
            code = FAILED
        await _reply(writer, code)
        return None

    async def _connect(self, host: str, port: int) -> tuple[StreamReader, StreamWriter]:
        if self.is_job(host):
            return await self._dial(port)
        failure: OSError = ConnectionRefusedError(f"{host}:{port}")
        for address in await public(host, port):
            try:
                return await asyncio.open_connection(
                    str(address), port
                )  # not the name: it may resolve otherwise by now
            except OSError as e:
                failure = e
        raise failure

    def is_job(self, host: str) -> bool:
        """Whether a host, as a browser asks for it, means this job."""
        name = _plain(host)
        if (address := _address(name)) is not None:
            return str(address) in ("127.0.0.1", "::1")
        return name == "localhost" or any(name == mine or name.endswith(f".{mine}") for mine in self._names)


async def public(host: str, port: int) -> list[Address]:
    """The public addresses of a host. Raises Refused where one of them is not public, OSError where there is none."""
    name = _plain(host)
    if name == "localhost" or name.endswith(".localhost"):
        raise Refused(host, port, "the name of another job")
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = [a for a in dict.fromkeys(_address(str(entry[4][0]).partition("%")[0]) for entry in found) if a]
    for address in addresses:
        if not _is_public(address):
            raise Refused(host, port, f"{address} is not a public address")
        if _is_mine(address):
            raise Refused(host, port, f"{address} is an address of this machine")
    return addresses


def _plain(name: str) -> str:
    return name.strip().rstrip(".").strip("[]").lower()


def _address(text: str) -> Address | None:
    """An address, an IPv6 one that only wraps an IPv4 one as the latter."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    if address in NAT64:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    inside = address.sixtofour or (address.teredo[1] if address.teredo else None)  # what a relay would dial
    return address in UNICAST and address.is_global and (inside is None or _is_public(inside))


def _is_mine(address: Address) -> bool:
    """Whether this machine has the address itself: only then can it be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


async def _request(reader: StreamReader, writer: StreamWriter) -> tuple[str, int]:
    """Greeting and request: (host, port) of a CONNECT. Raises _Unusable."""
    if await reader.readexactly(1) != b"\x05":
        raise _Unusable(None)  # another protocol: what it says is not waited for
    offered = await reader.readexactly((await reader.readexactly(1))[0])
    if 0 not in offered:
        writer.write(b"\x05\xff")
        await writer.drain()
        raise _Unusable(None)
    writer.write(b"\x05\x00")
    await writer.drain()
    version, command, _, kind = await reader.readexactly(4)
    if version != 5:
        raise _Unusable(None)
    match kind:
        case 1:
            host = str(ipaddress.IPv4Address(await reader.readexactly(4)))
        case 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode("ascii", "replace")
        case 4:
            host = str(ipaddress.IPv6Address(await reader.readexactly(16)))
        case _:
            raise _Unusable(NO_ADDRESS_TYPE)
    port = int.from_bytes(await reader.readexactly(2), "big")
    if command != 1:
        raise _Unusable(NO_COMMAND)
    return host, port


async def _reply(writer: StreamWriter, code: int) -> None:
    writer.write(bytes((5, code, 0, 1)) + bytes(6))
    await writer.drain()


async def _join(here: tuple[StreamReader, StreamWriter], there: tuple[StreamReader, StreamWriter]) -> None:
    """Carries bytes both ways until both sides have ended; the end of one direction is passed on."""
    ways = [asyncio.create_task(_carry(here[0], there[1])), asyncio.create_task(_carry(there[0], here[1]))]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(source: StreamReader, sink: StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


async def _close(writer: StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
