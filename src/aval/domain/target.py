"""Where Aval may connect when someone else names the server: webhooks, message gateways, rails.

Source: promises.md §4.8, transfers.md §7.2. `is_global` of the standard library is not the test: it changes between
Python versions and calls some of these ranges global.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARACTERS_MAX = 2_048
HOST_CHARACTERS_MAX = 253
PORTS = (443, 8443)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# An operator's allow-list may open these, and nothing else that is forbidden.
_PRIVATE = _networks("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_LOOPBACK = _networks("127.0.0.0/8", "::1/128")
# Where clouds hand out credentials or steer the machine: some lie in ranges that could be opened, one in public space.
_METADATA = _networks(
    "168.63.129.16/32", "169.254.0.0/16", "100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128"
)
_FORBIDDEN = _METADATA + _networks(
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2001:db8::/32", "2002::/16"),
    *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)

_VISIBLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space, control characters and backslash
_LABEL = re.compile(r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?")
# A last label of this shape makes the whole host an IPv4 address in some notation: 127.1, 0x7f.1, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def target_problem(url: str, *, is_local_allowed: bool) -> str | None:
    """Say what is wrong with the form of a target, as a keyword; None if nothing is.

    Local targets may also be http, on any port, and name a private or loopback address in its usual notation.
    """
    if len(url) > URL_CHARACTERS_MAX:
        return "too_long"
    if not _VISIBLE.fullmatch(url) or "#" in url:
        return "character"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "malformed"
    if parts.scheme != "https" and not (is_local_allowed and parts.scheme == "http"):
        return "scheme"
    if port is not None and not (port > 0 if is_local_allowed else port in PORTS):
        return "port"
    return None if _is_host_allowed(parts, is_local_allowed) else "host"


def is_address_allowed(
    address: Address,
    *,
    allow_list: Sequence[Network],
    is_local_allowed: bool,
    own_ranges: Sequence[Network] = (),
) -> bool:
    """Tell whether a resolved address may be connected to.

    The allow-list opens private ranges and `own_ranges`, never loopback, link-local or metadata. Local targets open
    private ranges and loopback.
    """
    plain = (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
    if _is_in(plain, _METADATA):
        return False
    if is_local_allowed and (_is_in(plain, _PRIVATE) or _is_in(plain, _LOOPBACK)):
        return True
    if _is_in(plain, _FORBIDDEN):
        return _is_in(plain, _PRIVATE) and _is_in(plain, allow_list)
    return not _is_in(plain, own_ranges) or _is_in(plain, allow_list)


def _is_host_allowed(parts: SplitResult, is_local_allowed: bool) -> bool:
    if "@" in parts.netloc:
        return False
    host = parts.hostname or ""
    if "[" not in parts.netloc and _is_name(host):
        return True
    literal = _literal(host) if is_local_allowed else None
    return literal is not None and (_is_in(literal, _PRIVATE) or _is_in(literal, _LOOPBACK))


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return (
        len(host) <= HOST_CHARACTERS_MAX
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


def _literal(host: str) -> Address | None:
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
