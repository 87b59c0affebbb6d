"""Wires console together: a service with pages instead of a worker."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jinja2
import structlog
from aiohttp import web
from factory_chassis.service import Service
from factory_chassis.settings import BadSettings
from factory_chassis.worker import POSTGRES_AWAY
from factory_jobs.ids import PATTERN

from . import artifacts
from .pages import Pages
from .settings import Settings

log = structlog.get_logger()

HERE = Path(__file__).parent
JOB = PATTERN.pattern
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


# a terminal's colours and other orders, which a log may hold
CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
KEPT = frozenset({"Allow", "Content-Range", "Retry-After"})  # of an error's headers
SAID = {
    403: ("Not here", "There is no such page."),
    404: ("Not here", "There is no such page."),
    416: ("Not that part", "The file is shorter than what was asked for."),
    503: ("Not now", "What this page is made of does not answer at the moment. Try again in a few seconds."),
}


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


class Console(Service):
    def __init__(self, settings: Settings) -> None:
        super().__init__("console", settings, tasks=[self._serve])
        self.console_host, self.console_port = settings.console_host, settings.console_port
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self.templates.filters["duration"] = _duration
        self.templates.filters["uncoloured"] = lambda text: CONTROLS.sub("", text)

    def routes(self) -> list[web.RouteDef]:
        pages = Pages(self.store, self.records, self.settings.public_url)

        async def jobs(_: web.Request) -> web.Response:
            return self._page("jobs.html", await pages.jobs())

        async def job(request: web.Request) -> web.Response:
            return self._page("job.html", await pages.job(request.match_info["job"]))

        async def pull(request: web.Request) -> web.Response:
            return self._page(
                "pull.html", await pages.pull(request.match_info["repo"], int(request.match_info["number"]))
            )

        async def artifact(request: web.Request) -> web.StreamResponse:
            return await artifacts.serve(request, self.records, self.artifacts)

        return [
            web.get("/", jobs),
            web.get(f"/jobs/{{job:{JOB}}}", job),
            web.get("/pulls/{repo}/{number:[0-9]{1,9}}", pull),
            web.get(f"/a/{{job:{JOB}}}/{{sha256:[0-9a-f]{{64}}}}/{{name}}", artifact),
            web.static("/static", HERE / "static"),  # type: ignore[list-item]
        ]

    def _page(self, template: str, facts: dict[str, Any]) -> web.Response:
        html = self.templates.get_template(template).render(**facts)
        return web.Response(text=html, content_type="text/html", headers=HEADERS)

    async def _serve(self, _: Service) -> None:
        app = web.Application(middlewares=[self._errors])
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await self._listen_on(runner)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _listen_on(self, runner: web.AppRunner) -> None:
        try:
            await web.TCPSite(runner, self.console_host, self.console_port).start()
        except socket.gaierror as e:
            raise BadSettings([f"FACTORY_CONSOLE_HOST: cannot listen on {self.console_host}: {e.strerror}"]) from None
        except OSError as e:
            why = os.strerror(e.errno) if e.errno else str(e)
            raise BadSettings([f"FACTORY_CONSOLE_PORT: cannot listen on {self.console_port}: {why}"]) from None
        self.console_port = runner.addresses[0][1]
        log.info("pages", url=self.settings.public_url, port=self.console_port)

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """What is not there, and what broke, are pages too; none says more than that."""
        try:
            return await handler(request)
        except web.HTTPException as e:
            if e.status < 400:
                raise
            title, text = SAID.get(e.status, (e.reason, "This address does not take that."))
            return self._problem(e.status, title, text, {k: v for k, v in e.headers.items() if k in KEPT})
        except POSTGRES_AWAY as e:
            log.warning("Postgres does not answer", path=request.path, why=repr(e))
            return self._problem(503, *SAID[503], {"Retry-After": "5"})
        except Exception as e:
            log.exception("page broke", path=request.path, why=repr(e))
            return self._problem(500, "This page broke", "The log of console says why.", {})

    def _problem(self, status: int, title: str, text: str, headers: dict[str, str]) -> web.Response:
        page = self._page("problem.html", {"title": title, "text": text})
        page.set_status(status)
        page.headers.update(headers)
        return page


def build_app(settings: Settings) -> Service:
    return Console(settings)
