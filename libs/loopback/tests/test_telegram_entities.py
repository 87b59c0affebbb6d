"""What Telegram makes of HTML: entities in UTF-16 units, refusals in its own words, links that it drops."""

import pytest
from factory_loopback.errors import BotApiError
from factory_loopback.telegram.entities import checked_link, formatted, parse_html, to_html


def test_tags_become_entities_counted_in_utf16_units():
    """An emoji outside the basic plane counts as two units, as in Telegram."""
    text, entities = parse_html("👀 <b>bold <i>both</i></b> &lt;x&gt; &#128077;")

    assert text == "👀 bold both <x> 👍"
    assert entities == [
        {"type": "bold", "offset": 3, "length": 9},
        {"type": "italic", "offset": 8, "length": 4},
    ]


@pytest.mark.parametrize(
    ("html", "entity"),
    [
        ("<strong>x</strong>", {"type": "bold"}),
        ("<del>x</del>", {"type": "strikethrough"}),
        ("<tg-spoiler>x</tg-spoiler>", {"type": "spoiler"}),
        ('<span class="tg-spoiler">x</span>', {"type": "spoiler"}),
        ("<blockquote expandable>x</blockquote>", {"type": "expandable_blockquote"}),
        ("<blockquote>x</blockquote>", {"type": "blockquote"}),
        ('<pre><code class="language-sh">x</code></pre>', {"type": "pre", "language": "sh"}),
        ("<pre>x</pre>", {"type": "pre"}),
        ("<code>x</code>", {"type": "code"}),
        ("<code><b>x</b></code>", {"type": "code"}),
        ("<a href='https://a.example/?q=1&amp;r=2'>x</a>", {"type": "text_link", "url": "https://a.example/?q=1&r=2"}),
        ("<B>x</b>", {"type": "bold"}),
        ("<b>x</>", {"type": "bold"}),
    ],
)
def test_each_tag_has_its_entity(html: str, entity: dict[str, str]):
    """The tags of the HTML style, their attributes, and code that takes no formatting inside."""
    assert parse_html(html) == ("x", [{**entity, "offset": 0, "length": 1}])


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<div>x</div>", 'Unsupported start tag "div" at byte offset 0'),
        ("é <br>", 'Unsupported start tag "br" at byte offset 3'),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("a <b", "Unclosed start tag at byte offset 2"),
        ('<a href="x', "attributes of the tag"),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_what_cannot_be_parsed_is_refused(html: str, words: str):
    """Unclosed, unknown and crossed tags are 400s that name the place, never text."""
    with pytest.raises(BotApiError) as refused:
        parse_html(html)

    assert refused.value.status == 400
    assert refused.value.description.startswith("Bad Request: can't parse entities: ")
    assert words in refused.value.description


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("http://localhost:3000/x", None),
        ("http://web/x", None),
        ("javascript:alert(1)", None),
        ("http://example.com:notaport/", None),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/"),
        ("http://web.j1.localhost:3000/x", "http://web.j1.localhost:3000/x"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("example.com/a", "http://example.com/a"),
        ("example.com:81/a", "http://example.com:81/a"),
        ("tg://user?id=1", "tg://user?id=1"),
        ('https://a.example/"><script>', "https://a.example/%22%3E%3Cscript%3E"),
    ],
)
def test_a_link_needs_a_host_with_a_dot(link: str, kept: str | None):
    """Telegram refuses http://localhost; addresses and names below it are taken."""
    assert checked_link(link) == kept


def test_a_bad_link_keeps_its_words_only():
    """An <a> to localhost is plain text in the chat, without an error."""
    assert parse_html('see <a href="http://localhost:1">this</a>') == ("see this", [])


def test_white_space_around_goes_and_entities_move():
    """A text is stripped at both ends; what is left empty has no entity."""
    assert formatted("\n <b> x</b> y \n<i> </i>", "HTML") == ("x y", [{"type": "bold", "offset": 0, "length": 1}])


def test_commands_mentions_and_addresses_are_found():
    """Telegram marks them by itself, outside of code only."""
    _, entities = formatted("/new see https://a.example/x. @grace <code>/not</code>", "HTML")

    assert [(e["type"], e["offset"], e["length"]) for e in entities] == [
        ("bot_command", 0, 4),
        ("url", 9, 19),
        ("mention", 30, 6),
        ("code", 37, 4),
    ]


@pytest.mark.parametrize(
    "html",
    [
        "a <b>b <i>c</i> d</b> &lt;e&gt; 👀 <code>f</code>",
        '<pre><code class="language-python">a &amp; b</code></pre> <a href="https://a.example/">l</a>',
        "<blockquote expandable>q\n<b>r</b></blockquote><tg-spoiler>s</tg-spoiler>",
    ],
)
def test_html_survives_the_way_there_and_back(html: str):
    """What is read as HTML is what was sent."""
    assert to_html(*parse_html(html)) == html
