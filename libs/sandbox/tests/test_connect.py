"""The way to what listens inside."""

import asyncio
import socket
import time

import pytest
from factory_sandbox.errors import Refused


async def listening(host: str, serve) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(serve, host, 0)
    return server, server.sockets[0].getsockname()[1]


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers in capitals when it has heard everything."""
    writer.write((await reader.read()).upper())
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_listener_on_either_loopback_is_reached(shared, host):
    """Also what listens on [::1] only, as node's `localhost` may; each half of the connection closes by itself."""
    server, port = await listening(host, shout)
    async with server:
        reader, writer = await shared.at(None).connect(port)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()


async def test_nothing_listens(shared):
    """A port without a listener is refused by name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Refused) as refused:
            await shared.at(None).connect(free.getsockname()[1])
    assert refused.value.code == "no-listener"


async def test_megabytes_both_ways(shared):
    """What is sent comes back whole, with both directions under way at once."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server, port = await listening("127.0.0.1", echo)
    async with server:
        reader, writer = await shared.at(None).connect(port)
        data = bytes(range(256)) * 40_000

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert await reader.read() == data
        await sending
        writer.close()


async def test_a_caller_that_hangs_up_is_hung_up_inside(shared):
    """A listener that ignores half-closed connections still sees the end when the caller is gone."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            while True:  # half-closed: a server that streams goes on until writing fails
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            ended.set()
        finally:
            writer.close()

    server, port = await listening("127.0.0.1", silent)
    async with server:
        _, writer = await shared.at(None).connect(port)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_listener_that_reads_nothing_holds_no_dead_caller(shared):
    """A caller that dies with megabytes unread by the listener does not keep the connection inside open."""
    before = await shared.open_in_server()
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts in the kernel, and reads nothing
        _, writer = await shared.at(None).connect(server.getsockname()[1])
        writer.write(b"x" * 20_000_000)
        await asyncio.sleep(0.2)
        assert await shared.open_in_server() > before
        writer.transport.abort()
        give_up = time.monotonic() + 10
        while await shared.open_in_server() != before:
            assert time.monotonic() < give_up, "the connection inside is still open"
            await asyncio.sleep(0.1)


async def test_what_a_caller_says_last_is_heard(shared):
    """Bytes sent right before a caller closes reach the listener."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    server, port = await listening("127.0.0.1", listen)
    async with server:
        _, writer = await shared.at(None).connect(port)
        writer.write(b"x" * 300_000)
        writer.close()
        assert len(await asyncio.wait_for(heard.get(), 10)) == 300_000


async def test_an_epoch_does_not_end_connections(placed):
    """Previews go on when the job changes hands."""
    server, port = await listening("127.0.0.1", shout)
    async with server:
        reader, writer = await placed.at(None).connect(port)
        await placed.at(2).take()
        writer.write(b"still")
        writer.write_eof()
        assert await reader.read() == b"STILL"
        writer.close()
