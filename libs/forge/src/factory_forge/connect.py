"""Which forge a repository's URL means."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .errors import UnknownForge
from .forge import Forge
from .local import LocalForge
from .runner import check_url, is_local


def connect(repo_url: str, author: str, *, public_url: str) -> Forge:
    """The forge of `repo_url` as `author` sees it: a path or file:// URL of a bare repository is the local one.

    `public_url` is console's, where the local forge's pages are. Raises BadRepoUrl, NotABareRepository, UnknownForge.
    """
    check_url(repo_url)
    if is_local(repo_url):
        path = unquote(urlsplit(repo_url).path) if repo_url.startswith("file://") else repo_url
        return LocalForge(Path(path), author, public_url)
    if re.search(r"(^|[/@.])github\.com[:/]", repo_url):
        raise UnknownForge(url=repo_url, reason="GitHub comes later; a local bare repository works now")
    raise UnknownForge(url=repo_url, reason="only local bare repositories are served now")
