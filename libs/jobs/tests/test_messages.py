"""What goes over the bus: who hears it, and what is not believed."""

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest
from factory_jobs import messages
from factory_jobs.generate import example
from factory_jobs.machine import ERRAND_OWNER, NODE_ROLES, OWNED_BY, WORKING, Role, State
from factory_jobs.messages import BadMessage, Control, ErrandHint, Hint

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROLES = [role for role in Role if role not in {Role.PERSON, Role.NONE}]


def hears(filters: list[str], subject: str) -> bool:
    """As NATS does: `*` is one token."""
    assert subject.count(".") == 4
    return any(fnmatchcase(subject, f) for f in filters)


@pytest.mark.parametrize("state", sorted(WORKING))
def test_a_hint_is_heard_by_the_owner_alone(state: State) -> None:
    """A placed job by its owner on that node, and by no other role and no other node."""
    subject = messages.job_subject(state, "n1", "jabcdefghij")
    for role in ROLES:
        owns = state in OWNED_BY[role]
        assert hears(messages.filters(role, "n1"), subject) == owns
        assert hears(messages.filters(role, "n2"), subject) == (owns and role not in NODE_ROLES)


def test_a_job_without_a_place_is_heard_by_every_envkeeper() -> None:
    """Builder and recorder work where the sandbox is, so that nobody else hears of `any`."""
    subject = messages.job_subject("planned", None, "jabcdefghij")
    assert subject == "factory.job.planned.any.jabcdefghij"
    assert hears(messages.filters(Role.ENVKEEPER, "n1"), subject)
    assert hears(messages.filters(Role.ENVKEEPER, "n2"), subject)
    for role in (Role.BUILDER, Role.RECORDER):
        assert not any(".any." in f or ".*.*" in f for f in messages.filters(role, "n1"))


@pytest.mark.parametrize("kind", ERRAND_OWNER)
def test_an_errand_is_heard_by_its_owner_on_its_node(kind: str) -> None:
    """And by that role on every node where it belongs to none."""
    for role in ROLES:
        owns = ERRAND_OWNER[kind] is role
        heard = messages.errand_filters(role, "n1")
        assert hears(heard, messages.errand_subject(kind, "n1", "jabcdefghij")) == owns
        assert hears(heard, messages.errand_subject(kind, None, "jabcdefghij")) == owns
        assert not hears(heard, messages.errand_subject(kind, "n2", "jabcdefghij"))


def test_durables_are_by_node_where_the_work_is() -> None:
    """Planner and reviewer scale freely; the others are of their node."""
    assert [messages.durable(role, "n1") for role in ROLES] == [
        "planner",
        "envkeeper-n1",
        "builder-n1",
        "recorder-n1",
        "reviewer",
    ]


def test_everything_is_published_into_the_stream() -> None:
    """Jobs and errands are in it; control is plain NATS, for holders who are there."""
    prefixes = [s.removesuffix(">") for s in messages.SUBJECTS]
    assert any(messages.job_subject("planned", None, "j").startswith(p) for p in prefixes)
    assert any(messages.errand_subject("cleanup", "n1", "j").startswith(p) for p in prefixes)
    assert not any(messages.control_subject("j").startswith(p) for p in prefixes)


def test_messages_come_back_as_they_went() -> None:
    """Of each kind; a hint says of the row what it says now."""
    hint = messages.hint_of(example(State.TESTS_RUNNING, attempt=2), NOW)
    assert (hint.state, hint.node, hint.round, hint.attempt, hint.seq) == ("tests_running", "n1", 1, 2, 9)
    errand = ErrandHint(job_id="jabcdefghij", errand=3, kind="cleanup", node="n1", at=NOW)
    control = Control(job_id="jabcdefghij", epoch=4, state="cancelled")
    for message in (hint, errand, control):
        assert messages.decode(messages.encode(message), type(message)) == message


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"{}", b'{"v": 1}', b'{"v": 2, "job_id": "j"}', b'{"v": "1"}', b"null"],
)
def test_what_is_no_message_of_ours(data: bytes) -> None:
    """No JSON, another version or another shape is one error, to be counted and dropped."""
    with pytest.raises(BadMessage):
        messages.decode(data, Hint)


def test_a_newer_version_is_not_guessed_at() -> None:
    """Though every field were there."""
    hint = messages.hint_of(example(State.PLANNED), NOW)
    with pytest.raises(BadMessage, match="version"):
        messages.decode(messages.encode(hint).replace(b'"v":1', b'"v":2'), Hint)
