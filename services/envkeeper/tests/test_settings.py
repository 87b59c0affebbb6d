"""Envkeeper's settings: a range of ports that can be used, or an error at the start that names the variable."""

import pytest
from factory_chassis.settings import BadSettings, read
from factory_envkeeper import ports
from factory_envkeeper.settings import Settings


def test_default() -> None:
    """The default range has room for the jobs that may work at once."""
    settings = read(Settings, {})
    low, high = settings.ports
    assert (high - low + 1) // ports.SIZE >= settings.node_jobs


def test_given() -> None:
    """As written in the environment."""
    assert read(Settings, {"FACTORY_PORT_RANGE": "2000-2019"}).ports == (2000, 2019)


@pytest.mark.parametrize(
    "value", ["", "2000", "2000-", "a-b", "2000-1000", "2000–2100", "80-2000", "60000-70000", "2000-2018", " 2000-3000"]
)
def test_refused(value: str) -> None:
    """Not a range, privileged or impossible ports, or too few for one job."""
    with pytest.raises(BadSettings) as e:
        read(Settings, {"FACTORY_PORT_RANGE": value})
    assert [p.startswith("FACTORY_PORT_RANGE: ") for p in e.value.problems] == [True]


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_node_jobs(value: str) -> None:
    """At least one job."""
    with pytest.raises(BadSettings, match="FACTORY_NODE_JOBS"):
        read(Settings, {"FACTORY_NODE_JOBS": value})


def test_ports_of_a_job() -> None:
    """Fewer for each make room for more jobs in a short range."""
    assert read(Settings, {"FACTORY_PORT_RANGE": "2000-2004", "FACTORY_JOB_PORTS": "5"}).job_ports == 5
    with pytest.raises(BadSettings, match="FACTORY_PORT_RANGE: 2000-2004 holds fewer than the 6 ports"):
        read(Settings, {"FACTORY_PORT_RANGE": "2000-2004", "FACTORY_JOB_PORTS": "6"})


def test_previews() -> None:
    """A twin for each port of the range; none unless it is asked for."""
    assert read(Settings, {}).previews is None
    given = {"FACTORY_PORT_RANGE": "2000-2039", "FACTORY_PREVIEW_RANGE": "3000-3039"}
    assert read(Settings, given).previews == (3000, 3039)


@pytest.mark.parametrize("value", ["", "3000-3038", "2020-2059", "80-119"])
def test_previews_refused(value: str) -> None:
    """No range, another length, or ports that the apps themselves have."""
    with pytest.raises(BadSettings) as e:
        read(Settings, {"FACTORY_PORT_RANGE": "2000-2039", "FACTORY_PREVIEW_RANGE": value})
    assert [p.startswith("FACTORY_PREVIEW_RANGE: ") for p in e.value.problems] == [True]
