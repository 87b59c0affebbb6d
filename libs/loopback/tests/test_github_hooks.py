"""Webhooks of the loopback GitHub: what is told, signed how, once; and told again when someone wants it."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from factory_loopback.github import GitHubServer


@dataclass
class Ear:
    """Hears webhooks; `status` is what it answers."""

    url: str
    heard: list[tuple[dict, bytes]] = field(default_factory=list)
    status: int = 200

    def told(self) -> list[tuple[str, str]]:
        """Event and action of each."""
        return [(headers["X-GitHub-Event"], json.loads(body).get("action", "")) for headers, body in self.heard]

    def payload(self, event: str, action: str = "") -> dict:
        """Of the newest such."""
        places = [n for n, told in enumerate(self.told()) if told == (event, action)]
        return json.loads(self.heard[places[-1]][1])


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    async def hear(request: web.Request) -> web.Response:
        ear.heard.append((dict(request.headers), await request.read()))
        return web.Response(status=ear.status)

    app = web.Application()
    app.add_routes([web.post("/hook", hear)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear = Ear(f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
    yield ear
    await runner.cleanup()


async def test_the_life_of_a_pull_request_is_told(github_server: GitHubServer, ear: Ear):
    """Opened, pushed to, made ready, talked about, merged; every message signed over its exact bytes."""
    github_server.add_hook(ear.url, "s3cret")
    async with github_server.person("ada") as ada:
        await ada.push("feature", {"a.txt": "a\n"})
        await ada.open_pull("feature", "main", "T", draft=True)
        second = await ada.push("feature", {"a.txt": "b\n"})
        await ada.comment(1, "Hello")
        pull = github_server.store.pulls.get("acme/shop#1")
        assert pull
        github_server.hub.set_draft(pull, False, "ada")
        await ada.review(1, "COMMENT", "Fine")
        await ada.merge(1)
    await github_server.hub.webhooks.sent()

    assert set(ear.told()) == {
        ("push", ""),
        ("pull_request", "opened"),
        ("pull_request", "synchronize"),
        ("issue_comment", "created"),
        ("pull_request", "ready_for_review"),
        ("pull_request_review", "submitted"),
        ("pull_request", "closed"),
    }
    for headers, body in ear.heard:
        signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == f"sha256={signature}"
        assert headers["Content-Type"] == "application/json"
    assert len({headers["X-GitHub-Delivery"] for headers, _ in ear.heard}) == len(ear.heard)
    moved = ear.payload("pull_request", "synchronize")
    assert (moved["after"], moved["number"], moved["pull_request"]["head"]["sha"]) == (second, 1, second)
    closed = ear.payload("pull_request", "closed")["pull_request"]
    assert (closed["merged"], closed["merged_by"]["login"]) == (True, "ada")
    said = ear.payload("issue_comment", "created")
    assert (said["comment"]["body"], said["sender"]["login"], said["repository"]["full_name"]) == (
        "Hello",
        "ada",
        "acme/shop",
    )
    assert "pull_request" in said["issue"]
    pushes = [json.loads(body) for headers, body in ear.heard if headers["X-GitHub-Event"] == "push"]
    assert {push["ref"] for push in pushes} == {"refs/heads/feature", "refs/heads/main"}
    assert {push["created"] for push in pushes if push["ref"] == "refs/heads/feature"} == {True, False}


async def test_closed_reopened_and_forced(github_server: GitHubServer, ear: Ear):
    github_server.add_hook(ear.url, "")
    async with github_server.person("ada") as ada:
        await ada.push("feature", {"a.txt": "a\n"})
        await ada.open_pull("feature", "main", "T")
        await ada.close(1)
        await ada.reopen(1)
        await ada.push("feature", {"b.txt": "b\n"}, force=True)
        await ada.delete_branch("feature")
    await github_server.hub.webhooks.sent()

    assert ("pull_request", "reopened") in ear.told()
    assert ear.payload("pull_request", "closed")["pull_request"]["merged"] is False
    assert ear.told().count(("pull_request", "closed")) == 2
    pushes = [json.loads(body) for headers, body in ear.heard if headers["X-GitHub-Event"] == "push"]
    assert sorted((push["forced"], push["deleted"]) for push in pushes) == [
        (False, False),
        (False, True),
        (True, False),
    ]
    assert all("X-Hub-Signature-256" not in headers for headers, _ in ear.heard)


async def test_a_message_is_sent_once_and_again_on_demand(github_server: GitHubServer, ear: Ear):
    """GitHub does not try again by itself; a redelivery has the same guid and the same bytes."""
    github_server.add_hook(ear.url, "s3cret", ["issue_comment"])
    ear.status = 500
    async with github_server.person("ada") as ada:
        await ada.open_issue("One")
        await ada.comment(1, "Hello")
    await github_server.hub.webhooks.sent()
    [delivery] = github_server.store.deliveries
    assert (delivery.status, delivery.event, delivery.action) == (500, "issue_comment", "created")
    ear.status = 200

    again = github_server.redeliver(delivery.id)
    await github_server.hub.webhooks.sent()

    assert (again.status, again.guid, again.again, again.id != delivery.id) == (200, delivery.guid, True, True)
    [first, second] = ear.heard
    assert (first[1], first[0]["X-GitHub-Delivery"]) == (second[1], second[0]["X-GitHub-Delivery"])


async def test_nobody_hears(github_server: GitHubServer):
    """A hook that cannot be reached hinders nothing."""
    github_server.add_hook("http://127.0.0.1:9/hook", "s3cret")
    async with github_server.person("ada") as ada:
        await ada.open_issue("One")
    await github_server.hub.webhooks.sent()

    [delivery] = github_server.store.deliveries
    assert delivery.status == 0


async def test_an_admin_makes_a_hook(github_server: GitHubServer, ear: Ear):
    """It hears a ping first; the secret is never shown."""
    wanted = {"config": {"url": ear.url, "content_type": "json", "secret": "s3cret"}, "events": ["push"]}
    async with github_server.person("boss", permission="admin") as boss:
        made = await boss.call("POST", "/hooks", wanted)
        assert made["config"]["secret"] == "********"
        assert "s3cret" not in str(await boss.call("GET", "/hooks")) + str(github_server.dump())
        await boss.push("feature", {"a.txt": "a\n"})
        await boss.open_issue("not told")
    await github_server.hub.webhooks.sent()

    assert sorted(ear.told()) == [("ping", ""), ("push", "")]
