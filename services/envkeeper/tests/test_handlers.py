"""What envkeeper makes of the contract's answers."""

import pytest
from factory_envkeeper.handlers import _hold, with_urls
from factory_jobs.errors import RepoError
from factory_jobs.job import Sandbox
from factory_sandbox.contract import Answer

FACTS = Sandbox(provider="local", handle={"job_id": "ja"}, ports=[2000, 2019])
API = {"service": "api", "url": "http://localhost:2001", "port": 2001, "primary": False}
WEB = {"service": "web", "url": "http://localhost:2000", "port": 2000, "primary": True}


@pytest.mark.parametrize(
    ("urls", "preview_url", "preview"),
    [
        ([API, WEB], WEB["url"], "up"),
        ([API], API["url"], "up"),
        ([], "", ""),
    ],
)
def test_preview(urls: list[dict[str, object]], preview_url: str, preview: str) -> None:
    """The primary service is the preview, else the first; an app without pages has none. The rest stays as it was."""
    facts = with_urls(FACTS, urls)
    assert (facts.urls, facts.preview_url, facts.preview) == (urls, preview_url, preview)
    assert (facts.provider, facts.handle, facts.ports) == (FACTS.provider, FACTS.handle, FACTS.ports)


def test_a_verb_that_held() -> None:
    """Its answer is given on."""
    answer = Answer("setup", 0, {"ok": True})
    assert _hold(answer, "x") is answer


def test_a_verb_that_failed() -> None:
    """It is the repo's error: with the contract's own code, words, hint and log tail."""
    error = {"code": "not_ready", "message": "web is not ready", "hint": "See its log.", "log_tail": "boom"}
    with pytest.raises(RepoError) as e:
        _hold(Answer("start", 3, {"error": error}), "The app did not start")
    assert e.value.message == "The app did not start: web is not ready"
    assert (e.value.code, e.value.hint, e.value.log_tail) == ("not_ready", "See its log.", "boom")


def test_a_verb_that_said_nothing() -> None:
    """An exit code alone still gives a sentence, a code, and the end of what was printed."""
    with pytest.raises(RepoError) as e:
        _hold(Answer("setup", 4, {}, "line\nlast words"), "The repo could not be set up")
    assert e.value.message == "The repo could not be set up: factory setup: refused"
    assert (e.value.code, e.value.log_tail) == ("setup_refused", "line\nlast words")
