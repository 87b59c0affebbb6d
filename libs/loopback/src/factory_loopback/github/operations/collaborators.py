"""Who may what on a repository."""

from .. import refusals
from ..operation import Answer, Ask, operation
from ..records import LEVELS
from ..shapes import permissions

COLLABORATOR = "/repos/{owner}/{repo}/collaborators/{username}"
OLD_NAMES = {"triage": "read", "maintain": "write"}  # in `permission`, which has only the first four levels
GIVEN_AS = {"pull": "read", "push": "write"}


@operation("repos/get-collaborator-permission-level", f"GET {COLLABORATOR}/permission")
async def permission(ask: Ask) -> Answer:
    login = ask.path["username"]
    if ask.store.users.get(login) is None:
        raise refusals.not_found()
    level = ask.repo.level(login)
    name = LEVELS[level]
    user = ask.shapes.user(login) | {"permissions": permissions(level), "role_name": name}
    return Answer({"permission": OLD_NAMES.get(name, name), "role_name": name, "user": user})


@operation("repos/check-collaborator", f"GET {COLLABORATOR}")
async def check(ask: Ask) -> Answer:
    if ask.repo.collaborators.get(ask.path["username"], "none") == "none":
        raise refusals.not_found()
    return Answer(None, 204)


@operation("repos/add-collaborator", f"PUT {COLLABORATOR}", "administration:write", people="admin")
async def add(ask: Ask) -> Answer:
    """At once, without an invitation, as for members of the organization."""
    given = ask.field("permission", "push")
    level = GIVEN_AS.get(given, given)
    if level not in LEVELS[1:]:
        raise refusals.invalid("RepositoryInvitation", "permission")
    ask.store.user(ask.path["username"])
    ask.repo.collaborators[ask.path["username"]] = level
    ask.store.repos.put(ask.repo)
    return Answer(None, 204)


@operation("repos/remove-collaborator", f"DELETE {COLLABORATOR}", "administration:write", people="admin")
async def remove(ask: Ask) -> Answer:
    ask.repo.collaborators.pop(ask.path["username"], None)
    ask.store.repos.put(ask.repo)
    return Answer(None, 204)
