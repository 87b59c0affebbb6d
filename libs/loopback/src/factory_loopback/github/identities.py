"""Who asks: a user by token, an app by a JWT that it signed, an installation by a token that expires; and what they may.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

import base64
import binascii
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jwt

from . import refusals
from .records import LEVELS, App, Grant, Repo
from .refusals import Refusal
from .store import Store

HOUR = 3600.0  # seconds that an installation token lives
LONGEST_JWT = 600  # seconds from now to `exp`; who adds that much to a clock that is ahead is refused


@dataclass(frozen=True)
class Identity:
    """`login` is whose name stands under what is done; an app itself (`app` without `grant`) may nearly nothing."""

    login: str = ""  # empty: nobody
    app: App | None = None
    grant: Grant | None = None


ANYONE = Identity()
APP = "app:"  # what an operation needs that an app calls as itself, by its JWT


class Identities:
    """Knows every token. Tokens of users are given at start; those of installations are in the store."""

    def __init__(self, store: Store, tokens: Mapping[str, str]) -> None:
        self._store, self._tokens = store, dict(tokens)

    def add(self, token: str, login: str) -> None:
        self._tokens[token] = login

    def of(self, header: str | None) -> Identity:
        """Who an Authorization header means. Raises Refusal (401)."""
        if not header:
            return ANYONE
        scheme, _, text = header.strip().partition(" ")
        if scheme.lower() == "basic":
            return self.of_token(_password(text))
        if scheme.lower() in ("bearer", "token"):
            return self.of_jwt(text) if text.count(".") == 2 else self.of_token(text)
        raise refusals.unauthorized()

    def of_token(self, token: str) -> Identity:
        if login := self._tokens.get(token):
            return Identity(login)
        grant = self._store.grants.get(token)
        app = self._store.apps.get(grant.app) if grant else None
        if grant is None or app is None or grant.expires <= time.time():
            raise refusals.unauthorized()
        return Identity(app.login, app, grant)

    def of_jwt(self, text: str) -> Identity:
        """The app that signed it, with RS256 and for ten minutes at most."""
        try:
            issuer = jwt.decode(text, options={"verify_signature": False}).get("iss", "")
            app = self._store.apps.get(issuer)
            if app is None:
                raise Refusal(404, "Integration not found")
            claims = jwt.decode(
                text,
                app.public_key,
                algorithms=["RS256"],
                options={"require": ["exp", "iat", "iss"], "verify_iss": False},
            )
        except jwt.ExpiredSignatureError as error:
            words = "must be a numeric value representing the future time at which the assertion expires"
            raise refusals.unauthorized(f"'Expiration time' claim ('exp') {words}") from error
        except jwt.PyJWTError as error:
            raise refusals.unauthorized("A JSON web token could not be decoded") from error
        if claims["exp"] - time.time() > LONGEST_JWT:
            raise refusals.unauthorized("'Expiration time' claim ('exp') is too far in the future")
        return Identity(app.login, app)

    def grant(self, app: App, permissions: Mapping[str, str] | None, repos: Iterable[str] | None) -> Grant:
        """A new installation token; it opens no more than the app was given. Raises Refusal (422)."""
        wanted = dict(permissions or app.permissions)
        for name, level in wanted.items():
            if not covers(app.permissions.get(name), level):
                raise Refusal(422, "The permissions requested are not granted to this installation.")
        chosen = None if repos is None else list(repos)
        token = f"ghs_{secrets.token_hex(18)}"
        return self._store.grants.put(Grant(self._store.next_id(), token, app.id, time.time() + HOUR, wanted, chosen))


def covers(given: str | None, needed: str) -> bool:
    """Whether a permission is enough: admin above write above read above none."""
    return given in LEVELS and LEVELS.index(given) >= LEVELS.index(needed)


def check(identity: Identity, repo: Repo | None, app_needs: tuple[str, str], people_need: str) -> Repo:
    """That `identity` may do this with the repository. Raises Refusal: 404 where GitHub hides even that it is there.

    app_needs: the permission of an app and its level, as ("issues", "write"); people_need: one of LEVELS.
    """
    if repo is None:
        raise refusals.not_found()
    if app_needs[0] == APP.rstrip(":"):
        return repo
    if identity.app:
        _check_app(identity, repo, *app_needs)
    elif repo.level(identity.login) < max(LEVELS.index(people_need), 1):
        if not identity.login and repo.level("") > 0:
            raise refusals.unauthorized("Requires authentication")
        raise refusals.not_found()
    return repo


def check_itself(identity: Identity) -> None:
    """That an app asks as itself. Raises Refusal (401)."""
    if identity.app is None or identity.grant:
        raise refusals.unauthorized("A JSON web token could not be decoded")


def _check_app(identity: Identity, repo: Repo, name: str, level: str) -> None:
    grant = identity.grant
    if grant is None:
        raise refusals.not_for_apps()
    if grant.repos is not None and repo.name not in grant.repos:
        raise refusals.not_found()
    if name != "metadata" and not covers(grant.permissions.get(name), level):
        raise refusals.not_for_apps()


def _password(text: str) -> str:
    """What stands behind the colon in Basic credentials, or before it where nothing does."""
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refusals.unauthorized() from error
    return user if password in ("", "x-oauth-basic") else password
