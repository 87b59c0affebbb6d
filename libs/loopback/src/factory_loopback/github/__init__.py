"""A GitHub of our own: REST, two mutations of GraphQL, and git over smart HTTP, for a few repositories."""

from .bare import new_repo
from .door import Call
from .faults import Fault
from .person import Person, Refused
from .server import GitHubServer

__all__ = ["Call", "Fault", "GitHubServer", "Person", "Refused", "new_repo"]
