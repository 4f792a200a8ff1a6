"""The form of a target and the addresses it may lead to."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from aval.domain.target import Network, is_address_allowed, target_problem

ALLOWED_EVERYWHERE = [
    "https://example.com",
    "https://example.com/",
    "https://EXAMPLE.com:443/hook",
    "https://example.com:8443/hook?a=b&c=d@e",
    "https://example.com:/hook",
    "https://a.b-c.example.com/hook%20x",
    "https://gateway/hook",
    "https://1234.example.com/",
    "https://xn--exmple-cua.com/",
    "https://example.com/" + "a" * 2_028,
]

REFUSED_EVERYWHERE = {
    "too_long": ["https://example.com/" + "a" * 2_029],
    "character": [
        *("https://example.com/#part", "https://example.com/#", "https://exam ple.com/", "https://example.com/\n"),
        *("https://example.com\t/", "\x00https://example.com/", "https://example.com\\@other.com/", "https://a\\b/"),
        *("https://①②⑦.⓪.⓪.①/", "https://ⓔxample.com/", "https://127。0。0。1/", "https://example。com/"),
        *("https://exämple.com/", "https://example.com/ä", "https://１２７.0.0.1/", "https://example\u200b.com/"),
    ],
    "malformed": [
        *("https://[::1/", "https://example.com:port/", "https://example.com:99999/"),
        *("https://example.com:-1/", "https://example.com:+443/", "https://example.com:4_43/"),
    ],
    "scheme": [
        *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "example.com"),
        *("//example.com/", "ws://example.com/", "unix:///run/x", "data:,x", "HTTP+UNIX://x/"),
    ],
    "host": [
        *("https://", "https:///path", "https:example.com", "https://:443/", "https://?x", "https://@/"),
        *("https://user@example.com/", "https://user:key@example.com/", "https://@example.com/", "https://a%40b.com/"),
        *("https://example.com./", "https://example..com/", "https://.example.com/", "https://-a.com/"),
        *("https://a-.com/", "https://a_b.com/", "https://%65xample.com/", "https://example.com%00.org/", "https://*/"),
        *("https://" + "a" * 64 + ".com/", "https://" + "a." * 126 + "abc/", "https://93.184.216.34/"),
        *("https://2130706433/", "https://0177.0.0.1/", "https://0x7f.1/", "https://127.1/", "https://0x7f000001/"),
        *("https://017700000001/", "https://127.0.1/", "https://127.0.0.1./", "https://example.0x1/", "https://0x/"),
        *("https://1.2.3.4.5/", "https://00000127.0.0.1/", "https://256.1.1.1/", "https://169.254.169.254/"),
        *("https://[2606:4700::1111]/", "https://[fe80::1]/", "https://[::ffff:169.254.169.254]/", "https://[::]/"),
    ],
}

ONLY_LOCAL = {
    "scheme": ["http://localhost/", "http://localhost:9000/hook", "http://127.0.0.1:9000/", "http://example.com/"],
    "port": ["https://example.com:444/", "https://example.com:80/", "https://localhost:9443/"],
    "host": [
        "https://127.0.0.1/",
        "https://10.1.2.3:8443/",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://172.16.0.1",
    ],
}

FORBIDDEN = """
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 169.254.0.1
169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255
224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 168.63.129.16 100.100.100.200
:: ::1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b:: 64:ff9b::8.8.8.8 64:ff9b:1::1
64:ff9b:1:ffff::1 2001:: 2001:0:ffff::1 2001:db8:: 2001:db8:ffff::1 2002:: 2002:7f00:1:: fc00:: fd00:ec2::254
fdff:ffff::1 fe80::1 fe80::1%1 febf::1 fec0::1 feff::1 ff00:: ff02::1
""".split()

PUBLIC = """
1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
::ffff:1.1.1.1 2001:1::1 2001:4860:4860::8888 2003::1 2606:4700::1111 2a00:1450::1
""".split()

PRIVATE = ["10.1.2.3", "100.64.0.1", "172.20.0.1", "192.168.1.1", "fd12::1", "::ffff:10.1.2.3"]
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
NEVER = [
    *("169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::1", "fec0::1"),
    *(
        "0.0.0.0",
        "::",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::",
    ),
]
EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


def _is_allowed(
    text: str, *, allow_list: Sequence[Network] = (), is_local_allowed: bool = False, own: Sequence[Network] = ()
) -> bool:
    return is_address_allowed(
        ip_address(text), allow_list=allow_list, is_local_allowed=is_local_allowed, own_ranges=own
    )


@pytest.mark.parametrize("is_local_allowed", [False, True])
@pytest.mark.parametrize("url", ALLOWED_EVERYWHERE)
def test_a_well_formed_target_has_no_problem(url: str, is_local_allowed: bool) -> None:
    assert target_problem(url, is_local_allowed=is_local_allowed) is None


@pytest.mark.parametrize("is_local_allowed", [False, True])
@pytest.mark.parametrize(("problem", "url"), [(k, url) for k, urls in REFUSED_EVERYWHERE.items() for url in urls])
def test_a_bad_form_is_refused_with_its_keyword(problem: str, url: str, is_local_allowed: bool) -> None:
    assert target_problem(url, is_local_allowed=is_local_allowed) == problem


@pytest.mark.parametrize(("problem", "url"), [(k, url) for k, urls in ONLY_LOCAL.items() for url in urls])
def test_local_targets_open_http_ports_and_near_literals(problem: str, url: str) -> None:
    assert target_problem(url, is_local_allowed=False) == problem
    assert target_problem(url, is_local_allowed=True) is None


@pytest.mark.parametrize("is_local_allowed", [False, True])
def test_port_zero_and_an_empty_target_are_refused(is_local_allowed: bool) -> None:
    assert target_problem("https://example.com:0/", is_local_allowed=is_local_allowed) == "port"
    assert target_problem("", is_local_allowed=is_local_allowed) == "character"


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_forbidden_address_is_refused(address: str) -> None:
    assert not _is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_next_to_a_forbidden_range_is_allowed(address: str) -> None:
    assert _is_allowed(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_allow_list_opens_the_private_ranges_it_names(address: str) -> None:
    assert not _is_allowed(address, allow_list=[ip_network("203.0.113.0/24")])
    assert _is_allowed(address, allow_list=EVERYTHING)


@pytest.mark.parametrize("address", LOOPBACK + NEVER)
def test_an_allow_list_never_opens_loopback_link_local_or_metadata(address: str) -> None:
    assert not _is_allowed(address, allow_list=EVERYTHING)


@pytest.mark.parametrize("address", PRIVATE + LOOPBACK)
def test_local_targets_open_private_ranges_and_loopback(address: str) -> None:
    assert _is_allowed(address, is_local_allowed=True)


@pytest.mark.parametrize("address", NEVER)
def test_local_targets_open_nothing_else(address: str) -> None:
    assert not _is_allowed(address, is_local_allowed=True, allow_list=EVERYTHING)


def test_a_public_address_of_our_own_needs_the_allow_list() -> None:
    own = [ip_network("203.0.113.7/32")]
    assert not _is_allowed("203.0.113.7", own=own)
    assert _is_allowed("203.0.113.8", own=own)
    assert _is_allowed("203.0.113.7", own=own, allow_list=own)
