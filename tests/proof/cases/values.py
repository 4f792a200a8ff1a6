"""Bad and odd values of promises.md §4.1, §4.3–4.6 and §4.8, each as a caller would send it."""

# 4.1: what never is a token. The value as JSON text, so that numbers and escapes stay what they are.
NO_TOKENS = [
    *("329123", "3.2e5", "true", "[]", '["329123"]', "{}", '{"a":1}'),
    *('"32912"', '"3291234"', '"329-adf"', '"329 12"', '"      "', '" 32912"', '"329adf,"', '"329123\\u0000"'),
    *('"٣٢٩١٢٣"', '"３２９１２３"', '"32912²"', '"32912ſ"', '"ı29123"', '"32912\\u212a"', '"32912é"', '"3291\\u0301"'),
    *('"32912e\\u0301"', '"329\\u200d123"', '"329123\\u200d"', '"329\\u0000123"', '"\\u00a0329123"', '"329123\\u00a0"'),
    *('"\\u2003329123"', '"\\u202e329123"', '"329123\\ufeff"', '"%33%32%39123"', '"' + "3" * 5_000 + '"'),
]
NO_TOKEN_AT_ALL = ["{}", '{"token":null}', '{"token":""}', ""]
SPACES = ['" {}\\n"', '"\\t{}"', '"\\r\\n{} "', '"\\f\\u000b{}"']

# 4.3: the text of a JSON number or something in its place.
AMOUNTS = {"10": 1000, "10.0": 1000, "10.01": 1001, "0.01": 1, "0.1": 10, "1": 100, "999.99": 99_999, "10.10": 1010}
NO_AMOUNTS = [
    *('"10.01"', "0", "0.0", "0.00", "-0", "-5", "0.001", "10.010", "1e3", "1E1", "true", "[]", "{}", '"٠١"', '""'),
    *("12345678901", "10000000", "99999999.9", "10000000.00", "1234567.891", "1e400", "-1e400", "1" * 5_000),
    *("0." + "0" * 5_000 + "1", "null"),
]
NO_NUMBERS = ["+1", "1_000", "٠١", "01", ".5", "1.", "NaN", "Infinity", "-Infinity", "0x10", "1e", "--1"]  # not JSON

# 4.4
EQUAL_CPFS = [digit * 11 for digit in "0123456789"]
NO_CPFS = [
    *("52998224724", "5299822472", "529982247255", "529.982.247-25", "5299822472５", "5299822472²", "abcdefghijk", ""),
    *("11144477734", " 5299 8224725", "52998224725\n", "52998224725\u0000", "-2998224725"),
    *EQUAL_CPFS,
]
CPFS = ["52998224725", "11144477735", "00000000191"]
CNPJS = {
    "11222333000181": "11222333000181",
    "12ABC34501DE35": "12ABC34501DE35",
    "A1B2C3D4000193": "A1B2C3D4000193",
    "00AA11BB000139": "00AA11BB000139",
    "12abc34501de35": "12ABC34501DE35",
}
NO_CNPJS = [
    *("11222333000180", "00000000000000", "12ABC34501DE34", "12abc34501de05", "12ABC34501DE3A", "12ABC34501DEA5"),
    *("12ÁBC34501DE35", "12\u0410BC34501DE35", "12A\u0412C34501DE35", "12AB\u042134501DE35", "11.222.333/0001-81"),
    *("1122233300018", "112223330001811", "112223330001８1", *(digit * 14 for digit in "123456789")),
]
NO_PIX_KEYS = [
    *(
        "52998224724",
        "11222333000180",
        "00000000000000",
        "11111111111",
        "maria",
        "@",
        "a@",
        "@b.com",
        "maria@@example.com",
    ),
    *(
        "m" * 66 + "@example.com",
        "+0511987654321",
        "+",
        "+1",
        "+55119876543210987",
        "7e2a4c19-53b6-1f0d-8a7c-91d0e5b3f264",
    ),
    *(
        "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f26",
        "7e2a4c1953b64f0d8a7c91d0e5b3f264",
        "123",
        "1234567890123",
        "maria @example.com",
    ),
]
NO_PIX_KEY_TEXTS = ["m" * 101, "maria\u202e@example.com", "maria\u200b@example.com", "maria\n@example.com", "\u0000"]
NO_END_TO_END_IDS = [
    *("E12345678202602301430aB3dE5fG7h9", "E12345678202611232430aB3dE5fG7h9", "E12345678202611231460aB3dE5fG7h9"),
    *("E12345678000011231430aB3dE5fG7h9", "D12345678202611231430aB3dE5fG7h9", "E1234567X202611231430aB3dE5fG7h9"),
    *("E12345678202611231430aB3dE5fG7h", "E12345678202611231430aB3dE5fG7h99", "E12345678202611231430aB3dE5fG7h-"),
    *(
        "E12345678202611231430aB3dE5fG7hé",
        "e12345678202611231430aB3dE5fG7h9",
        "E1234567820261123143０aB3dE5fG7h9",
        "E",
        "x" * 400,
    ),
]
# Field of target_account, value, kinds it is refused for.
NO_TARGETS = [
    *(("ispb", text, "both") for text in ("1234567", "123456789", "1234567a", "１２３４５６７８", "")),
    *(("account_branch", text, "both") for text in ("", "00a1", "0001-9", "1234567", "٠١")),
    ("account_branch", "12345", "ted"),
    *(("account_number", text, "both") for text in ("", "123456789012345678901", "12-3", "12345X", "1２3")),
    *(("account_digit", text, "both") for text in ("", "12", "-", "é", "²")),
    *(("account_type", text, "both") for text in ("", "checking", "CHECKING_ACCOUNT", "poupança")),
    *(
        ("account_type", text, "pix_transfer")
        for text in ("deposit_account", "guaranteed_account", "investment_account")
    ),
    ("account_type", "salary_account", "ted"),
    *(("owner_name", "x" * length, "ted") for length in (51, 10_240)),
    *(("owner_name", "x" * length, "both") for length in (151, 10_240)),
]
NO_MESSAGES = ["x" * 141, "Nota 👍", "Nota 🇧🇷", "1️⃣", "a\u0000b", "a\nb", "a\u202eb", "a\u200bb", "a\u0007b", "©️"]
LEADING_ZEROS = {"ispb": "00000208", "account_branch": "0001", "account_number": "000123", "account_digit": "0"}

# 4.5
PHONES = ["+5511987654321"]
NO_PHONES = [
    *(
        "5511987654321",
        "+55 11 98765-4321",
        "+5511987654321;ext=1",
        "+5501198765432",
        "+55011987654321",
        "+551133334444",
    ),
    *(
        "+551187654321",
        "+5510987654321",
        "+5520987654321",
        "+5590987654321",
        "190",
        "+55190",
        "+5503001234567",
        "0800123456",
    ),
    *(
        "+5505001234567",
        "+5509001234567",
        "+881612345678",
        "+351912345678",
        "+1202555012",
        "+５５11987654321",
        "+551198765432１",
    ),
    *(
        "+5511987654321;phone-context=+1",
        "tel:+5511987654321",
        "+5511987654321\n",
        "++5511987654321",
        "",
        "+",
        "+55119876543210",
    ),
]
# 4.6
EMAILS = {"maria+nota@example.com": "maria+nota@example.com", "Maria@EXAMPLE.com": "Maria@example.com"}
NO_EMAILS = [
    *("maria@example.com\r\nBcc: x@example.com", "a@b@example.com", "maria(oi)@example.com", '"maria"@example.com'),
    *(
        "maria@[127.0.0.1]",
        "maria@127.0.0.1",
        "m" * 250 + "@example.com",
        "maria@example.com.",
        "maria@",
        "@example.com",
    ),
    *("maria@ex\u0430mple.com", "maria@example", "maria @example.com", "maria@exam ple.com", "maria\u0000@example.com"),
    *(
        "Maria <maria@example.com>",
        "maria@example.com,ana@example.com",
        "maria..x@example.com",
        ".maria@example.com",
        "",
    ),
]
NO_NAMES = [
    "Maria\u202eSouza",
    "Maria\u200bSouza",
    "Maria\u2066Souza",
    "Maria\nSouza",
    "\u0000",
    "Mar\u0007ia",
    "x" * 10_240,
    "",
]
ODD_NAMES = [
    *("https://x.example.com/p", "www.mau.com.br", "[code]", "[token]", "{{7*7}}", "{0}", "%s%n", "<b>Maria</b>"),
    *(
        "<script>alert(1)</script>",
        "Maria & Cia",
        "'; drop table operations; --",
        "../../etc/passwd",
        "=1+1",
        "Zoë Ünal",
    ),
]
_SMS = "[amount] p/ [payee_name], codigo [generation]: [token]"
NO_TEMPLATES = {
    "token_missing": ["[amount] p/ [payee_name], codigo [generation]", f"[token] {_SMS}", "Ola"],
    "token_not_last": [f"{_SMS} obrigado", f"{_SMS} [operation]", f"{_SMS}."],
    "unknown_variable": [
        f"[balance] {_SMS}",
        f"[Amount] {_SMS}",
        f"[amount ] {_SMS}",
        f"[] {_SMS}",
        f"[{'x' * 80}] {_SMS}",
    ],
    "not_gsm7": [f"Código é “1” {_SMS}", f"👍 {_SMS}", f"ação: {_SMS}"],
}
NO_TEMPLATE_BODIES = [
    *({"template_type": kind, "template": _SMS} for kind in ("push", "", "SMS", 1)),
    *({"template_type": "sms", "template": text} for text in ("x" * 161, "", 1, "a\u0000[token]", "a\u202e[token]")),
    {"template_type": "sms", "template": _SMS, "subject": "x" * 81},
    {"template_type": "email", "template": "PHA+W3Rva2VuXTwvcD4="},
    {"template_type": "email", "template": "not base64!", "subject": "x"},
    {"template_type": "email", "template": "/////w==", "subject": "x"},
]
DATES_WRONG = [
    "2026-02-30",
    "0000-01-01",
    "2026-13-01",
    "20260101",
    "2026-1-1",
    "01/02/2026",
    "2026-01-01T00:00:00Z",
    "x",
    "",
]
TIMES_WRONG = [
    *(
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:60Z",
        "2026-01-01T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ),
    *("2026-01-01", "2026-01-01T00:00:00+00:00", "1700000000", ""),
]
NO_KEYS = [
    *("{7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264}", "urn:uuid:7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"),
    *(
        "7e2a4c1953b64f0d8a7c91d0e5b3f264",
        "7e2a4c19-53b6-1f0d-8a7c-91d0e5b3f264",
        "7e2a4c19-53b6-4f0d-2a7c-91d0e5b3f264",
    ),
    *("%37e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264", "7e2a4c19%2d53b6-4f0d-8a7c-91d0e5b3f264", "%2e%2e", "..%2f..", "%00"),
    *("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264%00", "%2537e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264", "0", "null", "undefined"),
    *(
        "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f26g",
        "x" * 300,
        "00000000-0000-0000-0000-000000000000",
        "%F0%9F%98%80",
        "'or'1'='1",
    ),
]
# 4.8
NO_TARGET_URLS = [
    *(
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "//hooks.example.com/",
        "hooks.example.com",
        "https://",
        "",
    ),
    *("https://user:pw@hooks.example.com/", "https://user@hooks.example.com/", "https://hooks.example.com:80/"),
    *(
        "https://hooks.example.com:22/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://a b/",
    ),
    *("https://hooks.example.com/#part", "https://hooks.example.com/" + "x" * 2_048, "https://hooks.example.com./"),
    *(
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
    ),
    *(
        "https://①②⑦.0.0.1/",
        "https://127。0。0。1/",
        "https://[::ffff:10.0.0.1]/",
        "javascript:alert(1)",
        "https://hooks.example.com\\@x/",
    ),
    *("https://hooks.example.com/\r\nX-Own: 1", "https://hooks.example.com/\u0000", "HTTPS://", "file:///etc/passwd"),
]
TARGET_URLS = ["https://hooks.example.com/", "https://hooks.example.com:8443/a?b=c"]
