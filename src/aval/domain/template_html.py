"""What the HTML of an e-mail template may hold, and its text alternative.

The judge is an allow-list over a strict grammar: what the grammar does not know is active content, so no mail program
can read a tag here that Aval did not. Source: transfers.md §7.3 (`active_content`).
"""

import html
import re
from functools import lru_cache

from aval.domain.message_value import has_hidden

VARIABLE = re.compile(r"\[([^\[\]]*)\]")

_TAGS = frozenset(
    "html head title meta style body center div p span br hr b strong i em u s small big sub sup h1 h2 h3 h4 h5 h6 "
    "ul ol li dl dt dd table caption thead tbody tfoot tr th td colgroup col blockquote pre code address font a abbr "
    "bdi header footer main section article".split()
)
_ATTRIBUTES = frozenset(
    "style class id align valign width height bgcolor color border cellpadding cellspacing colspan rowspan span lang "
    "dir title role xmlns face size charset name content http-equiv scope aria-hidden aria-label".split()
)
_HARMLESS_PRAGMAS = frozenset({"content-type", "x-ua-compatible"})
_DOCTYPE = re.compile(r"\A\s*+<!doctype html[^<>\[\]]*+>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s++([a-z][a-z-]*+)(?:\s*+=\s*+("[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=`]++))?+""", re.IGNORECASE)
_TAG = re.compile(rf"<(/?)([a-z][a-z0-9]*+)((?:{_ATTRIBUTE.pattern})*+)\s*+/?>", re.IGNORECASE)
# Elements that swallow tags: one that is never closed, or holds a tag, would hide what follows.
_UNSEEN_OPENED = re.compile(r"<(?:style|title)\b", re.IGNORECASE)
_UNSEEN = re.compile(r"<(style|title)\b[^<>]*+>([^<]*+)</\1\s*+>", re.IGNORECASE)
_ACTIVE_STYLE = re.compile(r"url\s*\(|@import|expression|binding|behavior|javascript|[\\\[<]", re.IGNORECASE)
_ROWS = frozenset("br tr li dt dd".split())
_INLINE = frozenset("span b strong i em u s small big sub sup code font a abbr bdi".split())
_BRACKETS = str.maketrans("", "", "[]")


def has_active_content(body: str) -> bool:
    """Tell whether a template could run, load or post something, or lets a variable stand inside a tag."""
    document = _DOCTYPE.sub("", body, count=1)
    return (
        "<" in _TAG.sub("", document)
        or any(_is_active_tag(*found.groups()[:3]) for found in _TAG.finditer(document))
        or _has_active_sheet(document)
        or has_hidden(html.unescape(document))
    )


def _has_active_sheet(document: str) -> bool:
    unseen = _UNSEEN.findall(document)
    if len(unseen) != len(_UNSEEN_OPENED.findall(document)):
        return True
    return any(name.lower() == "style" and _ACTIVE_STYLE.search(content) for name, content in unseen)


def _is_active_tag(slash: str, name: str, attributes: str) -> bool:
    if name.lower() not in _TAGS or VARIABLE.search(attributes) or (slash and attributes):
        return True
    return any(_is_active_attribute(key.lower(), value) for key, value in _ATTRIBUTE.findall(attributes))


def _is_active_attribute(name: str, quoted: str) -> bool:
    value = html.unescape(quoted.strip("\"'"))
    match name:
        case "style":
            return _ACTIVE_STYLE.search(value) is not None
        case "http-equiv":
            return value.strip().lower() not in _HARMLESS_PRAGMAS
        case _:
            return name not in _ATTRIBUTES


@lru_cache(maxsize=256)
def text_alternative(body: str) -> str:
    """Turn the HTML of a template into plain text, variables left as they are; paragraphs are a blank line apart."""
    bare = _TAG.sub(_break_of, _UNSEEN.sub("", _DOCTYPE.sub("", " ".join(body.split()), count=1)))
    pieces = VARIABLE.split(bare)  # text, variable name, text, …
    pieces[::2] = (html.unescape(piece).translate(_BRACKETS) for piece in pieces[::2])
    pieces[1::2] = (f"[{name}]" for name in pieces[1::2])
    lines = "\n".join(" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return re.sub(r"\n{2,}", "\n\n", lines).strip("\n")


def _break_of(tag: re.Match[str]) -> str:
    name = tag[2].lower()
    if name in _INLINE:
        return ""
    if name in _ROWS:
        return "\n" if not tag[1] else ""
    return " " if name in {"td", "th"} else "\n\n"
