"""GitHub's signatures and what is read of a delivery."""

import hashlib
import hmac
import json

import pytest
from factory_intake.webhook import Hint, Repository, hint_of, signed, source_of

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
TRUE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_githubs_own_example_holds():
    """As their page gives it."""
    assert signed(SECRET, BODY, TRUE)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        TRUE.removeprefix("sha256="),
        TRUE.upper(),
        TRUE[:-1],
        TRUE + "0",
        "sha256=" + "0" * 64,
        "sha1=" + hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest(),
        "sha256=ä\udcff",
    ],
)
def test_what_is_not_signed_with_sha256_is_not_signed(signature: str):
    """Nothing, half of it, another hash, no ASCII."""
    assert not signed(SECRET, BODY, signature)


def test_another_body_or_secret_has_another_signature():
    """A byte is enough."""
    assert not signed(SECRET, BODY + b" ", TRUE)
    assert not signed(SECRET + " ", BODY, TRUE)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"action": "closed", "number": 7, "repository": {"full_name": "ann/notes", "id": 1}}, 7),
        ({"number": "7", "repository": {"full_name": "ann/notes"}}, None),
        ({"number": 7, "repository": {}}, None),
        ({"number": 7, "repository": None}, None),
        ([7], None),
    ],
)
def test_of_a_delivery_only_the_place_is_read(body: object, hint: int | None):
    """Number and repository; whatever else it says is not looked at."""
    expected = Hint(7, Repository("ann/notes")) if hint else None
    assert hint_of(json.dumps(body).encode()) == expected


@pytest.mark.parametrize("body", [b"", b"payload=%7B%7D", b"\xff", b'{"number": 7'])
def test_what_is_no_json_is_no_delivery(body: bytes):
    """A form, half a text, no text."""
    assert hint_of(body) is None


def test_a_delivery_has_a_name():
    """GitHub's GUID and nothing that is longer or stranger."""
    assert source_of("72d3162e-cc78-11e3-81ab-4c9367dc0958") == "github:72d3162e-cc78-11e3-81ab-4c9367dc0958"
    assert [source_of(d) for d in ("", "a b", "x" * 65, "a:b", "ä")] == [None] * 5
