"""Knows how to serve one placement: who may call, which epoch is in force, and what each verb does.

Run as a program of its own by whoever places the sandbox (`python -I -S server.py NAME`), with the standard library
alone. On stdin, a pipe, comes one JSON object: the placement's key, the epoch, the paths, and the number of the
listening socket's descriptor, which was bound outside.
"""

import asyncio
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from factory_sandbox import credentials, environment, files, processes
from factory_sandbox.errors import Fenced, Refused, SandboxError, SandboxLost
from factory_sandbox.frames import CHUNK, FILE_CHUNK, MAX_FRAME, VERSION, Kind, Wire, unpack
from factory_sandbox.record import Named, Record
from factory_sandbox.threads import in_thread
from factory_sandbox.tree import Tree, Trees

log = logging.getLogger("factory_sandbox")

_HELLO_TIME = 10.0  # seconds that a connection has to say who it is
_END_TIME = 5.0  # seconds until processes that do not end are reported
_PARTING_TIME = 1.0  # seconds that a refused caller has to read why
_DIAL_TIME = 5.0  # seconds for a listener inside to accept
_LOOKS = {"status", "read", "connect"}  # the other verbs act, so they carry an epoch


@dataclass(frozen=True)
class Config:
    """What the server is told once, over its stdin."""

    listen: int
    key: str  # the placement's, hexadecimal
    job: str
    placement: int
    epoch: int
    checkout: str
    record: str
    env: Mapping[str, str]
    dirs: Mapping[str, str]
    shim: str  # the `factory` command inside; empty where there is none
    ports: tuple[int, int]


@dataclass(frozen=True)
class Hello:
    verb: str
    epoch: int | None
    args: dict[str, Any]


class Server:
    """One placement's server, from its first call to `destroy` or SIGTERM."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._key = bytes.fromhex(config.key)
        self._checkout = Path(config.checkout)
        self._epoch = config.epoch
        self._since = time.monotonic()
        self._self = Named.of(os.getpid())
        self._trees = Trees(self._write_record)
        self._acting: dict[asyncio.Task[Any], int] = {}
        self._admission = asyncio.Lock()
        self._destroying = False
        self._stopped = asyncio.Event()
        self._verbs = {
            "exec": self._run,
            "spawn": self._run,
            "read": self._read,
            "write": self._write,
            "connect": self._connect,
            "status": self._status,
            "destroy": self._destroy,
        }

    async def serve(self) -> None:
        """Until the placement is destroyed; nothing that it started is left then, but what is in the log."""
        self._write_record()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopped.set)
        listening = socket.socket(fileno=self._config.listen)
        server = await asyncio.start_unix_server(self._welcome, sock=listening, limit=2 * MAX_FRAME)
        log.info("serving %s-%d, epoch %d", self._config.job, self._config.placement, self._epoch)
        await self._stopped.wait()
        server.close()
        left = await self._end(lambda tree: True)
        log.info("stopped; left: %s", left or "nothing")

    # Who may call

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one call."""
        wire = Wire(reader, writer)
        try:
            await self._answer(wire)
        except SandboxError as e:
            await _part(wire, e)
        except ConnectionError:
            pass  # the caller is gone; what it had was ended on the way here
        except asyncio.CancelledError:
            if not self._stopped.is_set():
                await _part(wire, self._why_ended())
        except Exception as e:
            log.exception("a call failed")
            await _part(
                wire, SandboxError(f"the sandbox's server failed: {e!r}; its log says more", code="server-failed")
            )
        finally:
            wire.close()

    async def _answer(self, wire: Wire) -> None:
        hello = await self._hear(wire)
        if hello is None:
            return
        if hello.epoch is None:
            await self._verbs[hello.verb](wire, hello)
            return
        async with self._admitted(hello.epoch):
            await self._verbs[hello.verb](wire, hello)

    async def _hear(self, wire: Wire) -> Hello | None:
        """The hello of a caller that may call; None where it left again. Raises Refused."""
        try:
            frame = await asyncio.wait_for(wire.receive(), _HELLO_TIME)
        except TimeoutError:
            raise Refused(f"no hello within {_HELLO_TIME:.0f} s", code="bad-hello") from None
        if frame is None:
            return None
        kind, payload = frame
        if kind is not Kind.HELLO:
            raise Refused(f"a call begins with HELLO, not {kind.name}", code="bad-hello")
        return self._check(unpack(payload))

    def _check(self, said: dict[str, Any]) -> Hello:
        if said.get("v") != VERSION:
            raise Refused(f"version {said.get('v')!r} is not spoken here, {VERSION} is", code="bad-hello")
        verb, epoch, code, args = said.get("verb"), said.get("epoch"), said.get("mac"), said.get("args")
        if not (isinstance(args, dict) and isinstance(code, str) and (epoch is None or type(epoch) is int)):
            raise Refused("a hello lacks args, mac or epoch", code="bad-hello")
        here = (self._config.job, self._config.placement)
        if (said.get("job"), said.get("placement")) != here or not credentials.verify(self._key, epoch, code):
            log.warning("a forged hello: verb %r, epoch %r", verb, epoch)
            raise Refused("the hello is not signed with this node's key for this placement", code="bad-hello")
        if not isinstance(verb, str) or verb not in self._verbs:
            raise Refused(f"there is no verb {verb!r}", code="no-such-verb")
        if epoch is None and verb not in _LOOKS:
            raise Refused(f"{verb} acts, so it carries the epoch of a lease", code="no-epoch")
        return Hello(verb, epoch, args)

    # Which epoch is in force

    @asynccontextmanager
    async def _admitted(self, epoch: int) -> AsyncIterator[None]:
        """A call that acts. A higher epoch ends the spawns of lower ones before it is served.

        Raises Fenced for a lower epoch, SandboxError (`processes-left`) where a lower one's cannot be ended.
        """
        task = asyncio.current_task()
        assert task is not None
        async with self._admission:
            if self._destroying:
                raise self._why_ended()
            if epoch < self._epoch:
                raise Fenced.by(epoch, self._epoch)
            if epoch > self._epoch:
                log.info("epoch %d takes over from %d", epoch, self._epoch)
                self._epoch = epoch
                self._write_record()
            await self._end_lower()
            self._acting[task] = epoch
        try:
            yield
        finally:
            del self._acting[task]

    def _why_ended(self) -> SandboxError:
        if self._destroying:
            return SandboxLost("the sandbox is being destroyed")
        return Fenced(f"epoch {self._epoch} is in force now: another holder took the job")

    async def _end_lower(self) -> None:
        lower = [task for task, epoch in self._acting.items() if epoch < self._epoch]
        for task in lower:
            task.cancel()
        left = await self._end(lambda tree: not tree.keep and tree.epoch < self._epoch)
        written = await _until(lambda: not any(task in self._acting for task in lower), _END_TIME)
        if left or not written:
            raise SandboxError(
                f"what epoch {self._epoch - 1} or lower started does not end: pids {left}; try again",
                code="processes-left",
            )

    async def _end(self, which: Callable[[Tree], bool]) -> list[int]:
        """Ends these trees; what is left of them after a while."""
        trees = [tree for tree in self._trees if which(tree)]
        for tree in trees:
            tree.end()
        if await _until(lambda: all(tree.gone.is_set() for tree in trees), _END_TIME):
            return []
        return self._trees.pids()

    def _write_record(self) -> None:
        trees = self._trees
        record = Record(processes.boot(), self._epoch, self._self, trees.reapers(), trees.commands())
        record.write(Path(self._config.record))

    # The verbs

    async def _run(self, wire: Wire, hello: Hello) -> None:
        """`exec` and `spawn`: {argv, cwd, env, pipe, keep, timeout} → OK {pid, again}, streams, EXIT {code, timed_out}.

        `again` says that the kept process lived already, and is only watched.
        """
        args = hello.args
        argv = _argv(args)
        keep = hello.verb == "spawn" and bool(args.get("keep"))
        timeout = args.get("timeout")
        if not (timeout is None or (isinstance(timeout, int | float) and timeout >= 0)):
            raise Refused("timeout is a number of seconds", code="bad-arguments")
        if keep:
            argv = self._keepable(argv)
            if kept := await self._kept():
                await self._watch(wire, kept, again=True)
                return
        assert hello.epoch is not None
        tree = self._trees.plant(
            argv,
            cwd=self._checkout.joinpath(*files.parts_of(str(args.get("cwd", ".")))),
            env=self._environment(args),
            epoch=hello.epoch,
            keep=keep,
            pipe=bool(args.get("pipe", True)),
        )
        try:
            await self._watch(wire, tree, timeout=timeout)
        finally:
            tree.attach(None)
            tree.feed(None)
            if not (keep and tree.child):
                tree.end()
                await _until(tree.gone.is_set, _END_TIME)

    async def _watch(self, wire: Wire, tree: Tree, *, timeout: float | None = None, again: bool = False) -> None:
        """Tells the caller of the tree until one of the two is gone."""
        pid = await asyncio.shield(tree.started)
        wire.put_json(Kind.OK, {"pid": pid, "again": again})
        if not again:
            tree.attach(wire.send)
        over = asyncio.create_task((tree.gone if again else tree.over).wait())
        heard = asyncio.create_task(_heed(wire, tree, streams=not again))
        try:
            done, _ = await asyncio.wait({over, heard}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            timed_out = not done
            if timed_out:
                tree.end()
                done, _ = await asyncio.wait({over, heard}, return_when=asyncio.FIRST_COMPLETED)
            if over in done:
                wire.put_json(Kind.EXIT, {"code": tree.code, "timed_out": timed_out})
                wire.writer.write_eof()
            await heard  # closing with the caller's stdin unread would take EXIT away from it
        finally:
            over.cancel()
            heard.cancel()

    async def _kept(self) -> Tree | None:
        """The kept process; one that is on its way out is waited for."""
        while (kept := self._trees.kept) and kept.ending:
            if not await _until(kept.gone.is_set, _END_TIME):
                raise SandboxError(f"the kept process {kept.argv} does not end; try again", code="processes-left")
        return kept

    def _keepable(self, argv: list[str]) -> list[str]:
        """`factory supervise …` with the shim's own path, whatever the caller's PATH. Raises Refused (`not-kept`)."""
        if self._config.shim and argv[0] in ("factory", self._config.shim) and argv[1:2] == ["supervise"]:
            return [self._config.shim, *argv[1:]]
        raise Refused(f"only `factory supervise` is kept, not {argv[:2]}", code="not-kept")

    def _environment(self, args: Mapping[str, Any]) -> dict[str, str]:
        extra = args.get("env") or {}
        if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
            raise Refused("env is an object of strings", code="bad-arguments")
        environment.check(extra)
        return {**self._config.env, **extra}

    async def _read(self, wire: Wire, hello: Hello) -> None:
        """{path, offset, max_bytes} → OK {size}, DATA …, END."""
        offset, at_most = hello.args.get("offset", 0), hello.args.get("max_bytes")
        if type(offset) is not int or offset < 0 or not (at_most is None or (type(at_most) is int and at_most >= 0)):
            raise Refused("offset and max_bytes are numbers from 0", code="bad-arguments")
        fd = files.open_for_reading(self._checkout, str(hello.args.get("path", "")))
        try:
            wire.put_json(Kind.OK, {"size": os.fstat(fd).st_size})
            while at_most is None or at_most > 0:
                size = FILE_CHUNK if at_most is None else min(FILE_CHUNK, at_most)
                data = await in_thread(os.pread, fd, size, offset)
                if not data:
                    break
                offset += len(data)
                at_most = None if at_most is None else at_most - len(data)
                await wire.send(Kind.DATA, data)
            await wire.send(Kind.END)
        finally:
            os.close(fd)

    async def _write(self, wire: Wire, hello: Hello) -> None:
        """{path, mode} → OK; the caller's DATA …, END → OK {bytes}. A caller that leaves before END changed nothing."""
        mode = hello.args.get("mode", 0o644)
        if type(mode) is not int or not 0 <= mode <= 0o777:
            raise Refused("mode is a number from 0 to 0o777", code="bad-arguments")
        file = files.NewFile(self._checkout, str(hello.args.get("path", "")), mode)
        try:
            await wire.send(Kind.OK, b"{}")
            while frame := await wire.receive():
                kind, data = frame
                if kind is Kind.END:
                    file.keep()
                    wire.put_json(Kind.OK, {"bytes": file.bytes})
                    return
                if kind is not Kind.DATA:
                    raise Refused(f"a write goes on with DATA or END, not {kind.name}", code="bad-frame")
                await in_thread(file.write, data)
        finally:
            file.close()

    async def _connect(self, wire: Wire, hello: Hello) -> None:
        """{port} → OK; from then on the connection is the listener's, bytes as they are, each half closed by itself."""
        port = hello.args.get("port")
        if type(port) is not int or not 0 < port < 65536:
            raise Refused(f"{port!r} is no port", code="bad-arguments")
        reader, writer = await _dial(port)
        try:
            await wire.send(Kind.OK, b"{}")
            await _join(wire, reader, writer)
        finally:
            writer.close()

    async def _status(self, wire: Wire, _: Hello) -> None:
        kept = self._trees.kept
        present = self._checkout.is_dir()
        await wire.send(
            Kind.OK,
            json.dumps(
                {
                    "epoch": self._epoch,
                    "seconds": time.monotonic() - self._since,
                    "spawns": [_about(tree) for tree in self._trees if not tree.keep],
                    "kept": _about(kept) if kept else None,
                    "checkout": {
                        "present": present,
                        "git": (self._checkout / ".git").is_dir(),
                        "free_bytes": _free_bytes(self._checkout) if present else 0,
                    },
                    "ports": list(self._config.ports),
                    "dirs": dict(self._config.dirs),
                    "server": {"pid": os.getpid(), "peak_rss_bytes": _peak_rss(), "descriptors": _descriptors()},
                }
            ).encode(),
        )

    async def _destroy(self, wire: Wire, _: Hello) -> None:
        """→ OK when nothing is left, and the server stops. Raises SandboxError (`processes-left`) and goes on."""
        self._destroying = True
        for task in self._acting.keys() - {asyncio.current_task()}:
            task.cancel()
        if left := await self._end(lambda tree: True):
            self._destroying = False
            raise SandboxError(f"processes do not end: pids {left}; try again", code="processes-left")
        await wire.send(Kind.OK, b"{}")
        self._stopped.set()


def _argv(args: Mapping[str, Any]) -> list[str]:
    argv = args.get("argv")
    if not (isinstance(argv, list) and argv and argv[0] and all(isinstance(a, str) and "\0" not in a for a in argv)):
        raise Refused("argv is a list of strings, the command first", code="bad-arguments")
    return argv


async def _heed(wire: Wire, tree: Tree, *, streams: bool) -> None:
    """What the caller says to a running command; returns when it is gone."""
    while frame := await wire.receive():
        kind, payload = frame
        if kind is Kind.KILL:
            tree.end()
        elif kind is Kind.STDIN and streams:
            tree.feed(payload)
        elif kind is Kind.END and streams:
            tree.feed(None)
        else:
            raise Refused(f"{kind.name} is nothing that a running command is told", code="bad-frame")


async def _dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The listener on this port, IPv4 first: a `listen("localhost")` may have bound only the second.

    Raises Refused (`no-listener`).
    """
    for host in ("127.0.0.1", "::1"):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), _DIAL_TIME)
        except (OSError, TimeoutError):
            continue
        if writer.get_extra_info("sockname") != writer.get_extra_info("peername"):
            return reader, writer
        writer.close()  # the kernel met our own outgoing port: a connection to itself, and no listener
    raise Refused(f"nothing listens on port {port} inside (127.0.0.1 and ::1)", code="no-listener")


async def _join(wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes both ways until both halves are closed or one side is gone."""
    inwards = asyncio.create_task(_pour(wire.reader, writer))
    both = asyncio.gather(inwards, _pour(reader, wire.writer))
    hangup = asyncio.create_task(_hung_up(wire.writer.get_extra_info("socket").fileno()))
    try:
        await asyncio.wait({both, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if not both.done():
            await asyncio.wait({inwards}, timeout=_PARTING_TIME)  # what the caller said last is still heard
            if not inwards.done():
                writer.transport.abort()
    finally:
        for task in (both, hangup):
            task.cancel()
        await asyncio.gather(both, hangup, return_exceptions=True)


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


async def _hung_up(fd: int) -> None:
    """Returns when the caller is wholly gone; its half-close alone looks the same to a reader."""
    poll = select.poll()
    poll.register(fd, 0)
    while not poll.poll(0):
        await asyncio.sleep(0.5)


async def _part(wire: Wire, error: SandboxError) -> None:
    """Says why and gives the caller a moment to read it: closing with its bytes unread would take the answer away."""
    try:
        wire.put_json(Kind.ERROR, error.as_dict())
        wire.writer.write_eof()
        async with asyncio.timeout(_PARTING_TIME):
            while await wire.reader.read(CHUNK):
                pass
    except (OSError, TimeoutError, RuntimeError):
        pass  # it was told what could be told
    wire.writer.transport.abort()


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds before the time is over."""
    give_up = time.monotonic() + seconds
    pause = 0.001
    while not holds():
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def _about(tree: Tree) -> dict[str, Any]:
    return {
        "pid": tree.child.pid if tree.child else None,
        "command": tree.argv[0],
        "epoch": tree.epoch,
        "seconds": time.monotonic() - tree.since,
    }


def _free_bytes(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * 1024 if processes.LINUX else peak  # getrusage(2): kilobytes here, bytes on macOS


def _descriptors() -> int:
    """How many this process has open, the one for looking left out."""
    return len(list(Path("/dev/fd").iterdir())) - 1


def main() -> None:
    """Reads the config, detaches, serves."""
    processes.hide_memory()  # before the key is in it
    config = Config(**json.loads(sys.stdin.buffer.read()))
    if os.fork():
        os._exit(0)  # whoever started us waits for this, and has no child of ours to wait for later
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.umask(0o022)
    processes.become_subreaper()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(Server(config).serve())


if __name__ == "__main__":
    main()
