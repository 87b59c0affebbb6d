"""Pull requests and issues as plain pages, for whoever follows a link to one; texts as they are written."""

import html
import re
from functools import cache
from pathlib import Path
from string import Template

from aiohttp import web

from .hub import Hub
from .records import Issue, Repo

LINK = re.compile(r"https?://[^\s<>()\[\]&]+(?:&amp;[^\s<>()\[\]&]+)*")
HIDDEN = re.compile(r"<!--.*?-->\n?", re.DOTALL)


class Pages:
    """Answers what `html_url` points to."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[web.RouteDef]:
        repo = r"/{owner}/{repo:[^/]+}"
        return [web.get(repo, self.index), web.get(f"{repo}/{{kind:pull|issues}}/{{number:\\d+}}", self.one)]

    async def index(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        rows = [f"<li>{self._state(issue)} {self._link(issue)}</li>" for issue in self._hub.store.issues.of(repo.name)]
        shown = f'<h1>{repo.name}</h1><div class="card"><ul>{"".join(reversed(rows))}</ul></div>'
        return _page(repo, repo.name, shown)

    async def one(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        issue = self._hub.store.issues.get(f"{repo.name}#{request.match_info['number']}")
        if issue is None:
            raise web.HTTPNotFound
        store, number = self._hub.store, issue.number
        said = [
            *((c.created_at, c.id, c.author, "says", c.body) for c in store.comments.of(repo.name, number=number)),
            *(
                (
                    r.submitted_at,
                    r.id,
                    r.author,
                    r.state.lower().replace("_", " "),
                    self._reviewed(r.repo, r.id, r.body),
                )
                for r in store.reviews.of(repo.name, number=number)
                if r.submitted_at
            ),
        ]
        cards = [_card(issue.author, issue.created_at, "opened it", issue.body or ""), self._checks(repo, issue)]
        cards += [_card(author, at, does, text) for at, _, author, does, text in sorted(said)]
        return _page(repo, f"{issue.title} · #{number}", self._head(issue) + "".join(cards))

    def _repo(self, request: web.Request) -> Repo:
        repo = self._hub.repo(f"{request.match_info['owner']}/{request.match_info['repo']}")
        if repo is None:
            raise web.HTTPNotFound
        return repo

    def _head(self, issue: Issue) -> str:
        pull = self._hub.store.pulls.get(issue.key)
        where = f" wants to merge {html.escape(pull.head)} into {html.escape(pull.base)}" if pull else ""
        labels = " ".join(f'<span class="label">{html.escape(name)}</span>' for name in issue.labels)
        about = f"{self._state(issue)} {html.escape(issue.author)}{where} {labels}"
        return f'<h1>{html.escape(issue.title)} #{issue.number}</h1><p class="about">{about}</p>'

    def _checks(self, repo: Repo, issue: Issue) -> str:
        """Statuses of the newest commit, and where it runs."""
        pull = self._hub.store.pulls.get(issue.key)
        if pull is None:
            return ""
        store, sha = self._hub.store, pull.head_sha
        newest = {status.context: status for status in store.statuses.of(repo.name, sha=sha)}
        rows = [f"{s.context}: {s.state} {s.description or ''} {s.target_url or ''}" for s in newest.values()]
        for deployment in store.deployments.of(repo.name, sha=sha):
            for status in store.deployment_statuses.of(repo.name, deployment=deployment.id)[-1:]:
                rows.append(f"{deployment.environment}: {status.state} {status.environment_url}")
        listed = "".join(f"<li>{_text(row)}</li>" for row in rows)
        return f'<div class="card"><p>{sha[:12]}</p><ul>{listed}</ul></div>' if rows else ""

    def _reviewed(self, repo: str, review: int, body: str) -> str:
        remarks = self._hub.store.line_comments.of(repo, review=review)
        return "\n\n".join([body, *(f"{r.path}:{r.line or ''}\n{r.body}" for r in remarks)])

    def _state(self, issue: Issue) -> str:
        pull = self._hub.store.pulls.get(issue.key)
        state = "merged" if pull and pull.merged_at else issue.state
        state = "draft" if pull and pull.draft and state == "open" else state
        return f'<span class="state {state}">{state}</span>'

    def _link(self, issue: Issue) -> str:
        kind = "pull" if self._hub.store.pulls.get(issue.key) else "issues"
        return f'<a href="/{issue.repo}/{kind}/{issue.number}">{html.escape(issue.title)} #{issue.number}</a>'


def _page(repo: Repo, title: str, content: str) -> web.Response:
    shown = _template().substitute(title=html.escape(title), repo=html.escape(repo.name), content=content)
    return web.Response(text=shown, content_type="text/html")


@cache
def _template() -> Template:
    return Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))


def _card(author: str, at: str | None, does: str, text: str) -> str:
    return f'<div class="card"><p>{html.escape(author)} {does} · {at}</p><div>{_text(text)}</div></div>'


def _text(text: str) -> str:
    """Escaped, without what Markdown hides, with links to click on."""
    shown = html.escape(HIDDEN.sub("", text), quote=False)
    return LINK.sub(lambda found: f'<a href="{found[0].replace(chr(34), "%22")}">{found[0]}</a>', shown)
