"""One service, its policy and its health, with a real process and short waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from factory_contract import check, health, model, unit
from factory_contract.environment import Environment
from factory_contract.errors import ContractError
from factory_contract.process import Children
from factory_contract.unit import Unit


class Home:
    """A supervisor of one service, that writes down its states."""

    def __init__(self, root: Path, children: Children, service: str) -> None:
        text = f"name: a\nservices:\n  x: {service}\n".encode()
        contract = check.parse(text, "factory.yaml", root).contract
        self.children, self.environment = children, Environment(contract, root, "w-1", {}, {"PATH": "/usr/bin:/bin"})
        self.states: list[str] = []
        self.unit = Unit("x", contract.services["x"], self, root / "x.log")

    def changed(self, of: Unit) -> None:
        if self.states[-1:] != [of.state]:
            self.states.append(of.state)

    def note(self, text: str) -> None:
        self.states.append(text)

    async def until(self, *states: str) -> None:
        async with asyncio.timeout(10):
            while self.unit.state not in states:
                await asyncio.sleep(0.005)


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[str], Home]]:
    monkeypatch.setattr(unit, "BACKOFF", 0.005)
    monkeypatch.setattr(unit, "LONGEST_BACKOFF", 0.01)
    monkeypatch.setattr(unit, "SETTLED", 0.05)
    made: list[Home] = []
    async with Children() as children:

        def make(service: str) -> Home:
            made.append(Home(tmp_path, children, service))
            made[-1].unit.launch([])
            return made[-1]

        yield make
        for one in made:
            await one.unit.stop()
            one.unit.close()


async def test_one_that_falls_again_and_again_is_given_up(home: Callable[[str], Home]) -> None:
    """After five new starts in a row: `failed`, with how often and how; before that each is counted."""
    here = home("{command: sleep 0.06; exit 3}")
    await here.unit.outcome
    await here.until("failed")
    error = here.unit.error
    assert error is not None
    assert str(error) == "x ended 6 times in a row, the last time with exit code 3"
    assert here.unit.restarts == unit.IN_A_ROW
    assert here.unit.snapshot()["error"]["code"] == "service_fell"
    assert here.states.count("ready") == 6


async def test_one_that_stays_for_a_while_is_counted_anew(
    home: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash a day is no reason to give up."""
    monkeypatch.setattr(unit, "STEADY", 0.0)
    here = home("{command: sleep 0.06; exit 3}")
    async with asyncio.timeout(20):
        while here.unit.restarts < unit.IN_A_ROW + 3:
            await asyncio.sleep(0.01)
    assert here.unit.error is None


@pytest.mark.parametrize(
    ("policy", "code", "state", "again"),
    [("no", 1, "exited", False), ("on-failure", 0, "exited", False), ("on-failure", 1, "failed", True), ("always", 0, "failed", True)],
)  # fmt: skip
async def test_policies(home: Callable[[str], Home], policy: str, code: int, state: str, again: bool) -> None:
    """Which end is followed by a new start."""
    here = home(f"{{command: sleep 0.06; exit {code}, restart: {policy}}}")
    await here.unit.outcome
    await here.until(state)
    assert (here.unit.exit_code, here.unit.restarts > 0) == (code, again)
    trouble = here.unit.trouble()
    assert trouble is not None
    assert f"x ended with exit code {code}" in trouble.what


async def test_one_that_never_gets_ready_is_given_up_sooner(home: Callable[[str], Home]) -> None:
    """Two more tries, then whoever waits gets its last words."""
    here = home("{command: echo no; exit 4}")
    with pytest.raises(ContractError) as e:
        await here.unit.outcome
    assert (e.value.code, e.value.data["log_tail"], here.unit.restarts) == ("service_exited", ["no"], unit.BEFORE_READY)


async def test_a_command_is_not_asked_without_a_pause(home: Callable[[str], Home], tmp_path: Path) -> None:
    """A check that takes long would take the machine from what it waits for."""
    here = home(
        "{command: exec sleep 60, healthcheck: {command: echo >> asked; sleep 0.2; false, start_period: 0.9, retries: 1, interval: 0.1}}"
    )
    with pytest.raises(ContractError):
        await here.unit.outcome
    assert 2 <= len((tmp_path / "asked").read_text().splitlines()) <= 4


def test_the_usual_rhythm_is_the_models() -> None:
    """Of a service without a healthcheck; it is written down twice because the model takes long to load."""
    assert health.rhythm(None) == health.rhythm(model.Healthcheck.model_construct())
