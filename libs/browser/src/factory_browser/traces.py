"""Playwright traces of several contexts as one file that `playwright show-trace` opens."""

import zipfile
from pathlib import Path


def merge(parts: list[Path], into: Path) -> Path | None:
    """One zip of all parts, each under its number, what they share once; the parts are removed. None without parts."""
    if not parts:
        return None
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        there: set[str] = set()
        for number, part in enumerate(parts):
            with zipfile.ZipFile(part) as trace:
                for name in trace.namelist():
                    # `trace.network` and the like are a context's own; files in folders are named by their hash.
                    renamed = name if "/" in name else f"{number}-{name}"
                    if renamed not in there:
                        there.add(renamed)
                        whole.writestr(renamed, trace.read(name))
            part.unlink()
    return into
