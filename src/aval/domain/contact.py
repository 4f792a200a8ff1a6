"""Where a token may travel: Brazilian mobile numbers and e-mail addresses, each in one spelling.

The rule for numbers is the wire contract's own (area code and nine digits), so a table of its 67 area codes decides;
a numbering library would change its mind with each release of its data.
"""

import re

from email_validator import EmailNotValidError, validate_email

from aval.domain.text import clean

EMAIL_CHARACTERS_MAX = 254  # spec transfers.md §8
AREA_CODES = frozenset(
    "11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 51 53 54 55 "
    "61 62 63 64 65 66 67 68 69 71 73 74 75 77 79 81 82 83 84 85 86 87 88 89 91 92 93 94 95 96 97 98 99".split()
)
_MOBILE = re.compile(r"\+55([1-9]{2})9[0-9]{8}")
# Other scripts hold letters that look like these; Brazilian domains need none of them.
_LATIN_DOMAIN = re.compile("[0-9a-z.\xdf-\xf6\xf8-\xff-]+")


def normalized_phone(text: str) -> str | None:
    """Read a Brazilian mobile number in E.164, its one accepted spelling; None for everything else."""
    found = _MOBILE.fullmatch(text)
    return text if found and found[1] in AREA_CODES else None


def normalized_email(text: str) -> str | None:
    """Read one address without asking DNS: domain folded to lower case and A-labels, local part kept; else None."""
    if len(text) > EMAIL_CHARACTERS_MAX or clean(text) != text:
        return None
    try:
        found = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            test_environment=True,  # rehearsals use addresses under .test, which no mail server serves
        )
    except EmailNotValidError:
        return None
    address = f"{found.local_part}@{found.ascii_domain}"
    is_plain = len(address) <= EMAIL_CHARACTERS_MAX and _LATIN_DOMAIN.fullmatch(found.domain)
    return address if is_plain else None
