"""The one boundary that passwords and tokens never cross: every text with an address in it goes through `redact`.

FFmpeg's own error texts hold the whole URL. People also write passwords with / @ # ? : in them without escaping, so
where an address can be read in two ways, more of it is hidden rather than less.
"""

import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
SECRET_KEY = (
    r"[\w.%~-]*(?:token|key|pass|pwd|auth|secret|sig|cred|session|jwt|ticket|code|sas|hmac|hash|nonce)[\w.%~-]*"
)
SECRET_VALUE = re.compile(rf"([?&;#]{SECRET_KEY}=)[^&\s]+", re.IGNORECASE)
URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)(\S+)", re.IGNORECASE)
BARE_LOGIN = re.compile(r"(?<![\w/\\.*])[\w.%+-]+:(?![\\/\s])\S*@")  # user:password@host without a scheme
HEADER = re.compile(r"\b((?:proxy-)?authorization\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
SHORTEST_SECRET = 4  # shorter ones would blank out ordinary words; addresses are hidden whatever their length


def redact(text: str, *addresses: str) -> str:
    """`text` without the logins and secret-looking query values of any URL in it.

    `addresses` are URLs that are known to matter here: they and their secrets are hidden even where spaces or missing
    parts would keep them from being recognised.
    """
    for address in addresses:
        text = text.replace(address, _redact_urls(_joined(address)))
        for secret in sorted(secrets_of(address), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    return _redact_urls(text)


def safe_name(url: str) -> str:
    """A short name for a source from its address: host, port and path, without login and query."""
    host_and_path = _redact_urls(_joined(url)).split("://", 1)[-1]
    return re.split(r"[?#]", host_and_path.rsplit("@", 1)[-1])[0].rstrip("/") or "source"


def secrets_of(url: str) -> set[str]:
    """Passwords and secret query values of a URL, as written and unescaped, if long enough to look for."""
    _, _, rest = url.partition("://")
    login, at, _ = rest.rpartition("@")
    found = {login.partition(":")[2]} if at else set()
    found |= {match.group(0).partition("=")[2] for match in SECRET_VALUE.finditer(rest)}
    found |= {_standard_password(url)}
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


def _standard_password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _joined(address: str) -> str:
    """The address as one word, so that a space in a password doesn't end it."""
    return re.sub(r"\s", "+", address)


def _redact_urls(text: str) -> str:
    text = URL.sub(_hide_login, text)
    text = BARE_LOGIN.sub(f"{HIDDEN}@", text)
    text = SECRET_VALUE.sub(rf"\1{HIDDEN}", text)
    return HEADER.sub(rf"\1{HIDDEN}", text)


def _hide_login(url: re.Match[str]) -> str:
    scheme, rest = url.groups()
    login, at, place = rest.rpartition("@")
    if not at:
        return url.group(0)
    if SECRET_VALUE.search(login):  # is it a password with ?token= in it, or a token with @ in it?
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{HIDDEN}@{place}"
