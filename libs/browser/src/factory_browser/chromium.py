"""Where a Chromium is on this machine. `python -m factory_browser.chromium` prints its path."""

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


class NoChromium(Exception):
    """No Chromium was found: run `playwright install chromium` or install your system's `chromium`, or set FACTORY_CHROMIUM."""

    def __init__(self, why: str = "") -> None:
        super().__init__(why or type(self).__doc__)


def playwrights_own() -> Path | None:
    """The newest browser that `playwright install` has put into its cache."""
    caches = {"linux": "~/.cache/ms-playwright", "darwin": "~/Library/Caches/ms-playwright"}
    root = Path(
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or caches.get(sys.platform, "~/.cache/ms-playwright")
    ).expanduser()
    inside = ("chrome-linux*/chrome", "chrome-mac*/Chromium.app/Contents/MacOS/Chromium")
    found = [p for shape in inside for p in root.glob(f"chromium-*/{shape}")]
    return max(found, key=lambda p: int(p.relative_to(root).parts[0].rsplit("-", 1)[1]), default=None)


def find() -> Path:
    """The Chromium to run: FACTORY_CHROMIUM, Playwright's own, the system's. Raises NoChromium."""
    if named := os.environ.get("FACTORY_CHROMIUM"):
        if not os.access(named, os.X_OK):
            raise NoChromium(f"FACTORY_CHROMIUM names no program: {named}")
        return Path(named)
    if own := playwrights_own():
        return own
    for name in NAMES:
        if at := shutil.which(name):
            return Path(at)
    for at in MAC:
        if Path(at).exists():
            return Path(at)
    raise NoChromium


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find()}\n")
    except NoChromium as e:
        sys.exit(str(e))
