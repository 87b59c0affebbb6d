"""People at the loopback GitHub, and the hands of tests in other processes."""

import aiohttp
import pytest
from factory_loopback.errors import LoopbackError, NoAnswer
from factory_loopback.github import GitHubServer, Person, Refused


async def test_what_a_person_does_is_done_past_the_log(github_server: GitHubServer):
    """Issues, words, verdicts, a merge; the factory's log, limits and faults know nothing of it."""
    github_server.fault("502", times=None)
    async with github_server.person("ada") as ada, github_server.person("eve") as eve:
        issue = await ada.open_issue("Dark mode", "At night", ["wish"])
        first = await ada.push("feature", {"src/a.py": "one\n", "b.txt": "b\n"}, "Two files")
        pull = await ada.open_pull("feature", "main", "Dark", "Closes #1", draft=False)
        comment = await eve.comment(2, "Hello")
        await eve.edit_comment(comment["id"], "Good bye")
        review = await eve.review(2, "APPROVE", "Fine", [{"path": "src/a.py", "line": 1, "body": "Yes"}])
        await ada.edit(2, title="Darker")
        await ada.merge(2, "squash")

        found = await ada.pull(2)
        assert (issue["number"], pull["head"]["sha"], review["state"]) == (1, first, "APPROVED")
        assert (found["title"], found["merged"], found["merged_by"]["login"]) == ("Darker", True, "ada")
        assert [c["body"] for c in await ada.comments(2)] == ["Good bye"]
        assert [r["user"]["login"] for r in await ada.reviews(2)] == ["eve"]
    assert github_server.calls() == []


async def test_a_person_pushes(github_server: GitHubServer):
    """On top, from elsewhere, by force, past protection; a file goes with None."""
    async with github_server.person("ada") as ada:
        first = await ada.push("feature", {"a.txt": "a\n", "b.txt": "b\n"})
        second = await ada.push("feature", {"a.txt": None})
        assert [e["path"] for e in await ada.call("GET", "/contents/?ref=feature")] == ["README.md", "b.txt"]
        forced = await ada.push("feature", {"c.txt": "c\n"}, start="main", force=True)
        await ada.push("main", {"base.txt": "moved\n"})
        other = await ada.push("other", {"d.txt": "d\n"}, start=second)

        compared = await ada.call("GET", f"/compare/{first}...{other}")
        assert (compared["status"], compared["ahead_by"]) == ("ahead", 2)
        assert (await ada.call("GET", f"/compare/{second}...{forced}"))["status"] == "diverged"
        assert (await ada.call("GET", f"/commits/{forced}"))["commit"]["author"]["name"] == "ada"
        with pytest.raises(Refused, match="There is no commit nowhere"):
            await ada.push("x", start="nowhere")


async def test_what_github_refuses_it_refuses_people_too(github_server: GitHubServer):
    async with github_server.person("ada", permission="read") as ada:
        await ada.open_issue("One")
        with pytest.raises(Refused, match="404"):
            await ada.edit(1, title="Mine")
            await ada.delete_branch("main")
        with pytest.raises(NoAnswer, match="There are:\n  none"):
            await ada.wait_for_pull(lambda pull: True, timeout=0.2)
    async with Person(github_server.url, "stranger", "acme/shop") as stranger:
        with pytest.raises(Refused, match="Nobody is called stranger here"):
            await stranger.open_issue("One")


async def test_waiting_for_a_pull_request(github_server: GitHubServer):
    async with github_server.person("ada") as ada:
        await ada.push("feature", {"a.txt": "a\n"})
        await ada.open_pull("feature", "main", "T")

        found = await ada.wait_for_pull(lambda pull: pull["head"]["ref"] == "feature")

        assert found["number"] == 1


async def test_the_hands_of_a_test_elsewhere(github_server: GitHubServer):
    """Faults, limits, the log with its counts, the state, redelivery: over HTTP, and without a trace in the log."""
    url, auth = github_server.url, {"Authorization": "token factory-token"}
    github_server.add_hook("http://127.0.0.1:9/hook", "s3cret")
    async with github_server.person("ada") as ada, aiohttp.ClientSession() as session:
        await ada.open_issue("One")

        async def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, object]:
            async with session.request(method, url + path, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None) if answer.status != 502 else None

        fault = {"what": "502", "method": "GET", "path": "/repos/*/*"}
        assert (await ask("POST", "/_control/faults", fault))[1] == fault | {"times": 1, "seconds": 1}
        assert len((await ask("GET", "/_control/faults"))[1]) == 1  # type: ignore[arg-type]
        assert (await ask("GET", "/api/v3/repos/acme/shop", **auth))[0] == 502
        assert (await ask("GET", "/api/v3/repos/acme/shop", **auth))[0] == 200
        await ask("POST", "/_control/limits", {"login": "factory", "remaining": 0, "seconds": 60})
        assert (await ask("GET", "/api/v3/repos/acme/shop", **auth))[0] == 403

        _, journal = await ask("GET", "/_control/journal")
        assert isinstance(journal, dict)
        assert (journal["total"], journal["counts"]) == (3, {"repos/get": 1, "GET /repos/acme/shop": 2})
        assert [(r["status"], r["fault"]) for r in journal["requests"]] == [(502, "502"), (200, ""), (403, "")]
        _, state = await ask("GET", "/_control/state")
        assert isinstance(state, dict)
        assert ([i["title"] for i in state["issues"]], "grants" in state) == (["One"], False)
        await github_server.hub.webhooks.sent()
        [delivery] = journal["deliveries"]
        _, again = await ask("POST", f"/_control/deliveries/{delivery['id']}/redeliver", {})
        assert isinstance(again, dict)
        assert again["guid"] == delivery["guid"]
        assert (await ask("POST", "/_control/deliveries/1/redeliver", {}))[0] == 404
        assert (await ask("POST", "/_control/faults", {"what": "rain"}))[0] == 400
        assert (await ask("POST", "/_control/faults", {"who": "x"}))[0] == 400
        assert await ask("DELETE", "/_control/faults") == (200, [])
        assert await ask("GET", "/_control/problems") == (200, [])


async def test_a_person_needs_a_repository_that_is_there(github_server: GitHubServer):
    async with Person(github_server.url, "factory", "acme/none") as lost:
        with pytest.raises(LoopbackError, match="There is no repository acme/none"):
            await lost.push("feature")
        with pytest.raises(Refused, match="404"):
            await lost.open_issue("One")
