"""What the REST API can do here, a file for each thing that it is about; importing this registers all of it."""

from . import comments, issues, labels, pulls, repos, statuses, users

__all__ = ["comments", "issues", "labels", "pulls", "repos", "statuses", "users"]
