"""Which URLs lie on GitHub, and who the factory is there."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factory_forge.errors import NoIdentity, UnknownForge
from factory_forge.forges import Forges
from factory_forge.github_site import GitHubSite, Identity
from factory_forge.runner import Credentials

SERVER = "https://code.example/api/v3"
AUTHOR = Identity("FACTORY_GITHUB_TOKEN", "ghp_author")


class Secret(str):
    """As pydantic's."""

    def get_secret_value(self) -> str:
        return str(self)


def settings(**given: str) -> Any:
    names = ("api", "token", "app_id", "app_key", "reviewer_token", "reviewer_app_id", "reviewer_app_key")
    values: dict[str, Any] = dict.fromkeys(f"github_{name}" for name in names)
    values |= {f"github_{name}": Secret(value) for name, value in given.items()}
    return SimpleNamespace(public_url="http://factory", **values)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/app",
        "https://github.com/acme/app.git",
        "https://www.github.com/acme/app/",
        "http://github.com/acme/app",
        "https://GitHub.com/acme/app",
        "git@github.com:acme/app.git",
        "ssh://git@github.com/acme/app.git",
        "ssh://git@ssh.github.com:443/acme/app.git",
    ],
)
def test_every_form_of_a_url(url: str) -> None:
    """Each means the same repository, which git finds over https."""
    site = GitHubSite()
    assert site.name_of(url) == "acme/app"
    assert site.url_of("acme/app") == "https://github.com/acme/app.git"


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/acme/app",
        "https://github.com.evil.example/acme/app",
        "https://evil.example/github.com/acme/app",
        "https://github.com@evil.example/acme/app",
        "https://github.com:8443/acme/app",
        "https://github.com/acme",
        "https://github.com/acme/app/tree/main",
        "git@evil.example:acme/app.git",
        "https://code.example/acme/app",
        "/srv/github.com/acme/app",
    ],
)
def test_what_lies_elsewhere(url: str) -> None:
    """No token goes where it does not belong."""
    assert GitHubSite().name_of(url) is None


def test_a_server_of_ones_own() -> None:
    """FACTORY_GITHUB_API says where it is; github.com is then another place, which knows none of its tokens."""
    site = GitHubSite(api=SERVER)
    assert (site.web, site.host, site.cloud) == ("https://code.example", "code.example", False)
    for url in (
        "https://code.example/acme/app",
        "git@code.example:acme/app.git",
        "ssh://git@code.example:2222/acme/app",
    ):
        assert site.name_of(url) == "acme/app"
    assert site.name_of("https://github.com/acme/app") is None
    port = GitHubSite(api="http://127.0.0.1:8081/api/v3")
    assert port.name_of("http://127.0.0.1:8081/acme/app.git") == "acme/app"
    assert port.name_of("http://127.0.0.1:9999/acme/app.git") is None
    assert port.url_of("acme/app") == "http://127.0.0.1:8081/acme/app.git"
    company = GitHubSite(api="https://api.acme.ghe.com")
    assert (company.web, company.cloud) == ("https://acme.ghe.com", True)


def test_who_we_are() -> None:
    """A token or an App for each of the two; neither is shown when something prints it."""
    site = GitHubSite.of(settings(token="ghp_1", reviewer_app_id="7", reviewer_app_key="PEM-9"))
    assert site.author == Identity("FACTORY_GITHUB_TOKEN", "ghp_1")
    assert site.reviewer == Identity("FACTORY_GITHUB_REVIEWER_APP_KEY", "PEM-9", "7")
    assert "ghp_1" not in repr(site) and "PEM-9" not in repr(site)
    assert site.author.credentials() == Credentials("x-access-token", "ghp_1")
    assert site.reviewer.credentials() is None
    assert GitHubSite.of(settings()) == GitHubSite()


async def test_what_is_missing_is_named() -> None:
    """Before anything is asked of GitHub."""
    with pytest.raises(NoIdentity, match=r"acme/app.*no account.*FACTORY_GITHUB_TOKEN, or FACTORY_GITHUB_APP_ID"):
        await Forges("http://factory").connect("https://github.com/acme/app")
    with pytest.raises(NoIdentity, match="FACTORY_GITHUB_REVIEWER_TOKEN"):
        await Forges("http://factory", GitHubSite(author=AUTHOR)).connect("git@github.com:acme/app", reviewer=True)
    with pytest.raises(UnknownForge, match=r"what lies on code\.example"):
        await Forges("http://factory", GitHubSite(api=SERVER, author=AUTHOR)).connect("https://github.com/acme/app")


async def test_mirrors(tmp_path: Path) -> None:
    """With a token a repository is fetched over https whatever URL is given, into one mirror; without, as it is given."""
    forges = Forges("http://factory", GitHubSite(author=AUTHOR))
    one = await forges.mirror(tmp_path, "git@github.com:acme/app.git")
    other = await forges.mirror(tmp_path, "https://github.com/acme/app")
    assert one.url == other.url == "https://github.com/acme/app.git"
    assert one.path == other.path
    plain = await Forges("http://factory").mirror(tmp_path, "git@github.com:acme/app.git")
    assert plain.url == "git@github.com:acme/app.git"
    found = await asyncio.create_subprocess_exec("grep", "-r", AUTHOR.secret, str(tmp_path))
    assert await found.wait() == 1


def test_pygithub_is_loaded_by_those_who_need_it() -> None:
    """It costs a second and 27 MB in each service."""
    code = "import sys, factory_forge.forges, factory_forge.body; sys.exit('github' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
