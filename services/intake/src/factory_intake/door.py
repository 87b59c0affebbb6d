"""The HTTP door: scripts ask for changes and read how jobs stand; GitHub knocks where it has news. See docs/http.md."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import structlog
from aiohttp import web
from factory_chassis.line import Line
from factory_chassis.projects import Projects, snapshot
from factory_chassis.settings import BadSettings
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs import events as ev
from factory_jobs.errors import JobError, NoSuchJob
from factory_jobs.ids import is_job_id
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.store import NewRequest
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from . import webhook
from .desk import MAX_TEXT, title_of
from .incoming import clean
from .settings import Settings
from .watch_forge import WatchForge

log = structlog.get_logger()

MAX_BODY = 1 << 20  # bytes
READ_WITHIN = 10.0  # seconds for a request's body
HEAR_WITHIN = 8.0  # seconds: GitHub gives a delivery ten
KEY = re.compile(r"[\x21-\x7e]{1,200}")
SAID = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 408: "too_slow", 413: "too_large"}
KEPT = frozenset({"Allow", "WWW-Authenticate"})  # of an error's headers


class Refused(Exception):
    """Answered with this status; `fields` name what is wrong with the body."""

    def __init__(self, status: int, code: str, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields


# ── what goes in and out ──────────────────────────────────────────────────────


class Wish(BaseModel):
    """`chat` is one of the project's; without it the job is told in the first. A key makes the same request one job."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    project: str
    text: str
    author: Annotated[str, StringConstraints(max_length=80)] = "a script"
    chat: int | None = None
    idempotency_key: str | None = None


class Taken(BaseModel):
    job_id: str
    url: str


class PullShown(BaseModel):
    number: int
    url: str
    state: str
    draft: bool


class PreviewShown(BaseModel):
    url: str
    state: str


class FailureShown(BaseModel):
    stage: str
    blame: str
    code: str
    message: str
    hint: str
    log_url: str


class WaitingShown(BaseModel):
    kind: str
    asks: str
    answers: list[str]


class JobShown(BaseModel):
    """The row as far as it is anybody's business."""

    job_id: str
    project: str
    title: str
    state: str
    says: str
    url: str
    request_no: int
    round: int
    rounds_max: int
    branch: str | None
    proved_sha: str | None
    verdict: str | None
    pr: PullShown | None
    preview: PreviewShown | None
    waiting: WaitingShown | None
    failure: FailureShown | None
    cleanup: str | None
    created_at: datetime
    entered_at: datetime  # into this state


def shown(job: Job, url: str) -> JobShown:
    preview, waiting, failure = job.sandbox, job.waiting, job.failure
    same = ("project", "title", "state", "request_no", "round", "rounds_max", "branch", "proved_sha", "verdict")
    return JobShown(
        job_id=job.id,
        says=PHASES[State(job.state)].say,
        url=url,
        pr=PullShown.model_validate(job.pr, from_attributes=True) if job.pr else None,
        preview=PreviewShown(url=preview.preview_url, state=preview.preview)
        if preview and preview.preview_url
        else None,
        waiting=WaitingShown(kind=waiting.kind, asks=waiting.asks, answers=[a for a, _ in waiting.options])
        if waiting
        else None,
        failure=FailureShown.model_validate(failure, from_attributes=True) if failure else None,
        cleanup=job.cleanup,
        created_at=job.created_at,
        entered_at=job.entered_at,
        **{name: getattr(job, name) for name in same},
    )


# ── the door ──────────────────────────────────────────────────────────────────


class Door:
    """`projects` gives them as they are now: they may be read anew while the door stands open."""

    def __init__(self, settings: Settings, line: Line, projects: Callable[[], Projects], watch: WatchForge) -> None:
        self.settings, self.line, self.projects, self.watch = settings, line, projects, watch
        self.port = settings.intake_port
        self._cancelling = asyncio.Lock()  # two of the same key at once would stop the work, then the job

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._errors], client_max_size=MAX_BODY)
        if self.settings.api_token is not None:
            app.router.add_post("/v1/requests", self.ask)
            app.router.add_get("/v1/jobs/{job}", self.show)
            app.router.add_post("/v1/jobs/{job}/cancel", self.cancel)
        if self.settings.github_webhook_secret is not None:
            app.router.add_post("/webhooks/github", self.github)
        return app

    async def serve(self) -> None:
        """Until it is cancelled. Raises BadSettings where it cannot listen."""
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            host, port = self.settings.intake_host, self.settings.intake_port
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as e:
                why = os.strerror(e.errno) if e.errno and e.errno > 0 else str(e)
                raise BadSettings([f"FACTORY_INTAKE_PORT: cannot listen on {host}:{port}: {why}"]) from None
            self.port = runner.addresses[0][1]
            log.info("the door is open", host=host, port=self.port)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    # ── scripts ───────────────────────────────────────────────────────────────

    async def ask(self, request: web.Request) -> web.Response:
        """A new job, once for each key."""
        self._authorize(request)
        wish = _read(Wish, await _body(request))
        key = _key(request, wish.idempotency_key)
        project = self.projects().projects.get(wish.project)
        if project is None:
            raise Refused(404, "unknown_project", f"No project is called {wish.project!r}.")
        if wish.chat not in {None, *project.chats}:
            raise _wrong("chat", f"not a chat of {wish.project}")
        text = clean(wish.text)
        if not 0 < len(text) <= MAX_TEXT:
            raise _wrong("text", f"1 to {MAX_TEXT} characters are needed, these are {len(text)}")
        asked = NewRequest(
            source=f"http:{key or secrets.token_hex(16)}",
            chat=str(wish.chat or project.chats[0]),
            author=f"{clean(wish.author) or 'a script'} (http)",
            text=text,
        )
        job = await self.line.create(
            project=wish.project,
            snapshot=snapshot(wish.project, project),
            repo=project.repo,
            title=title_of(text),
            request=asked,
        )
        if job is not None:
            return self._json(202, Taken(job_id=job.id, url=self._url(job.id)))
        return await self._before(asked, wish.project)

    async def _before(self, asked: NewRequest, project: str) -> web.Response:
        """The job that this key has made."""
        request = await self.line.records.request_of_source(asked.source)
        assert request is not None
        job = await self.line.store.get(request.job_id)
        if (request.text, request.chat, job.project) != (asked.text, asked.chat, project):
            raise _wrong("idempotency_key", "it was used for another request")
        return self._json(200, Taken(job_id=job.id, url=self._url(job.id)))

    async def show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        job = await self._job(request)
        return self._json(200, shown(job, self._url(job.id)))

    async def cancel(self, request: web.Request) -> web.Response:
        """As in the chat: later work is stopped, a job without any is cancelled. With a key, once."""
        self._authorize(request)
        key = _key(request, None)
        actor = f"http@{key or secrets.token_hex(16)}"
        async with self._cancelling:
            job = await self._job(request)
            if key is None or all(e["actor"] != actor for e in await self.line.store.events(job.id)):
                before, job = job, await self.line.tell(job.id, ev.Cancel(by="a script"), actor=actor) or job
                if job.version == before.version and job.state != State.CANCELLED:
                    raise Refused(409, "ended", f"The job has ended: {job.state}.")
        return self._json(200, shown(job, self._url(job.id)))

    def _authorize(self, request: web.Request) -> None:
        """Before anything else is looked at."""
        token = self.settings.api_token
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if token is None or kind.lower() != "bearer" or not _same(given.strip(), token.get_secret_value()):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})

    async def _job(self, request: web.Request) -> Job:
        job_id = request.match_info["job"]
        try:
            if not is_job_id(job_id):
                raise NoSuchJob(job_id)
            return await self.line.store.get(job_id)
        except NoSuchJob:
            raise Refused(404, "unknown_job", "No job has this id.") from None

    def _url(self, job_id: str) -> str:
        return f"{self.settings.public_url.rstrip('/')}/jobs/{job_id}"

    # ── GitHub ────────────────────────────────────────────────────────────────

    async def github(self, request: web.Request) -> web.Response:
        """Nothing is done, or kept, before the signature holds; a delivery is taken when what it hinted at is written."""
        secret = self.settings.github_webhook_secret
        assert secret is not None
        body = await _body(request)
        if not webhook.signed(secret.get_secret_value(), body, request.headers.get(webhook.SIGNATURE, "")):
            log.warning("a delivery without a true signature", peer=request.remote)
            raise web.HTTPUnauthorized
        if request.headers.get(webhook.EVENT) != "pull_request":
            return web.Response(status=204)
        source = webhook.source_of(request.headers.get(webhook.DELIVERY, ""))
        hint = webhook.hint_of(body)
        if source is None or hint is None:
            why = "X-GitHub-Delivery and a JSON body are needed; set the webhook's content type to application/json."
            raise Refused(422, "not_a_delivery", why)
        if not await self.line.records.known_source(source):
            async with asyncio.timeout(HEAR_WITHIN):
                await self.watch.hear(hint.repository.full_name, hint.number)
            await self.line.records.take_update(source)
        return web.Response(status=200)

    # ── answers ───────────────────────────────────────────────────────────────

    @staticmethod
    def _json(status: int, model: BaseModel) -> web.Response:
        return web.Response(status=status, text=model.model_dump_json(), content_type="application/json")

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Every error is `{"error": {"code", "message"}}`; none says more than that."""
        try:
            return await handler(request)
        except Refused as e:
            return _error(e.status, e.code, e.message, fields=e.fields)
        except web.HTTPException as e:
            kept = {k: v for k, v in e.headers.items() if k in KEPT}
            return _error(e.status, SAID.get(e.status, "refused"), e.reason, kept)
        except JobError as e:  # of the forge
            log.warning("a delivery was not followed", code=e.code, why=e.message)
            return _error(
                503, "forge_away", "The forge does not answer.", {"Retry-After": str(round(e.retry_after) or 5)}
            )
        except Exception as e:
            if isinstance(e, POSTGRES_AWAY) and not isinstance(e, ValueError):
                log.warning("the door: Postgres does not answer", path=request.path, why=repr(e))
                return _error(503, "away", "What is needed does not answer. Try again.", {"Retry-After": "5"})
            log.exception("a request broke", path=request.path, why=repr(e))
            return _error(500, "broke", "The log of intake says why.")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_WITHIN):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def _read(kind: type[Wish], body: bytes) -> Wish:
    try:
        return kind.model_validate_json(body)
    except ValidationError as e:
        problems = e.errors(include_input=False, include_url=False)
    if problems[0]["type"] == "json_invalid":
        raise Refused(422, "invalid", "The body is no JSON.")
    fields = {".".join(map(str, p["loc"])): p["msg"] for p in problems}
    raise Refused(422, "invalid", f"Not valid: {', '.join(fields)}.", fields)


def _wrong(field: str, why: str) -> Refused:
    return Refused(422, "invalid", f"Not valid: {field}.", {field: why})


def _key(request: web.Request, in_body: str | None) -> str | None:
    """Of the header, or of the body where that has one."""
    header = request.headers.get("Idempotency-Key")
    if None not in {header, in_body} and header != in_body:
        raise _wrong("idempotency_key", "the header Idempotency-Key says another")
    key = in_body if header is None else header
    if key is not None and not KEY.fullmatch(key):
        raise _wrong("idempotency_key", "1 to 200 printable characters without spaces")
    return key


def _error(
    status: int, code: str, message: str, headers: dict[str, str] | None = None, *, fields: dict[str, str] | None = None
) -> web.Response:
    error: dict[str, Any] = {"code": code, "message": message} | ({"fields": fields} if fields else {})
    return web.json_response({"error": error}, status=status, headers=headers)
