"""A recording: scenarios played in Chromium on the running app, with what was seen, as results, pictures, film and trace."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Dialog, Error, Locator, Page, StorageState

from factory_browser import browser as browsers
from factory_browser import traces
from factory_browser.camera import Camera
from factory_browser.errors import ChromiumFailed
from factory_browser.errors_seen import NONE_KNOWN, KnownErrors, Seen, SeenErrors
from factory_browser.film import Chapter, Video
from factory_browser.plan import Plan
from factory_browser.scenarios import Scenario, Step
from factory_browser.steps import Place, StepFailed, perform
from factory_browser.watch import watch

__all__ = ["Plan", "Recording", "ScenarioResult", "log_in", "run", "tour"]

OUTLINE = 2000  # characters of a page's outline that are kept with a failure
TAB_S = 10.0  # for a new tab to load
SETTLE_S = 0.2  # after the last step
STEP_S = 0.05  # after each, where it is not filmed: a click may open a tab


@dataclass
class ScenarioResult:
    """How a scenario went. Where it failed: at which step (from 0), why, and an outline of the page as it was then."""

    name: str
    criteria: tuple[str, ...]
    ok: bool
    error: str = ""
    step_index: int | None = None
    step: str = ""
    screenshot: Path | None = None
    seconds: float = 0.0
    outline: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return vars(self) | {
            "criteria": list(self.criteria),
            "screenshot": str(self.screenshot) if self.screenshot else None,
            "seconds": round(self.seconds, 2),
        }


@dataclass
class Recording:
    """What came of a plan. `ok`: every scenario passed and no error was seen that the base did not have."""

    results: list[ScenarioResult]
    video: Video | None
    screenshots: list[Path]
    console_new: list[Seen]
    console_known: list[Seen]
    requests_new: list[Seen]
    requests_known: list[Seen]
    page_errors: list[Seen]
    page_errors_known: list[Seen]
    trace: Path | None
    seen: KnownErrors = NONE_KNOWN

    @property
    def ok(self) -> bool:
        """Nothing failed and nothing is new."""
        return all(r.ok for r in self.results) and not (self.console_new or self.requests_new or self.page_errors)

    def known(self) -> KnownErrors:
        """All errors of this run: made on the base, they are what a later plan does not count."""
        return self.seen

    def as_dict(self) -> dict[str, object]:
        """For JSON; paths as text."""
        errors = ("console_new", "console_known", "requests_new", "requests_known", "page_errors", "page_errors_known")
        return {
            "ok": self.ok,
            "results": [r.as_dict() for r in self.results],
            "video": self.video.as_dict() if self.video else None,
            "screenshots": [str(s) for s in self.screenshots],
            **{name: [seen.as_dict() for seen in getattr(self, name)] for name in errors},
            "trace": str(self.trace) if self.trace else None,
            "known": self.seen.as_dict(),
        }


async def run(plan: Plan) -> Recording:
    """Plays a plan. A failing scenario is a result; what is raised is that it could not be tried.

    Raises PlanInvalid, NoChromium, ChromiumFailed, FilmFailed.
    """
    async with browser_for(plan, "recorded") as browser:
        return await _play(plan, browser)


@asynccontextmanager
async def browser_for(plan: Plan, did: str) -> AsyncIterator[Browser]:
    """A browser for a plan that is checked and has its directory; `did`: what it was at, for the error if it ends.

    Raises PlanInvalid, NoChromium, ChromiumFailed.
    """
    plan.check()
    plan.out.mkdir(parents=True, exist_ok=True)
    async with browsers.opened(plan.proxy) as browser:
        try:
            yield browser
        except Error as e:
            raise ChromiumFailed(browser.version, f"ended while it {did}: {e.message}") from e


async def _play(plan: Plan, browser: Browser) -> Recording:
    session = _Session(plan, browser)
    state = await session.log_in()
    if state is None:
        return session.recording(None)
    if not plan.film:
        await session.play(state, None)
        return session.recording(None)
    async with Camera.opened(browser, plan.out / "video.mp4", plan.size) as camera:
        await session.play(state, camera)
        return session.recording(await camera.finish())


async def log_in(plan: Plan, browser: Browser) -> tuple[StorageState | Path | None, ScenarioResult | None]:
    """What the plan's login leaves in the browser; or None, and how it failed."""
    session = _Session(plan, browser)
    state = await session.log_in()
    return state, None if state is not None else session.results[0]


def tour(urls: Mapping[str, str]) -> list[Scenario]:
    """What is filmed where there are no scenarios: each URL, opened."""
    return [
        Scenario(f"{service}: {url}", (), (Step("goto", value="", service=service),)) for service, url in urls.items()
    ]


class _Session:
    """One plan in one browser."""

    def __init__(self, plan: Plan, browser: Browser) -> None:
        self.plan, self.browser = plan, browser
        self.place = Place(plan.urls, plan.primary, plan.files)
        self.seen = SeenErrors()
        self.results: list[ScenarioResult] = []
        self.traces: list[Path] = []

    async def log_in(self) -> StorageState | Path | None:
        """Off camera; the state that every scenario starts with. None where it failed: nothing can be shown then."""
        if not self.plan.login:
            return self.plan.storage_state or StorageState(cookies=[], origins=[])
        context = await browsers.fresh(self.browser, self.plan.size, self.plan.storage_state)
        try:
            login = Scenario("Log in", (), tuple(self.plan.login))
            result = await self._steps(_Tabs(context, await context.new_page()), login, None, "login")
            if result.ok:
                return await context.storage_state(indexed_db=True)
            self.results.append(result)
            not_run = f"not run: the login before it failed ({result.error})"
            self.results += [ScenarioResult(s.name, s.criteria, False, not_run) for s in self.plan.scenarios]
            return None
        finally:
            await browsers.close(context)

    async def play(self, state: StorageState | Path, camera: Camera | None) -> None:
        """Every scenario in a fresh context."""
        scenarios = self.plan.scenarios or tour(self.plan.urls)
        for number, scenario in enumerate(scenarios, 1):
            file = f"{number:02}-{slug(scenario.name)}"
            async with self._context(scenario, state, camera, file) as context:
                tabs = _Tabs(context, await context.new_page())
                if camera:
                    await self._card(camera, scenario, f"{number} / {len(scenarios)}")
                self.results.append(await self._steps(tabs, scenario, camera, file))

    @asynccontextmanager
    async def _context(
        self, scenario: Scenario, state: StorageState | Path, camera: Camera | None, file: str
    ) -> AsyncIterator[BrowserContext]:
        """A watched and traced context."""
        context = await browsers.fresh(self.browser, camera.viewport if camera else self.plan.size, state)
        stop = watch(context, self.plan.urls, self.seen, scenario=scenario.name, allow_status=scenario.allow_status)
        try:
            if self.plan.trace:
                await context.tracing.start(snapshots=True, title=scenario.name)
            yield context
            if self.plan.trace:
                self.traces.append(self.plan.out / f"{file}.trace")
                await context.tracing.stop(path=self.traces[-1])
        finally:
            stop()
            await browsers.close(context)

    async def _card(self, camera: Camera, scenario: Scenario, number: str) -> None:
        titles = self.plan.chapter_titles
        chapters = [Chapter(titles.get(c, scenario.name), c, scenario.name) for c in scenario.criteria]
        chapters = chapters or [Chapter(scenario.name, None, scenario.name)]
        title = chapters[0].title
        under = "" if title == scenario.name else scenario.name
        steps = [str(step) for step in scenario.steps]
        await camera.card(chapters, " · ".join([*scenario.criteria, number]), title, under, steps)

    async def _steps(self, tabs: "_Tabs", scenario: Scenario, camera: Camera | None, file: str) -> ScenarioResult:
        """The steps up to the first that fails, then the picture of how it stands."""
        began = time.monotonic()
        result = ScenarioResult(scenario.name, scenario.criteria, True)
        for index, step in enumerate(scenario.steps):
            try:
                if camera:
                    camera.begins(index)
                element = await self._perform(tabs, step, camera)
            except StepFailed as e:
                result.ok, result.error, result.step_index, result.step = False, str(e), index, str(step)
                result.outline = await outline(tabs.page)
                result.screenshot = await self._screenshot(tabs.page, file)
                if camera:
                    await camera.failed(index, str(e) if step.expect else f"{step}: {e}")
                break
            await (camera.done(index, element) if camera else asyncio.sleep(STEP_S))
        await (camera.ends() if camera else asyncio.sleep(SETTLE_S))  # what fails late is seen too
        result.screenshot = result.screenshot or await self._screenshot(tabs.page, file)
        result.seconds = time.monotonic() - began
        return result

    async def _perform(self, tabs: "_Tabs", step: Step, camera: Camera | None) -> Locator | None:
        """A step in the newest tab; once more where a tab opened while it failed in the one before."""
        await tabs.follow(camera)
        try:
            return await perform(tabs.page, step, self.place)
        except StepFailed:
            if not await tabs.follow(camera):
                raise
            return await perform(tabs.page, step, self.place)

    async def _screenshot(self, page: Page, file: str) -> Path | None:
        path = self.plan.out / f"{file}.png"
        try:
            await page.screenshot(path=path)
        except Error:
            return None  # the page crashed, which the result says
        return path

    def recording(self, video: Video | None) -> Recording:
        """What there is now."""
        console_new, console_known = self.seen.split("console", self.plan.known)
        requests_new, requests_known = self.seen.split("requests", self.plan.known)
        page_errors, page_errors_known = self.seen.split("page_errors", self.plan.known)
        return Recording(
            results=self.results,
            video=video,
            screenshots=[r.screenshot for r in self.results if r.screenshot],
            console_new=console_new,
            console_known=console_known,
            requests_new=requests_new,
            requests_known=requests_known,
            page_errors=page_errors,
            page_errors_known=page_errors_known,
            trace=traces.merge(self.traces, self.plan.out / "trace.zip"),
            seen=self.seen.known(),
        )


class _Tabs:
    """The tabs of a context. A scenario goes on in the newest: a click may have opened one."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self._context = context
        self.page = page
        self._filmed = False
        context.on("dialog", _accept)

    async def follow(self, camera: Camera | None) -> bool:
        """Turns to the newest tab, and the camera with it; whether that is another one."""
        newest = self._context.pages[-1] if self._context.pages else self.page
        another, self.page = newest is not self.page, newest
        if another:
            await _loaded(newest)
        if camera and (another or not self._filmed):
            self._filmed = True
            await camera.follow(newest)
            if another:
                await camera.show()
        return another


async def _loaded(page: Page) -> None:
    try:
        await page.wait_for_load_state("domcontentloaded", timeout=TAB_S * 1000)
    except Error:
        pass  # closed again, or slow: the step that looks at it says so


async def _accept(dialog: Dialog) -> None:
    """A person who clicks “Delete” means it."""
    try:
        await dialog.accept()
    except Error:
        pass  # its page is gone


async def outline(page: Page) -> str:
    """What a page shows, as Playwright's accessibility snapshot: text for whoever mends it."""
    try:
        return (await page.locator("body").aria_snapshot(timeout=2000))[:OUTLINE]
    except Error:
        return ""


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "scenario"
