"""The same error at another port, time or id is the same error."""

import pytest
from factory_browser.errors_seen import KnownErrors, Seen, SeenErrors, add, normal, own

BASE = {"web": "http://localhost:3000/app", "api": "http://localhost:4000"}
HEAD = {"web": "http://localhost:21873/app", "api": "http://localhost:21874"}


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ("GET http://localhost:4000/tickets/17 500", "GET http://localhost:21874/tickets/93 500"),
        ("GET http://localhost:4000/t?since=1732&q=a 404", "GET http://localhost:21874/t?since=9&q=b 404"),
        (
            "x at http://localhost:3000/assets/index-BxY3k9Qa.js:10:4021",
            "x at http://localhost:21873/assets/index-Q0pLm_2z.js:9:77",
        ),
        ("request 6f1c2d3e-0000-4000-8000-aabbccddeeff failed", "request 00000000-1111-4222-8333-444455556666 failed"),
        ("late since 2026-11-24T16:09:38.364Z", "late since 2027-01-02T03:04:05Z"),
        ("build deadbeef01 at 1732464578123", "build 0badcafe77 at 1832464578999"),
        ("ws://web.j1.localhost:3000/hmr closed", "ws://web.j2.localhost:9/hmr closed"),
    ],
)
def test_the_same_error_elsewhere(base: str, head: str) -> None:
    """Ports, ids, times and hashes do not make a new error."""
    assert normal(base, BASE) == normal(head, HEAD)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET http://localhost:4000/ 404", "GET http://localhost:3000/ 404"),
        ("GET http://localhost:4000/a 500", "GET http://localhost:4000/a 404"),
        ("GET http://localhost:4000/a 500", "GET http://localhost:4000/b 500"),
        ("GET http://localhost:40001/ 500", "GET http://localhost:4000/ 500"),
        ("x is not a function", "y is not a function"),
        ("Request failed with status code 500", "Request failed with status code 404"),
    ],
)
def test_another_error(one: str, other: str) -> None:
    """Another service, path, status or text is another error."""
    assert normal(one, BASE) != normal(other, BASE)


def test_own_is_the_apps_and_all_of_loopback() -> None:
    """A font that a public host does not give is no failure of the app."""
    urls = {"web": "https://staging.example.com/x"}
    assert own("https://staging.example.com/api", urls) and own("http://[::1]:9/", urls)
    assert own("http://a.j1.localhost:1/", urls)
    assert not own("https://fonts.example.org/a.woff2", urls) and not own("http://localhost.example.org/", urls)


def test_split_counts_what_the_base_did_not_have() -> None:
    """Known by its key, allowed by its scenario, or new; a repeated one is counted once with its times."""
    seen = SeenErrors()
    for text, allowed in (
        ("old", False),
        ("new", False),
        ("new", False),
        ("meant", True),
        ("both", True),
        ("both", False),
    ):
        add(seen.console, Seen(text, text, allowed=allowed))
    new, known = seen.split("console", KnownErrors(console=frozenset({"old"})))
    assert [(s.text, s.times) for s in new] == [("new", 2), ("both", 2)]
    assert [s.text for s in known] == ["old", "meant"]


def test_known_errors_travel_as_json() -> None:
    """What is kept by base commit is read back the same, and sets of them add up."""
    known = KnownErrors(frozenset({"a"}), frozenset({"b"}), frozenset({"c"}))
    assert KnownErrors.from_dict(known.as_dict()) == known
    assert (known | KnownErrors(console=frozenset({"d"}))).console == {"a", "d"}
