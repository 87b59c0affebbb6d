"""Port leases: exclusive on the machine, stable for a checkout, free again when nobody means them."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from factory_contract import ports, state
from factory_contract.checkout import Checkout
from factory_contract.errors import BadPortRange, NoFreePort, PortsDirectory, PortTaken
from factory_contract.ports import Leases, Range


@pytest.fixture
def low() -> int:
    """The begin of twenty ports that are free now; beneath the range that the kernel gives to clients."""
    for start in range(21000, 31000, 20):
        if all(ports.is_free(port) for port in range(start, start + 20)):
            return start
    raise AssertionError("no free ports on this machine")


@pytest.fixture
def checkouts(tmp_path: Path) -> list[Checkout]:
    made = [Checkout(tmp_path / name, tmp_path / name / "factory.yaml") for name in "abc"]
    for checkout in made:
        checkout.root.mkdir()
        checkout.make_state_dir()
    return made


def test_two_checkouts_never_share_a_port(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """Also when the first supervisor is gone: the lease is the checkout's, not the process's."""
    within = Range(low, low + 19)
    first = Leases(checkouts[0], tmp_path / "shared")
    mine = first.take(["A_PORT", "B_PORT"], {}, within, "a")
    assert mine == {"A_PORT": low, "B_PORT": low + 1}
    first.let_go()
    theirs = Leases(checkouts[1], tmp_path / "shared").take(["A_PORT"], {}, within, "b")
    assert theirs == {"A_PORT": low + 2}


def test_leases_are_stable_until_released(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """The same ports come again, whatever was free before them; `release` gives them to others."""
    shared, within = tmp_path / "shared", Range(low, low + 19)
    blocker = Leases(checkouts[1], shared)
    blocker.take(["X_PORT"], {}, within, "b")
    leases = Leases(checkouts[0], shared)
    assert leases.take(["A_PORT"], {}, within, "a") == {"A_PORT": low + 1}
    leases.let_go()
    assert blocker.release() == [low]
    again = Leases(checkouts[0], shared)
    assert again.take(["A_PORT", "B_PORT"], {}, within, "a") == {"A_PORT": low + 1, "B_PORT": low}
    assert again.take(["B_PORT"], {}, within, "a") == {"B_PORT": low}  # in the same process, one name less
    assert again.release() == [low]
    assert list(shared.iterdir()) == []
    assert state.leased(checkouts[0]) is None


def test_a_deleted_checkout_gives_its_ports_back(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """Nobody has to clean up after it; a checkout that has moved takes its ports with it."""
    shared, within = tmp_path / "shared", Range(low, low + 19)
    first = Leases(checkouts[0], shared)
    first.take(["A_PORT"], {}, within, "a")
    first.let_go()
    moved = checkouts[0].root.rename(tmp_path / "moved")
    there = Leases(Checkout(moved, None), shared)
    assert there.take(["A_PORT"], {}, within, "m") == {"A_PORT": low}
    there.let_go()
    shutil.rmtree(moved)
    assert Leases(checkouts[1], shared).take(["A_PORT"], {}, within, "b") == {"A_PORT": low}


def test_a_copy_gets_ports_of_its_own(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """`cp -r` of a checkout copies its leases.json too, which does not make the ports the copy's."""
    shared, within = tmp_path / "shared", Range(low, low + 19)
    first = Leases(checkouts[0], shared)
    first.take(["A_PORT"], {}, within, "a")
    first.let_go()
    shutil.copytree(checkouts[0].root, tmp_path / "copy")
    copy = Checkout(tmp_path / "copy", None)
    assert state.leased(copy) is None
    assert Leases(copy, shared).take(["A_PORT"], {}, within, "c") == {"A_PORT": low + 1}


def test_ports_that_somebody_listens_on_are_passed_over(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """On either loopback address; nothing is left behind for a port that could not be had."""
    with socket.create_server(("127.0.0.1", low)), socket.create_server(("::1", low + 1), family=socket.AF_INET6):
        leased = Leases(checkouts[0], tmp_path / "shared").take(["A_PORT"], {}, Range(low, low + 19), "a")
    assert leased == {"A_PORT": low + 2}
    assert [p.name for p in (tmp_path / "shared").iterdir()] == [f"{low + 2}.json"]


def test_a_stolen_port_is_left_and_another_leased(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """Stability ends where somebody else listens."""
    shared, within = tmp_path / "shared", Range(low, low + 19)
    leases = Leases(checkouts[0], shared)
    leases.take(["A_PORT"], {}, within, "a")
    leases.let_go()
    with socket.create_server(("127.0.0.1", low)):
        assert Leases(checkouts[0], shared).take(["A_PORT"], {}, within, "a") == {"A_PORT": low + 1}
    assert not (shared / f"{low}.json").exists()


def test_a_fixed_port_that_is_taken_names_its_owner(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """A process by pid and command; a checkout that has leased it by its path."""
    shared, within = tmp_path / "shared", Range(low, low + 19)
    with socket.create_server(("127.0.0.1", low)), pytest.raises(PortTaken) as e:
        Leases(checkouts[0], shared).take(["A_PORT"], {"A_PORT": low}, within, "a")
    assert "pid " in str(e.value)
    Leases(checkouts[1], shared).take(["A_PORT"], {"A_PORT": low}, within, "b")
    with pytest.raises(PortTaken) as e:
        Leases(checkouts[0], shared).take(["B_PORT", "A_PORT"], {"A_PORT": low}, within, "a")
    assert str(checkouts[1].root) in str(e.value)


def test_a_full_range_is_an_error(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """And what was leased before the error is free again."""
    shared = tmp_path / "shared"
    with pytest.raises(NoFreePort, match="C_PORT"):
        Leases(checkouts[0], shared).take(["A_PORT", "B_PORT", "C_PORT"], {}, Range(low, low + 1), "a")
    assert Leases(checkouts[1], shared).take(["A_PORT"], {}, Range(low, low + 1), "b") == {"A_PORT": low}


def test_commands_beside_the_app_use_its_ports(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """`add` leaves leased ports alone although a supervisor has their locks, and adds what is missing."""
    shared = tmp_path / "shared"
    supervisor = Leases(checkouts[0], shared)
    supervisor.take(["A_PORT"], {}, Range(low, low + 19), "a")
    beside = Leases(checkouts[0], shared)
    got = beside.add(["A_PORT", "B_PORT"], {}, "a")
    beside.let_go()
    assert got["A_PORT"] == low
    assert got["B_PORT"] != low
    assert state.named(checkouts[0]).ports == got


def test_all_leases_of_the_machine(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """Whose they are and whether they are still meant; what else somebody puts there is none of them."""
    shared = tmp_path / "shared"
    first = Leases(checkouts[0], shared)
    first.take(["A_PORT", "B_PORT"], {}, Range(low, low + 19), "a")
    first.let_go()
    Leases(checkouts[1], shared).take(["A_PORT"], {}, Range(low, low + 19), "b")
    os.mkfifo(shared / "1024.json")
    (shared / "1025.json").symlink_to("/dev/zero")
    (shared / "1026.json").write_text('{"checkout": "/\\u001b[2J", "uid": 1}')
    (shared / "1027.json").touch()
    shutil.rmtree(checkouts[0].root)
    found = ports.leases(shared)
    assert [(lease.port, lease.root, lease.uid, lease.void) for lease in found] == [
        (low, checkouts[0].root, os.getuid(), True),
        (low + 1, checkouts[0].root, os.getuid(), True),
        (low + 2, checkouts[1].root, os.getuid(), False),
    ]
    assert Leases(checkouts[1], shared).free([low, low + 1, low + 2]) == []
    assert Leases(checkouts[0], shared).free([low, low + 1, low + 2]) == [low, low + 1]


def test_the_shared_directory(tmp_path: Path, checkouts: list[Checkout], low: int) -> None:
    """All users may lease in it, none may remove another's file; a link in its place is refused."""
    shared = tmp_path / "shared"
    Leases(checkouts[0], shared).take(["A_PORT"], {}, Range(low, low + 19), "a")
    assert shared.stat().st_mode & 0o7777 == 0o1777
    assert (shared / f"{low}.json").stat().st_mode & 0o777 == 0o666
    assert json.loads((shared / f"{low}.json").read_text())["checkout"] == str(checkouts[0].root)
    (tmp_path / "link").symlink_to(shared)
    with pytest.raises(PortsDirectory, match="no directory"):
        Leases(checkouts[1], tmp_path / "link").take(["A_PORT"], {}, Range(low, low + 19), "b")


@pytest.mark.parametrize(
    ("text", "found"), [("46200-46250", (46200, 46250)), ("46200", (46200, 46209)), ("65530", (65530, 65535))]
)
def test_ranges(text: str, found: tuple[int, int]) -> None:
    """LO-HI, or LO with the size that the contract says."""
    assert ports.parse_range(text, 10) == found


@pytest.mark.parametrize("text", ["", "x", "1-", "-5", "80", "50-60", "5000-4000", "1024-70000", "5000-", "5000 6000"])
def test_what_is_no_range(text: str) -> None:
    """Privileged, empty and impossible ranges are refused."""
    with pytest.raises(BadPortRange):
        ports.parse_range(text, 10)
