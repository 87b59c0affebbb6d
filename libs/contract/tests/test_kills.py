"""What goes wrong: crashes, kills, strangers on ports, apps that do not listen. Each ends in a named state and a clean machine."""

import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory_contract import lock, proc, state

WEB = "name: a\nservices:\n  web: {command: exec python3 serve.py $WEB_PORT}\n"


def daemon_pid(repo: Any) -> int:
    return int((repo.root / "pid").read_text())


def test_a_service_that_crashes(make_repo: Callable[..., Any]) -> None:
    """start fails with the service, its exit code, its last lines and what to do; nothing else is left running either."""
    repo = make_repo(
        WEB + "  bad:\n    command: echo starting; echo boom >&2; exit 9\n    depends_on: [web]\n    restart: no\n"
    )
    done = repo.run("start", "--json")
    told = json.loads(done.stdout)
    error = told["error"]
    assert (done.returncode, told["ok"], error["code"], error["service"]) == (1, False, "service_exited", "bad")
    assert error["exit_code_of_command"] == 9
    assert error["log_tail"] == ["starting", "boom"]
    assert "factory logs --service bad" in error["hint"]
    assert repo.processes() == []
    assert repo.listened() == []
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "service_exited")
    assert {s["name"]: s["state"] for s in status["services"]} == {"web": "stopped", "bad": "failed"}
    text = repo.run("start").stderr
    assert "| boom" in text
    assert "bad ended with exit code 9 before it was ready" in text


@pytest.mark.parametrize(
    ("service", "code", "exit_code"),
    [
        ("{command: sleep 60, healthcheck: {command: 'exit 1', interval: 0.1, retries: 1, start_period: 0.3}}", "not_ready", 3),
        ("{command: 'exit 0'}", "service_left", 1),
        ("{type: task, command: 'exit 4'}", "task_failed", 1),
        ("{command: sleep 60, healthcheck: {http: /, start_period: 0.1}}", "bad_address", 2),
        ("{command: sleep 60, env: {A: '${NOPE}'}}", "undefined_variable", 2),
        ("{type: docker-compose, compose_file: compose.yaml}", "compose_file_missing", 2),
        ("{command: 'sleep 60 # $X_PORT', healthcheck: {command: 'true', interval: 0.1, retries: 1, start_period: 0.3}}", "port_unused", 3),
    ],
)  # fmt: skip
def test_other_failed_starts(make_repo: Callable[..., Any], service: str, code: str, exit_code: int) -> None:
    """Each kind has its own code, and leaves nothing."""
    repo = make_repo(f"name: a\nservices:\n  x: {service}\n")
    assert repo.json("start", code=exit_code)["error"]["code"] == code
    assert repo.processes() == []


def test_a_seed_that_fails(make_repo: Callable[..., Any]) -> None:
    """The app was ready, its data is not: start fails with the command and its output."""
    repo = make_repo(WEB + "seed: [echo one, 'echo two; exit 5', echo three]\n")
    error = repo.json("start", code=1)["error"]
    assert (error["code"], error["log_tail"]) == ("seed_failed", ["two"])
    assert repo.processes() == []


def test_an_app_that_goes_into_the_background(make_repo: Callable[..., Any]) -> None:
    """It is named, and the daemon is found by what it was started with and ended."""
    command = "python3 daemon.py pid; while [ ! -e pid ]; do sleep 0.02; done"
    repo = make_repo(f"name: a\nservices:\n  x: {{command: '{command}', healthcheck: 'false'}}\n")
    repo.write_daemon()
    error = repo.json("start", code=1)["error"]
    assert error["code"] == "service_left"
    assert "foreground" in error["message"]
    assert proc.look(daemon_pid(repo)) is None
    assert repo.processes() == []


def test_stop_ends_what_went_into_the_background(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """A daemon beside its service is part of it, and an app that ignores SIGTERM is killed after its own wait."""
    repo = make_repo("""
name: a
services:
  x: {command: "python3 daemon.py pid; trap '' TERM; while :; do sleep 0.1; done", stop: {timeout: 1.2}}
""")
    repo.write_daemon()
    repo.json("start")
    until(lambda: (repo.root / "pid").exists())
    pid = daemon_pid(repo)
    assert proc.look(pid)
    begun = time.monotonic()
    said = repo.run("stop").stderr
    assert 1.2 < time.monotonic() - begun < 8
    assert "waiting for x to end: SIGTERM was sent; killed after 1.2 s" in said
    assert "x was still there after 1.2 s and was killed" in said
    assert proc.look(pid) is None
    assert repo.processes() == []


def test_a_killed_child_comes_back(
    make_repo: Callable[..., Any], until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """By its policy: on-failure starts it again and counts; with `restart: no` it stays away and the app is degraded."""
    repo = make_repo(WEB + "  once: {command: exec sleep 60, restart: no}\n")
    repo.json("start")
    first = repo.service("web")["pid"]
    kill(first)
    until(lambda: repo.service("web")["state"] == "ready" and repo.service("web")["pid"] != first)
    assert repo.service("web")["restarts"] == 1
    kill(repo.service("once")["pid"])
    until(lambda: repo.service("once")["state"] == "exited")
    status = repo.json("status", code=3)
    assert status["state"] == "degraded"
    assert (status["error"]["code"], status["error"]["service"]) == ("unhealthy", "once")
    assert status["error"]["message"] == "once ended with exit code 137"
    assert "`factory start` brings it back" in status["error"]["hint"]
    assert repo.service("once")["exit_code"] == 137
    assert repo.json("start")["state"] == "ready", "start brings back what has ended"


def test_health_over_time(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """A ready service that stops answering is unhealthy, the app degraded; when it answers again both are ready."""
    repo = make_repo(
        "name: a\nservices:\n  x: {command: exec sleep 60, healthcheck: {command: test -e well, interval: 0.1, retries: 2}}\n"
    )
    repo.write("well", "")
    repo.json("start")
    (repo.root / "well").unlink()
    until(lambda: repo.look()["state"] == "degraded")
    assert repo.service("x")["state"] == "unhealthy"
    assert "ended with 1" in repo.service("x")["health"]["detail"]
    said = repo.run("status").stderr
    assert "x is unhealthy: `test -e well` ended with 1" in said
    assert "factory logs --service x" in said
    repo.write("well", "")
    until(lambda: repo.look()["state"] == "ready")


def test_a_line_in_the_log_can_be_the_sign(make_repo: Callable[..., Any]) -> None:
    """`healthcheck: {log: …}` waits for the line, not for the process."""
    repo = make_repo("""
name: a
services:
  x: {command: "sleep 0.5; echo listening now; touch said; exec sleep 60", healthcheck: {log: "^listening"}}
  y: {command: "test -e said && exec sleep 60", depends_on: x, restart: no}
""")
    assert repo.json("start")["state"] == "ready"


def test_a_killed_supervisor(make_repo: Callable[..., Any], kill: Callable[..., Any]) -> None:
    """status names it and what it has left; clean ends that, daemons too; nothing else is touched."""
    repo = make_repo(WEB + "  x: {command: python3 daemon.py pid; exec sleep 60, healthcheck: test -e pid}\n")
    repo.write_daemon()
    started = repo.json("start")
    kill(started["supervisor"]["pid"])
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "supervisor_gone")
    pids = status["error"]["pids"]
    assert {repo.service("web")["pid"], daemon_pid(repo)} <= set(pids)
    assert repo.json("restart", code=3)["error"]["code"] == "supervisor_gone"
    assert sorted(repo.json("clean")["leftovers"]) == pids
    assert [pid for pid in pids if proc.look(pid)] == []
    assert repo.json("status", code=3)["state"] == "stopped"


def test_a_supervisor_that_is_killed_before_it_listens(
    make_repo: Callable[..., Any], until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """Its first services run already, as its contract was known: start says what happened and ends them."""
    repo = make_repo("name: a\nservices:\n  x: {command: exec sleep 60, healthcheck: test -e well}\n")
    repo.write("well", "")
    before = repo.json("start")["supervisor"]["pid"]
    repo.json("stop")
    (repo.root / "well").unlink()
    starting = repo.popen("start", "--json")
    told = until(lambda: (s := state.read(repo.here.state_file)) and s["supervisor"]["pid"] != before and s)
    kill(told["supervisor"]["pid"])
    out, _ = starting.communicate(timeout=30)
    assert (starting.returncode, json.loads(out)["error"]["code"]) == (3, "supervisor_gone")
    assert repo.processes() == []
    assert repo.json("status", code=3)["state"] == "stopped"


def test_ctrl_c_at_any_moment(make_repo: Callable[..., Any]) -> None:
    """From the first milliseconds on: either it was never begun, or it is ended."""
    repo = make_repo("name: a\nservices:\n  x: {command: exec sleep 60, healthcheck: 'false'}\n")
    for moment in range(8):
        starting = repo.popen(
            "start", "--json", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        )
        time.sleep(0.02 + 0.025 * moment)
        starting.send_signal(signal.SIGINT)
        starting.communicate(timeout=30)
        assert starting.returncode in (130, 1, -signal.SIGINT)
        assert repo.processes() == []
        assert not lock.is_held(repo.here)


def test_it_survives_its_terminal(make_repo: Callable[..., Any]) -> None:
    """A terminal that is closed takes the shell with it, and not the app."""
    repo = make_repo(WEB)
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -m factory_contract start; echo started; read _"],
        cwd=repo.root, env=repo.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    said = b""
    while b"started" not in said:
        said += os.read(master, 4096)
    assert b"\x1b[32mready" in said, "a terminal gets colours"
    os.close(master)
    assert shell.wait(timeout=10) == -signal.SIGHUP
    status = repo.json("status")
    assert status["state"] == "ready"
    assert proc.look(status["supervisor"]["pid"]).sid == status["supervisor"]["pid"]  # pyright: ignore


def test_a_supervisor_that_hangs(make_repo: Callable[..., Any]) -> None:
    """It lives and does not answer: status says so, clean ends it and what it has started."""
    repo = make_repo(WEB)
    started = repo.json("start")
    os.kill(started["supervisor"]["pid"], signal.SIGSTOP)
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "supervisor_silent")
    repo.json("clean")
    assert proc.look(started["supervisor"]["pid"]) is None
    assert proc.look(started["services"][0]["pid"]) is None


def test_after_a_reboot(make_repo: Callable[..., Any], kill: Callable[..., Any]) -> None:
    """Pids of before mean nothing now: nothing is ended by them, status says what was, start starts."""
    repo = make_repo(WEB)
    started = repo.json("start")
    kill(started["supervisor"]["pid"])
    web = started["services"][0]["pid"]
    for name in ("state.json", "ledger.jsonl"):
        path = repo.root / ".software-factory" / name
        path.write_text(path.read_text().replace(proc.boot_id(), "another boot"))
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "rebooted")
    assert repo.json("stop")["leftovers"] == []
    assert proc.look(web)
    kill(web)
    assert repo.json("start")["state"] == "ready"


def test_start_after_a_killed_supervisor(make_repo: Callable[..., Any], kill: Callable[..., Any]) -> None:
    """What it has left is ended first, and the ports are the same again."""
    repo = make_repo(WEB)
    started = repo.json("start")
    kill(started["supervisor"]["pid"])
    done = repo.run("start", "--json")
    again = json.loads(done.stdout)
    assert again["state"] == "ready"
    assert again["ports"] == started["ports"]
    assert "an earlier supervisor has left" in (repo.root / ".software-factory/logs/factory/supervisor.log").read_text()
    assert len(repo.processes()) == 1


def test_ctrl_c_during_start_leaves_nothing(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """Exit code 130, the service and the supervisor are gone."""
    repo = make_repo(WEB + "  slow: {command: exec sleep 60, healthcheck: 'false'}\n")
    for how in (signal.SIGINT, signal.SIGTERM):
        starting = repo.popen("start", "--json")
        until(lambda: len(repo.processes()) >= 2)
        supervisor = until(lambda: repo.look()["supervisor"])["pid"]
        starting.send_signal(how)
        out, _ = starting.communicate(timeout=30)
        assert (starting.returncode, json.loads(out)["error"]["code"]) == (130, "interrupted")
        assert repo.processes() == []
        assert proc.look(supervisor) is None
        assert repo.look()["state"] == "stopped"


def test_start_that_is_killed_midway(
    make_repo: Callable[..., Any], until: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """Its supervisor goes on by itself and ends in a named state."""
    repo = make_repo(WEB + "  slow: {command: 'sleep 1; touch up; exec sleep 60', healthcheck: test -e up}\n")
    starting = repo.popen("start")
    until(lambda: repo.processes())
    kill(starting.pid)
    starting.wait()
    starting.communicate()
    until(lambda: repo.look()["state"] == "ready")


def test_a_stranger_on_the_port(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """A port that is stolen between lease and bind: the app is not called ready, the thief is named."""
    repo = make_repo(
        "name: a\nservices:\n  web: {command: 'sleep 1.5; exec python3 serve.py $WEB_PORT', restart: no}\n"
    )
    starting = repo.popen("start", "--json")
    port = until(lambda: repo.processes() and repo.ports().get("WEB_PORT"))
    with socket.create_server(("127.0.0.1", port)):
        out, _ = starting.communicate(timeout=30)
    error = json.loads(out)["error"]
    assert (starting.returncode, error["code"]) == (4, "foreign_listener")
    assert f"pid {os.getpid()}" in error["message"]
    assert repo.processes() == []


def test_a_client_on_the_port(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """The kernel gives ports to clients, too: such a one is named, and the next start leases another port."""
    repo = make_repo(
        "name: a\nservices:\n  web: {command: 'while [ ! -e taken ]; do sleep 0.02; done; exec python3 serve.py $WEB_PORT', restart: no}\n"
    )
    own = ("--port-range", "45600-45699")  # where no connection of an earlier test lingers
    starting = repo.popen("start", "--json", *own)
    port = until(lambda: repo.processes() and repo.ports().get("WEB_PORT"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), source_address=("127.0.0.1", port)):
            repo.write("taken", "")
            out, _ = starting.communicate(timeout=30)
            error = json.loads(out)["error"]
            assert (starting.returncode, error["code"], error["service"]) == (4, "port_lost", "web")
            assert f"pid {os.getpid()}" in error["message"]
            assert repo.json("start", *own)["ports"]["WEB_PORT"] != port


def test_a_fixed_port_that_is_taken(make_repo: Callable[..., Any]) -> None:
    """Said before anything is started, with the owner's name."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        repo = make_repo(WEB.replace("$WEB_PORT", f"$WEB_PORT, ports: {{WEB_PORT: {port}}}"))
        error = repo.json("start", code=4)["error"]
    assert (error["code"], f"pid {os.getpid()}" in error["message"]) == ("port_taken", True)
    assert repo.json("start")["ports"] == {"WEB_PORT": port}


def test_a_moved_and_a_copied_checkout(make_repo: Callable[..., Any], tmp_path: Path) -> None:
    """A copy is a checkout of its own and cannot end the original; one that has moved is named, and cleaned."""
    repo = make_repo(WEB)
    started = repo.json("start")
    shutil.copytree(repo.root, tmp_path / "copy", ignore=lambda *_: ["supervisor.lock"])
    copy = make_repo(name="copy")
    assert copy.json("status", code=3)["state"] == "stopped"
    assert copy.json("stop")["stopped"] == []
    told = copy.json("start")
    assert told["ports"] != started["ports"]
    assert told["worktree"] != started["worktree"]
    copy.json("clean")
    assert repo.json("status")["state"] == "ready"

    moved = repo.root.rename(tmp_path / "moved")
    repo.root = moved
    status = repo.json("status", code=3)
    assert (status["state"], status["error"]["code"]) == ("failed", "moved")
    repo.json("clean")
    assert proc.look(started["supervisor"]["pid"]) is None
    assert proc.look(started["services"][0]["pid"]) is None


def test_a_deleted_checkout(make_repo: Callable[..., Any], until: Callable[..., Any]) -> None:
    """Its app ends by itself, and its ports are free for others."""
    repo = make_repo(WEB)
    started = repo.json("start")
    shutil.rmtree(repo.root)
    until(lambda: proc.look(started["supervisor"]["pid"]) is None)
    assert proc.look(started["services"][0]["pid"]) is None


def test_much_output(make_repo: Callable[..., Any]) -> None:
    """100 MB of log: the disk, the supervisor's memory and its time are bounded, and what else runs is none the worse."""
    repo = make_repo(
        WEB
        + """
  loud:
    command: yes 'a line that is said again and again, to fill the log' | head -c 100000000; touch done; exec sleep 60
    depends_on: [web]
"""
    )
    told = repo.json("start")
    supervisor = told["supervisor"]["pid"]
    deadline = time.monotonic() + 60
    while not (repo.root / "done").exists():
        begun = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{told['ports']['WEB_PORT']}", timeout=5) as answer:
            assert answer.read() == b"ok"
        assert repo.look()["state"] == "ready"
        assert time.monotonic() - begun < 3
        time.sleep(0.1)
        assert time.monotonic() < deadline
    logs = repo.here.logs
    sizes = {p.name: p.stat().st_size for p in logs.glob("loud.log*")}
    assert sizes.keys() <= {"loud.log", "loud.log.1", "loud.log.2", "loud.log.3"}
    assert sum(sizes.values()) < 42_000_000
    assert logs.joinpath("web.log").stat().st_size < 10_000
    assert peak_memory(supervisor) < 100_000_000
    ticks = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()
    assert (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK") < 15


def peak_memory(pid: int) -> int:
    """In bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
