"""Keys and URLs name one artifact and cannot be made to name another."""

import pytest
from factory_artifacts.content_types import content_type
from factory_artifacts.errors import BadKey
from factory_artifacts.keys import key, url

JOB, COMMIT, SHA256 = "jabcdefghi2", "0123456789" * 4, "ab" * 32


def test_key() -> None:
    """The parts stand in the order of the design."""
    assert key(JOB, COMMIT, 3, "video", "c1.mp4") == f"jobs/{JOB}/{COMMIT}/3/video/c1.mp4"
    assert key(JOB, "none", 1, "log", "planner.log") == f"jobs/{JOB}/none/1/log/planner.log"


def test_url() -> None:
    """The URL is below the public one, with or without a slash at its end."""
    wanted = f"https://factory.example/x/a/{JOB}/{SHA256}/log.txt"
    assert url("https://factory.example/x", JOB, SHA256, "log.txt") == wanted
    assert url("https://factory.example/x/", JOB, SHA256, "log.txt") == wanted


@pytest.mark.parametrize(
    ("part", "args"),
    [
        ("job", ("../other", COMMIT, 1, "log", "a.log")),
        ("job", ("jabcdefghi2/x", COMMIT, 1, "log", "a.log")),
        ("commit", (JOB, "main", 1, "log", "a.log")),
        ("commit", (JOB, COMMIT[:12], 1, "log", "a.log")),
        ("epoch", (JOB, COMMIT, -1, "log", "a.log")),
        ("kind", (JOB, COMMIT, 1, "LOG", "a.log")),
        ("kind", (JOB, COMMIT, 1, "", "a.log")),
        ("name", (JOB, COMMIT, 1, "log", "..")),
        ("name", (JOB, COMMIT, 1, "log", "a/b")),
        ("name", (JOB, COMMIT, 1, "log", "a\n")),
        ("name", (JOB, COMMIT, 1, "log", "")),
        ("name", (JOB, COMMIT, 1, "log", "-rf")),
        ("name", (JOB, COMMIT, 1, "log", "x" * 121)),
    ],
)
def test_parts_that_could_name_another(part: str, args: tuple[str, str, int, str, str]) -> None:
    """A part that is not what it should be is refused by name."""
    with pytest.raises(BadKey) as caught:
        key(*args)
    assert caught.value.part == part
    assert part in str(caught.value)


def test_url_parts() -> None:
    """The URL's parts are held to the same rules."""
    with pytest.raises(BadKey):
        url("http://x", JOB, "abc", "a.log")
    with pytest.raises(BadKey):
        url("http://x", JOB, SHA256, "a/../b")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("app.log", "text/plain; charset=utf-8"),
        ("jobs/j/x/Video.MP4", "video/mp4"),
        ("a.b/shot.png", "image/png"),
        ("trace.zip", "application/zip"),
        ("Makefile", "application/octet-stream"),
        ("x.unknown", "application/octet-stream"),
    ],
)
def test_content_type(name: str, wanted: str) -> None:
    """The ending decides, whatever its case; nothing is guessed."""
    assert content_type(name) == wanted
