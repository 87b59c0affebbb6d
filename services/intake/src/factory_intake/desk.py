"""What a message or a button does to jobs: the one place where chat turns into events."""

from __future__ import annotations

import re

import msgspec
from factory_chassis.line import Line
from factory_chassis.projects import Project, Projects, snapshot
from factory_jobs import events as ev
from factory_jobs.errors import IllegalMove, NoSuchJob
from factory_jobs.ids import is_job_id
from factory_jobs.job import Job
from factory_jobs.machine import TERMINAL, State
from factory_jobs.records import Request
from factory_jobs.store import NewRequest
from factory_telegram import words
from factory_telegram.words import Button

from .allowlist import Refusal, allowed, may_decide
from .incoming import Pressed, Said

THANKS = re.compile(
    r"(thanks?|thank you|thx|ty|danke|merci|gracias|great|nice|cool|awesome|perfect|lgtm|looks good|well done|ok(ay)?)"
    r"(\W+(so much|very much|a lot|job|work|all|everyone|you|to me))?",
    re.I,
)
APPLAUSE = 60  # characters; what is longer says more than thanks
MAX_TEXT = 20_000
TITLE = 72


class Answer(msgspec.Struct, frozen=True):
    """What the bot says back; empty says nothing (the job's own status message speaks). A reply to it is about `job_id`."""

    text: str
    buttons: tuple[Button, ...] = ()
    job_id: str = ""


class Desk:
    """`bot` names the bot in the sources of requests, so that an update is taken once whoever polls.

    An update's effect and its number are written in one statement: a new job and a reply with their request, every other
    event with its actor. So the same update may come again after a crash at any point: what stands is not done again.
    """

    def __init__(self, line: Line, projects: Projects, bot: str) -> None:
        self.line, self.projects, self.bot = line, projects, bot

    def source(self, update_id: int) -> str:
        return f"telegram:{self.bot}:{update_id}"

    # ── messages ──────────────────────────────────────────────────────────────

    async def said(self, said: Said) -> Answer | None:
        """None where the update was handled before."""
        if await self.line.records.known_source(self.source(said.update_id)):
            return None
        found = allowed(self.projects, said.chat, said.user)
        if isinstance(found, Refusal):
            refused = words.not_connected(said.chat) if found is Refusal.CHAT else words.not_allowed(said.user)
            return await self._once(said, Answer(refused))
        name, project = found
        match said.command:
            case "jobs":
                live = await self.line.store.jobs(name, live=True, limit=15)
                return await self._once(said, Answer(words.listed(live)))
            case "status":
                job = await self._meant(said, name)
                told = Answer(job) if isinstance(job, str) else Answer(words.one(job), job_id=job.id)
                return await self._once(said, told)
            case "cancel" | "retry":
                return await self._command(said, name, project)
            case "new":
                return await self._new(said, name, project)
            case "" | "fix":
                return await self._wish(said, name, project)
        return await self._once(said, Answer(words.HELP))

    async def _once(self, said: Said | Pressed, answer: Answer) -> Answer | None:
        return answer if await self.line.records.take_update(self.source(said.update_id)) else None

    async def _wish(self, said: Said, name: str, project: Project) -> Answer | None:
        """Plain text: a reply says more about its job, anything else is a new one."""
        job = await self._replied(said, name)
        if said.command == "fix" and job is None:
            return await self._once(said, Answer(words.WHICH_JOB))
        if fault := _unusable(said.text):
            return await self._once(said, Answer(fault))
        if job and job.waiting is not None and (option := _option(job, said.text)):
            return await self._answer(said, job, project, option)
        if said.command != "fix" and _thanks(said.text):
            return await self._once(said, Answer(words.THANKED, job_id=job.id if job else ""))
        if job is None or State(job.state) in {State.MERGED, State.CANCELLED}:
            return await self._new(said, name, project)
        return await self._more(said, job, name, project)

    async def _new(self, said: Said, name: str, project: Project) -> Answer | None:
        if fault := _unusable(said.text):
            return await self._once(said, Answer(fault))
        job = await self.line.create(
            project=name,
            snapshot=snapshot(name, project),
            repo=project.repo,
            title=title_of(said.text),
            request=self._request(said),
        )
        return Answer("") if job else None

    async def _more(self, said: Said, job: Job, name: str, project: Project) -> Answer | None:
        """A steer, a follow-up, or a retry with that text: the machine knows by the state."""
        event = ev.FollowUp(by=said.name, text=said.text)
        try:
            after = await self.line.tell(job.id, event, actor=_actor(said), request=self._request(said))
        except IllegalMove:  # it ended between our look and our word
            return await self._new(said, name, project)
        return self._followed(job, after) if after else None

    def _followed(self, before: Job, after: Job) -> Answer:
        """By what came of it: the job may have moved since it was looked up."""
        if after.request_no == before.request_no:
            return Answer(words.STILL_OPEN if after.waiting else words.STEERED, job_id=after.id)
        if before.state == State.FAILED:
            return Answer(words.RETRIED, job_id=after.id)
        undo = words.button(after.id, "undo", str(after.request_no))
        return Answer(words.FOLLOWED, (Button("Not a change", undo),), job_id=after.id)

    async def _command(self, said: Said, name: str, project: Project) -> Answer | None:
        job = await self._meant(said, name)
        if isinstance(job, str):
            return await self._once(said, Answer(job))
        if not may_decide(project, said.user, await self._asked(job, said.user)):
            return await self._once(said, Answer(words.NOT_YOURS))
        return await self._once(said, await (self._cancel if said.command == "cancel" else self._retry)(job, said))

    # ── decisions ─────────────────────────────────────────────────────────────

    async def _act(self, job: Job, event: ev.Event, by: Said | Pressed) -> Job | None:
        """The row after it, also where this update had done it before; None where nothing came of it."""
        actor = _actor(by)
        if any(e["actor"] == actor for e in await self.line.store.events(job.id)):
            return await self.line.store.get(job.id)
        if isinstance(event, ev.Answered):
            after = await self.line.answer(job.id, event, actor=actor)
        else:
            after = await self.line.tell(job.id, event, actor=actor)
        return after if after and after.version != job.version else None

    async def _cancel(self, job: Job, by: Said | Pressed) -> Answer:
        after = await self._act(job, ev.Cancel(by=by.name), by)
        if after is None:
            return Answer(words.ENDED_BEFORE, job_id=job.id)
        return Answer(words.CANCELLED if after.state == State.CANCELLED else words.STOPPED, job_id=job.id)

    async def _retry(self, job: Job, by: Said | Pressed) -> Answer:
        tried = await self._act(job, ev.Retry(by=by.name), by)
        return Answer(words.RETRIED if tried else words.NOT_FAILED, job_id=job.id)

    async def _answer(self, by: Said | Pressed, job: Job, project: Project, answer: str) -> Answer | None:
        assert job.waiting is not None
        if not may_decide(project, by.user, await self._asked(job, by.user)):
            return await self._once(by, Answer(words.NOT_YOURS))
        event = ev.Answered(ask=job.waiting.kind, answer=answer, by=by.name, sha=job.waiting.sha)
        if await self._act(job, event, by) is None:
            return await self._once(by, Answer(words.GONE))
        label = next((label for value, label in job.waiting.options if value == answer), answer)
        return await self._once(by, Answer(f"{words.esc(by.name)}: {words.esc(label)}.", job_id=job.id))

    # ── buttons ───────────────────────────────────────────────────────────────

    async def pressed(self, pressed: Pressed) -> Answer | None:
        """The presser's right counts, not only the chat's; what a button says is not trusted."""
        if await self.line.records.known_source(self.source(pressed.update_id)):
            return None
        found = allowed(self.projects, pressed.chat, pressed.user)
        if isinstance(found, Refusal):
            return await self._once(pressed, Answer(words.NOT_HERE))
        name, project = found
        job = await self._job(pressed.job_id, name)
        if job is None:
            return await self._once(pressed, Answer(words.NO_SUCH_JOB))
        if pressed.action == "answer":
            option = words.answer_of(job, "".join(pressed.args))
            if option is None:
                return await self._once(pressed, Answer(words.GONE))
            return await self._answer(pressed, job, project, option)
        if pressed.action == "undo":
            return await self._once(pressed, await self._undo(job, pressed, project))
        if not may_decide(project, pressed.user, await self._asked(job, pressed.user)):
            return await self._once(pressed, Answer(words.NOT_YOURS))
        match pressed.action:
            case "cancel":
                return await self._once(pressed, await self._cancel(job, pressed))
            case "retry":
                return await self._once(pressed, await self._retry(job, pressed))
        return await self._once(pressed, Answer(words.GONE))

    async def _undo(self, job: Job, by: Pressed, project: Project) -> Answer:
        """*Not a change*: that further work is dropped and the job is ready again; a later one is not meant."""
        if job.state == State.READY_FOR_HUMAN_REVIEW or State(job.state) in TERMINAL:
            return Answer(words.ENDED_BEFORE)
        if by.args != (str(job.request_no),):
            return Answer(words.ENDED_BEFORE)
        asked = await self.line.records.requests(job.id)
        theirs = [r for r in asked if r.read_by in {None, f"plan:{job.request_no}"}]
        if not may_decide(project, by.user, _of(by.user, asked[:1] + theirs)):
            return Answer(words.NOT_YOURS)
        return await self._cancel(job, by)

    # ── finding the job that is meant ─────────────────────────────────────────

    async def _meant(self, said: Said, name: str) -> Job | str:
        """By its id, by the message replied to, or the only one that the command fits; else what to say."""
        word = said.text.split()[0].lower() if said.text else ""
        if not is_job_id(word) and (job := await self._replied(said, name)) is not None:
            return job
        if word:
            return await self._job(word, name) or words.NO_SUCH_JOB
        jobs = await self.line.store.jobs(name, limit=100)
        retry = said.command == "retry"
        fit = [j for j in jobs if (j.state == State.FAILED if retry else State(j.state) not in TERMINAL)]
        return fit[0] if len(fit) == 1 else words.which(fit)

    async def _replied(self, said: Said, name: str) -> Job | None:
        if said.reply_to is None:
            return None
        job_id = await self.line.records.job_of_message(str(said.chat), said.reply_to)
        return await self._job(job_id, name) if job_id else None

    async def _job(self, job_id: str, name: str) -> Job | None:
        """Only jobs of this chat's project."""
        if not is_job_id(job_id):
            return None
        try:
            job = await self.line.store.get(job_id)
        except NoSuchJob:
            return None
        return job if job.project == name and job.replay_of is None else None

    async def _asked(self, job: Job, user: int) -> bool:
        """Whether the job is this user's wish; who steers another's job does not own it."""
        return _of(user, (await self.line.records.requests(job.id))[:1])

    def _request(self, said: Said) -> NewRequest:
        return NewRequest(
            source=self.source(said.update_id),
            chat=str(said.chat),
            message_id=said.message_id,
            author=f"{said.name} ({said.user})",
            text=said.text,
            link=said.link,
        )


def _of(user: int, requests: list[Request]) -> bool:
    return any(r.author.endswith(f"({user})") for r in requests)


def _actor(by: Said | Pressed) -> str:
    """With the update's number, so that what it did is found by it."""
    return f"telegram:{by.user}@{by.update_id}"


def _unusable(text: str) -> str:
    """What to say about a text that is no request; empty where it is one."""
    if not text:
        return words.EMPTY
    return words.TOO_LONG if len(text) > MAX_TEXT else ""


def _thanks(text: str) -> bool:
    """Applause of a few words, or of emoji alone."""
    said = re.sub(r"^\W+|\W+$", "", text[: APPLAUSE + 1])
    return len(text) <= APPLAUSE and (not said or THANKS.fullmatch(said) is not None)


def _option(job: Job, text: str) -> str | None:
    """A reply that says one of the open question's answers."""
    said = text.strip().rstrip(".!").lower()
    options = job.waiting.options if job.waiting else []
    yes = {"yes", "y", "ok", "go", "go on", "approve"}
    no = {"no", "n", "stop", "reject"}
    for value, label in options:
        if said in {value.lower(), label.lower()}:
            return value
        if (value == "approve" and said in yes) or (value in {"reject", "stop"} and said in no):
            return value
    return None


def title_of(text: str) -> str:
    """Until the planner has one: the first line."""
    first = text.strip().splitlines()[0].rstrip(".: ")
    return first if len(first) <= TITLE else first[: TITLE - 1].rsplit(" ", 1)[0] + "…"
