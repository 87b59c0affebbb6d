"""What Telegram makes of a text: HTML to entities and back, the links that it accepts, the commands that it finds.

The rules and the words of the refusals are those of TDLib's `parse_html` and `get_checked_link`
(https://core.telegram.org/bots/api#html-style). Offsets and lengths of entities are UTF-16 code units.
"""

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from factory_loopback.errors import BotApiError, NotBuilt

Entity = dict[str, Any]

TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "tg-spoiler": "spoiler", "span": "spoiler",
    "a": "text_link", "code": "code", "pre": "pre", "blockquote": "blockquote", "tg-emoji": "custom_emoji",
}  # fmt: skip
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}  # the only named ones that Telegram decodes
_CHARACTER = re.compile(r"&(?:#(\d{1,8})|#[xX]([0-9a-fA-F]{1,8})|(lt|gt|amp|quot));?")
_ATTRIBUTE = re.compile(r"""\s*([^\s=>"'/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9.\-]+)))?\s*""")
_FOUND = re.compile(
    r"(?P<url>https?://[^\s<>\"]*[^\s<>\".,;:!?)\]}'])"
    r"|(?P<email>\b[\w.+-]+@[\w-]+\.[\w.-]+\b)"
    r"|(?P<mention>(?<!\w)@[A-Za-z]\w{3,31}\b)"
    r"|(?P<bot_command>(?<![\w/])/[A-Za-z0-9_]{1,64}(?:@\w+)?\b)"
    r"|(?P<hashtag>(?<!\w)#\w*[^\W\d]\w*)"
)


def units(text: str) -> int:
    """Length in UTF-16 code units, the stricter of the two ways in which Telegram's limits can be read."""
    return len(text.encode("utf-16-le")) // 2


def formatted(text: str, parse_mode: str | None, entities: list[Entity] | None = None) -> tuple[str, list[Entity]]:
    """Plain text and entities of what a bot sends, surrounding white space removed, links and commands found.

    Raises BotApiError (400) where Telegram cannot parse the text, NotBuilt for Markdown.
    """
    if parse_mode:
        if parse_mode.lower() != "html":
            raise NotBuilt(f"parse mode {parse_mode}")
        text, entities = parse_html(text)
    return with_found(*_stripped(text, list(entities or [])))


def parse_html(text: str) -> tuple[str, list[Entity]]:
    """Plain text and entities of Telegram's HTML; raises BotApiError (400) with Telegram's own words."""
    plain: list[str] = []
    length = at = 0
    entities: list[Entity] = []
    open_tags: list[tuple[str, Entity]] = []
    while at < len(text):
        if text[at] != "<":
            end = text.find("<", at)
            piece = _decoded(text[at : end if end != -1 else len(text)])
            plain.append(piece)
            length += units(piece)
            at = end if end != -1 else len(text)
        elif text[at + 1 : at + 2] == "/":
            at = _close(text, at, open_tags, entities, length)
        else:
            tag, entity, at = _open(text, at)
            open_tags.append((tag, {**entity, "offset": length}))
    if open_tags:
        raise _unparsable(f'Can\'t find end tag corresponding to start tag "{open_tags[-1][0]}"')
    plain_text = "".join(plain)
    for entity in entities:
        if entity["type"] == "text_link":
            entity["url"] = checked_link(entity["url"] or _slice(plain_text, entity))
    kept = [e for e in entities if e["type"] != "text_link" or e["url"]]  # Telegram drops a bad link without a word
    return plain_text, sorted(kept, key=lambda e: (e["offset"], -e["length"]))


def checked_link(url: str) -> str | None:
    """The link as Telegram keeps it; None where it refuses: a host needs a dot, `http://localhost:3000` has none."""
    if re.match(r"(?i)(tg|ton):", url):
        return _quoted(url)
    if not re.match(r"(?i)[a-z][a-z0-9+.-]*:", url) or re.match(r"[^/:]+:\d+(/|$)", url):
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # an invalid port raises ValueError
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not ("." in host or ":" in host) or re.search(r"\s", url):
        return None
    return _quoted(url if parts.path or parts.query else f"{url}/")


def with_found(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Adds what Telegram finds by itself: links, commands, mentions, hashtags, e-mail addresses."""
    taken = [(e["offset"], e["offset"] + e["length"]) for e in entities if e["type"] in ("code", "pre", "text_link")]
    found: list[Entity] = []
    for match in _FOUND.finditer(text):
        kind = str(match.lastgroup)
        if kind == "url" and not checked_link(match[0]):
            continue
        start = units(text[: match.start()])
        end = start + units(match[0])
        if not any(start < b and a < end for a, b in taken):
            found.append({"type": kind, "offset": start, "length": end - start})
    return text, sorted([*entities, *found], key=lambda e: (e["offset"], -e["length"]))


def to_html(text: str, entities: list[Entity], *, links: bool = False) -> str:
    """The text in Telegram's HTML, escaped; with `links`, found addresses and commands are marked too (for a page)."""
    ordered = sorted(entities, key=lambda e: (e["offset"], -e["length"]))
    data = text.encode("utf-16-le")

    def between(start: int, end: int, inner: list[Entity]) -> Iterator[str]:
        while inner:
            entity, stop = inner[0], inner[0]["offset"] + inner[0]["length"]
            if entity["offset"] < start:  # overlaps what was written: shown by its outer entity only
                inner = inner[1:]
                continue
            yield html.escape(data[2 * start : 2 * entity["offset"]].decode("utf-16-le", "replace"), quote=False)
            nested = [e for e in inner[1:] if e["offset"] < stop]
            shown = "".join(between(entity["offset"], stop, nested))
            yield _tagged(entity, shown, _slice(text, entity), links)
            start, inner = stop, inner[1 + len(nested) :]
        yield html.escape(data[2 * start : 2 * end].decode("utf-16-le", "replace"), quote=False)

    return "".join(between(0, len(data) // 2, ordered))


def _tagged(entity: Entity, shown: str, plain: str, links: bool) -> str:
    kind = entity["type"]
    simple = {
        "bold": "b",
        "italic": "i",
        "underline": "u",
        "strikethrough": "s",
        "spoiler": "tg-spoiler",
        "code": "code",
    }
    if kind in simple:
        return f"<{simple[kind]}>{shown}</{simple[kind]}>"
    if kind == "pre":
        language = html.escape(entity.get("language", ""))
        return f'<pre><code class="language-{language}">{shown}</code></pre>' if language else f"<pre>{shown}</pre>"
    if kind == "blockquote":
        return f"<blockquote>{shown}</blockquote>"
    if kind == "expandable_blockquote":
        return f"<blockquote expandable>{shown}</blockquote>"
    if kind == "text_link":
        return f'<a href="{html.escape(entity["url"])}">{shown}</a>'
    if kind == "custom_emoji":
        return f'<tg-emoji emoji-id="{html.escape(entity["custom_emoji_id"])}">{shown}</tg-emoji>'
    if links and kind == "url":
        return f'<a href="{html.escape(plain)}">{shown}</a>'
    if links and kind in ("bot_command", "mention", "hashtag", "email"):
        return f'<span class="found">{shown}</span>'
    return shown


def _open(text: str, at: int) -> tuple[str, Entity, int]:
    """Tag, entity and the place behind a start tag."""
    head = re.compile(r"<([^\s>]*)").match(text, at)
    assert head, "the caller has seen the <"
    tag, offset = head[1].lower(), _byte(text, at)
    if head.end() == len(text):
        raise _unparsable(f"Unclosed start tag at byte offset {offset}")
    if tag not in TAGS:
        raise _unparsable(f'Unsupported start tag "{tag}" at byte offset {offset}')
    attributes: dict[str, str] = {}
    place = head.end()
    while place < len(text) and text[place] != ">":
        if not text[place:].strip():
            break
        match = _ATTRIBUTE.match(text, place)
        if not match:
            raise _unparsable(f'Can\'t parse the attributes of the tag "{tag}" at byte offset {offset}')
        attributes[match[1].lower()] = _decoded(match[2] or match[3] or match[4] or "")
        place = match.end()
    if place >= len(text) or text[place] != ">":
        raise _unparsable(f'Unclosed start tag "{tag}" at byte offset {offset}')
    return tag, _entity(tag, attributes, offset), place + 1


def _entity(tag: str, attributes: dict[str, str], offset: int) -> Entity:
    if tag == "span" and attributes.get("class") != "tg-spoiler":
        raise _unparsable(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    if tag == "tg-emoji":
        return {"type": "custom_emoji", "custom_emoji_id": attributes.get("emoji-id", "")}
    if tag == "a":
        return {"type": "text_link", "url": attributes.get("href", "")}
    if tag == "blockquote" and "expandable" in attributes:
        return {"type": "expandable_blockquote"}
    language = attributes.get("class", "").removeprefix("language-")
    return {"type": TAGS[tag], "language": language} if tag == "code" and language else {"type": TAGS[tag]}


def _close(text: str, at: int, open_tags: list[tuple[str, Entity]], entities: list[Entity], length: int) -> int:
    """Takes the innermost open tag off and keeps its entity; the place behind the end tag."""
    offset = _byte(text, at)
    if not open_tags:
        raise _unparsable(f"Unexpected end tag at byte offset {offset}")
    match = re.compile(r"</([^\s>]*)\s*>").match(text, at)
    if not match:
        raise _unparsable(f"Unclosed end tag at byte offset {offset}")
    tag, entity = open_tags.pop()
    if match[1] and match[1].lower() != tag:
        raise _unparsable(f'Unmatched end tag at byte offset {offset}, expected "</{tag}>", found "</{match[1]}>"')
    entity = {**entity, "length": length - entity["offset"]}
    outer = [e["type"] for _, e in open_tags]
    if tag == "code" and outer[-1:] == ["pre"]:  # <pre><code class="language-python">: one entity
        if "language" in entity:
            open_tags[-1][1]["language"] = entity["language"]
    elif entity["length"] and not {"code", "pre"} & set(outer):  # nothing is formatted inside of code
        if tag != "pre":
            entity.pop("language", None)
        entities.append(entity)
    return match.end()


def _stripped(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Without white space at both ends; entities move and shrink with it."""
    shift, size = units(text) - units(text.lstrip()), units(text.strip())
    kept: list[Entity] = []
    for entity in entities:
        start = min(max(entity["offset"] - shift, 0), size)
        end = min(max(entity["offset"] + entity["length"] - shift, 0), size)
        if end > start:
            kept.append({**entity, "offset": start, "length": end - start})
    return text.strip(), kept


def _slice(text: str, entity: Entity) -> str:
    data = text.encode("utf-16-le")
    return data[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le", "replace")


def _decoded(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[3]:
            return NAMED[match[3]]
        code = int(match[1]) if match[1] else int(match[2], 16)
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else match[0]

    return _CHARACTER.sub(character, text)


def _quoted(url: str) -> str:
    return url.replace('"', "%22").replace("<", "%3C").replace(">", "%3E")


def _byte(text: str, at: int) -> int:
    return len(text[:at].encode())


def _unparsable(why: str) -> BotApiError:
    return BotApiError(400, f"Bad Request: can't parse entities: {why}")
