"""Where Aval is."""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from aval.client.errors import ArgumentNotValid

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """An origin: scheme, host and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, base_url: str, *, is_plain_http_allowed: bool) -> "Address":
        """Read a base URL; plain http only on this machine unless allowed, for the credential would be readable."""
        try:
            parts = urlsplit(base_url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            raise ArgumentNotValid("base_url", "no_url") from None
        is_bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
        if scheme not in _PORTS or not host or not is_bare:
            raise ArgumentNotValid("base_url", "not_scheme_host_port")
        if scheme == "http" and not (is_plain_http_allowed or _is_loopback(host)):
            raise ArgumentNotValid("base_url", "plain_http")
        return cls(scheme, host, port or _PORTS[scheme])

    @property
    def origin(self) -> str:
        """As a URL without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
