"""Commits, differences, refs and files in REST's shape."""

from dataclasses import dataclass
from urllib.parse import quote

from .bare import Commit, Signature
from .diff import FileChange
from .records import Repo
from .shapes import Wire
from .site import Site, node_id_of

UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


@dataclass
class GitShapes:
    """Makes answers of what git says about one repository."""

    site: Site
    repo: Repo

    @property
    def url(self) -> str:
        return self.site.repo(self.repo.name)

    @property
    def page(self) -> str:
        return self.site.page(self.repo.name)

    def commit(self, commit: Commit, files: list[FileChange] | None = None) -> Wire:
        """A commit; with `files`, also what it changed. GitHub knows none of its authors by their mail addresses here."""
        url = f"{self.url}/commits/{commit.sha}"
        added, removed = (sum(getattr(file, what) for file in files or []) for what in ("additions", "deletions"))
        whole = {
            "stats": {"additions": added, "deletions": removed, "total": added + removed},
            "files": [self.file(file, commit.sha) for file in files or []],
        }
        return {
            "sha": commit.sha,
            "node_id": node_id_of("C", commit.sha),
            "commit": {
                "author": _signature(commit.author),
                "committer": _signature(commit.committer),
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{self.url}/git/trees/{commit.tree}"},
                "url": f"{self.url}/git/commits/{commit.sha}",
                "comment_count": 0,
                "verification": UNSIGNED,
            },
            "url": url,
            "html_url": f"{self.page}/commit/{commit.sha}",
            "comments_url": f"{url}/comments",
            "author": None,
            "committer": None,
            "parents": [
                {"sha": sha, "url": f"{self.url}/commits/{sha}", "html_url": f"{self.page}/commit/{sha}"}
                for sha in commit.parents
            ],
            **({} if files is None else whole),
        }

    def file(self, change: FileChange, head: str) -> Wire:
        """A changed file, as it is at `head`."""
        path = quote(change.path)
        return {
            "sha": change.sha,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{self.page}/blob/{head}/{path}",
            "raw_url": f"{self.page}/raw/{head}/{path}",
            "contents_url": f"{self.url}/contents/{path}?ref={head}",
            **({"patch": change.patch} if change.patch else {}),
            **({"previous_filename": change.previous} if change.previous else {}),
        }


def _signature(who: Signature) -> Wire:
    return {"name": who.name, "email": who.email, "date": who.date}
