"""Whether a service answers: one look by http, tcp, a command, or a line of its log."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:  # a contract that is remembered needs no pydantic
    from factory_contract.model import Healthcheck

LOOPBACK = ("127.0.0.1", "::1")  # node's listen('localhost') can bind the second only


class Outcome(NamedTuple):
    """What one look has found. `detail` is for people."""

    ok: bool
    detail: str


Look = Callable[[], Awaitable[Outcome]]


class Rhythm(NamedTuple):
    """How often and how long it is looked, in seconds."""

    interval: float
    timeout: float
    retries: int
    start_period: float


USUAL = Rhythm(interval=5.0, timeout=5.0, retries=3, start_period=60.0)  # of a healthcheck that says nothing about it


def rhythm(check: "Healthcheck | None") -> Rhythm:
    if check is None:
        return USUAL
    return Rhythm(check.interval, check.timeout, check.retries, check.start_period)


async def once(look: Look, timeout: float) -> Outcome:
    """One look; one that takes longer than `timeout` seconds has failed."""
    try:
        async with asyncio.timeout(timeout):  # wait_for of Python 3.11 can miss that it is cancelled
            return await look()
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout:g} s")


async def tcp(host: str, port: int, *, held: float = 0) -> Outcome:
    """Whether somebody accepts a connection.

    held: seconds that it has to last, for ports of containers: there a proxy accepts, and hangs up where nobody listens within.
    """
    refused = ""
    for address in addresses(host):
        try:
            reader, writer = await asyncio.open_connection(address, port)
        except OSError as e:
            refused = refused or _why(e)
            continue
        try:
            if held:
                async with asyncio.timeout(held):
                    if await reader.read(1) == b"":
                        return Outcome(False, f"tcp {port}: nobody listens in the container")
        except TimeoutError:
            pass  # it lasts
        except OSError as e:
            return Outcome(False, f"tcp {port}: {_why(e)}")
        finally:
            writer.close()
        return Outcome(True, f"tcp {port} accepts")
    return Outcome(False, f"tcp {port}: {refused}")


async def http(url: str) -> Outcome:
    """GET; 2xx and 3xx are healthy. Certificates are not judged: they are a development server's own."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "localhost", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    asked = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: factory\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    said = ""
    for address in addresses(host):
        try:
            reader, writer = await asyncio.open_connection(
                address, port, ssl=_unjudging() if secure else None, server_hostname=host if secure else None
            )
        except OSError as e:
            said = said or _why(e)
            continue
        try:
            writer.write(asked.encode())
            await writer.drain()
            line = (await reader.readline()).decode(errors="replace").strip()
            await reader.read(65536)  # a server that writes into a closed connection may log an error
        except (OSError, ValueError) as e:
            return Outcome(False, f"{url}: {_why(e)}")
        finally:
            writer.close()
        status = re.match(r"HTTP/\d\.\d (\d{3})", line)
        if status is None:
            said = "answered something that is not HTTP" if line else "hung up without an answer"
            return Outcome(False, f"{url}: {said}")
        return Outcome(status[1][0] in "23", f"{url}: {status[1]}")
    return Outcome(False, f"{url}: {said}")


def addresses(host: str) -> tuple[str, ...]:
    """Where to connect for a name; `localhost` and names below it are this machine (RFC 6761), which libc does not always know."""
    if host in ("localhost", "127.0.0.1", "::1", "0.0.0.0") or host.endswith(".localhost"):
        return LOOPBACK
    return (host,)


def _unjudging() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _why(e: Exception) -> str:
    if isinstance(e, ConnectionRefusedError):
        return "connection refused"
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
