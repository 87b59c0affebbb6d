"""The pictures of a film that are not the app: chapter cards and the captions under the page. Drawn in a page of their own."""

from html import escape

from playwright.async_api import Browser, FloatRect, Page

from factory_browser.browser import fresh

STRIP = 48  # pixels of the captions' strip
QUALITY = 92
COLOURS = {"doing": "#8b9bb4", "done": "#4ade80", "failed": "#f87171"}
MARKS = {"doing": "›", "done": "✓", "failed": "✗"}
STYLE = """
* { margin: 0; box-sizing: border-box }
body { background: #0f172a; color: #f1f5f9; font-family: system-ui, "DejaVu Sans", sans-serif; overflow: hidden }
.strip { height: 100%; display: flex; align-items: center; gap: 14px; padding: 0 24px; font-size: 18px; white-space: nowrap }
.strip .text { overflow: hidden; text-overflow: ellipsis }
.strip .count { margin-left: auto; color: #64748b; font-size: 15px; font-variant-numeric: tabular-nums }
.mark { font-weight: 700; font-size: 20px }
.card { height: 100%; display: flex; flex-direction: column; justify-content: center; gap: 20px; padding: 0 9% }
.card .over { color: #7dd3fc; font-size: 20px; letter-spacing: .04em }
.card h1 { font-size: 44px; line-height: 1.2; font-weight: 700; text-wrap: balance; display: -webkit-box; -webkit-box-orient: vertical;
           -webkit-line-clamp: 5; overflow: hidden; overflow-wrap: anywhere }
.card .under { color: #94a3b8; font-size: 22px; line-height: 1.4; display: -webkit-box; -webkit-box-orient: vertical;
               -webkit-line-clamp: 3; overflow: hidden; overflow-wrap: anywhere }
"""


class Cards:
    """Draws cards and captions, as JPEG, for a film of this size."""

    def __init__(self, page: Page, size: tuple[int, int]) -> None:
        self._page = page
        self._size = size

    @classmethod
    async def opened(cls, browser: Browser, size: tuple[int, int]) -> "Cards":
        """In a context of their own; it closes with the browser."""
        context = await fresh(browser, size)
        return cls(await context.new_page(), size)

    async def card(self, over: str, title: str, under: str) -> bytes:
        """A chapter's first picture."""
        rows = [f'<p class="over">{escape(over)}</p>', f"<h1>{escape(title)}</h1>"]
        if under:
            rows.append(f'<p class="under">{escape(under)}</p>')
        return await self._draw(f'<main class="card">{"".join(rows)}</main>', self._size[1] - STRIP)

    async def caption(self, text: str, state: str, count: str) -> bytes:
        """One line of the strip. `state` is one of MARKS, or '' for a line without a mark."""
        mark = f'<span class="mark" style="color:{COLOURS[state]}">{MARKS[state]}</span>' if state else ""
        colour = f' style="color:{COLOURS[state]}"' if state == "failed" else ""
        line = f'{mark}<span class="text"{colour}>{escape(text)}</span><span class="count">{escape(count)}</span>'
        return await self._draw(f'<div class="strip">{line}</div>', STRIP)

    async def _draw(self, body: str, height: int) -> bytes:
        page = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><div style='height: {height}px'>{body}</div>"
        await self._page.set_content(page)
        # Cut out of one viewport: to change its size takes ten times as long.
        cut = FloatRect(x=0, y=0, width=self._size[0], height=height)
        return await self._page.screenshot(type="jpeg", quality=QUALITY, clip=cut)
