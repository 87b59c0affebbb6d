"""`factory ps` and `factory clean --stale`: every environment of the machine, and what dead ones have left."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from factory_contract import ports, proc, registry

WEB = "name: a\nservices:\n  web: {command: exec python3 serve.py $WEB_PORT}\n"
NOBODY = 65534
THEIRS = 1100 + os.getpid() % 800  # a port of theirs that nobody listens on, another in each run of these tests


@pytest.fixture
def ps(make_repo: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """The environments beneath this test's directory, by the names of their checkouts."""
    beside = make_repo("name: beside\n", name="beside")

    def look() -> dict[str, Any]:
        told = beside.json("ps", "--under", str(tmp_path))["environments"]
        return {Path(e["checkout"]).name: e for e in told}

    return look


@pytest.fixture
def clean_stale(make_repo: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`factory clean --stale` for this test's directory; from where there is no contract at all."""
    return lambda code=0: json_of(make_repo(name="nowhere"), "clean", "--stale", "--under", str(tmp_path), code=code)


def json_of(repo: Any, *args: str, code: int = 0) -> dict[str, Any]:
    return repo.json(*args, code=code)


def record(repo: Any) -> bool:
    return any(r.root == repo.root for r in registry.records())


def test_what_lives_is_told_and_not_touched(
    make_repo: Callable[..., Any], ps: Callable[..., Any], clean_stale: Callable[..., Any]
) -> None:
    """Ready and stopped environments, with whatever they have; `clean --stale` finds nothing dead."""
    one, three = make_repo(WEB, name="one"), make_repo(WEB, name="three")
    started = one.json("start")
    three.json("start")
    three.json("stop")
    found = ps()
    assert {name: e["state"] for name, e in found.items()} == {"one": "ready", "three": "stopped"}
    told = found["one"]
    assert told["supervisor"] == started["supervisor"]
    assert told["since"] == started["supervisor"]["since"]
    assert told["worktree"] == started["worktree"]
    assert told["ports"] == started["ports"]
    assert told["services"] == [{"name": "web", "state": "ready", "pid": started["services"][0]["pid"]}]
    assert told["processes"] == [started["services"][0]["pid"]]
    assert (told["mine"], told["stale"], any(told["left"].values())) == (True, False, False)
    assert list(found["three"]["ports"]) == ["WEB_PORT"]
    assert clean_stale()["environments"] == []
    assert one.json("status")["state"] == "ready"
    assert ps()["three"] == found["three"]
    three.json("clean")
    assert list(ps()) == ["one"]


def test_a_killed_supervisor(
    make_repo: Callable[..., Any], ps: Callable[..., Any], clean_stale: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """Its processes are leftovers; they are ended, its ports stay, and the checkout is stopped. Another app is left alone."""
    dead, other = make_repo(WEB, name="dead"), make_repo(WEB, name="other")
    started = dead.json("start")
    other.json("start")
    kill(started["supervisor"]["pid"])
    told = ps()["dead"]
    web = started["services"][0]["pid"]
    assert (told["state"], told["error"]["code"], told["stale"]) == ("failed", "supervisor_gone", True)
    assert told["left"] == {"processes": [web], "ports": [], "containers": [], "projects": []}
    cleaned = clean_stale()
    assert cleaned["leftovers"] == [web]
    assert [(e["checkout"], e["processes"]) for e in cleaned["environments"]] == [(str(dead.root), [web])]
    assert proc.look(web) is None
    status = dead.json("status", code=3)
    assert (status["state"], "error" in status) == ("stopped", False)
    assert dead.ports() == started["ports"]
    assert other.json("status")["state"] == "ready"
    assert ps()["dead"]["stale"] is False


def test_a_checkout_that_was_wiped(
    make_repo: Callable[..., Any], ps: Callable[..., Any], clean_stale: Callable[..., Any], kill: Callable[..., Any]
) -> None:
    """With its ledger: processes, a daemon too, leases and record are found by what lies outside of it, and removed."""
    repo = make_repo(
        WEB + "  x: {command: python3 daemon.py pid; exec sleep 60, healthcheck: test -e pid}\n", name="gone"
    )
    repo.write_daemon()
    started = repo.json("start")
    daemon = int((repo.root / "pid").read_text())
    kill(started["supervisor"]["pid"])
    shutil.rmtree(repo.root)
    told = ps()["gone"]
    assert (told["state"], told["error"]["code"], told["stale"]) == ("gone", "checkout_gone", True)
    assert told["ports"] == started["ports"]
    pids = {s["pid"] for s in started["services"]} | {daemon}
    assert pids <= set(told["left"]["processes"])
    assert told["left"]["ports"] == list(started["ports"].values())
    cleaned = clean_stale()
    assert set(cleaned["leftovers"]) == set(told["left"]["processes"])
    assert cleaned["ports"] == told["left"]["ports"]
    assert [pid for pid in pids if proc.look(pid)] == []
    assert not record(repo)
    assert "gone" not in ps()


def test_a_checkout_that_has_moved_lives_on(
    make_repo: Callable[..., Any], ps: Callable[..., Any], clean_stale: Callable[..., Any], tmp_path: Path
) -> None:
    """Its old path is gone while its supervisor lives: named, with where it is now, and not touched."""
    repo = make_repo(WEB, name="old")
    started = repo.json("start")
    repo.root = repo.root.rename(tmp_path / "new")
    told = ps()["old"]
    assert (told["state"], told["stale"], told["error"]["code"]) == ("gone", False, "moved")
    assert str(repo.root) in told["error"]["message"]
    assert clean_stale()["environments"] == []
    assert proc.look(started["services"][0]["pid"])
    repo.json("clean")
    assert not ps()


def test_what_a_killed_command_has_left(
    make_repo: Callable[..., Any],
    ps: Callable[..., Any],
    clean_stale: Callable[..., Any],
    kill: Callable[..., Any],
    until: Callable[..., Any],
) -> None:
    """Beside an app that lives it is named and left; where nothing of the environment lives it is ended."""
    repo = make_repo(WEB + "tests: {slow: 'echo $$ > pid; exec sleep 60'}\n", name="slow")
    repo.json("start")
    testing = repo.popen("test")
    until(lambda: (repo.root / "pid").exists() and (repo.root / "pid").read_text().strip())
    pid = int((repo.root / "pid").read_text())
    assert pid in ps()["slow"]["processes"]
    kill(testing.pid)
    testing.communicate()
    told = ps()["slow"]
    assert (told["state"], told["left"]["processes"], told["stale"]) == ("ready", [pid], False)
    assert clean_stale()["leftovers"] == []
    assert proc.look(pid)
    os.kill(repo.service("web")["pid"], signal.SIGSTOP)  # and with it nothing answers; the supervisor goes with SIGKILL
    kill(repo.look()["supervisor"]["pid"])
    assert pid in clean_stale()["leftovers"]
    assert proc.look(pid) is None
    assert repo.processes() == []


@pytest.fixture
def of_nobody(tmp_path: Path) -> Iterator[Path]:
    """What another user's environment leaves on the machine when its checkout is deleted."""
    if os.getuid() != 0:
        pytest.skip("only root can make another user's files")
    root = tmp_path / "theirs"
    what = {
        "root": str(root),
        "worktree": "theirs-1",
        "ports": {"X_PORT": THEIRS},
        "supervisor": {"pid": 1, "since": "x"},
    }
    lease = ports.SHARED / f"{THEIRS}.json"
    path = ports.SHARED / f"{NOBODY}-{os.getpid()}.json"
    path.write_text(json.dumps(what))
    lease.write_text(json.dumps({"checkout": str(root), "name": "X_PORT", "port": THEIRS, "uid": NOBODY}))
    for made in (path, lease):
        os.chown(made, NOBODY, NOBODY)
    yield path
    path.unlink()
    lease.unlink()


def test_what_is_another_users(ps: Callable[..., Any], clean_stale: Callable[..., Any], of_nobody: Path) -> None:
    """It is told, running or gone, with whose it is; nothing of it is touched."""
    told = ps()["theirs"]
    assert (told["mine"], told["user"], told["state"]) == (False, "nobody", "gone")
    assert told["left"]["ports"] == [THEIRS]
    cleaned = clean_stale()
    assert cleaned["environments"] == []
    assert cleaned["others"] == [{"checkout": told["checkout"], "user": "nobody"}]
    assert of_nobody.exists()
    assert (ports.SHARED / f"{THEIRS}.json").exists()
    with of_nobody.open() as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        told = ps()["theirs"]
        assert (told["state"], told["supervisor"]) == ("running", {"pid": 1, "since": "x"})
        assert clean_stale()["others"] == []


def test_for_people(make_repo: Callable[..., Any], tmp_path: Path, kill: Callable[..., Any]) -> None:
    """A few lines an environment, what it has left, and the command that removes it."""
    repo = make_repo(WEB, name="dead")
    assert repo.run("ps", "--under", str(tmp_path)).stdout == f"0 environments on this machine beneath {tmp_path}\n"
    assert repo.run("clean", "--stale", "--under", str(tmp_path)).stdout == "no environment here is dead\n"
    started = repo.json("start")
    web = started["services"][0]["pid"]
    said = repo.run("ps", "--under", str(tmp_path)).stdout
    assert f"1 service, 1 process, port {started['ports']['WEB_PORT']}" in said
    kill(started["supervisor"]["pid"])
    said = repo.run("ps", "--under", str(tmp_path)).stdout
    assert f"has left process {web}" in said
    assert "`factory clean --stale`" in said
    assert f"{repo.root}  process {web}\n" == repo.run("clean", "--stale", "--under", str(tmp_path)).stdout


def test_records_of_others_may_be_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a record, a link, a pipe, a huge one, one of wrong types: none of them is an environment, none is an error."""
    monkeypatch.setattr(ports, "SHARED", tmp_path)
    registry.enter(tmp_path / "a", "a-1", {"X_PORT": 5000}, {"pid": 3, "since": "now"})
    for n, text in enumerate(
        [
            '{"root": "/\\u001b[2J", "worktree": "x", "ports": {}}',
            "{",
            "[]",
            '{"root": 1}',
            '{"root": "/x", "worktree": "x", "ports": [1]}',
            "{" * 200_000,
        ]
    ):
        (tmp_path / f"1-{n}.json").write_text(text)
    (tmp_path / "1-link.json").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "1-pipe.json")
    (found,) = registry.records()
    assert (found.root, found.ports, found.supervisor, found.live) == (
        tmp_path / "a", {"X_PORT": 5000}, {"pid": 3, "since": "now"}, False,
    )  # fmt: skip
    fd = registry.hold(tmp_path / "a")
    assert fd is not None
    registry.enter(tmp_path / "a", "a-2", {}, projects={"p": {"DOCKER_HOST": "x"}})
    (found,) = registry.records()
    assert (found.live, found.worktree, found.projects) == (True, "a-2", {"p": {"DOCKER_HOST": "x"}})
    assert found.supervisor == {"pid": 3, "since": "now"}
    assert registry.hold(tmp_path / "a") is None
    os.close(fd)
    registry.remove(tmp_path / "a")
    assert registry.records() == []
