"""The GSM-7 basic character set: what every phone shows at one septet a character."""

import unicodedata

CHARACTERS_MAX = 160  # of one SMS part in GSM-7
BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


def is_basic(text: str) -> bool:
    """Tell whether each character is in the basic set; those of its extension (`[`, `€`) count twice and are not."""
    return BASIC.issuperset(text)


def folded(text: str) -> str:
    """Drop accents; what is then not in the basic set becomes a full stop."""
    bare = (character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character))
    return "".join(character if character in BASIC else "." for character in bare)
