"""What a Range header asks for, and what goes with a file (RFC 9110, sections 8.8, 13 and 14)."""

from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from factory_console.artifacts import _headers, _range
from factory_jobs.records import Artifact

SHA = "5" * 64


def artifact(name: str = "film.mp4", kind: str = "video/mp4", size: int = 1000) -> Artifact:
    where = {"job_id": "jabcdefghij", "commit": None, "state": "tests_running", "kind": "log", "key": "k", "epoch": 1}
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Artifact(id=1, name=name, sha256=SHA, size=size, content_type=kind, at=at, **where)


def asked(value: str | None, size: int = 1000, **more: str) -> tuple[int, int, bool]:
    headers = {"If-Range": more["if_range"]} if more else {}
    request = make_mocked_request("GET", "/", headers=headers | ({"Range": value} if value is not None else {}))
    return _range(request, artifact(size=size))


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-", (0, 999)),
        ("bytes=0-0", (0, 0)),
        ("bytes=10-19", (10, 19)),
        ("bytes=990-5000", (990, 999)),
        ("bytes=-1", (999, 999)),
        ("bytes=-5000", (0, 999)),
        ("Bytes=5-", (5, 999)),
        (" bytes=5-6 ", (5, 6)),
        ("bytes=0-999999999999999999", (0, 999)),
    ],
)
def test_one_range_is_a_part(value: str, part: tuple[int, int]):
    """Open, closed, beyond the end, the last n."""
    assert asked(value) == (*part, True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "lines=1-2",
        "bytes 0-1",
        "bytes=0-1;x",
        "bytes=٣-",
        f"bytes={'9' * 5000}-",
    ],
)
def test_what_is_no_range_of_ours_is_the_whole(value: str | None):
    """Also several ranges, another unit, numbers that no file has."""
    assert asked(value) == (0, 999, False)


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=20-10"])
def test_what_lies_beyond_is_refused_with_the_size(value: str):
    """416 says how long the file is."""
    with pytest.raises(web.HTTPRequestRangeNotSatisfiable) as e:
        asked(value)
    assert e.value.headers["Content-Range"] == "bytes */1000"


def test_an_empty_file_has_no_parts():
    """Whole it is there."""
    assert asked(None, size=0) == (0, -1, False)
    with pytest.raises(web.HTTPRequestRangeNotSatisfiable):
        asked("bytes=0-", size=0)


def test_if_range_asks_for_the_part_of_one_version():
    """Of another one the whole is sent."""
    assert asked("bytes=1-2", if_range=f'"{SHA}"') == (1, 2, True)
    assert asked("bytes=1-2", if_range='"another"') == (0, 999, False)
    assert asked("bytes=1-2", if_range="Tue, 24 Nov 2026 17:20:09 GMT") == (0, 999, False)


@pytest.mark.parametrize("kind", ["video/mp4", "image/png", "image/jpeg", "image/webp", "text/plain; charset=utf-8"])
def test_what_is_harmless_is_shown(kind: str):
    """In place, and not in a sandbox, where a browser's player may not load it."""
    headers = _headers(artifact(kind=kind), 0, 999, False)
    assert headers["Content-Disposition"] == 'inline; filename="film.mp4"'
    assert (
        "sandbox" not in headers["Content-Security-Policy"]
        and "default-src 'none'" in headers["Content-Security-Policy"]
    )


@pytest.mark.parametrize(
    "kind",
    ["text/html", "image/svg+xml", "application/xml", "text/markdown", "application/json", "application/zip", ""],
)
def test_what_a_browser_would_run_is_downloaded(kind: str):
    """Also what nobody knows; and should it be shown all the same, then in a sandbox."""
    headers = _headers(artifact("page.html", kind), 0, 999, False)
    assert headers["Content-Disposition"] == 'attachment; filename="page.html"'
    assert headers["Content-Security-Policy"] == "sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_part_says_which():
    """Of how much; the whole says that parts can be had."""
    part, whole = (_headers(artifact(), 10, 19, partial) for partial in (True, False))
    assert part["Content-Range"] == "bytes 10-19/1000" and "Content-Range" not in whole
    assert whole["Accept-Ranges"] == "bytes" and whole["ETag"] == f'"{SHA}"'
