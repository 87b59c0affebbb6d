"""Deployments: a commit that runs somewhere, and how it fares there.

https://docs.github.com/en/rest/deployments/deployments
"""

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Deployment, DeploymentStatus, now
from ..refusals import Refusal
from ..shapes import Wire
from ..site import node_id

DEPLOYMENTS = "/repos/{owner}/{repo}/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/{{deployment_id}}"
DESCRIPTION_MAX = 140  # characters


@operation("repos/list-deployments", f"GET {DEPLOYMENTS}", "deployments:read")
async def list_deployments(ask: Ask) -> Page:
    wanted = {name: ask.query[name] for name in ("sha", "ref", "task", "environment") if name in ask.query}
    return Page(ask.store.deployments.of(ask.repo.name, **wanted)[::-1], lambda each: _shape(ask, each))


@operation("repos/create-deployment", f"POST {DEPLOYMENTS}", "deployments:write")
async def create(ask: Ask) -> Answer:
    """Unless told not to, GitHub first merges the default branch into the deployed one, and wants all statuses green."""
    ref = ask.required("Deployment", "ref")
    sha = await ask.bare.resolve(ref)
    if sha is None:
        raise Refusal(422, f"No ref found for: {ref}")
    if ask.field("auto_merge", True) and (merged := await _auto_merged(ask, ref, sha)):
        return merged
    _check_contexts(ask, ref, sha)
    environment = ask.field("environment", "production")
    deployment = Deployment(
        ask.store.next_id(),
        ask.repo.name,
        sha,
        ref,
        ask.field("task", "deploy"),
        environment,
        ask.login,
        ask.field("description", ""),
        ask.field("payload", {}),
        ask.field("transient_environment", False),
        ask.field("production_environment", environment == "production"),
    )
    return Answer(_shape(ask, ask.store.deployments.put(deployment)), 201)


async def _auto_merged(ask: Ask, ref: str, sha: str) -> Answer | None:
    default = ask.repo.default_branch
    tip = await ask.bare.branch(default)
    if tip is None or ref == default or await ask.bare.branch(ref) is None or await ask.bare.contains(sha, tip):
        return None
    tree = await ask.bare.merge_tree(sha, tip)
    if tree is None:
        raise Refusal(409, f"Conflict merging {default} into {ref}.")
    words = f"Merge {default} into {ref}\n"
    merged = await ask.bare.commit_tree(tree, [sha, tip], words, ask.hub.signature(ask.login))
    await ask.bare.set_ref(f"refs/heads/{ref}", merged, sha)
    await ask.hub.moved(ask.repo, ref, sha, merged, ask.login)
    return Answer({"message": f"Auto-merged {default} into {ref} on deployment."}, 202)


def _check_contexts(ask: Ask, ref: str, sha: str) -> None:
    newest = {status.context: status.state for status in ask.store.statuses.of(ask.repo.name, sha=sha)}
    required = ask.field("required_contexts", list(newest))
    if any(newest.get(context) != "success" for context in required):
        raise Refusal(409, f"Conflict: Commit status checks failed for {ref}.")


@operation("repos/get-deployment", f"GET {DEPLOYMENT}", "deployments:read")
async def get(ask: Ask) -> Answer:
    return Answer(_shape(ask, _deployment(ask)))


@operation("repos/delete-deployment", f"DELETE {DEPLOYMENT}", "deployments:write")
async def delete(ask: Ask) -> Answer:
    deployment = _deployment(ask)
    others = ask.store.deployments.of(ask.repo.name, environment=deployment.environment)
    statuses = _statuses(ask, deployment)
    if len(others) > 1 and (not statuses or statuses[-1].state != "inactive"):
        words = "We cannot delete an active deployment unless it is the only deployment in a given environment."
        raise Refusal(422, words)
    for status in statuses:
        ask.store.deployment_statuses.drop(status)
    ask.store.deployments.drop(deployment)
    return Answer(None, 204)


@operation("repos/list-deployment-statuses", f"GET {DEPLOYMENT}/statuses", "deployments:read")
async def list_statuses(ask: Ask) -> Page:
    return Page(_statuses(ask, _deployment(ask))[::-1], lambda status: _status_shape(ask, status))


@operation("repos/create-deployment-status", f"POST {DEPLOYMENT}/statuses", "deployments:write")
async def create_status(ask: Ask) -> Answer:
    deployment, description = _deployment(ask), ask.field("description", "")
    if len(description) > DESCRIPTION_MAX:
        words = f"description is too long (maximum is {DESCRIPTION_MAX} characters)"
        raise refusals.invalid("DeploymentStatus", "description", "custom", words)
    state = ask.required("DeploymentStatus", "state")
    status = DeploymentStatus(
        ask.store.next_id(),
        ask.repo.name,
        deployment.id,
        state,
        ask.field("environment", deployment.environment),
        ask.login,
        description,
        ask.field("environment_url", ""),
        ask.field("log_url") or ask.field("target_url", ""),
    )
    ask.store.deployment_statuses.put(status)
    deployment.updated_at = now()
    ask.store.deployments.put(deployment)
    if state == "success" and ask.field("auto_inactive", True):
        _retire_others(ask, deployment)
    return Answer(_status_shape(ask, status), 201)


def _retire_others(ask: Ask, deployment: Deployment) -> None:
    """What ran in this environment before does so no more; not in transient or production environments."""
    for other in ask.store.deployments.of(ask.repo.name, environment=deployment.environment):
        statuses = _statuses(ask, other)
        lives = statuses and statuses[-1].state == "success"
        if other.id < deployment.id and lives and not other.transient and not other.production:
            gone = DeploymentStatus(
                ask.store.next_id(), ask.repo.name, other.id, "inactive", other.environment, ask.login
            )
            ask.store.deployment_statuses.put(gone)


def _deployment(ask: Ask) -> Deployment:
    deployment = ask.store.deployments.get(ask.path["deployment_id"])
    if deployment is None or deployment.repo != ask.repo.name:
        raise refusals.not_found()
    return deployment


def _statuses(ask: Ask, deployment: Deployment) -> list[DeploymentStatus]:
    return ask.store.deployment_statuses.of(ask.repo.name, deployment=deployment.id)


def _shape(ask: Ask, deployment: Deployment) -> Wire:
    repo = ask.hub.site.repo(deployment.repo)
    url = f"{repo}/deployments/{deployment.id}"
    return {
        "url": url,
        "id": deployment.id,
        "node_id": node_id("DE", deployment),
        "sha": deployment.sha,
        "ref": deployment.ref,
        "task": deployment.task,
        "payload": deployment.payload,
        "original_environment": deployment.environment,
        "environment": deployment.environment,
        "description": deployment.description,
        "creator": ask.shapes.user(deployment.author),
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
        "statuses_url": f"{url}/statuses",
        "repository_url": repo,
        "transient_environment": deployment.transient,
        "production_environment": deployment.production,
        "performed_via_github_app": None,
    }


def _status_shape(ask: Ask, status: DeploymentStatus) -> Wire:
    repo = ask.hub.site.repo(status.repo)
    deployment = f"{repo}/deployments/{status.deployment}"
    return {
        "url": f"{deployment}/statuses/{status.id}",
        "id": status.id,
        "node_id": node_id("DES", status),
        "state": status.state,
        "creator": ask.shapes.user(status.author),
        "description": status.description,
        "environment": status.environment,
        "target_url": status.log_url,
        "created_at": status.created_at,
        "updated_at": status.created_at,
        "deployment_url": deployment,
        "repository_url": repo,
        "environment_url": status.environment_url,
        "log_url": status.log_url,
        "performed_via_github_app": None,
    }
