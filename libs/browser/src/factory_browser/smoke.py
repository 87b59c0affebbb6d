"""A first look at an app: does each of its URLs answer, is there anything to see, does anything break on the way."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Page, StorageState

from factory_browser import browser as browsers
from factory_browser import record, traces
from factory_browser.camera import Camera
from factory_browser.errors_seen import KnownErrors, Seen, SeenErrors
from factory_browser.film import Chapter, Video
from factory_browser.plan import Plan
from factory_browser.record import ScenarioResult
from factory_browser.steps import StepFailed, go
from factory_browser.watch import watch

GOTO_S = 20.0
BLANK_S = 4.0  # how long an app that draws itself by script may be empty
SETTLE_S = 0.3
LOOK = """() => {
  const seen = e => { const b = e.getBoundingClientRect(); return b.width > 4 && b.height > 4 && e.checkVisibility() };
  const things = 'img, svg, canvas, video, input, button, select, textarea, iframe, object, embed';
  const text = document.body ? document.body.innerText.trim() : '';
  return {title: document.title, text: text.length, things: [...document.querySelectorAll(things)].filter(seen).length,
          html: document.contentType.includes('html')};
}"""


@dataclass(slots=True)
class PageSeen:
    """One URL. `status` is None where nobody answered; `text` is the length of what can be read, in characters."""

    service: str
    url: str
    status: int | None = None
    title: str = ""
    text: int = 0
    blank: bool = True
    console: list[Seen] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    page_errors: list[Seen] = field(default_factory=list)
    screenshot: Path | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """It answered, shows something, and nothing broke. Console errors and 404s are told, not judged: they may be old."""
        return not self.reasons

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "service": self.service,
            "url": self.url,
            "ok": self.ok,
            "reasons": self.reasons,
            "status": self.status,
            "title": self.title,
            "text": self.text,
            "blank": self.blank,
            "console": [seen.as_dict() for seen in self.console],
            "requests": [seen.as_dict() for seen in self.requests],
            "page_errors": [seen.as_dict() for seen in self.page_errors],
            "screenshot": str(self.screenshot) if self.screenshot else None,
        }


@dataclass(slots=True)
class Smoke:
    """All URLs. `login` is the one that failed: the pages were then looked at by a stranger."""

    pages: list[PageSeen]
    seen: KnownErrors
    login: ScenarioResult | None = None
    video: Video | None = None
    trace: Path | None = None

    @property
    def ok(self) -> bool:
        """Every page is, and who logs in gets in."""
        return self.login is None and all(page.ok for page in self.pages)

    @property
    def reasons(self) -> list[str]:
        """Why not, each with its service."""
        login = [f"login: {self.login.step}: {self.login.error}"] if self.login else []
        return login + [f"{page.service}: {reason}" for page in self.pages for reason in page.reasons]

    def known(self) -> KnownErrors:
        """The errors that were seen: made on the base, they are what a later plan does not count."""
        return self.seen

    def as_dict(self) -> dict[str, object]:
        """For JSON; paths as text."""
        return {
            "ok": self.ok,
            "reasons": self.reasons,
            "pages": [page.as_dict() for page in self.pages],
            "login": self.login.as_dict() if self.login else None,
            "video": self.video.as_dict() if self.video else None,
            "trace": str(self.trace) if self.trace else None,
            "known": self.seen.as_dict(),
        }


async def smoke(plan: Plan) -> Smoke:
    """Opens each URL of the plan in a fresh context, after its login; its scenarios are not played.

    Raises PlanInvalid, NoChromium, ChromiumFailed, FilmFailed.
    """
    async with record.browser_for(plan, "looked at the app") as browser:
        state, login = await record.log_in(plan, browser)
        round_ = _Round(plan, browser, state or StorageState(cookies=[], origins=[]))
        if not plan.film:
            return await round_.looked(login, None)
        async with Camera.opened(browser, plan.out / "video.mp4", plan.size) as camera:
            return await round_.looked(login, camera)


class _Round:
    """One look at all URLs, in one browser."""

    def __init__(self, plan: Plan, browser: Browser, state: StorageState | Path) -> None:
        self.plan, self.browser, self.state = plan, browser, state
        self.traces: list[Path] = []

    async def looked(self, login: ScenarioResult | None, camera: Camera | None) -> Smoke:
        known, pages = KnownErrors(), list[PageSeen]()
        for service in self.plan.urls:
            seen = SeenErrors()
            pages.append(await self._look(service, seen, camera))
            known |= seen.known()
        video = await camera.finish() if camera else None
        return Smoke(pages, known, login, video, traces.merge(self.traces, self.plan.out / "trace.zip"))

    async def _look(self, service: str, seen: SeenErrors, camera: Camera | None) -> PageSeen:
        found = PageSeen(service, self.plan.urls[service])
        context = await browsers.fresh(self.browser, camera.viewport if camera else self.plan.size, self.state)
        stop = watch(context, self.plan.urls, seen, scenario=f"smoke: {service}")
        try:
            if self.plan.trace:
                await context.tracing.start(snapshots=True, title=service)
            await self._open(context, found, seen, camera)
            if self.plan.trace:
                self.traces.append(self.plan.out / f"{service}.trace")
                await context.tracing.stop(path=self.traces[-1])
        finally:
            stop()
            found.console, found.requests = list(seen.console.values()), list(seen.requests.values())
            found.page_errors = list(seen.page_errors.values())
            await browsers.close(context)
        return found

    async def _open(self, context: BrowserContext, found: PageSeen, seen: SeenErrors, camera: Camera | None) -> None:
        page = await context.new_page()
        if camera:
            number = f"{list(self.plan.urls).index(found.service) + 1} / {len(self.plan.urls)}"
            chapter = Chapter(found.service, None, found.service)
            await camera.card([chapter], number, found.service, found.url, [f"Open {found.url}"])
            camera.begins(0)
            await camera.follow(page)
        try:
            found.status = await go(page, found.url, GOTO_S)
        except StepFailed as e:
            found.reasons.append(str(e))
        else:
            html = await _fill(page, found)
            await asyncio.sleep(SETTLE_S)
            found.reasons += _judged(found, html, seen)
        if camera:
            await (camera.failed(0, found.reasons[0]) if found.reasons else camera.done(0, None))
            await camera.ends()
        if found.status is not None:
            found.screenshot = self.plan.out / f"smoke-{found.service}.png"
            await page.screenshot(path=found.screenshot)


async def _fill(page: Page, found: PageSeen) -> bool:
    """What there is to see, once there is something; whether it is HTML."""
    until = time.monotonic() + BLANK_S
    while True:
        try:
            look = await page.evaluate(LOOK)
        except Error:
            if page.is_closed() or time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)  # its script went on to another page just now
            continue
        found.title, found.text = look["title"], look["text"]
        found.blank = not look["text"] and not look["things"]
        if not found.blank or time.monotonic() > until:
            return look["html"]
        await asyncio.sleep(0.1)


def _judged(found: PageSeen, html: bool, seen: SeenErrors) -> list[str]:
    """Why a page that answered is not ok. An API has often nothing at its root: its 404 in JSON is no fault."""
    status = found.status or 0
    errors = [_first_line(error.text) for error in seen.page_errors.values()]
    if status >= 500 or (status >= 400 and html):
        return [f"{found.url} answers {status}"]
    if found.blank:
        return [f"{found.url} answers {status} with an empty page{f' ({errors[0]})' if errors else ''}"]
    broken = [f"{found.url} makes a request that fails: {r.text}" for r in seen.requests.values() if _broke(r)]
    return [f"{found.url} has an uncaught error: {error}" for error in errors] + broken


def _broke(request: Seen) -> bool:
    """Whether nobody answered, or with an error of the server's own; a 404 or a 401 may be meant."""
    status = request.text.rpartition(" ")[2]
    return not status.isdecimal() or int(status) >= 500


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
