"""Errors that a browser saw, and which of them the base had already: told apart by a text without ports, ids and times."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK = re.compile(r"localhost|127\.0\.0\.1|\[?::1\]?|[\w.-]+\.localhost", re.IGNORECASE)

# In this order: the long shapes first, so that a part of one is not taken for another.
_SHAPES = tuple(
    (re.compile(shape, re.IGNORECASE), put)
    for shape, put in (
        (r"(https?|wss?)://(localhost|127\.0\.0\.1|\[::1\]|[\w-]+(\.[\w-]+)*\.localhost)(:\d+)?", "<local>"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
        (r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "<time>"),
        (r"[-.][\w-]{8}(?=\.(js|mjs|css|map|woff2?)\b)", "-<hash>"),  # what bundlers put into a file's name
        (r"\b(?=[a-z]*\d)(?=\d*[a-z])[0-9a-f]{7,}\b", "<hash>"),
        (r"(:\d+){1,2}(?=\b)", ":<n>"),  # line and column, or a port
        (r"([?&][\w.\[\]-]+=)[^&\s\"']*", r"\1<v>"),
        (r"(?<=[/#=])\d+\b", "<n>"),
        (r"\b\d{4,}\b", "<n>"),
        (r"\s+", " "),
    )
)


def normal(text: str, urls: Mapping[str, str]) -> str:
    """The text as it would be at any other port, id and time. `urls` (service → url) names the app's own origins."""
    for service, url in urls.items():
        text = re.sub(re.escape(origin(url)) + r"(?![\w:])", f"<{service}>", text, flags=re.IGNORECASE)
    for shape, put in _SHAPES:
        text = shape.sub(put, text)
    return text.strip()


def origin(url: str) -> str:
    """scheme://host:port of a URL, as it stands there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def own(url: str, urls: Mapping[str, str]) -> bool:
    """Whether a URL is of the app: one of its origins, or anything on loopback, which is this environment alone."""
    host = urlsplit(url).hostname or ""
    return bool(LOOPBACK.fullmatch(host)) or any(origin(url) == origin(mine) for mine in urls.values())


@dataclass(slots=True)
class Seen:
    """One error, counted where it was seen again. `key` is its normalised text."""

    text: str
    key: str
    where: str = ""  # the page or script
    scenario: str = ""
    allowed: bool = False  # the scenario provoked it on purpose
    times: int = 1

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"text": self.text, "key": self.key, "where": self.where, "scenario": self.scenario, "times": self.times}


@dataclass(frozen=True, slots=True)
class KnownErrors:
    """Keys of the errors that were there on the base: they are shown and never counted."""

    console: frozenset[str] = frozenset()
    requests: frozenset[str] = frozenset()
    page_errors: frozenset[str] = frozenset()

    def __or__(self, other: "KnownErrors") -> "KnownErrors":
        return KnownErrors(
            self.console | other.console, self.requests | other.requests, self.page_errors | other.page_errors
        )

    def as_dict(self) -> dict[str, list[str]]:
        """For JSON."""
        return {kind: sorted(getattr(self, kind)) for kind in ("console", "requests", "page_errors")}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Iterable[str]]) -> "KnownErrors":
        """What `as_dict` wrote."""
        return cls(**{kind: frozenset(kept.get(kind, ())) for kind in ("console", "requests", "page_errors")})


NONE_KNOWN = KnownErrors()


@dataclass(slots=True)
class SeenErrors:
    """All errors of a run, each key once."""

    console: dict[str, Seen] = field(default_factory=dict)
    requests: dict[str, Seen] = field(default_factory=dict)
    page_errors: dict[str, Seen] = field(default_factory=dict)

    def known(self) -> KnownErrors:
        """These errors, as what a later run shall not count."""
        return KnownErrors(frozenset(self.console), frozenset(self.requests), frozenset(self.page_errors))

    def split(self, kind: str, known: KnownErrors) -> tuple[list[Seen], list[Seen]]:
        """(new, known) of `console`, `requests` or `page_errors`. What a scenario provoked on purpose counts as known."""
        seen: list[Seen] = list(getattr(self, kind).values())
        old = getattr(known, kind)
        return [s for s in seen if s.key not in old and not s.allowed], [s for s in seen if s.key in old or s.allowed]


def add(into: dict[str, Seen], seen: Seen) -> None:
    """Notes an error, or counts it once more. It is allowed only while every time was."""
    if (same := into.setdefault(seen.key, seen)) is not seen:
        same.times += 1
        same.allowed = same.allowed and seen.allowed
