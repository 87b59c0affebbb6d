"""Where everything lies: addresses in the layout of GitHub Enterprise Server, and opaque node ids."""

import base64
from dataclasses import dataclass

from .records import Issue, Record, Repo


@dataclass
class Site:
    """`url` is where the server listens; pages and git lie below it, REST below `/api/v3`."""

    url: str = ""

    @property
    def api(self) -> str:
        return f"{self.url}/api/v3"

    def repo(self, name: str) -> str:
        """A repository's address in the API."""
        return f"{self.api}/repos/{name}"

    def page(self, name: str) -> str:
        """A repository's address for people; with `.git` behind it, for git."""
        return f"{self.url}/{name}"

    def user(self, login: str) -> str:
        return f"{self.api}/users/{login}"

    def issue(self, issue: Issue) -> str:
        return f"{self.repo(issue.repo)}/issues/{issue.number}"

    def pull(self, repo: str, number: int) -> str:
        return f"{self.repo(repo)}/pulls/{number}"

    def git(self, repo: Repo) -> str:
        return f"{self.page(repo.name)}.git"


def node_id(kind: str, record: Record) -> str:
    """As GitHub's: a prefix for people, the rest for nobody."""
    return node_id_of(kind, str(record.id))


def node_id_of(kind: str, name: str) -> str:
    return f"{kind}_{base64.urlsafe_b64encode(f'{kind}:{name}'.encode()).decode().rstrip('=')}"
