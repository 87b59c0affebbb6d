"""The two mutations that REST lacks: a draft becomes ready, and a draft again. Any other query is an error.

https://docs.github.com/en/graphql/reference/mutations#markpullrequestreadyforreview
"""

import json
import re
import uuid
from typing import Any

from aiohttp import web

from .door import Call, Door
from .hub import Hub
from .identities import Identities, Identity, check
from .rates import Rates
from .records import Pull
from .refusals import Refusal
from .rest import limit_of, refused
from .site import node_id

MUTATIONS = {"markPullRequestReadyForReview": False, "convertPullRequestToDraft": True}  # name: draft afterwards
QUERY = re.compile(
    r"\s*mutation\s*\w*\s*\(\s*\$(\w+)\s*:\s*\w+!\s*\)\s*{\s*(\w+)\s*\(\s*input\s*:\s*\$(\w+)\s*\)\s*"
    r"{\s*(?:clientMutationId\s+)?pullRequest\s*{[\w\s]*}\s*}\s*}\s*"
)


class GraphQl:
    """Answers `/api/graphql`; refusals of a query come with status 200, as in GraphQL."""

    def __init__(self, hub: Hub, identities: Identities, limits: Rates, door: Door) -> None:
        self._hub, self._identities, self._rates, self._door = hub, identities, limits, door

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/graphql", self.answer)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self._door.through(
            request, "/graphql", self._answered, lambda fault, call: refused(limit_of(fault, call))
        )

    async def _answered(self, request: web.Request, call: Call) -> web.StreamResponse:
        call.request_id = uuid.uuid4().hex.upper()
        try:
            identity = self._identities.of(request.headers.get("Authorization"))
            if not identity.login:
                raise Refusal(401, "This endpoint requires you to be authenticated.")
            call.login = identity.login
            self._rates.take(identity.login, "graphql")
            asked = json.loads(await request.read())
            response = web.json_response(await self._result(identity, asked, call))
        except Refusal as error:
            response = refused(error)
        except ValueError:
            response = refused(Refusal(400, "Problems parsing JSON"))
        window = self._rates.window(call.login, "graphql")
        response.headers.update(window.headers("graphql") | {"X-GitHub-Request-Id": call.request_id})
        return response

    async def _result(self, identity: Identity, asked: dict[str, Any], call: Call) -> dict[str, Any]:
        found = QUERY.fullmatch(asked.get("query", ""))
        if not found or found[2] not in MUTATIONS or found[1] != found[3]:
            problem = f"Not built in the loopback GitHub: the query {asked.get('query')!r}"
            self._door.problems.append(problem)
            return _error("NOT_BUILT", problem)
        call.operation = name = found[2]
        given = asked.get("variables", {}).get(found[1], {})
        wanted = str(given.get("pullRequestId"))
        pull = next((each for each in self._hub.store.pulls if node_id("PR", each) == wanted), None)
        missing = _error("NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted}'.")
        if pull is None:
            return missing
        try:
            check(identity, self._hub.repo(pull.repo), ("pull_requests", "write"), "write")
        except Refusal as error:
            return missing if error.status == 404 else _error("FORBIDDEN", error.message)
        if self._hub.issue(pull).state != "open":
            return _error("UNPROCESSABLE", "Pull request is closed.")
        self._hub.set_draft(pull, MUTATIONS[name], identity.login)
        return {"data": {name: _shown(pull, given)}}


def _shown(pull: Pull, given: dict[str, Any]) -> dict[str, Any]:
    about = {"id": node_id("PR", pull), "number": pull.number, "isDraft": pull.draft}
    return {"clientMutationId": given.get("clientMutationId"), "pullRequest": about}


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"data": None, "errors": [{"type": kind, "message": message, "path": [], "locations": []}]}
