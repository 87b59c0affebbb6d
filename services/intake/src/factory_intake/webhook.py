"""GitHub's webhook: a signed delivery says where there may be news, and the forge itself is asked what they are.

What a delivery holds is believed in nothing else. An old one, one that comes twice, or one made up by whoever has the
secret can cost a request to the forge, and cannot move a job.
(https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request)
"""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

EVENT, DELIVERY, SIGNATURE = "X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256"
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Repository(msgspec.Struct, frozen=True):
    full_name: str  # owner/name


class Hint(msgspec.Struct, frozen=True):
    """Of a `pull_request` event all that is read: which one it is."""

    number: int
    repository: Repository


def signed(secret: str, body: bytes, signature: str) -> bool:
    """Whether `signature` is this body's, compared in constant time. The older SHA-1 signatures are none.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))


def source_of(delivery: str) -> str | None:
    """The name under which a delivery is taken once; None where the header holds none."""
    return f"github:{delivery}" if _ID.fullmatch(delivery) else None


def hint_of(body: bytes) -> Hint | None:
    """None where it is no pull request's."""
    try:
        return msgspec.json.decode(body, type=Hint)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
