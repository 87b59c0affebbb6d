"""What happens to a job, as frozen records: its owner's outcomes, what comes from outside, what the sweep finds."""

from __future__ import annotations

from typing import Any

import msgspec

from .errors import Failure


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base of all events. `facts` are columns of the row that the event's author found or made."""

    facts: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """The kind under which it stands in `job_events`."""
        return str(type(self).__struct_config__.tag)


# ── by the owner, under its lease ─────────────────────────────────────────────


class Done(Event, frozen=True, tag="done"):
    """The state's work is done."""


class FellBack(Event, frozen=True, tag="fell_back"):
    """The work does not hold yet; the agent gets the feedback in its next round."""

    feedback: str
    log_url: str = ""  # of what the state logged


class Faulted(Event, frozen=True, tag="faulted"):
    """An error of ours or of the outside: the same state is tried again after `delay` seconds."""

    failure: Failure
    delay: float = 0


class GaveUp(Event, frozen=True, tag="gave_up"):
    """The repo or the work cannot go on."""

    failure: Failure


class Asked(Event, frozen=True, tag="asked"):
    """A person has to answer before the work goes on."""

    ask: str  # kind of Waiting
    asks: str
    sha: str = ""
    options: list[list[str]] = []


class HandedBack(Event, frozen=True, tag="handed_back"):
    """The worker stops (SIGTERM); no try is counted."""


class SandboxLost(Event, frozen=True, tag="sandbox_lost"):
    """The place of the job is gone: its server refused the holder, or its node is unseen."""

    reason: str


class Noted(Event, frozen=True, tag="noted"):
    """Facts became known; the state stays (sandbox URLs, a preview that went down, cleanup)."""

    note: str = ""


# ── from outside ──────────────────────────────────────────────────────────────


class FollowUp(Event, frozen=True, tag="follow_up"):
    """A reply with a wish: a new request at `ready`, a steer while work runs, a retry with it on a failed job."""

    by: str
    text: str


class Cancel(Event, frozen=True, tag="cancel"):
    by: str


class Merged(Event, frozen=True, tag="merged"):
    by: str = ""


class Closed(Event, frozen=True, tag="closed"):
    """The pull request was closed unmerged."""

    by: str = ""


class Reopened(Event, frozen=True, tag="reopened"):
    head: str
    by: str = ""


class PersonPushed(Event, frozen=True, tag="person_pushed"):
    """Somebody else's commit is on the branch."""

    head: str
    by: str = ""


class Retry(Event, frozen=True, tag="retry"):
    by: str


class Answered(Event, frozen=True, tag="answered"):
    """A button, or a reply while a question is open."""

    ask: str
    answer: str
    by: str
    sha: str = ""


# ── by the sweep ──────────────────────────────────────────────────────────────


class LeaseExpired(Event, frozen=True, tag="lease_expired"):
    """The holder renewed no longer: it died or was cut off."""


class DeadlinePassed(Event, frozen=True, tag="deadline_passed"):
    """The state's work took longer than its deadline."""


class Reminded(Event, frozen=True, tag="reminded"):
    """A question has been open for a day."""


class Unanswered(Event, frozen=True, tag="unanswered"):
    """A question has been open for a week."""


class PreviewOver(Event, frozen=True, tag="preview_over"):
    """The time for which a ready job keeps its app up is over."""


OUTCOMES: tuple[type[Event], ...] = (Done, FellBack, Faulted, GaveUp, Asked, HandedBack, SandboxLost, Noted)
OUTSIDE: tuple[type[Event], ...] = (FollowUp, Cancel, Merged, Closed, Reopened, PersonPushed, Retry, Answered)
SWEPT: tuple[type[Event], ...] = (LeaseExpired, DeadlinePassed, Reminded, Unanswered, PreviewOver)
ALL: tuple[type[Event], ...] = OUTCOMES + OUTSIDE + SWEPT
KINDS: tuple[str, ...] = ("created", "claimed", "released", *(str(e.__struct_config__.tag) for e in ALL))
