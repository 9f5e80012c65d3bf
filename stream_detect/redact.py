"""The one boundary that passwords and tokens never cross: every text with an address in it goes through `redact`.

FFmpeg's own error texts hold the whole URL. People also write passwords with / @ # ? : in them without escaping, so
where an address can be read in two ways, more of it is hidden rather than less.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
SECRET_KEY = (
    r"(?:[\w.%~-]*(?:token|key|pass|pwd|pswd|auth|secret|sig|cred|session|jwt|ticket|code|sas|hmac|hash|nonce|bearer"
    r"|user|usr|login|account|access|otp)[\w.%~-]*|[up]|pw|uid|sid)"
)
AFTER = r"(?=['\"):;,.\]]*(?:[&\s]|$))"  # what a sentence puts after a word
SECRET_VALUE = re.compile(rf"([?&;#~]{SECRET_KEY}=)[^&\s]+?{AFTER}", re.IGNORECASE)
PATH_LOGIN = re.compile(
    rf"(?<=/)({SECRET_KEY}=)\S+", re.IGNORECASE
)  # rtsp://host/user=admin_password=... of some cameras
TOKEN_VALUE = re.compile(r"([?&;#][^=&\s?#]+=)(?=[^&\s]*\d)(?=[^&\s]*[a-zA-Z])[\w%+/=~.-]{20,}(?=$|[^\w%+/=~.-])")
URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)(\S+)", re.IGNORECASE)
STREAM_KEY = re.compile(r"(\brtmp[a-z]*://[^/\s]+/[^/\s]+)/(\S*?)(['\"):;,.\]]*)(?=\s|$)", re.IGNORECASE)
BARE_LOGIN = re.compile(r"(?<![\w/\\.*])[\w.%+-]+:(?![\\/\s])\S*@")  # user:password@host without a scheme
HEADER = re.compile(r"\b((?:proxy-)?authorization\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
SHORTEST_SECRET = 4  # shorter ones would blank out ordinary words; addresses are hidden whatever their length

_hidden: set[str] = set()  # secrets that came from elsewhere, in every way of writing them


def redact(text: str, *addresses: str) -> str:
    """`text` without the logins, the stream keys and the secret-looking query values of any URL in it.

    `addresses` are URLs that are known to matter here: they and their secrets are hidden even where spaces or missing
    parts would keep them from being recognised.
    """
    for address in addresses:
        text = text.replace(address, _redact_urls(_joined(address)))
        text = _without(text, secrets_of(address))
        text = _without_words(text, users_of(address))
    return _redact_urls(_without(text, _hidden.copy()))


def hide(secret: str) -> None:
    """Hide a secret in every text from now on, wherever it stands; one that is a URL with all that is secret in it."""
    secrets = _written(secret) | (secrets_of(secret) if "://" in secret else set())
    _hidden.update(one for one in secrets if len(one) >= SHORTEST_SECRET)


def safe_name(url: str) -> str:
    """A short name for a source from its address: host, port and path, without login, stream key and query."""
    host_and_path = _redact_urls(_joined(url)).split("://", 1)[-1].removesuffix(f"/{HIDDEN}")
    return re.split(r"[?#]", host_and_path.rsplit("@", 1)[-1])[0].rstrip("/") or "source"


def secrets_of(url: str) -> set[str]:
    """Passwords, stream keys and secret query values of a URL, however they are written, if long enough to look for."""
    _, _, rest = url.partition("://")
    login, at, _ = rest.rpartition("@")
    found = {login.partition(":")[2]} if at else set()
    found |= {match.group(0).partition("=")[2] for match in SECRET_VALUE.finditer(rest)}
    found |= {match.group(0).partition("=")[2] for match in PATH_LOGIN.finditer(rest)}
    found |= {match[2] for match in STREAM_KEY.finditer(_joined(url))}
    found |= {_standard_password(url)}
    written = {way for secret in found for way in _written(secret)}
    return {secret for secret in written if len(secret) >= SHORTEST_SECRET}


def users_of(url: str) -> set[str]:
    """The user name of a URL, as written and unescaped, if long enough to look for."""
    _, _, rest = url.partition("://")
    login, at, _ = rest.rpartition("@")
    user = login.partition(":")[0] if at else ""
    return {name for name in (user, unquote(user)) if len(name) >= SHORTEST_SECRET and not re.search(r"[/?#\s]", name)}


def _written(secret: str) -> set[str]:
    return {secret, unquote(secret), quote(secret, safe=""), quote(secret), quote(unquote(secret), safe="")}


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _without_words(text: str, words: Iterable[str]) -> str:
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", HIDDEN, text)
    return text


def _standard_password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _joined(address: str) -> str:
    """The address as one word, so that a space in a password doesn't end it."""
    return re.sub(r"\s", "+", address)


def _redact_urls(text: str) -> str:
    text = URL.sub(lambda url: PATH_LOGIN.sub(rf"\1{HIDDEN}", _hide_login(url)), text)
    text = STREAM_KEY.sub(rf"\1/{HIDDEN}\3", text)
    text = BARE_LOGIN.sub(f"{HIDDEN}@", text)
    text = SECRET_VALUE.sub(rf"\1{HIDDEN}", text)
    text = TOKEN_VALUE.sub(rf"\1{HIDDEN}", text)
    return HEADER.sub(rf"\1{HIDDEN}", text)


def _hide_login(url: re.Match[str]) -> str:
    scheme, rest = url.groups()
    login, at, place = rest.rpartition("@")
    if not at:
        return url.group(0)
    if scheme.lower().startswith("rtmp") and "/" in unquote(login):  # is the @ a login's or a stream key's?
        return f"{scheme}{HIDDEN}"
    if SECRET_VALUE.search(login) or PATH_LOGIN.search(
        login
    ):  # is it a password with ?token= in it, or a token with @ in it?
        return f"{scheme}{HIDDEN}"
    return f"{scheme}{HIDDEN}@{place}"
