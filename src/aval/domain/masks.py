"""What is shown of a document, a destination or an account to those who know it anyway (spec transfers.md §2.3)."""

from typing import Literal, assert_never


def masked_document(document: str) -> str:
    """Mask a valid CPF as `***444777**`, a valid CNPJ as `***22333000***`."""
    return f"***{document[3:9]}**" if len(document) == 11 else f"***{document[3:11]}***"


def masked_phone(phone: str) -> str:
    """Mask an E.164 Brazilian number as `+55 11 *****-1234`."""
    return f"+55 {phone[3:5]} *****-{phone[-4:]}"


def masked_email(email: str) -> str:
    """Mask an address as `m***@example.com`: first letter and domain."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}***@{domain}"


def masked_destination(contact_type: Literal["sms", "email"], destination: str) -> str:
    """Mask the destination of a contact by its type."""
    match contact_type:
        case "sms":
            return masked_phone(destination)
        case "email":
            return masked_email(destination)
        case _:
            assert_never(contact_type)


def masked_account(account_number: str, account_digit: str) -> str:
    """Mask an account as `***567-8`: last three digits and check digit."""
    return f"***{account_number[-3:]}-{account_digit}"
