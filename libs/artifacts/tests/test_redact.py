"""What leaves the factory holds no secret, in whatever spelling and however it is cut."""

import base64
import json
import random
import time
from urllib.parse import quote, quote_plus

import pytest
from factory_artifacts.redact import MASK, Finding, Redactor, scan

SECRET = 'pä$$ w0rd/+"&x'
# Written in two halves: nothing in this repository may look like a token.
TOKENS = {
    "github-token": ["ghp" + "_" + "a1B2" * 9, "ghs" + "_" + "Z" * 36, "github" + "_pat_" + "11AAAAAAA0" * 8],
    "anthropic-key": ["sk-" + "ant-" + "api03-" + "Ab_-" * 20],
    "openai-key": ["sk-" + "proj-" + "x" * 40],
    "aws-access-key": ["AK" + "IA" + "ABCDEFGH23456789"],
    "aws-secret-key": ["aws_secret" + "_access_key = " + "a/B+" * 10],
    "telegram-bot-token": ["123456789" + ":" + "AAE" + "x_-9" * 8],
    "password-in-url": ["alice:s3cr" + "et-pw"],
    "private-key": ["-----BEGIN RSA PRIVATE" + " KEY-----\nMIIE\nabcd==\n-----END RSA PRIVATE" + " KEY-----"],
}
ALL_TOKENS = [(kind, token) for kind, tokens in TOKENS.items() for token in tokens]


def in_text(kind: str, token: str) -> str:
    if kind == "password-in-url":
        return f"clone of https://{token}@git.example.com/x.git failed"
    return f"the value '{token}' was printed"


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        quote(SECRET, safe="").replace("%C3%A4", "%c3%a4").replace("%2B", "%2b").replace("%2F", "%2f"),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_each_spelling_is_replaced(spelling: str) -> None:
    """A secret in clear, base64, hex, URL- or JSON-escaped is masked in text and in bytes, the rest stays."""
    redactor = Redactor([SECRET])
    assert redactor.text(f"<{spelling}>") == f"<{MASK}>"
    assert redactor.bytes_(f"<{spelling}>".encode()) == f"<{MASK}>".encode()


def test_data_loses_its_secrets_and_nothing_else() -> None:
    """Names and values; a key that begins in one text and ends in another takes nothing with it that stands between."""
    begin, end = ("-----" + f"{word} PRIVATE" + " KEY-----" for word in ("BEGIN", "END"))
    data = {SECRET: [1, None, {"tail": f"{SECRET} {begin}"}], "ok": False, "tail": end}
    assert Redactor([SECRET]).data(data) == {MASK: [1, None, {"tail": f"{MASK} {MASK}"}], "ok": False, "tail": end}


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "user:"])
@pytest.mark.parametrize("after", ["", "1", "12", "123"])
def test_base64_of_something_around_the_secret(before: str, after: str) -> None:
    """Basic-auth and the like: base64 shifts with what stands before, the secret is found at every offset."""
    secret = "correct horse battery"
    encoded = base64.b64encode(f"{before}{secret}{after}".encode()).decode()
    redacted = Redactor([secret]).text(encoded)
    assert MASK in redacted
    left = redacted.replace(MASK, "")
    assert len(left) <= len(before) * 4 / 3 + len(after) * 4 / 3 + 8


def test_longest_secret_first() -> None:
    """Where one secret begins like another, the longer one leaves no tail."""
    assert Redactor(["abcdef", "abcdefGHI"]).text("abcdefGHI abcdef") == f"{MASK} {MASK}"


def test_short_secrets_are_left_and_counted() -> None:
    """Five characters would be replaced all over ordinary text: left alone, and said."""
    redactor = Redactor(["app", "", "postgres"])
    assert redactor.too_short == 1
    assert redactor.text("app postgres") == f"app {MASK}"


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    """Logs put a prefix before each line; the lines are masked all the same."""
    secret = "first line of the key\nsecond line of the key\nend"
    out = Redactor([secret]).text("\n".join(f"web | {line}" for line in secret.splitlines()))
    assert out == f"web | {MASK}\nweb | {MASK}\nweb | end"


@pytest.mark.parametrize(("kind", "token"), ALL_TOKENS)
def test_well_known_tokens(kind: str, token: str) -> None:
    """What looks like a well-known token is found with its kind and place, masked, and never part of the finding."""
    text = "line one\n" + in_text(kind, token)
    [finding] = scan(text)
    assert finding == Finding(kind, 2, text.splitlines()[1].index(token.splitlines()[0]) + 1)
    assert token not in repr(finding)
    redacted = Redactor().text(text)
    assert token not in redacted
    assert MASK in redacted
    assert scan(redacted) == []


@pytest.mark.parametrize(
    "text",
    [
        "postgres://app:app@localhost:5432/app",
        "postgres://app:app@db:5432/app",
        "redis://u:p4ssword@127.0.0.1/0",
        "https://${USER}:${PASSWORD}@example.com/",
        "https://user:<password>@example.com/",
        "http://localhost:3000/@scope/name",
        "see http://example.com/a:b, mail me@example.com",
        "git@github.com:owner/repo.git ssh://git@github.com/owner/repo.git",
        "sk-learn and ghp_short and AKIA and 12:34",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Placeholders, local addresses and look-alikes are no findings: a false alarm would stop a push."""
    assert scan(text) == []
    assert Redactor().text(text) == text


def test_private_key_without_its_end() -> None:
    """A log that breaks off inside a key, or puts it on one line with \\n, leaks nothing of it."""
    begin = "-----BEGIN PRIVATE" + " KEY-----"
    assert Redactor().text(f"{begin}\nMIIEabc\nMIIEdef") == MASK
    one_line = f'"{begin}\\nMIIEabc\\n-----END PRIVATE' + ' KEY-----\\n"'
    assert "MIIE" not in Redactor().text(one_line)


def document() -> bytes:
    """A text with each secret in it, far enough apart to cross every boundary of a stream."""
    filler = " ".join(f"word{n}" for n in range(200))
    parts = [filler, SECRET, base64.b64encode(SECRET.encode()).decode(), "x" * 700]
    for kind, token in ALL_TOKENS:
        parts += [in_text(kind, token), filler[: 37 * len(token) % 900]]
    parts.append("-----BEGIN PRIVATE" + " KEY-----\n" + "q1W2" * 1500 + "\n-----END PRIVATE" + " KEY-----")
    return "\n".join([*parts, filler, SECRET[:5]]).encode()


@pytest.mark.parametrize("seed", range(12))
def test_a_stream_gives_what_the_whole_gives(seed: int) -> None:
    """However the chunks are cut, a stream's output equals that of the whole text; no half of a secret gets out."""
    data, redactor, rng = document(), Redactor([SECRET]), random.Random(seed)
    sizes = [1] if seed == 0 else [rng.randint(1, 5 * 10 ** rng.randint(0, 3)) for _ in range(20)]
    stream, out, at = redactor.stream(), b"", 0
    while at < len(data):
        size = rng.choice(sizes)
        out += stream.feed(data[at : at + size])
        at += size
    assert out + stream.end() == redactor.bytes_(data)


async def test_wrap() -> None:
    """`wrap` does the same for asynchronous chunks, and ends with what it held back."""

    async def chunks():
        for part in (b"token=hunter2", b"hunter2!", b"", b" done"):
            yield part

    out = [part async for part in Redactor(["hunter2hunter2"]).wrap(chunks())]
    assert b"".join(out) == f"token={MASK}! done".encode()
    assert b"" not in out


def test_a_stream_holds_back_little() -> None:
    """Text without secrets comes out while it comes in: at most 640 bytes wait."""
    stream = Redactor(["abcdefgh"]).stream()
    out = sum(len(stream.feed(b"x" * 1000)) for _ in range(100))
    assert out == 100_000 - 640


def test_hostile_text_takes_linear_time() -> None:
    """Text made to let patterns backtrack is scanned in seconds; an unfinished key is not held for ever."""
    begin = ("-----BEGIN PRIVATE" + " KEY-----").encode()
    hostile = (b"://" + b"a" * 200 + b":") * 2000 + b"ghp_" * 50_000 + b"1234567890:" * 20_000
    started = time.monotonic()
    redactor = Redactor([SECRET])
    redactor.bytes_(hostile)
    stream = redactor.stream()
    out = stream.feed(begin + b"#")
    for _ in range(300):
        out += stream.feed(b"# not base64 _ " * 100)
    assert len(out) > 400_000
    assert time.monotonic() - started < 20
