"""docs/asyncapi.yaml says of streams and consumers what the provisioner makes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from factory_chassis.provision import Provisioner, consumer_config, stream_config
from factory_jobs import messages
from factory_jobs.machine import Role

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[3] / "docs" / "asyncapi.yaml").read_text())
NODE = "<node>"


@pytest.mark.parametrize("replay", [False, True])
def test_consumers_are_those_that_are_made(replay: bool) -> None:
    """For each role and the notifier: durable, filters and the rest, in NATS' own words."""
    told = {
        facts["durable_name"]: facts
        for operation in DOCUMENT["operations"].values()
        if (facts := operation.get("x-jetstream")) and facts["stream"] == messages.stream(replay)
    }
    made: dict[str, dict[str, Any]] = {}
    for role in (Role.PLANNER, Role.ENVKEEPER, Role.BUILDER, Role.RECORDER, Role.REVIEWER, "notifier"):
        provisioner = Provisioner(None, role, NODE, replay=replay)  # type: ignore[arg-type]
        for durable, filters in provisioner.consumers.items():
            wanted = consumer_config(durable, filters)
            made[durable] = {"stream": provisioner.stream.name} | {
                name: getattr(value, "value", value)
                for name in told["planner"]
                if (value := getattr(wanted, name, None))
            }
    assert made == told


def test_streams_are_those_that_are_made() -> None:
    """Both, with what is kept and for how long."""
    for channel in DOCUMENT["channels"].values():
        if (told := channel.get("x-jetstream")) is None:
            continue
        made = stream_config(replay=told["stream"] == messages.REPLAY_STREAM)
        assert told == {"stream": made.name} | {
            name: getattr(value, "value", value) for name in told if (value := getattr(made, name, None)) is not None
        }
