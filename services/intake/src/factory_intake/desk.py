"""What a message or a button does to jobs: the one place where chat turns into events."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from factory_chassis.line import Line
from factory_chassis.projects import Project, Projects, snapshot
from factory_jobs import events as ev
from factory_jobs.errors import NoSuchJob
from factory_jobs.ids import is_job_id
from factory_jobs.job import Job
from factory_jobs.machine import TERMINAL, State
from factory_jobs.store import NewRequest
from factory_telegram import words
from factory_telegram.words import Button

from .allowlist import Refusal, allowed, may_decide
from .incoming import Pressed, Said

THANKS = re.compile(
    r"^\W*(thanks?|thank you|thx|danke|merci|gracias|great|nice|cool|perfect|ok(ay)?|👍|🎉|❤️)[\s\W]*"
    r"(so much|a lot|job|work)?\W*$",
    re.I,
)
TITLE = 72


class Answer(msgspec.Struct, frozen=True):
    """What the bot says back; empty says nothing (the job's own status message speaks)."""

    text: str
    buttons: tuple[Button, ...] = ()


class Desk:
    """`bot` names the bot in the sources of requests, so that an update is taken once whoever polls."""

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
            case "help" | "start":
                return await self._once(said, Answer(words.HELP))
            case "jobs":
                return await self._once(
                    said, Answer(words.listed(await self.line.store.jobs(name, live=True, limit=15)))
                )
            case "status":
                job = await self._meant(said, name)
                return await self._once(said, Answer(words.one(job) if job else words.WHICH_JOB))
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
        if job is None or State(job.state) in {State.MERGED, State.CANCELLED}:
            return await self._new(said, name, project)
        if not said.text:
            return await self._once(said, Answer(words.EMPTY))
        if job.waiting is not None and (option := _option(job, said.text)):
            return await self._answer(said, job, project, option)
        if said.command != "fix" and THANKS.match(said.text):
            return await self._once(said, Answer(words.THANKED))
        return await self._more(said, job)

    async def _new(self, said: Said, name: str, project: Project) -> Answer | None:
        if not said.text:
            return await self._once(said, Answer(words.EMPTY))
        job = await self.line.create(
            project=name,
            snapshot=snapshot(name, project),
            repo=project.repo,
            title=_title(said.text),
            request=self._request(said),
        )
        return Answer("") if job else None

    async def _more(self, said: Said, job: Job) -> Answer | None:
        """A steer, a follow-up, or a retry with that text: the machine knows by the state."""
        before = State(job.state)
        event = ev.FollowUp(by=said.name, text=said.text)
        if await self.line.tell(job.id, event, actor=f"telegram:{said.user}", request=self._request(said)) is None:
            return None
        if before is State.READY_FOR_HUMAN_REVIEW:
            return Answer(words.FOLLOWED, (Button("Not a change", words.button(job.id, "undo")),))
        return Answer(words.RETRIED if before is State.FAILED else words.STEERED)

    async def _command(self, said: Said, name: str, project: Project) -> Answer | None:
        job = await self._meant(said, name)
        if job is None:
            return await self._once(said, Answer(words.WHICH_JOB))
        if not may_decide(project, said.user, await self._author(job, said.user)):
            return await self._once(said, Answer(words.NOT_YOURS))
        if (once := await self._once(said, Answer(""))) is None:
            return once
        return await (self._cancel if said.command == "cancel" else self._retry)(job, said)

    async def _cancel(self, job: Job, by: Said | Pressed) -> Answer:
        if State(job.state) in TERMINAL:
            return Answer(words.ENDED_BEFORE)
        await self.line.tell(job.id, ev.Cancel(by=by.name), actor=f"telegram:{by.user}")
        return Answer(words.CANCELLED)

    async def _retry(self, job: Job, by: Said | Pressed) -> Answer:
        if job.state != State.FAILED:
            return Answer(words.NOT_FAILED)
        await self.line.tell(job.id, ev.Retry(by=by.name), actor=f"telegram:{by.user}")
        return Answer(words.RETRIED)

    async def _answer(self, by: Said | Pressed, job: Job, project: Project, answer: str) -> Answer | None:
        assert job.waiting is not None
        if not may_decide(project, by.user, await self._author(job, by.user)):
            return await self._once(by, Answer(words.NOT_YOURS))
        if (once := await self._once(by, Answer(""))) is None:
            return once
        event = ev.Answered(ask=job.waiting.kind, answer=answer, by=by.name, sha=job.waiting.sha)
        await self.line.answer(job.id, event, actor=f"telegram:{by.user}")
        label = next((label for value, label in job.waiting.options if value == answer), answer)
        return Answer(f"{words.esc(by.name)}: {words.esc(label)}.")

    # ── buttons ───────────────────────────────────────────────────────────────

    async def pressed(self, pressed: Pressed) -> Answer | None:
        """The presser's right counts, not only the chat's."""
        if await self.line.records.known_source(self.source(pressed.update_id)):
            return None
        found = allowed(self.projects, pressed.chat, pressed.user)
        if isinstance(found, Refusal):
            return await self._once(pressed, Answer("You may not do that here."))
        name, project = found
        job = await self._job(pressed.job_id, name)
        if job is None:
            return await self._once(pressed, Answer(words.NO_SUCH_JOB))
        if pressed.action == "answer" and job.waiting is not None:
            kind, answer = ":".join(pressed.args[:-1]), pressed.args[-1] if pressed.args else ""
            if kind == job.waiting.kind and any(answer == o for o, _ in job.waiting.options):
                return await self._answer(pressed, job, project, answer)
        if pressed.action == "answer":
            return await self._once(pressed, Answer(words.GONE))
        if not may_decide(project, pressed.user, await self._author(job, pressed.user)):
            return await self._once(pressed, Answer(words.NOT_YOURS))
        if (once := await self._once(pressed, Answer(""))) is None:
            return once
        actions: dict[str, Any] = {"cancel": self._cancel, "retry": self._retry, "undo": self._undo}
        return await actions[pressed.action](job, pressed) if pressed.action in actions else Answer(words.GONE)

    async def _undo(self, job: Job, by: Pressed) -> Answer:
        """*Not a change*: the further work is dropped, the job is ready again."""
        if State(job.state) in TERMINAL or job.state == State.READY_FOR_HUMAN_REVIEW:
            return Answer(words.ENDED_BEFORE)
        return await self._cancel(job, by)

    # ── finding the job that is meant ─────────────────────────────────────────

    async def _meant(self, said: Said, name: str) -> Job | None:
        """By its id, by the message replied to, or the only live one."""
        word = said.text.split()[0] if said.text else ""
        if word:
            return await self._job(word, name)
        if (job := await self._replied(said, name)) is not None:
            return job
        live = await self.line.store.jobs(name, live=True, limit=2)
        return live[0] if len(live) == 1 else None

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
        return job if job.project == name else None

    async def _author(self, job: Job, user: int) -> bool:
        return any(r.author.endswith(f"({user})") for r in await self.line.records.requests(job.id))

    def _request(self, said: Said) -> NewRequest:
        return NewRequest(
            source=self.source(said.update_id),
            chat=str(said.chat),
            message_id=said.message_id,
            author=f"{said.name} ({said.user})",
            text=said.text,
            link=said.link,
        )


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


def _title(text: str) -> str:
    """Until the planner has one: the first line."""
    first = text.strip().splitlines()[0].rstrip(".: ")
    return first if len(first) <= TITLE else first[: TITLE - 1].rsplit(" ", 1)[0] + "…"
