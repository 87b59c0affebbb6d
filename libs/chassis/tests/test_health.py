"""`/health` judges the loop from another thread: it answers, and tells the truth, while the loop is held."""

import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from factory_chassis import health as health_module
from factory_chassis.health import Health


@pytest.fixture
def health() -> Iterator[Health]:
    health = Health("planner", 0)
    yield health
    health.close()


def ask(port: int, path: str = "/health") -> tuple[int, Any, float]:
    """Status, body, seconds that it took."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        took = time.monotonic() - began
        return answer.status, json.loads(body) if answer.headers["Content-Type"] == "application/json" else body, took
    finally:
        connection.close()


def test_it_says_what_was_said_last(health: Health) -> None:
    """Well only where everything that it depends on is; 503 for whoever only looks at the status."""
    status, said, _ = ask(health.port)
    assert (status, said["state"]) == (503, "degraded"), "nothing is known yet"
    health.set("postgres", True)
    health.set("nats", True)
    status, said, _ = ask(health.port)
    assert (status, said["state"], said["service"]) == (200, "ok", "planner")
    assert said["checks"] == {"postgres": True, "nats": True}
    health.set("nats", False)
    status, said, _ = ask(health.port)
    assert (status, said["state"]) == (503, "degraded")
    health.details = lambda: {"working": ["jaaaaaaaaaa"]}
    assert ask(health.port)[1]["working"] == ["jaaaaaaaaaa"]
    assert ask(health.port, "/")[0] == 404


async def test_a_held_loop_is_stalled(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """`time.sleep` in the loop: asked meanwhile it answers within a second, and says that the loop is stalled."""
    monkeypatch.setattr(health_module, "STALLED", 0.3)
    health.set("postgres", True)
    health.beat()
    answers: list[tuple[int, Any, float]] = []

    def prober() -> None:
        answers.append(ask(health.port))
        time.sleep(0.6)
        answers.append(ask(health.port))

    probing = threading.Thread(target=prober)
    probing.start()
    time.sleep(1.5)  # noqa: ASYNC251 - the very thing
    probing.join()
    (early, said_early, _), (late, said_late, took) = answers
    assert (early, said_early["state"]) == (200, "ok")
    assert (late, said_late["state"]) == (503, "stalled") and took < 1
    assert said_late["loop_lag"] > 0.3
    health.beat()
    assert ask(health.port)[0] == 200


def test_what_goes_away_is_said_once(health: Health, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that repeats itself every second is read by nobody."""
    with structlog.testing.capture_logs() as said:
        for ok in (True, True, False, False, False, True, True):
            health.set("nats", ok)
    assert [(e["event"], e["what"], e["log_level"]) for e in said] == [
        ("went away", "nats", "warning"),
        ("is back", "nats", "info"),
    ]


def test_its_port_is_free_afterwards() -> None:
    """A service that is started again gets its port, and two at once do not."""
    first = Health("planner", 0)
    with pytest.raises(OSError):
        Health("builder", first.port)
    first.close()
    second = Health("builder", first.port)
    assert ask(second.port)[1]["service"] == "builder"
    second.close()


def test_a_container_asks_by_a_command(health: Health) -> None:
    """0 and what was said where the service is well; 1 where it is not, or where nobody answers."""
    command = [sys.executable, "-I", "-m", "factory_chassis.healthcheck"]

    def check(port: int) -> tuple[int, str]:
        done = subprocess.run(command, env={"FACTORY_HEALTH_PORT": str(port)}, capture_output=True, text=True)
        return done.returncode, done.stdout

    code, said = check(health.port)
    assert code == 1 and '"state": "degraded"' in said
    health.set("postgres", True)
    code, said = check(health.port)
    assert code == 0 and '"state": "ok"' in said
    health.close()
    code, said = check(health.port)
    assert code == 1 and said.startswith(f"no answer from port {health.port}")


def test_who_does_not_wait_leaves_no_trace(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that gave up is no error that anybody has to read of."""
    asked, answer, over = threading.Event(), threading.Event(), threading.Event()
    errors: list[object] = []

    def slow() -> dict[str, Any]:
        asked.set()
        answer.wait(10)
        return {}

    health.details = slow
    monkeypatch.setattr(health._server, "handle_error", lambda *about: errors.append(about))
    monkeypatch.setattr(health._server, "shutdown_request", lambda _: over.set())
    with socket.create_connection(("127.0.0.1", health.port)) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets it
        caller.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert asked.wait(10)
    answer.set()
    assert over.wait(10) and errors == []
