"""Five hundred addresses with a user name, a password, a token or a stream key in them that is hard to see as one."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

NUMBER = 500
BITS = [
    *"@/#?:%&=+;,!$'()*[]~|^`\\\"<>{}-._",
    "%40",
    "%2F",
    "%zz",
    "ü",
    "ключ",
    "密码",
    "🔑",
    "://",
    "@@",
    "?token=",
    "a@b:c",
]
HOSTS = [
    "cam",
    "cam.example:8554",
    "192.0.2.7",
    "[2001:db8::7]",
    "[::1]:554",
    "xn--bcher-kva.example",
    "bücher.example",
]


@dataclass(frozen=True)
class Nasty:
    """An address and the words of it that nobody may see."""

    url: str
    secrets: tuple[str, ...]

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.secrets if secret in text]


def nasty_urls(number: int = NUMBER, seed: int = 5) -> list[Nasty]:
    """The same ones every time."""
    return list(_made(number, random.Random(seed)))


def _made(number: int, random: random.Random) -> Iterator[Nasty]:
    for place in range(number):
        yield SHAPES[place % len(SHAPES)](place, random)


def _secret(word: str, place: int, random: random.Random) -> tuple[str, tuple[str, ...]]:
    """A secret with odd characters in its middle, and its two ends: neither may be seen, even where it is cut."""
    ends = (f"{word}{place}begin", f"end{word}{place}")
    middle = "".join(random.choice(BITS) for _ in range(random.randint(1, 4)))
    return ends[0] + middle + ends[1], ends


def _login(escaped: bool) -> Callable[[int, random.Random], Nasty]:
    def make(place: int, random: random.Random) -> Nasty:
        scheme = random.choice(["rtsp", "rtsps", "RTSP", "http", "https", "rtmp"])
        user, password = f"Usr{place}name", _secret("Pwd", place, random)
        written = quote(password[0], safe="") if escaped else password[0]
        host = random.choice(HOSTS)
        return Nasty(f"{scheme}://{user}:{written}@{host}/live", (user, *password[1]))

    return make


def _query(place: int, random: random.Random) -> Nasty:
    key = random.choice(
        ["token", "key", "api_key", "access_token", "pwd", "X-Amz-Signature", "auth", "hdnts", "p", "sid"]
    )
    ends = (f"Tok{place}begin", f"end{place}Tok")
    middle = "".join(random.choice([bit for bit in BITS if "&" not in bit]) for _ in range(2))
    if key == "hdnts":  # a name that says nothing: its value looks like a token
        ends, middle = (f"exp{place}0123456789abcdef",) * 2, "~"
    return Nasty(f"https://{random.choice(HOSTS)}/v.m3u8?size=2&{key}={ends[0]}{middle}{ends[1]}&x=1", ends)


def _stream_key(place: int, random: random.Random) -> Nasty:
    key, ends = _secret("Key", place, random)
    login = random.choice(["", f"Usr{place}name:Pwd{place}word@"])
    scheme = random.choice(["rtmp", "rtmps", "RTMP"])
    secrets = (*ends, *((f"Usr{place}name", f"Pwd{place}word") if login else ()))
    return Nasty(f"{scheme}://{login}{random.choice(HOSTS[:5])}/app/{key}", secrets)


def _login_and_query(place: int, random: random.Random) -> Nasty:
    user, password, token = f"Usr{place}name", f"Pwd{place}word", f"Tok{place}en"
    url = f"rtsp://{user}:{password}@{random.choice(HOSTS)}/live?user={user}&password={password}#token={token}"
    return Nasty(url, (user, password, token))


def _user_alone(place: int, random: random.Random) -> Nasty:
    token = f"Tok{place}en"
    return Nasty(f"https://{token}@{random.choice(HOSTS)}/live.m3u8", (token,))


def _path(place: int, random: random.Random) -> Nasty:
    """As some cameras have it: the login is a part of the path."""
    user, (password, ends), host = f"Usr{place}name", _secret("Pwd", place, random), random.choice(HOSTS)
    form = random.choice(
        ["user={}_password={}_channel=1_stream=0.sdp", "user={}&password={}&channel=1", "login={}/pwd={}"]
    )
    return Nasty(f"rtsp://{host}/{form.format(user, password)}", (user, *ends))


def _signed(place: int, random: random.Random) -> Nasty:
    """As content networks have it: fields of one token in the query."""
    sign = f"{random.getrandbits(160):040x}"
    return Nasty(f"https://{random.choice(HOSTS)}/v.m3u8?hdnts=exp={place}~acl=/*~hmac={sign}", (sign,))


SHAPES = [
    *(_login(False), _login(True), _login(False), _query, _stream_key, _login_and_query, _user_alone),
    *(_path, _signed),
]
