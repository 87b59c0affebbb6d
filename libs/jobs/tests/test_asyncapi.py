"""The bus as AsyncAPI: every reference leads somewhere, every subject and message is one of ours, in the same bytes.

The document as a whole was held against AsyncAPI's own JSON schema (`@asyncapi/specs`, 3.0.0); what that checks of a
document like this one is checked here by name.
"""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from factory_jobs import asyncapi, messages
from factory_jobs.machine import ERRAND_OWNER, WORKING, State

DOCUMENT: dict[str, Any] = yaml.safe_load(asyncapi.text())
PAGE = Path(__file__).resolve().parents[3] / "docs" / "asyncapi.yaml"
KINDS = {kind.__name__: kind for kind, _, _ in asyncapi.SENT.values()}


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [part["$ref"]] if "$ref" in part else [r for value in part.values() for r in references(value)]
    return [r for value in part for r in references(value)] if isinstance(part, list) else []


def at(path: str) -> Any:
    found: Any = DOCUMENT
    for name in path.removeprefix("#/").split("/"):
        found = found[name]
    return found


def matches(subject: str, pattern: str) -> bool:
    """Whether a subject is one of those that a filter of NATS lets through."""
    return re.fullmatch(pattern.replace(".", r"\.").replace("*", "[^.]+").replace(">", ".+"), subject) is not None


def test_it_is_the_page() -> None:
    """Byte for byte, and again the same."""
    assert asyncapi.text() == PAGE.read_text() == asyncapi.text()


def test_its_shape() -> None:
    """What AsyncAPI 3.0 asks of each part: no more keys than it knows, beside extensions."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert set(DOCUMENT) == {
        "asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components",
    }  # fmt: skip
    assert set(DOCUMENT["info"]) == {"title", "version", "description"}
    for channel in DOCUMENT["channels"].values():
        assert set(channel) - {"x-jetstream"} == {"address", "description", "messages", "parameters"}
    for operation in DOCUMENT["operations"].values():
        assert set(operation) - {"x-jetstream"} == {"action", "channel", "summary", "messages"}
        assert operation["action"] in {"send", "receive"}
    for message in DOCUMENT["components"]["messages"].values():
        assert set(message) - {"headers"} == {"name", "summary", "payload", "examples"}
    for parameter in DOCUMENT["components"]["parameters"].values():
        assert set(parameter) <= {"enum", "default", "description", "examples", "location"}


def test_every_reference_leads_somewhere() -> None:
    """And an operation's messages are those of its channel."""
    assert all(isinstance(at(path), dict) for path in references(DOCUMENT))
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_addresses_and_their_parameters() -> None:
    """The subjects that the code publishes to, with each part named."""
    for channel in DOCUMENT["channels"].values():
        assert re.findall(r"\{(\w+)\}", channel["address"]) == list(channel["parameters"])
    addresses = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}
    named = {"state": "{state}", "node": "{node}", "job_id": "{job_id}"}
    assert addresses["jobs"] == messages.job_subject(**named)
    assert addresses["replays"] == messages.job_subject(**named, replay=True)
    assert at("#/components/parameters/state")["enum"] == [s.value for s in State]
    assert at("#/components/parameters/kind")["enum"] == list(ERRAND_OWNER)


@pytest.mark.parametrize("name", asyncapi.SENT)
def test_examples_are_messages(name: str) -> None:
    """Each is what a service would decode, and has every field that its schema wants."""
    message = DOCUMENT["components"]["messages"][name]
    kind, schema = KINDS[message["name"]], at(message["payload"]["$ref"])
    for example in message["examples"]:
        messages.decode(msgspec.json.encode(example["payload"]), kind)  # type: ignore[arg-type]
        assert set(schema["required"]) == set(example["payload"]) == set(schema["properties"])
        for field, facts in schema["properties"].items():
            value = example["payload"][field]
            assert value in facts.get("enum", [value]) and value == facts.get("const", value)
            assert re.search(facts.get("pattern", ""), str(value))


def test_each_state_and_errand_is_taken_by_one() -> None:
    """Of jobs and of replays: a durable for every state that somebody works on, and never two."""
    taken = [
        o["x-jetstream"] | {"name": n} for n, o in DOCUMENT["operations"].items() if n.split("_", 1)[1][:5] == "takes"
    ]
    for replay in (False, True):
        subjects = [messages.job_subject(s, "<node>", "j", replay=replay) for s in WORKING]
        subjects += [messages.errand_subject(k, "<node>", "j", replay=replay) for k in ERRAND_OWNER]
        for subject in subjects:
            by = [t["durable_name"] for t in taken if any(matches(subject, f) for f in t["filter_subjects"])]
            assert len(by) == 1, subject
    assert {t["stream"] for t in taken} == {messages.STREAM, messages.REPLAY_STREAM}
