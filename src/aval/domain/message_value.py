"""What a value loses before it enters a message, so that a name cannot carry a link, markup or a variable.

Source: transfers.md §7.3, promises.md AB3.
"""

import html
import re
import unicodedata

from aval.domain.gsm7 import folded

UNKNOWN = "-"

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})  # control, bidi and zero-width, surrogate, unassigned
_BRACKETS = str.maketrans("", "", "[]")
_ANGLES = str.maketrans("<>", "  ")
# A word that is a link beyond doubt is dropped whole: `//`, `www.`, a domain with a path or port, a numeric address.
_LINK_WORD = re.compile(r"//|\bwww\d*\.|[.。][^\W\d_][^\s!-/:-@]*[/?#:]|\d{1,3}(?:\.\d{1,3}){3}", re.IGNORECASE)
# What only looks like a domain or a scheme is taken apart: names such as `MERCADOPAGO.COM LTDA` must stay readable,
# and `S.A.` is none: its letters stand alone.
_LINK_JOINT = re.compile(r"(?<=\S)(?:[.。](?=[^\W\d_][^\s!-/:-@])|:(?=\S))")


def has_hidden(text: str) -> bool:
    """Tell whether a character neither shows nor is a tab or line break: control, bidi, zero-width, unpaired."""
    return any(unicodedata.category(character) in _HIDDEN_CATEGORIES for character in text if character not in "\t\r\n")


def sms_value(value: str, *, is_name: bool) -> str:
    """Make a value fit for an SMS: one line in GSM-7; uncut."""
    # Angles go last: folding takes the stroke off a `≯`.
    return _finished(folded(_bare(value)).translate(_ANGLES), is_name=is_name)


def plain_value(value: str, *, is_name: bool) -> str:
    """Make a value fit for a subject or a text part: one line without brackets of any kind."""
    return _finished(_bare(value).translate(_ANGLES), is_name=is_name)


def html_value(value: str, *, is_name: bool) -> str:
    """Make a value fit for HTML: one line, escaped."""
    return html.escape(_finished(_bare(value), is_name=is_name))


def _bare(value: str) -> str:
    # Compatibility forms first: a full-width bracket or dot is one, too.
    line = " ".join(unicodedata.normalize("NFKC", value).split()).translate(_BRACKETS)
    if line.isascii() and line.isprintable():
        return line
    return "".join(character for character in line if unicodedata.category(character) not in _HIDDEN_CATEGORIES)


def _finished(line: str, *, is_name: bool) -> str:
    # Links are sought last, because folding and dropping characters can make one.
    words = [word for word in line.split() if not (is_name and _LINK_WORD.search(word))]
    text = " ".join(words)
    return (" ".join(_LINK_JOINT.sub(" ", text).split()) if is_name else text) or UNKNOWN
