"""What a row and the forge together mean; when a forge is asked again. The rest meets a real one in
tests/integration/test_intake_forge.py."""

from datetime import UTC, datetime
from typing import Any

import pytest
from factory_forge.errors import RemoteUnreachable
from factory_forge.forge import Look, PullRequest
from factory_intake import watch_forge
from factory_intake.watch_forge import LONGEST, Eyes, is_named, news
from factory_jobs import events as ev
from factory_jobs.job import Job, Pull
from factory_jobs.machine import WORKING, State

AT = datetime(2026, 3, 1, tzinfo=UTC)
PROVED, THEIRS, HALF = "a" * 40, "b" * 40, "c" * 40


def job(state: str, **more: Any) -> Job:
    times = {"next_attempt_at": AT, "created_at": AT, "entered_at": AT}
    facts = {"version": 1, "seq": 1, "project": "pilot", "snapshot": {}, "repo": "/r.git", "title": "Red"}
    known = {"pr": Pull(number=7, url="u", head=PROVED), "proved_sha": PROVED, "work_sha": PROVED}
    return Job(**{"id": "jabcdefghij", "state": state, **facts, **known, **times, **more})


def pull(state: Any = "open", head: str = PROVED, number: int = 7, **more: Any) -> PullRequest:
    texts = {"url": "u", "branch": "factory/j-red", "base": "main", "title": "Red", "body": "", "author": "factory"}
    return PullRequest(number=number, head_sha=head, draft=False, state=state, labels=[], **texts, **more)


READY, CANCELLED = "ready_for_human_review", "cancelled"


@pytest.mark.parametrize("state", sorted(WORKING | {State.READY_FOR_HUMAN_REVIEW, State.CANCELLED}), ids=str)
def test_a_merge_is_news_in_every_state(state: State):
    """With who did it, where the forge says so."""
    assert news(job(state), pull("merged", merged_by="ann"), PROVED) == ev.Merged(by="ann")


@pytest.mark.parametrize("state", sorted(WORKING | {State.READY_FOR_HUMAN_REVIEW}), ids=str)
def test_closed_is_news_in_every_live_state(state: State):
    """Whatever stands on the branch."""
    assert news(job(state), pull("closed", THEIRS), THEIRS) == ev.Closed()


def test_what_we_closed_ourselves_is_only_noted():
    """Once: the row then knows it."""
    found = news(job(CANCELLED), pull("closed"), PROVED)
    assert isinstance(found, ev.Noted) and found.facts["pr"]["state"] == "closed"
    known = job(CANCELLED, pr=Pull(number=7, url="u", head=PROVED, state="closed"))
    assert news(known, pull("closed"), PROVED) is None


@pytest.mark.parametrize("head", [PROVED, THEIRS])
def test_open_is_news_where_it_was_closed(head: str):
    """With the commit it is at: the machine knows whether that was proved."""
    assert news(job(CANCELLED), pull(head=head), head) == ev.Reopened(head=head)


def test_a_head_that_nobody_here_knows_is_a_persons_push():
    """The branch is believed, not what the list of pull requests says of it."""
    assert news(job(READY), pull(head=PROVED), THEIRS) == ev.PersonPushed(head=THEIRS)
    assert news(job(READY), pull(head=THEIRS), PROVED) is None


def test_what_the_row_knows_is_no_push():
    """Ours, and theirs once it was told: a red one stays on the branch."""
    red = job(READY, work_sha=THEIRS, pr=Pull(number=7, url="u", head=THEIRS))
    assert news(job(READY), pull(), PROVED) is None
    assert news(red, pull(head=THEIRS), THEIRS) is None


@pytest.mark.parametrize("state", sorted(WORKING), ids=str)
def test_our_own_push_that_is_not_written_yet_is_no_push(state: State):
    """Nor is theirs while work runs: builder meets it."""
    assert news(job(state, work_sha=HALF), pull(head=HALF), HALF) is None
    assert news(job(state), pull(head=THEIRS), THEIRS) is None


@pytest.mark.parametrize("state", sorted(WORKING), ids=str)
def test_a_push_while_theirs_is_proved_is_news(state: State):
    """Builder pushes nothing then; the commit that is being proved is known."""
    proving = job(state, verify=True, work_sha=THEIRS, pr=Pull(number=7, url="u", head=THEIRS))
    assert news(proving, pull(head=THEIRS), THEIRS) is None
    assert news(proving, pull(head=HALF), HALF) == ev.PersonPushed(head=HALF)


def test_a_push_that_is_taken_back_is_news():
    """The proved commit is there again."""
    red = job(READY, work_sha=THEIRS, pr=Pull(number=7, url="u", head=THEIRS))
    assert news(red, pull(head=PROVED), PROVED) == ev.PersonPushed(head=PROVED)


@pytest.mark.parametrize(
    ("repo", "name", "named"),
    [
        ("https://github.com/Ann/Notes.git", "ann/notes", True),
        ("https://github.com/ann/notes/", "ann/notes", True),
        ("git@github.com:ann/notes.git", "ann/notes", True),
        ("ssh://git@github.com/ann/notes", "ann/notes", True),
        ("/srv/repos/notes.git", "repos/notes", True),
        ("https://github.com/ann/notes.git", "ann/notes2", False),
        ("https://github.com/joann/notes.git", "ann/notes", False),
        ("https://github.com/ann/notes.git", "notes", False),
    ],
)
def test_a_repository_is_known_by_its_name(repo: str, name: str, named: bool):
    """However its URL is written."""
    assert is_named(repo, name) is named


# ── what is known of a repository ─────────────────────────────────────────────


class Listed:
    """A forge that gives these lists, one a look."""

    def __init__(self, *looks: list[PullRequest] | None) -> None:
        self.looks, self.asked = list(looks), []

    async def look(self, etag: str = "") -> Look | None:
        self.asked.append(etag)
        pulls = self.looks.pop(0)
        return None if pulls is None else Look(pulls=pulls, etag=f"e{len(self.asked)}")


async def test_what_does_not_change_stays_known():
    """Asked with the newest tag; a list of changes alone replaces what it holds."""
    forge = Listed([pull(), pull(number=8)], None, [pull(), pull("closed", number=8)])
    eyes = Eyes("/r.git")
    for _ in range(3):
        await eyes.look(forge)  # type: ignore[arg-type]

    assert forge.asked == ["", "e1", "e1"]
    assert {n: p.state for n, p in eyes.known.items() if p} == {7: "open", 8: "closed"}


async def test_more_news_than_one_answer_holds_is_not_believed_to_be_all():
    """Whatever the answer leaves out may have changed too, and is asked for by itself."""
    before, after = "2026-03-01T12:00:00+00:00", "2026-03-01T13:00:00+00:00"
    commented = [pull(number=n, updated_at=after) for n in (9, 8)]
    forge = Listed([pull(updated_at=before), pull(number=8, updated_at=before)], commented)
    eyes = Eyes("/r.git")
    for _ in range(2):
        await eyes.look(forge)  # type: ignore[arg-type]

    assert sorted(eyes.known) == [8, 9]


def test_a_forge_that_is_away_is_asked_less_and_less_and_named_once(monkeypatch: pytest.MonkeyPatch):
    """What it says of when to come back counts."""
    now, said = [1000.0], []
    monkeypatch.setattr(watch_forge.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watch_forge.log, "warning", lambda text, **_: said.append(text))
    eyes, waits = Eyes("/r.git"), []
    for _ in range(8):
        eyes.failed(RemoteUnreachable(url="u", reason="no route"), 15)
        began = now[0]
        while not eyes.due:
            now[0] += 1
        waits.append(now[0] - began)
    assert waits == [15, 30, 60, 120, 240, LONGEST, LONGEST, LONGEST]
    assert len(said) == 1 and eyes.trouble == "remote_unreachable"

    limited = RemoteUnreachable(url="u", reason="rate limit")
    limited.retry_after = 900
    eyes.failed(limited, 15)
    now[0] += 899
    assert not eyes.due
    eyes.worked()
    assert eyes.due and eyes.trouble == ""
