"""Where a token may travel: Brazilian mobile numbers and e-mail addresses, each in one spelling."""

import re

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from aval.domain.text import clean

EMAIL_CHARACTERS_MAX = 254  # spec transfers.md §8
_MOBILE = re.compile(r"\+55[0-9]{2}9[0-9]{8}")
# Other scripts hold letters that look like these; Brazilian domains need none of them.
_LATIN_DOMAIN = re.compile("[0-9a-z.\xdf-\xf6\xf8-\xff-]+")


def normalized_phone(text: str) -> str | None:
    """Read a Brazilian mobile number in E.164, its one accepted spelling; None for everything else."""
    if not _MOBILE.fullmatch(text):
        return None
    is_mobile = phonenumbers.number_type(phonenumbers.parse(text)) == phonenumbers.PhoneNumberType.MOBILE
    return text if is_mobile else None


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
