"""What the film shows, scene by scene: a card, then the page with a caption for each step; nothing of the loading between."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Error, Locator, Page, ScreencastActionStyle
from playwright.async_api import ScreencastFrame as Frame

from factory_browser.cards import STRIP, Cards
from factory_browser.film import Chapter, Film, Video
from factory_browser.steps import painted

CARD_S = 1.2
PAUSE_S = 0.35  # after an action, so that a person sees what it did
SPOTLIGHT_S = 0.7
END_S = 0.8
FAILURE_S = 2.5
ACTION_MS = 450  # a visible click, before it happens
QUALITY = 85

ACTIONS = ScreencastActionStyle(
    title="display: none",  # Playwright's own is code, and tells what is filled into a password
    highlight="border: 3px solid #f59e0b; border-radius: 6px; background: rgba(245, 158, 11, .12)",
    point="width: 40px; height: 40px; border-radius: 50%; background: rgba(245, 158, 11, .45)",
)
# Draws a frame round an element, in the top layer and by CSSOM, which no content security policy forbids.
SPOTLIGHT = """(element, ms) => {
  const box = element.getBoundingClientRect(), frame = document.createElement('div');
  frame.style.cssText = `position: fixed; inset: auto; left: ${box.x - 5}px; top: ${box.y - 5}px; width: ${box.width + 10}px;
    height: ${box.height + 10}px; margin: 0; padding: 0; border: 3px solid #22c55e; border-radius: 6px; background: none;
    box-sizing: border-box; pointer-events: none; z-index: 2147483647`;
  frame.setAttribute('aria-hidden', 'true');
  frame.popover = 'manual';
  document.documentElement.append(frame);
  frame.showPopover();
  setTimeout(() => frame.remove(), ms);
}"""


class Camera:
    """Films one recording. `viewport` is the page's part of the picture."""

    def __init__(self, film: Film, cards: Cards, size: tuple[int, int]) -> None:
        self._film, self._cards = film, cards
        self.viewport = (size[0], size[1] - STRIP)
        self._chapters: list[Chapter] = []
        self._open: list[Chapter] = []  # of the scenario that is on
        self._page: Page | None = None
        self._filmed: set[Page] = set()
        self._shown = float("inf")  # when the page came on; its earlier pictures are of what it loaded
        self._captions: list[dict[str, bytes]] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, browser: Browser, path: Path, size: tuple[int, int]) -> "AsyncIterator[Camera]":
        """A camera and its film, thrown away unless it is finished."""
        async with Film(path, size, STRIP) as film:
            yield cls(film, await Cards.opened(browser, size), size)

    async def card(self, chapters: Sequence[Chapter], over: str, title: str, under: str, steps: Sequence[str]) -> None:
        """Shows a card, begins these chapters, and draws the captions of the scenario's steps meanwhile."""
        self._cut()
        picture, nothing = await self._cards.card(over, title, under), await self._cards.caption("", "", "")
        self._film.caption(nothing)
        self._film.stage(picture)
        for chapter in chapters:
            chapter.start = self._film.position
        self._open = list(chapters)
        self._chapters += chapters
        self._film.roll()
        await asyncio.gather(self._hold(CARD_S), self._draw(steps))

    async def _hold(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._cut()

    async def _draw(self, steps: Sequence[str]) -> None:
        counts = [f"{number} / {len(steps)}" for number in range(1, len(steps) + 1)]
        self._captions = [
            {state: await self._cards.caption(text, state, count) for state in ("doing", "done")}
            for text, count in zip(steps, counts, strict=True)
        ]

    async def follow(self, page: Page) -> None:
        """From now on this page is filmed; `show` brings it on."""
        self._page, self._shown = page, float("inf")
        if page in self._filmed:
            return
        self._filmed.add(page)

        def picture(frame: Frame) -> None:
            at = frame["timestamp"] / 1000
            if page is self._page and at >= self._shown:
                self._film.stage(frame["data"], at)

        width, height = self.viewport
        await page.screencast.start(on_frame=picture, size={"width": width, "height": height}, quality=QUALITY)
        await page.screencast.show_actions(duration=ACTION_MS, style=ACTIONS)

    async def show(self) -> None:
        """The page comes on, as it looks now, and the film runs."""
        assert self._page
        if self._shown == float("inf"):
            await painted(self._page)
            await _quietly(self._still(self._page))
            self._shown = time.time()
        self._film.roll()

    async def _still(self, page: Page) -> None:
        self._film.stage(await page.screenshot(type="jpeg", quality=QUALITY))

    def begins(self, index: int) -> None:
        """The caption of a step that is about to be done."""
        self._film.caption(self._captions[index]["doing"])

    async def done(self, index: int, element: Locator | None) -> None:
        """The caption of a step that was done; a frame round the element that was expected; a pause to see it."""
        self._film.caption(self._captions[index]["done"])
        await self.show()
        if element:
            await _quietly(_spotlight(element))
        await asyncio.sleep(SPOTLIGHT_S if element else PAUSE_S)

    async def failed(self, index: int, text: str) -> None:
        """The caption of a step that failed, long enough to read."""
        count = f"{index + 1} / {len(self._captions)}"
        self._film.caption(await self._cards.caption(text, "failed", count))
        await self.show()
        await asyncio.sleep(FAILURE_S)

    async def ends(self) -> None:
        """The scenario's last picture stands a moment; what comes after is not filmed."""
        await asyncio.sleep(END_S)
        self._cut()
        if self._page:
            await _quietly(self._page.screencast.hide_actions())  # no pointer in the screenshot
        self._page, self._filmed = None, set()

    async def finish(self) -> Video:
        """The film with its chapters. Raises FilmFailed."""
        self._cut()
        return await self._film.finish(self._chapters)

    def _cut(self) -> None:
        self._film.cut()
        for chapter in self._open:
            chapter.end = self._film.position


async def _spotlight(element: Locator) -> None:
    """Shows where an expectation was seen."""
    await element.scroll_into_view_if_needed(timeout=500)
    await element.evaluate(SPOTLIGHT, round(SPOTLIGHT_S * 1000), timeout=500)


async def _quietly(ornament: Awaitable[object]) -> None:
    """Something for the film only: where the page went away or crashed, it is left out."""
    try:
        await ornament
    except Error:
        pass
