"""What a string must be before anything else looks at it: no invisible or unpaired characters."""

import re

# Control, line and paragraph separators, lone surrogates, bidi and other format characters, and what has no width:
# joiners, fillers, variation selectors. A test holds this against the Unicode tables.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Characters shown as pictures by default, and what makes pictures of others (keycap, regional letters).
_EMOJI = re.compile(
    "[\u203c\u2049\u20e3\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe"
    "\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)


def clean(text: str) -> str | None:
    """Trim outer spaces; None if a control, bidi, zero-width or lone surrogate character is left."""
    trimmed = text.strip(" ")
    if trimmed.isascii() and trimmed.isprintable():
        return trimmed
    return None if _HIDDEN.search(trimmed) else trimmed


def has_emoji(text: str) -> bool:
    """Tell whether a character is shown as a picture; `pix_message` takes none."""
    return _EMOJI.search(text) is not None
