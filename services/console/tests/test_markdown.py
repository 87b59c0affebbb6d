"""Markdown of others as HTML: what they write is shown, and none of it acts."""

from html.parser import HTMLParser

import pytest
from factory_console.markdown import render


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**a** `b`", "<p><strong>a</strong> <code>b</code></p>\n"),
        ("~~a~~", "<p><s>a</s></p>\n"),
        ("- [x] done\n- [ ] open", '<ul>\n<li class="task">☑ done</li>\n<li class="task">☐ open</li>\n</ul>\n'),
        ("before <!-- factory:marker\nx --> after", "<p>before  after</p>\n"),
        ("[it](https://f.example/a?b=1&c)", '<p><a href="https://f.example/a?b=1&amp;c">it</a></p>\n'),
    ],
)
def test_what_is_written_is_shown(text: str, html: str):
    """Emphasis, tasks as boxes, links; a hidden marker stays hidden."""
    assert str(render(text)) == html


def test_a_table_is_a_table():
    """As GitHub's."""
    assert "<td>1</td>" in render("| a |\n|---|\n| 1 |")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](vbscript:x)",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](javascript:alert(1))",
        "<!-- --><script>alert(1)</script>",
        "<!-- <!-- --> --><b onclick=x>",
        '[x](https://a.example "\\" onclick=alert(1) x=\\"")',
        "<a href='javascript:x'>y</a>",
    ],
)
def test_nothing_of_it_acts(text: str):
    """No tag of theirs, no address but the web's."""
    for tag, attributes in Tags(str(render(text))).found:
        assert tag in {"p", "a"}, tag
        for name, value in attributes:
            assert name == "title" or (name == "href" and value.startswith("https://")), (name, value)


class Tags(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str]]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [(name, value or "") for name, value in attrs]))
