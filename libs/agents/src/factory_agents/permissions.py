"""What an agent that asks may do, and which of the offered answers says so.

The sandbox is the wall; a permission request is an agent's own courtesy. So the default is yes, once each time: every
action is then asked for and recorded, and nothing that an agent would remember outlives the session.
"""

from collections.abc import Sequence

from acp.schema import PermissionOption

YES = ("allow_once", "allow_always")
NO = ("reject_once", "reject_always")


def allow_all(title: str, kind: str) -> bool:
    """The default: whatever the agent asks for."""
    return True


def choose(options: Sequence[PermissionOption], allowed: bool) -> PermissionOption | None:
    """The narrowest offered option that says yes or no; None where the agent offers none of that kind."""
    by_kind = {option.kind: option for option in reversed(options)}
    return next((by_kind[kind] for kind in (YES if allowed else NO) if kind in by_kind), None)
