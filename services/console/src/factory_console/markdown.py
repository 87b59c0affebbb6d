"""Markdown of pull requests and comments as safe HTML: no raw HTML passes, links open only what is http(s)."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_BOX = re.compile(r"<li>\s*(?:<p>)?\[( |x)\] ")


def render(text: str) -> Markup:
    """GitHub's task lists are shown as boxes; hidden comments stay hidden."""
    html = _MARKDOWN.render(_COMMENT.sub("", text))
    return Markup(_BOX.sub(lambda m: f'<li class="task">{"☑" if m.group(1) == "x" else "☐"} ', html))
