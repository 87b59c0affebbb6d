"""One step of a scenario, done in a page; what went wrong in words that say what to change."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from playwright.async_api import Error, Locator, Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from factory_browser import scenarios
from factory_browser.scenarios import Expectation, Step

GOTO_S = 15.0
STEP_S = 5.0
NOBODY_ANSWERS = ("ERR_CONNECTION_REFUSED", "ERR_SOCKS_CONNECTION_FAILED", "ERR_SOCKS_CONNECTION_HOST_UNREACHABLE")


class StepFailed(Exception):
    """A step did not do what it says; the message says what was found instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where steps happen: the app's URLs, and the directory that uploads are taken from."""

    urls: Mapping[str, str]
    primary: str
    files: Path | None = None


async def perform(page: Page, step: Step, place: Place) -> Locator | None:
    """Does one step; the element that an expectation was seen on, if it was one. Raises StepFailed."""
    seconds = step.timeout or (GOTO_S if step.action == "goto" else STEP_S)
    try:
        if step.expect:
            return await _expect(page, step, seconds)
        await _act(page, step, place, seconds)
    except PlaywrightTimeout as e:
        raise StepFailed(await _why_late(page, step, seconds, e)) from e
    except Error as e:
        raise StepFailed(_told(e)) from e
    return None


async def _act(page: Page, step: Step, place: Place, seconds: float) -> None:
    timeout = seconds * 1000
    value = step.value or ""
    target = locate(page, step.target) if step.target else None
    match step.action, target:
        case "goto", _:
            await go(page, address(step, place), seconds)
        case "press", None:
            await page.keyboard.press(value)
        case "press", Locator():
            await target.press(value, timeout=timeout)
        case "fill", Locator():
            await target.fill(value, timeout=timeout)
        case "click", Locator():
            await target.click(timeout=timeout)
        case "select", Locator():
            await target.select_option(value, timeout=timeout)
        case "upload", Locator():
            await target.set_input_files(upload(value, place), timeout=timeout)
        case action, _:
            raise AssertionError(f"a step that cannot be read: {action}")


async def go(page: Page, url: str, seconds: float) -> int | None:
    """Opens a URL; the status of the answer (None for a page that answers without one). Raises StepFailed."""
    try:
        response = await page.goto(url, timeout=seconds * 1000)
    except PlaywrightTimeout:
        raise StepFailed(f"{url} did not load within {seconds:g} s") from None
    except Error as e:
        reason = _told(e)
        if any(code in reason for code in NOBODY_ANSWERS):
            raise StepFailed(f"nothing answers at {url}") from e
        raise StepFailed(f"{url} did not load: {reason}") from e
    return response.status if response else None


def address(step: Step, place: Place) -> str:
    """The URL that a goto opens. Raises StepFailed for a service that has none."""
    service = step.service or place.primary
    if service not in place.urls:
        raise StepFailed(f"no service “{service}” has a url; those that have: {', '.join(sorted(place.urls))}")
    return urljoin(place.urls[service], step.value or "")


def upload(name: str, place: Place) -> Path:
    """A file to upload, beneath the directory for it. Raises StepFailed where it is not there or leads out of it."""
    if place.files is None:
        raise StepFailed(f"cannot upload {name}: this run was given no directory of files")
    file = (place.files / name).resolve()
    if not file.is_relative_to(place.files.resolve()):
        raise StepFailed(f"cannot upload {name}: it leads out of the repo")
    if not file.is_file():
        raise StepFailed(f"cannot upload {name}: there is no such file in the repo")
    return file


def locate(page: Page, wanted: scenarios.Locator) -> Locator:
    """Playwright's locator for ours."""
    base = locate(page, wanted.within) if wanted.within else page
    exact = wanted.exact
    match wanted.by:
        case "role":
            found = base.get_by_role(wanted.value, name=wanted.name, exact=exact)  # pyright: ignore[reportArgumentType]
        case "label":
            found = base.get_by_label(wanted.value, exact=exact)
        case "text":
            found = base.get_by_text(wanted.value, exact=exact)
        case "placeholder":
            found = base.get_by_placeholder(wanted.value, exact=exact)
        case "testid":
            found = base.get_by_test_id(wanted.value)
        case _:
            found = base.locator(f"css={wanted.value}")
    return found if wanted.nth is None else found.nth(wanted.nth)


async def _expect(page: Page, step: Step, seconds: float) -> Locator | None:
    wanted, timeout = step.expect, seconds * 1000
    assert wanted
    if step.target is None:
        return await _expect_page(page, wanted, timeout)
    visible = locate(page, step.target).filter(visible=True)
    try:
        if wanted.sees == "count" or wanted.wanted is False:
            await expect(visible).to_have_count(int(wanted.wanted), timeout=timeout)
            return visible.first if wanted.wanted else None
        if wanted.sees == "visible":
            await expect(visible.first).to_be_visible(timeout=timeout)
        elif wanted.sees == "contains":
            await expect(visible.first).to_contain_text(str(wanted.wanted), timeout=timeout)
        else:
            await expect(visible.first).to_have_value(str(wanted.wanted), timeout=timeout)
    except AssertionError as e:
        raise StepFailed(await _why_not(page, step, seconds)) from e
    return visible.first


async def _expect_page(page: Page, wanted: Expectation, timeout: float) -> None:
    """The page's address or title."""
    text = str(wanted.wanted)
    try:
        if wanted.sees == "url":
            await expect(page).to_have_url(url_pattern(text), timeout=timeout)
        else:
            shape = f"^{re.escape(text)}$" if wanted.exact else re.escape(text)
            await expect(page).to_have_title(re.compile(shape, 0 if wanted.exact else re.IGNORECASE), timeout=timeout)
    except AssertionError as e:
        found = page.url if wanted.sees == "url" else await page.title()
        raise StepFailed(f"the {'address' if wanted.sees == 'url' else 'title'} is “{found}”") from e


def url_pattern(wanted: str) -> re.Pattern[str]:
    """A path matches on any origin, and with any query and fragment that it does not name; `*` is any part of it."""
    parts = urlsplit(wanted)
    shape = "[^?#]*".join(re.escape(part) for part in wanted.split("*"))
    before = "" if parts.scheme else r"[a-z]+://[^/?#]+"
    path_only = r"/?" if not parts.path.endswith("/") and not parts.query and not parts.fragment else ""
    query = "" if parts.query or parts.fragment else r"(\?[^#]*)?"
    return re.compile(f"^{before}{shape}{path_only}{query}{'' if parts.fragment else '(#.*)?'}$")


async def _why_not(page: Page, step: Step, seconds: float) -> str:
    """What was seen in place of what an expectation wanted."""
    wanted, target = step.expect, step.target
    assert wanted and target
    found = locate(page, target)
    seen, present = await found.filter(visible=True).count(), await found.count()
    within = f"within {seconds:g} s"
    if wanted.sees == "count":
        return f"{seen} × {target} seen {within}, not {wanted.wanted}"
    if wanted.wanted is False:
        return f"{target} is still seen after {seconds:g} s"
    if not seen:
        hidden = f"; {present} in the page, but hidden" if present else ""
        return f"no {target} seen {within}{hidden}"
    first = found.filter(visible=True).first
    read = await (first.inner_text() if wanted.sees == "contains" else first.input_value())
    verb = "reads" if wanted.sees == "contains" else "holds"
    return f"{target} {verb} “{' '.join(read.split())[:300]}”, not “{wanted.wanted}”"


async def _why_late(page: Page, step: Step, seconds: float, error: Error) -> str:
    """Why an action could not be done in time."""
    if step.target is None:
        return _told(error)
    present = await locate(page, step.target).count()
    if not present:
        return f"no {step.target} in the page within {seconds:g} s"
    # Playwright's call log says what it waited for, last.
    waits = [line.strip(" -") for line in error.message.splitlines() if re.search(r"- .*(not|intercepts)", line)]
    return f"{step.target} could not be used within {seconds:g} s{f': {waits[-1]}' if waits else ''}"


def _told(error: Error) -> str:
    """The first lines of Playwright's message, without its call log."""
    message = error.message.partition("\nCall log:")[0].strip()
    if many := re.search(r"strict mode violation: .* resolved to (\d+) elements", message):
        return f"{many[1]} elements match: say which, with name, exact, within or nth"
    return re.sub(r"^\w+\.\w+: ", "", message)[:1000]


async def painted(page: Page) -> None:
    """Waits until the page has drawn what it has now (two frames); not for a page that hangs."""
    frames = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    try:
        async with asyncio.timeout(1):
            await page.evaluate(frames)
    except (Error, TimeoutError):
        pass  # it went away or is busy: there is nothing to wait for
