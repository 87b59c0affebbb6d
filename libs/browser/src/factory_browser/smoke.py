"""A first look at an app: does each of its URLs answer, and is there anything to see."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, Error, Page

from factory_browser import browser as browsers
from factory_browser.errors import ChromiumFailed
from factory_browser.errors_seen import KnownErrors, Seen, SeenErrors
from factory_browser.steps import StepFailed, go
from factory_browser.watch import watch

SIZE = (1280, 720)
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
        """It answered and shows something. Console errors are told, not judged: the base may have them too."""
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
    """All URLs."""

    pages: list[PageSeen]
    seen: KnownErrors

    @property
    def ok(self) -> bool:
        """Every page is."""
        return all(page.ok for page in self.pages)

    @property
    def reasons(self) -> list[str]:
        """Why not, each with its service."""
        return [f"{page.service}: {reason}" for page in self.pages for reason in page.reasons]

    def known(self) -> KnownErrors:
        """The errors that were seen: made on the base, they are what a later plan does not count."""
        return self.seen

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        pages = [page.as_dict() for page in self.pages]
        return {"ok": self.ok, "reasons": self.reasons, "pages": pages, "known": self.seen.as_dict()}


async def smoke(urls: dict[str, str], out: Path, proxy: str | None = None) -> Smoke:
    """Opens each URL (service → url as written) in a fresh context. Raises NoChromium, ChromiumFailed."""
    out.mkdir(parents=True, exist_ok=True)
    known = KnownErrors()
    pages: list[PageSeen] = []
    async with browsers.opened(proxy) as browser:
        for service, url in urls.items():
            seen = SeenErrors()
            try:
                pages.append(await _look(browser, urls, service, out, seen))
            except Error as e:
                raise ChromiumFailed(browser.version, f"ended while it looked at {url}: {e.message}") from e
            known |= seen.known()
    return Smoke(pages, known)


async def _look(browser: Browser, urls: Mapping[str, str], service: str, out: Path, seen: SeenErrors) -> PageSeen:
    found = PageSeen(service, urls[service])
    context = await browsers.fresh(browser, SIZE)
    stop = watch(context, urls, seen, scenario=f"smoke: {service}")
    try:
        page = await context.new_page()
        try:
            found.status = await go(page, found.url, GOTO_S)
        except StepFailed as e:
            found.reasons.append(str(e))
            return found
        html = await _fill(page, found)
        await asyncio.sleep(SETTLE_S)
        found.screenshot = out / f"smoke-{service}.png"
        await page.screenshot(path=found.screenshot)
        found.reasons += _judged(found, html, seen)
    finally:
        stop()
        found.console, found.requests = list(seen.console.values()), list(seen.requests.values())
        found.page_errors = list(seen.page_errors.values())
        await browsers.close(context)
    return found


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
    if status >= 500 or (status >= 400 and html):
        return [f"{found.url} answers {status}"]
    if found.blank:
        error = next(iter(seen.page_errors.values()), None)
        return [f"{found.url} answers {status} with an empty page{f' ({error.text})' if error else ''}"]
    return []
