"""`up` without its servers: one factory a directory, what a service is given, and what is said when one dies."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from factory_ctl.processes import Child
from factory_ctl.up import PASSED_ON, Factory, UpError, _died


def factory(data: Path, **environ: str) -> Factory:
    return Factory(data, projects=data / "factory-projects.yaml", environ=environ)


def test_a_second_factory_on_the_same_directory_is_refused(tmp_path: Path):
    """With the process that holds it, and what to do; by another process too."""
    first = factory(tmp_path)
    first._take_lock()

    with pytest.raises(UpError) as e:
        factory(tmp_path)._take_lock()
    assert str(e.value) == (
        f"a factory is running on {tmp_path} already (process {os.getpid()}). "
        "Stop it first, or give another directory with --data."
    )
    projects = tmp_path / "factory-projects.yaml"
    projects.write_text("projects:\n  pilot: {chats: [-1], users: {1: owner}, repo: /r.git}\n")
    argv = [sys.executable, "-m", "factory_ctl.cli", "up", "--data", str(tmp_path), "--projects", str(projects)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")} | {"FACTORY_TELEGRAM_TOKEN": "42:x"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1 and "factoryctl: a factory is running on" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "postgres").exists()


async def test_a_factory_that_has_ended_leaves_the_directory_free(tmp_path: Path):
    """By its own end, or by any other: the system lets go of the lock."""
    first = factory(tmp_path)
    first._take_lock()
    await first.stop()
    second = factory(tmp_path)
    second._take_lock()
    await second.stop()

    code = "import sys\nfrom pathlib import Path\nfrom factory_ctl.up import Factory\nimport os, signal\n"
    code += "Factory(Path(sys.argv[1]), projects=Path('p'))._take_lock()\nos.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=50)
    third = factory(tmp_path)
    third._take_lock()
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    await third.stop()


def test_services_get_what_they_need_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """FACTORY_* and a few names of the system: no secret of the person who starts it, no setting of another factory."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("FACTORY_NATS_URL", "nats://another:1")
    given = factory(tmp_path, FACTORY_TELEGRAM_TOKEN="42:x", HOME="/not/passed/on")
    given.env = {**given._base, **given._given}
    given.health["planner"] = 4321

    child = given._service("planner")

    assert child.argv == [sys.executable, "-m", "factory_planner"]
    assert child.cwd == tmp_path and child.log == tmp_path / "logs" / "planner.log"
    assert child.env is not None
    assert child.env["FACTORY_HEALTH_PORT"] == "4321" and child.env["FACTORY_TELEGRAM_TOKEN"] == "42:x"
    assert {k for k in child.env if not k.startswith("FACTORY_")} <= set(PASSED_ON)
    assert "FACTORY_NATS_URL" not in child.env


async def test_urls_that_are_given_start_no_server(tmp_path: Path):
    """Any of the three may be somebody else's."""
    given = factory(
        tmp_path, FACTORY_DATABASE_URL="postgresql://x/y", FACTORY_NATS_URL="nats://x", FACTORY_S3_ENDPOINT="http://x"
    )
    said: list[str] = []
    given.say = said.append

    await given._start_servers()

    assert given._servers == [] and said == ["using the given servers"]
    assert given.env["FACTORY_DATABASE_URL"] == "postgresql://x/y"


def test_the_pages_keep_their_port(tmp_path: Path):
    """A link in a chat is still good tomorrow."""
    port = factory(tmp_path)._kept_port("console")
    assert factory(tmp_path)._kept_port("console") == port
    assert factory(tmp_path / "other")._kept_port("console") != port


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (78, "builder does not start: its configuration is broken. Log: "),
        (1, "builder does not start: it ended with exit code 1. Log: "),
    ],
)
def test_a_service_that_dies_at_the_start_is_named_with_its_log(tmp_path: Path, code: int, says: str):
    """Where it is, and its end."""
    child = Child("builder", ["x"], tmp_path / "builder.log")
    child.log.write_text("configuration: FACTORY_NATS_URL: no such thing\n")

    text = _died(child, code)

    assert text.startswith(says + str(child.log)) and text.endswith("FACTORY_NATS_URL: no such thing\n")


@pytest.mark.parametrize(
    ("body", "healthy"), [('{"state": "ok"}', True), ('{"state": "starting"}', False), ("<html>", False)]
)
async def test_a_service_is_healthy_when_it_says_so(tmp_path: Path, body: str, healthy: bool):
    """Another answer, or nobody there: not yet."""

    async def health(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    given = factory(tmp_path)
    server = await asyncio.start_server(health, "127.0.0.1", 0)
    given.health["planner"] = server.sockets[0].getsockname()[1]
    async with server:
        assert await given.healthy("planner") is healthy
    assert await given.healthy("planner") is False
