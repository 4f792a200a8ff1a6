import pytest

from aval.domain.template_html import has_active_content, text_alternative

HARMLESS = [
    "texto & mais > nada",
    "<p>Olá</p><br/><hr>",
    '<!DOCTYPE html><html lang="pt"><head><meta charset="utf-8"><title>x</title></head><body><p>x</p></body></html>',
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd"><p>x</p>',
    '<meta http-equiv="Content-Type" content="text/html; charset=utf-8">',
    "<table width=100% cellpadding='0'><tr><td align=center style=\"color:#333\">x</td></tr></table>",
    "<style>p { color: red }</style><p class=a>x</p>",
    "<a>sem destino</a>",
]
ACTIVE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//x>",
    "<script",
    "<p <script>>",
    "<sc<b>ript>alert(1)</script>",
    '<link rel="stylesheet" href="x.css">',
    "<p onclick=x>",
    "<p/onclick=x>",
    '<p class="a"onclick=x>',
    "<p\nONMOUSEOVER = 'x'>",
    "<form><p>x</p></form>",
    "<input>",
    "<button>x</button>",
    "<img src=x>",
    "<img>",
    "<a href='https://example.com'>x</a>",
    "<iframe></iframe>",
    "<svg></svg>",
    "<base>",
    '<meta http-equiv="refresh" content="0;url=x">',
    "<td background=x>",
    "<p style=\"background:url('x')\">",
    "<p style='background:u&#114;l(x)'>",
    "<p style='background:\\75rl(x)'>",
    "<style>@import 'x';</style>",
    "<style>p { background: url(x) }</style>",
    "<style>p { color: red }",
    "<style><p></style>",
    "<title>x",
    "<title><p>x</p></title>",
    "<style>.[payee_name] {}</style>",
    "<p title=[payee_name]>",
    '<p title="[payee_name]">',
    "<!-- x -->",
    "<!--[if mso]>x<![endif]-->",
    "<![CDATA[x]]>",
    "<?xml version='1.0'?>",
    "a < b",
    "</p class=a>",
    "\u202e",
    "&#x202e;",
    "\x00",
]


@pytest.mark.parametrize("body", HARMLESS)
def test_plain_markup_is_harmless(body: str) -> None:
    assert not has_active_content(body)


@pytest.mark.parametrize("body", ACTIVE)
def test_what_runs_loads_posts_or_cannot_be_read_is_active(body: str) -> None:
    assert has_active_content(body)


@pytest.mark.parametrize("piece", ["<style>", "<title>", "<a a", "<p a=", " ", "<", "[", "&#", "<p a='", "\n"])
def test_the_longest_template_is_judged_in_linear_steps(piece: str) -> None:
    body = piece * (65_536 // len(piece))  # a quadratic pattern would hold this test for minutes
    assert has_active_content(body) == ("<" in body)
    assert len(text_alternative(body)) <= len(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>[amount]</p>\n<p>fim: [token]</p>", "[amount]\n\nfim: [token]"),
        ("<p>a\n  b<br>c</p><p><b>d</b>e</p>", "a b\nc\n\nde"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        (
            "<!DOCTYPE html><head><title>t</title><style>p {}</style></head><body>x &amp; y&nbsp;&lt;z</body>",
            "x & y <z",
        ),
        ("&#91;token&#93; [token]", "token [token]"),
    ],
)
def test_the_text_alternative_reads_like_the_page(body: str, text: str) -> None:
    assert text_alternative(body) == text
