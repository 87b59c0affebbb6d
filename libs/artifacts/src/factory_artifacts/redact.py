"""What must not leave the factory: known secrets in every spelling, and what looks like a well-known token."""

import base64
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

MASK = "•••"
SHORTEST = 6  # characters; a shorter secret would be replaced all over ordinary text

# Of a token only what begins it is certain; the lengths are those its issuer documents. Upper bounds keep the work on
# hostile text linear and tell a stream how much it has to hold back.
_TOKENS = {
    "github-token": r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{36,255})",
    "anthropic-key": r"(?<![A-Za-z0-9_])sk-ant-[A-Za-z0-9_-]{20,255}",
    "openai-key": r"(?<![A-Za-z0-9_])sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,255}",
    "aws-access-key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "aws-secret-key": r"(?i:aws_?secret_?(?:access_?)?key[\"' ]{0,3}[:=][\"' ]{0,3})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "telegram-bot-token": r"(?<![0-9])[0-9]{6,12}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "private-key": (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
        r"(?:[\s\S]{0,16384}?-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|[A-Za-z0-9+/=\s\\:,|>-]{0,16384})"
    ),
    # A password in a URL. Not one: a placeholder (`${PW}`, `<pw>`, `{pw}`, `***`), and one for a host that only this
    # machine or its Compose network knows (localhost, 127.x, a name without a dot), as every example file has.
    "password-in-url": (
        r"(?<=://)[^\s/:@\"'`]{1,128}:(?![$<{*•])[^\s/@\"'`]{1,256}"
        r"(?=@(?!localhost|127\.|\[::1\])[A-Za-z0-9_-]{0,63}[.\[])"
    ),
}
_KEY_BEGINS = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_KEY_ENDS = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_KEY_LONGEST = 16384 + 200
_HOLD = 640  # bytes; more than any of the above needs before it is a match, private keys apart
_BEHIND = 8  # bytes; what a lookbehind may want to see of text that is already out


class Finding(msgspec.Struct, frozen=True):
    """Where something that looks like a secret stands, 1-based; never the thing itself."""

    kind: str
    line: int
    column: int


def scan(text: str) -> list[Finding]:
    """Every well-known token in `text`, in order; for the reviewer and before a push."""
    return [_finding(text, match) for match in _SCANNER.finditer(text)]


def _finding(text: str, match: re.Match[str]) -> Finding:
    line_start = text.rfind("\n", 0, match.start()) + 1
    kind = (match.lastgroup or "").replace("_", "-")
    return Finding(kind, text.count("\n", 0, match.start()) + 1, match.start() - line_start + 1)


class Redactor:
    """Replaces secrets by `•••`: the given ones in clear, base64 (at any offset), hex, URL- and JSON-escaped, one of
    several lines also line by line; and what `scan` finds.

    Secrets of less than six characters are left alone; `too_short` says how many, so that whoever starts can warn.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        given = {secret for secret in secrets if secret}
        self.too_short = sum(len(secret) < SHORTEST for secret in given)
        spellings = {s for secret in given if len(secret) >= SHORTEST for s in spellings_of(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)  # or a prefix would leave its longer sibling's end
        known = "|".join(map(re.escape, longest_first))
        pattern = f"{known}|{_ANY_TOKEN}" if known else _ANY_TOKEN
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode())
        self._hold = max(_HOLD, *(len(s.encode()) for s in spellings)) if spellings else _HOLD

    def text(self, text: str) -> str:
        return self._text.sub(MASK, text)

    def bytes_(self, data: bytes) -> bytes:
        """The same for UTF-8 (or any ASCII-compatible) bytes, whole."""
        return self._bytes.sub(MASK.encode(), data)

    def data(self, value: Any) -> Any:
        """The same for what JSON holds, text by text: what stands between the halves of a private key is no part of it."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.data(name): self.data(one) for name, one in value.items()}
            case list() | tuple():
                return [self.data(one) for one in value]
        return value

    def stream(self) -> "RedactedStream":
        return RedactedStream(self._bytes, self._hold)

    async def wrap(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """`chunks` without secrets, also where one is cut in two; the last 640 bytes wait for what follows them."""
        stream = self.stream()
        async for chunk in chunks:
            if out := stream.feed(chunk):
                yield out
        if out := stream.end():
            yield out


class RedactedStream:
    """Redacts chunk by chunk; the same bytes come out however the input is cut."""

    def __init__(self, pattern: re.Pattern[bytes], hold: int) -> None:
        self._pattern, self._hold = pattern, hold
        self._behind, self._pending = b"", b""

    def feed(self, chunk: bytes) -> bytes:
        """What is certain by now."""
        self._pending += chunk
        if len(self._pending) <= self._hold:
            return b""
        return self._release(len(self._pending) - self._hold)

    def end(self) -> bytes:
        """The rest; the stream can be used anew after it."""
        out = self._release(len(self._pending))
        self._behind = b""
        return out

    def _release(self, until: int) -> bytes:
        """Redacts and gives out the pending bytes up to `until`, or up to the start of a match across it."""
        text = self._behind + self._pending
        start, until = len(self._behind), len(self._behind) + until
        if until < len(text):
            until = min(until, self._open_key(text, start))
        out, at = [], start
        for match in self._pattern.finditer(text, start):
            if match.start() >= until:
                break
            if match.end() > until:
                until = match.start()
                break
            out += [text[at : match.start()], MASK.encode()]
            at = match.end()
        out.append(text[at:until])
        self._behind, self._pending = text[max(0, until - _BEHIND) : until], text[until:]
        return b"".join(out)

    def _open_key(self, text: bytes, start: int) -> int:
        """Where a private key begins whose end may still come."""
        for begin in _KEY_BEGINS.finditer(text, start):
            if len(text) - begin.start() < _KEY_LONGEST and not _KEY_ENDS.search(text, begin.end()):
                return begin.start()
        return len(text)


def spellings_of(secret: str) -> Iterator[str]:
    """How `secret` may stand in a text. Base64 of something that contains it shows as one of three cores, by offset."""
    yield secret
    raw = secret.encode()
    yield raw.hex()
    yield raw.hex().upper()
    yield from {quote(secret, safe=""), quote(secret), quote_plus(secret), _lower_escapes(quote(secret, safe=""))}
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        whole = 4 * ((offset + len(raw)) // 3) + (0, 1, 2)[(offset + len(raw)) % 3]
        core = encoded[(0, 2, 3)[offset] : whole]
        yield core
        yield core.replace("+", "-").replace("/", "_")
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= 16)


def _lower_escapes(quoted: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)


_ANY_TOKEN = "|".join(f"(?:{pattern})" for pattern in _TOKENS.values())
_SCANNER = re.compile("|".join(f"(?P<{kind.replace('-', '_')}>{pattern})" for kind, pattern in _TOKENS.items()))
