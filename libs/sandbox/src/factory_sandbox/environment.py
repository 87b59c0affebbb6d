"""Knows the environment of every child inside: what is let in, and that nothing of the factory's own is."""

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from .errors import Refused
from .layout import MARK, Layout

_DEFAULT_PATH: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OURS = "FACTORY_"  # settings of the factory, secrets among them
_CONTRACTS = {  # known inside
    *("FACTORY_INSIDE", "FACTORY_HOST", "FACTORY_ROOT", "FACTORY_WORKTREE", "FACTORY_JUNIT", "FACTORY_CHROMIUM")
}


def of_placement(layout: Layout, extra: Mapping[str, str]) -> dict[str, str]:
    """What every child gets. Raises Refused (`secret-in-environment`)."""
    check(extra)
    return {
        "PATH": os.pathsep.join((str(layout.bin), *machine_path())),
        "HOME": str(layout.home),
        "TMPDIR": str(layout.tmp),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TERM": os.environ.get("TERM", "dumb"),
        "USER": _user(),
        **extra,
        MARK: str(layout.place),
    }


def check(variables: Mapping[str, str]) -> None:
    """Raises Refused (`secret-in-environment`, `bad-environment`) for what must not or cannot go inside."""
    for name, value in variables.items():
        if name.startswith(_OURS) and name not in _CONTRACTS:
            raise Refused(f"{name} is refused: settings of the factory do not go inside", code="secret-in-environment")
        if not name or "=" in name or "\0" in name + value or name == MARK:
            raise Refused(f"{name!r} is refused as a variable", code="bad-environment")


def machine_path() -> list[str]:
    """The directories on our PATH, without those of our own virtual environment: the app's `python3` is not ours."""
    entries = os.environ.get("PATH", _DEFAULT_PATH).split(os.pathsep)
    return [
        entry for entry in entries if Path(entry).is_absolute() and not _is_ours(Path(entry))
    ] or _DEFAULT_PATH.split(":")


def _is_ours(directory: Path) -> bool:
    if sys.prefix == sys.base_prefix:
        return False  # no virtual environment: we run on the machine's own Python
    return any(
        path.is_relative_to(ours)
        for path, ours in (
            (directory, Path(sys.prefix)),
            (directory.resolve(), Path(sys.prefix).resolve()),
        )
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())  # a container may run under a number that has no name
