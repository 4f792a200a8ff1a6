"""What a check of evidence says to a person: what happened, what holds, what does not, and what no file can show."""

from collections.abc import Iterator, Mapping
from typing import Any

from aval.domain.evidence_check import Check, EvidenceReport

HOLDS = {
    Check.FORM: "It is a file of evidence.",
    Check.SEAL: "The seal is whole: nothing in the file was changed since {sealed_at}.",
    Check.KEY: "The seal is the deployment's: its key is one of those you gave.",
    Check.DETAILS: "What was shown has the digest of what was requested.",
    Check.ITEMS: "Items, their number and their total are those of the digest that was shown.",
    Check.TIMES: "Requested, judged, approved and sealed came in this order, within the approval window.",
    Check.AUDIT: "The audit row of the approval tells the same moment, factor and digest.",
    Check.INTACT: "When it was sealed, the rows still had the keyed digest that the approval was written with.",
    Check.TOKEN: "The last comparison was right, with the live token, in its lifetime, within the attempts.",
    Check.SIGNATURE: "The device's key signed exactly these details to approve them.",
}
FAILS = {
    Check.FORM: "It is not of the form of evidence.",
    Check.SEAL: "The seal is broken: the file was changed after it was sealed, or never sealed.",
    Check.KEY: "The seal is a stranger's: its key is none of those you gave.",
    Check.DETAILS: "What is told as shown is not what was requested.",
    Check.ITEMS: "Items, their number or their total are not those of the digest that was shown.",
    Check.TIMES: "The times contradict each other.",
    Check.AUDIT: "The audit rows do not tell of this approval.",
    Check.INTACT: "Between approval and seal, rows were changed: they had lost the keyed digest of the approval.",
    Check.TOKEN: "The comparisons do not tell of a right token in time.",
    Check.SIGNATURE: "A device's signature is not over these details, or not by its key.",
}
NOT_SHOWN = {
    "token": "that the person who typed the token is the approver: only that somebody read it at {destination}",
    "device": "that the person who unlocked the device is the approver: only that its key signed",
    "clock": "the time by a clock other than the deployment's database",
    "money": "what the rail did afterwards",
    "key": "whose seal it is: compare the fingerprint, or give the deployment's public keys with --keys",
}
WIDTH = 14


def told_report(report: EvidenceReport) -> Iterator[str]:
    """The lines to print."""
    if report.fails:
        yield "NOT GENUINE. Nothing this file says is to be relied on."
    elif report.is_key_known:
        yield "Genuine."
    else:
        yield "Whole, as far as the file alone can show."
    yield ""
    if report.is_genuine:
        yield from (f"  {name:{WIDTH}}{_printable(text)}" for name, text in _facts(report.record).items() if text)
        yield ""
    sealed_at = _printable(report.seal.get("sealed_at"))
    yield from (f"  ok    {HOLDS[check].format(sealed_at=sealed_at)}" for check in report.holds)
    yield from (f"  FAIL  {FAILS[check]}" for check in report.fails)
    yield ""
    kid, fingerprint = (_printable(report.seal.get(name)) for name in ("kid", "fingerprint"))
    yield f"Sealed with key {kid}, fingerprint {fingerprint}."
    yield "A file cannot show:"
    yield from (f"  –     {sentence}" for sentence in _not_shown(report))


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    details, operation, factor = record["shown"]["details"], record["operation"], record["factor"]
    items = record["shown"]["items"]
    return {
        "operation": f"{operation['operation']} {operation['operation_key']}",
        "account": operation["account_key"],
        "amount": details.get("amount") and f"BRL {details['amount']}, fee {details.get('fee_amount')}",
        "payee": details.get("payee_name") and f"{details['payee_name']} {details.get('payee_document_masked') or ''}",
        "target": details.get("target"),
        "items": items and f"{len(items)}",
        "device": details.get("device_name"),
        "requested": operation["requested_at"],
        "approved": record["approved_at"],
        "approver": record["context"].get("approver_document_masked"),
        "factor": _factor(factor, record["signatures"]),
    }


def _factor(factor: Mapping[str, Any], signatures: list[Mapping[str, Any]]) -> str:
    if factor["method"] == "device":
        device = signatures[-1]["device"]
        return f"{device.get('type')} key of device {factor['device_key']} ({device.get('device_name')})"
    return f"token {factor['generation']} by {factor['method']} to {factor.get('masked_destination')}"


def _not_shown(report: EvidenceReport) -> Iterator[str]:
    factor = report.record.get("factor")
    method = factor.get("method") if isinstance(factor, dict) else None
    if method == "device":
        yield NOT_SHOWN["device"]
    elif isinstance(factor, dict):
        yield NOT_SHOWN["token"].format(destination=_printable(factor.get("masked_destination")))
    yield NOT_SHOWN["clock"]
    yield NOT_SHOWN["money"]
    if report.is_key_known is None:
        yield NOT_SHOWN["key"]


def _printable(value: Any) -> str:
    """Text of a stranger's file, without what would move the cursor or colour the screen."""
    return "".join(symbol if symbol.isprintable() else "?" for symbol in str(value))
