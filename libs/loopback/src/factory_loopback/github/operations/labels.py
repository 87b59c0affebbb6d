"""Labels of a repository, and those that an issue or a pull request wears."""

import re

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Label
from .issues import names_of

LABELS = "/repos/{owner}/{repo}/labels"
LABEL = f"{LABELS}/{{name}}"
ON_ISSUE = "/repos/{owner}/{repo}/issues/{issue_number}/labels"
NAME_MAX, DESCRIPTION_MAX = 50, 100  # characters


@operation("issues/list-labels-for-repo", f"GET {LABELS}", "issues:read")
async def list_labels(ask: Ask) -> Page:
    return Page(ask.store.labels.of(ask.repo.name), ask.shapes.full_label)


@operation("issues/create-label", f"POST {LABELS}", "issues:write")
async def create(ask: Ask) -> Answer:
    name = ask.required("Label", "name")
    _check(ask, name, ask.field("color"), ask.field("description"))
    color = ask.field("color", "ededed")
    label = Label(ask.store.next_id(), ask.repo.name, name, color, ask.field("description"))
    return Answer(ask.shapes.full_label(ask.store.labels.put(label)), 201)


@operation("issues/get-label", f"GET {LABEL}", "issues:read")
async def get(ask: Ask) -> Answer:
    return Answer(ask.shapes.full_label(_label(ask)))


@operation("issues/update-label", f"PATCH {LABEL}", "issues:write")
async def update(ask: Ask) -> Answer:
    label = _label(ask)
    name = ask.field("new_name", label.name)
    _check(ask, name, ask.field("color"), ask.field("description"), label)
    ask.store.labels.drop(label)
    for issue in ask.store.issues.of(ask.repo.name):
        if label.name in issue.labels:
            issue.labels = [name if worn == label.name else worn for worn in issue.labels]
            ask.store.issues.put(issue)
    label.name, label.color = name, ask.field("color", label.color)
    label.description = ask.field("description", label.description)
    return Answer(ask.shapes.full_label(ask.store.labels.put(label)))


@operation("issues/delete-label", f"DELETE {LABEL}", "issues:write")
async def delete(ask: Ask) -> Answer:
    label = _label(ask)
    for issue in ask.store.issues.of(ask.repo.name):
        if label.name in issue.labels:
            issue.labels.remove(label.name)
            ask.hub.touch(issue)
    ask.store.labels.drop(label)
    return Answer(None, 204)


@operation("issues/list-labels-on-issue", f"GET {ON_ISSUE}", "issues:read")
async def on_issue(ask: Ask) -> Page:
    return Page(ask.issue().labels, lambda name: ask.shapes.label(ask.repo.name, name))


@operation("issues/add-labels", f"POST {ON_ISSUE}", "issues:write", people="triage")
async def add(ask: Ask) -> Answer:
    issue = ask.issue()
    return _worn(ask, [*issue.labels, *_given(ask)])


@operation("issues/set-labels", f"PUT {ON_ISSUE}", "issues:write", people="triage")
async def replace(ask: Ask) -> Answer:
    return _worn(ask, _given(ask))


@operation("issues/remove-all-labels", f"DELETE {ON_ISSUE}", "issues:write", people="triage")
async def clear(ask: Ask) -> Answer:
    _worn(ask, [])
    return Answer(None, 204)


@operation("issues/remove-label", f"DELETE {ON_ISSUE}/{{name}}", "issues:write", people="triage")
async def remove(ask: Ask) -> Answer:
    worn = ask.issue().labels
    name = ask.path["name"].lower()
    if name not in (each.lower() for each in worn):
        raise refusals.Refusal(404, "Label does not exist")
    return _worn(ask, [each for each in worn if each.lower() != name])


def _worn(ask: Ask, names: list[str]) -> Answer:
    issue = ask.issue()
    ask.hub.set_labels(ask.repo, issue, names, ask.login)
    return Answer([ask.shapes.label(ask.repo.name, name) for name in issue.labels])


def _given(ask: Ask) -> list[str]:
    """GitHub takes a list as well as an object with one."""
    return names_of(ask.body if isinstance(ask.body, list) else ask.field("labels", []))


def _label(ask: Ask) -> Label:
    label = ask.store.labels.get(f"{ask.repo.name}:{ask.path['name'].lower()}")
    if label is None:
        raise refusals.not_found()
    return label


def _check(ask: Ask, name: str, color: str | None, description: str | None, old: Label | None = None) -> None:
    """Raises Refusal (422)."""
    found = ask.store.labels.get(f"{ask.repo.name}:{name.lower()}")
    if found and found is not old:
        raise refusals.invalid("Label", "name", "already_exists")
    if not name or len(name) > NAME_MAX:
        raise refusals.invalid("Label", "name", "custom", f"name is too long (maximum is {NAME_MAX} characters)")
    if color is not None and not re.fullmatch(r"[0-9a-fA-F]{6}", color):
        raise refusals.invalid("Label", "color")
    if description and len(description) > DESCRIPTION_MAX:
        words = f"description is too long (maximum is {DESCRIPTION_MAX} characters)"
        raise refusals.invalid("Label", "description", "custom", words)
