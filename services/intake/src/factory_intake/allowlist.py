"""Who may do what where: chats and users of `factory-projects.yaml`, and nothing else can start work."""

from __future__ import annotations

from enum import Enum

from factory_chassis.projects import Project, Projects


class Refusal(Enum):
    CHAT = "chat"
    USER = "user"


def allowed(projects: Projects, chat: int, user: int) -> tuple[str, Project] | Refusal:
    """The project of this chat, for this user; or why not."""
    found = projects.of_chat(chat)
    if found is None:
        return Refusal.CHAT
    return found if user in found[1].users else Refusal.USER


def may_decide(project: Project, user: int, author: bool) -> bool:
    """Cancel, retry and answers: the author of the request, or an owner."""
    return author or project.users.get(user) == "owner"
