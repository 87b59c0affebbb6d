"""Pull requests and issues as pages: what they show, and that nothing written there becomes markup of them."""

import aiohttp
import pytest
from factory_loopback.github import GitHubServer
from factory_loopback.github.records import Status


@pytest.fixture
async def page(github_server: GitHubServer):
    """Fetches a page of the server: status and text."""
    async with aiohttp.ClientSession() as session:

        async def fetch(path: str) -> tuple[int, str]:
            async with session.get(github_server.url + path) as answer:
                return answer.status, await answer.text()

        yield fetch


async def test_a_pull_request_as_a_page(github_server: GitHubServer, page):
    """Its state, texts, labels, statuses, and the remarks of a review; what Markdown hides is hidden."""
    async with github_server.person("ada") as ada:
        sha = await ada.push("feature", {"a.txt": "a\n"})
        pull = await ada.open_pull(
            "feature", "main", "Add it", "Why <!-- mark -->\nhttps://a.example/x?a=1&b=2", draft=True
        )
        await ada.edit(1, labels=["risk: low"])
        await ada.comment(1, "Hello")
        await ada.review(1, "COMMENT", "Fine", [{"path": "a.txt", "line": 1, "body": "This one"}])
    store = github_server.store
    store.statuses.put(Status(1, "acme/shop", sha, "factory/tests", "success", "12 passed", None, "factory"))

    status, shown = await page(pull["html_url"].removeprefix(github_server.url))

    assert status == 200
    assert '<span class="state draft">draft</span> ada wants to merge feature into main' in shown
    assert '<a href="https://a.example/x?a=1&amp;b=2">https://a.example/x?a=1&amp;b=2</a>' in shown
    for words in ("Add it #1", "risk: low", "Hello", "Fine", "a.txt:1\nThis one", "factory/tests: success 12 passed"):
        assert words in shown
    assert "mark --" not in shown
    assert "Add it #1</a>" in (await page("/acme/shop"))[1]


async def test_nothing_becomes_markup(github_server: GitHubServer, page):
    async with github_server.person("ada") as ada:
        await ada.open_issue("<script>1</script>", '<b>x</b> https://a.example/"onload="x', ["<i>"])
        await ada.comment(1, "<script>2</script>")

    _, shown = await page("/acme/shop/issues/1")

    for markup in ("<script>", "<b>", "<i>"):
        assert markup not in shown
    assert 'href="https://a.example/%22onload=%22x"' in shown


async def test_what_is_not_there(page):
    for path in ("/acme/none", "/acme/shop/pull/7", "/acme/shop/tree/main"):
        assert (await page(path))[0] == 404
