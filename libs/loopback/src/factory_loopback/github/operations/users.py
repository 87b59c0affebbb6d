"""Who one is, and how much one may still ask."""

from typing import Any

from .. import refusals
from ..operation import Answer, Ask, operation
from ..rates import Window


@operation("users/get-authenticated", "GET /user")
async def me(ask: Ask) -> Answer:
    if ask.identity.app:
        raise refusals.not_for_apps()
    if not ask.login:
        raise refusals.unauthorized("Requires authentication")
    about = {"name": ask.login, "company": None, "blog": "", "location": None, "email": None, "hireable": None}
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    times = dict.fromkeys(("created_at", "updated_at"), "2025-01-01T00:00:00Z")
    return Answer({**ask.shapes.user(ask.login), **about, "bio": None, "twitter_username": None, **counts, **times})


@operation("rate-limit/get", "GET /rate_limit")
async def rate_limit(ask: Ask) -> Answer:
    windows = {name: _window(ask.rates.window(ask.login, name)) for name in ("core", "graphql")}
    return Answer({"resources": {**windows, "search": windows["core"]}, "rate": windows["core"]})


def _window(window: Window) -> dict[str, Any]:
    left = max(window.limit - window.used, 0)
    return {"limit": window.limit, "used": window.used, "remaining": left, "reset": window.reset}
