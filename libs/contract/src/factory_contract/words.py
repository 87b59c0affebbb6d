"""Small words for messages: the nearest valid name, numbers of things, durations."""

import re
from collections.abc import Iterable

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    import difflib  # only where something is wrong

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest name, or all of them where there are few."""
    names = sorted(known)
    if near := nearest(name, names):
        return f"Did you mean `{near}`?"
    return f"Known here: {', '.join(names)}." if names else ""


def closest_first(name: str, known: Iterable[str]) -> list[str]:
    """All of them, what is most like `name` first."""
    import difflib

    return sorted(known, key=lambda one: -difflib.SequenceMatcher(None, name.casefold(), one.casefold()).ratio())


def short(value: object, limit: int = 60) -> str:
    """The begin of a value, for a message."""
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def counted(number: int, what: str, plural: str = "s") -> str:
    """`1 port`, `2 ports`."""
    return f"{number} {what}{'' if number == 1 else plural}"


def seconds(text: str | float) -> float:
    """`500ms`, `5s`, `1m30s` or a number of seconds. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(text))
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"{short(text)!r} is no duration: expected 500ms, 5s, 1m30s or a number of seconds")
    return sum(float(n) * UNITS[u] for n, u in parts)
