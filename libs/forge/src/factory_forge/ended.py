"""That a pull request is over, as the job's event: whoever is about to act on one looks first."""

from __future__ import annotations

from factory_jobs import events as ev

from .forge import PullRequest


def ended(pull: PullRequest) -> ev.Merged | ev.Closed | None:
    """None while it is open. Intake would say the same, a little later."""
    match pull.state:
        case "merged":
            return ev.Merged(by=pull.merged_by)
        case "closed":
            return ev.Closed()
    return None
