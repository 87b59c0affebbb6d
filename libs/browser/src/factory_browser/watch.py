"""What a browser context reports while it runs: console errors, uncaught exceptions, failed requests of the app."""

from collections.abc import Callable, Mapping

from playwright.async_api import BrowserContext, ConsoleMessage, Request, Response, WebError

from factory_browser.errors_seen import Seen, SeenErrors, add, normal, own

MAX_TEXT = 2000
# A page that goes away cancels what it was loading: no failure of the app.
CANCELLED = "net::ERR_ABORTED"


def watch(
    context: BrowserContext,
    urls: Mapping[str, str],
    seen: SeenErrors,
    *,
    scenario: str = "",
    allow_status: tuple[int, ...] = (),
) -> Callable[[], None]:
    """Notes into `seen` from now on; the answer ends it. Call that before the context closes, which fails requests."""

    def note(into: dict[str, Seen], text: str, where: str, allowed: bool = False) -> None:
        text = text.strip()[:MAX_TEXT]
        add(into, Seen(text, normal(text, urls), where, scenario, allowed))

    def console(message: ConsoleMessage) -> None:
        # "Failed to load resource" is a request's failure told again, without saying whose it is.
        if message.type == "error" and not message.text.startswith("Failed to load resource:"):
            note(seen.console, message.text, message.location["url"])

    def exception(error: WebError) -> None:
        note(seen.page_errors, error.error.message, error.page.url if error.page else "")

    def failed(request: Request) -> None:
        if own(request.url, urls) and request.failure and request.failure != CANCELLED:
            note(seen.requests, f"{request.method} {request.url} {request.failure}", _page(request))

    def answered(response: Response) -> None:
        if response.status >= 400 and own(response.url, urls):
            text = f"{response.request.method} {response.url} {response.status}"
            note(seen.requests, text, _page(response.request), response.status in allow_status)

    context.on("console", console)
    context.on("weberror", exception)
    context.on("requestfailed", failed)
    context.on("response", answered)

    def stop() -> None:
        context.remove_listener("console", console)
        context.remove_listener("weberror", exception)
        context.remove_listener("requestfailed", failed)
        context.remove_listener("response", answered)

    return stop


def _page(request: Request) -> str:
    return request.headers.get("referer", "")
