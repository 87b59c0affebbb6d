"""`${NAME}` in values of the contract: which ports are named, and what a value is when the names are filled in."""

import re
from collections.abc import Callable, Iterable

# `$API_PORT` is read by a shell as well, so it is leased too
PORT = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*_PORT)(?=[}:\-+?=])|([A-Z][A-Z0-9_]*_PORT)(?![A-Za-z0-9_]))")
REFERENCE = re.compile(r"\$\$(?=\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}")


def ports_in(texts: Iterable[str]) -> list[str]:
    """The names `X_PORT` that are referred to, each once, in order."""
    found = (m.group(1) or m.group(2) for text in texts for m in PORT.finditer(text))
    return list(dict.fromkeys(found))


def names_in(text: str) -> list[str]:
    """The names `${NAME}` in a value that have no default."""
    return [m.group(1) for m in REFERENCE.finditer(text) if m.group(1) and m.group(2) is None]


def fill(text: str, look_up: Callable[[str], str | None], missing: Callable[[str], Exception]) -> str:
    """`text` with `${NAME}` and `${NAME:-default}` filled in; `$${` is a literal `${`. Raises what `missing` makes."""

    def one(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        value = look_up(match.group(1))
        if value:
            return value
        if match.group(2) is not None:
            return match.group(2)
        if value is None:
            raise missing(match.group(1))
        return value

    return REFERENCE.sub(one, text)
