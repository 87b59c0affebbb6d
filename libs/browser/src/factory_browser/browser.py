"""How Chromium is started here: flags, a private home, the proxy; and the context that every recording gets anew."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, StorageState, async_playwright

from factory_browser import chromium
from factory_browser.errors import ChromiumFailed

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",  # WebRTC off: it would go round the proxy
    "--force-webrtc-ip-handling-policy",
)
# What Chromium may know of our environment: no secrets, and nothing of the desktop's.
ENVIRONMENT = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "FONTCONFIG_FILE", "FONTCONFIG_PATH")


@asynccontextmanager
async def opened(proxy: str | None = None) -> AsyncIterator[Browser]:
    """A headless Chromium, all of whose traffic goes through `proxy` (socks5://…), loopback included.

    Raises NoChromium, ChromiumFailed.
    """
    path = chromium.find()
    environment: dict[str, str | float | bool] = {k: os.environ[k] for k in ENVIRONMENT if k in os.environ}
    with tempfile.TemporaryDirectory(prefix="factory-home-", ignore_cleanup_errors=True) as home:
        async with async_playwright() as playwright:
            try:
                browser = await playwright.chromium.launch(
                    executable_path=path,
                    args=list(FLAGS),
                    env=environment | {"HOME": home},
                    chromium_sandbox=_can_sandbox(),
                    # `<-loopback>`: by its own rule Chromium would dial localhost directly.
                    proxy={"server": proxy, "bypass": "<-loopback>"} if proxy else None,
                )
            except Error as e:
                raise ChromiumFailed(str(path), f"did not start: {e.message}") from e
            try:
                yield browser
            finally:
                await close(browser)


def _can_sandbox() -> bool:
    """Whether Chromium's own sandbox works here: not for root, and on Linux not without user namespaces.

    Where it does not, we are in a container of our own, as a rule: Docker's seccomp profile refuses such namespaces.
    """
    if os.geteuid() == 0:
        return False
    unshare = shutil.which("unshare") if sys.platform == "linux" else None
    return unshare is None or subprocess.run([unshare, "--user", "true"], capture_output=True).returncode == 0


async def fresh(
    browser: Browser, viewport: tuple[int, int], storage_state: StorageState | Path | None = None
) -> BrowserContext:
    """A context with nothing in it but the storage state."""
    return await browser.new_context(
        viewport={"width": viewport[0], "height": viewport[1]},
        ignore_https_errors=True,
        storage_state=storage_state,
        locale="en-US",
    )


async def close(what: Browser | BrowserContext) -> None:
    """Closes; a browser that is gone already is closed."""
    try:
        await what.close()
    except Error:
        pass  # killed from outside, which is what a cancel does
