"""Webhooks of a repository."""

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Hook
from ..shapes import Wire

HOOKS = "/repos/{owner}/{repo}/hooks"


@operation("repos/list-webhooks", f"GET {HOOKS}", "repository_hooks:read", people="admin")
async def list_hooks(ask: Ask) -> Page:
    return Page(ask.store.hooks.of(ask.repo.name), lambda hook: _shape(ask, hook))


@operation("repos/create-webhook", f"POST {HOOKS}", "repository_hooks:write", people="admin")
async def create(ask: Ask) -> Answer:
    config = ask.field("config", {})
    if not config.get("url"):
        raise refusals.custom("Hook", "Config must contain URL for webhooks")
    if ask.store.hooks.of(ask.repo.name, url=config["url"]):
        raise refusals.custom("Hook", "Hook already exists on this repository")
    if config.get("content_type") != "json":
        raise refusals.Refusal(501, "Only webhooks with content_type json are built in the loopback GitHub.")
    events, active = ask.field("events", ["push"]), ask.field("active", True)
    hook = Hook(ask.store.next_id(), ask.repo.name, config["url"], config.get("secret", ""), events, active)
    ask.store.hooks.put(hook)
    ask.hub.news.ping(hook, ask.login)
    return Answer(_shape(ask, hook), 201)


def _shape(ask: Ask, hook: Hook) -> Wire:
    url = f"{ask.hub.site.repo(hook.repo)}/hooks/{hook.id}"
    secret = {"secret": "********"} if hook.secret else {}
    last = [delivery for delivery in ask.store.deliveries.of(hook.repo, hook=hook.id) if delivery.status]
    return {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": {"url": hook.url, "content_type": "json", "insecure_ssl": "0", **secret},
        "updated_at": hook.created_at,
        "created_at": hook.created_at,
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": last[-1].status if last else None, "status": "unused", "message": None},
    }
