"""GitHub Apps: who an app is, where it is installed, and the tokens by which it works there."""

from .. import refusals
from ..identities import APP
from ..operation import Answer, Ask, Page, operation
from ..records import App, Repo, iso
from ..shapes import Wire


@operation("apps/get-authenticated", "GET /app", APP)
async def me(ask: Ask) -> Answer:
    return Answer(ask.shapes.app(_app(ask)) | {"installations_count": 1})


@operation("apps/list-installations", "GET /app/installations", APP)
async def list_installations(ask: Ask) -> Page:
    return Page([_app(ask)], lambda app: _installation(ask, app))


@operation("apps/get-repo-installation", "GET /repos/{owner}/{repo}/installation", APP)
async def of_repo(ask: Ask) -> Answer:
    return Answer(_installation(ask, _app(ask)))


@operation("apps/create-installation-access-token", "POST /app/installations/{installation_id}/access_tokens", APP)
async def create_token(ask: Ask) -> Answer:
    app = _app(ask)
    if ask.number("installation_id") != app.installation:
        raise refusals.not_found()
    chosen = _chosen(ask)
    grant = ask.identities.grant(app, ask.field("permissions"), None if chosen is None else [r.name for r in chosen])
    return Answer(
        {
            "token": grant.token,
            "expires_at": iso(grant.expires),
            "permissions": grant.permissions,
            "repository_selection": "all" if chosen is None else "selected",
            **({} if chosen is None else {"repositories": [ask.shapes.repo(repo) for repo in chosen]}),
        },
        201,
    )


@operation("apps/list-repos-accessible-to-installation", "GET /installation/repositories")
async def repositories(ask: Ask) -> Page:
    grant = ask.identity.grant
    if grant is None:
        raise refusals.Refusal(
            403, "You must authenticate with an installation access token in order to list repositories."
        )
    found = [repo for repo in ask.store.repos if grant.repos is None or repo.name in grant.repos]
    selection = "all" if grant.repos is None else "selected"

    def whole(repos: list[Wire]) -> Wire:
        return {"total_count": len(found), "repository_selection": selection, "repositories": repos}

    return Page(found, ask.shapes.repo, whole)


def _app(ask: Ask) -> App:
    assert ask.identity.app  # such operations are for apps alone
    return ask.identity.app


def _chosen(ask: Ask) -> list[Repo] | None:
    """The repositories that a token is to open; None: all. Raises Refusal (422)."""
    names, ids = ask.field("repositories"), ask.field("repository_ids")
    if names is None and ids is None:
        return None
    found = [r for r in ask.store.repos if r.name.partition("/")[2] in (names or []) or r.id in (ids or [])]
    if len(found) < len(names or []) + len(ids or []):
        raise refusals.Refusal(
            422, "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
    return found


def _installation(ask: Ask, app: App) -> Wire:
    owner = next(iter(ask.store.repos)).owner
    url = f"{ask.hub.site.api}/app/installations/{app.installation}"
    return {
        "id": app.installation,
        "account": ask.shapes.user(owner),
        "repository_selection": "all",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{ask.hub.site.api}/installation/repositories",
        "html_url": f"{ask.hub.site.url}/settings/installations/{app.installation}",
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": ask.store.user(owner).id,
        "target_type": "User",
        "permissions": app.permissions,
        "events": ["issue_comment", "pull_request", "push"],
        "created_at": "2025-01-01T00:00:00Z",
        "updated_at": "2025-01-01T00:00:00Z",
        "single_file_name": None,
        "suspended_by": None,
        "suspended_at": None,
    }
