"""Secrets: where they may come from, and that five hundred nasty addresses show theirs on no surface."""

import io
import json
import logging
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from urllib.parse import unquote, urlsplit

import av
import pytest

from stream_detect import logs
from stream_detect.alerts import JsonlSink
from stream_detect.alerts.console import PlainConsole
from stream_detect.alerts.log import LogSink
from stream_detect.config import Config, Feed, name_of
from stream_detect.errors import ConfigError, SourceError
from stream_detect.feeds_file import FeedsInEffect
from stream_detect.mailbox import Mailbox
from stream_detect.metrics import Metrics
from stream_detect.redact import redact
from stream_detect.secrets import filled, has_placeholder
from stream_detect.sources import Reader, SourceOptions, open_source
from stream_detect.sources.faults import explain
from stream_detect.stats import FeedStats
from stream_detect.types import Status
from stream_detect.web import serving
from tests.nasty import NUMBER, nasty_urls
from tests.web.asking import ask
from tests.web.conftest import FeedsInMemory

NASTY = nasty_urls()
FFMPEG = (  # what FFmpeg and PyAV say of an address
    "[Errno 5] Input/output error: '{}'",
    "[Errno 1414092869] Immediate exit requested: '{}' returned 0x55",
    "{}: Protocol not found\nDid you mean file:{}?",
    "[rtsp @ 0x7f00] method DESCRIBE failed: 401 Unauthorized for {}, giving up",
    "Failed to resolve hostname in ({}): Name or service not known",
)


@pytest.fixture(autouse=True)
def nothing_hidden_before(monkeypatch):
    monkeypatch.setattr("stream_detect.redact._hidden", set())


@pytest.fixture
def password(monkeypatch):
    def give(value):
        monkeypatch.setenv("CAMERA_PASSWORD", value)

    return give


@pytest.mark.parametrize(
    "value", ["plain", "p@ss/w0rd?#:%", "50%", "%41lready", "gr\u00fcn \u5bc6\u7801", "a:b@c", "[::1]"]
)
def test_a_password_from_the_environment_reaches_the_server_as_it_is(password, value):
    password(value)
    source = open_source("rtsp://guard:${CAMERA_PASSWORD}@cam:554/live")
    assert unquote(urlsplit(source.url).password) == value
    assert (urlsplit(source.url).hostname, source.name, source.address) == (
        "cam",
        "cam:554/live",
        "rtsp://***@cam:554/live",
    )
    assert value not in repr(source)


def test_a_placeholder_may_stand_anywhere_in_an_address(password, tmp_path):
    password("a/b c")
    secret = tmp_path / "a secret.txt"
    secret.write_text("10.0.0.7:8554\n")
    assert filled("http://cam/v?x=1&t=${CAMERA_PASSWORD}&y=2") == "http://cam/v?x=1&t=a%2Fb%20c&y=2"
    assert filled("http://cam/${CAMERA_PASSWORD}/v") == "http://cam/a/b%20c/v"
    assert filled(f"rtsp://u:p@${{file:{secret}}}/v") == "rtsp://u:p@10.0.0.7:8554/v"
    assert filled(f"${{file:{secret}}}") == "10.0.0.7:8554"
    assert filled("a$b{c}${1}") == "a$b{c}${1}"
    assert not has_placeholder("${}")


def test_a_whole_address_may_come_from_elsewhere_and_stays_hidden(monkeypatch):
    monkeypatch.setenv("CAMERA", "rtsp://guard:hunter22@cam/live")
    source = open_source("${CAMERA}")
    assert (source.url, source.kind) == ("rtsp://guard:hunter22@cam/live", "network")
    assert (source.name, source.address) == ("${CAMERA}", "${CAMERA}")
    assert redact("hunter22 at rtsp://guard:hunter22@cam/live") == "*** at ***"


def test_a_secret_that_was_filled_in_is_hidden_in_every_text(password):
    password("S3cr3t/K\u00e9y")
    open_source("rtmp://live.example/${CAMERA_PASSWORD}/x")
    assert redact("sent S3cr3t/K\u00e9y, S3cr3t%2FK%C3%A9y and S3cr3t/K%C3%A9y") == "sent ***, *** and ***"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "one line"),
        (b"a\nb", "one line"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 5000, "at most 4096"),
        (None, "can't be read"),
    ],
)
def test_a_file_without_a_secret_that_fits_fails(tmp_path, content, words):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        open_source(f"rtsp://u:${{file:{path}}}@cam/live")


def test_a_missing_variable_fails_and_names_a_way_on(monkeypatch):
    monkeypatch.delenv("CAMERA_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="set CAMERA_PASSWORD"):
        open_source("rtsp://u:${CAMERA_PASSWORD}@cam/live")


def test_a_value_with_a_placeholder_in_it_is_not_filled_again(password):
    password("${CAMERA_PASSWORD}")
    assert filled("${CAMERA_PASSWORD}") == "${CAMERA_PASSWORD}"


def texts_redacted(url):
    for text in FFMPEG:
        yield redact(text.replace("{}", url))
        yield redact(text.replace("{}", url), url)


def a_source(url):
    try:
        source = open_source(url)
    except SourceError as error:
        yield str(error)
        return
    yield f"{source!r} {source.name} {source.address}"
    for number, text in enumerate(FFMPEG, start=1):
        shown = text.replace("{}", source.url)
        yield str(explain(av.error.UndefinedError(number, shown, source.url), source))
        yield str(explain(av.error.HTTPUnauthorizedError(number, shown, source.url), source, is_open=False))


def a_feed(url):
    yield name_of(Feed(url))
    for make in (
        lambda: Feed("webcam", name=url),
        lambda: Feed("webcam", transport=url),
        lambda: Feed("webcam", decision={url: 1}),
    ):
        with pytest.raises(ConfigError) as refused:
            make()
        yield str(refused.value)


class Refusing:
    """Opens nothing, and says so in FFmpeg's words."""

    pid = None

    def open(self, source, **more):
        raise explain(av.error.UndefinedError(1, FFMPEG[2].replace("{}", source.url), source.url), source)

    def abort(self, *, for_good=False):
        pass

    close = abort


@cache
def all_statuses():
    """What readers of all the addresses say, side by side."""
    said = {nasty.url: [] for nasty in NASTY}
    readers = []
    for url, statuses in said.items():
        try:
            source = open_source(url, options=SourceOptions(retries=0, isolation="thread"))
        except SourceError as error:
            statuses.append(Status(name_of(Feed(url)), "failed", str(error), 0))
        else:
            readers.append(Reader(source, Mailbox(1), statuses.append, opener=Refusing()).start())
    assert all(reader.join(20.0) for reader in readers)
    assert all(statuses[-1].state == "failed" for statuses in said.values())
    return said


def statuses_of(url):
    return all_statuses()[url]


def lines_of_a_run(url):
    for status in statuses_of(url):
        yield json.dumps(status.to_json(), ensure_ascii=False)
        yield json.dumps(status.to_json())


def sinks_of_a_run(url):
    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream):
        sinks = [PlainConsole(stream), JsonlSink("-")]
        for is_json in (False, True):
            with logs.configure("debug", is_json=is_json):
                for sink in [*sinks, LogSink()]:
                    for status in statuses_of(url):
                        sink.take(status)
                logging.getLogger("stream_detect.of_a_test").error("lost %s", url, extra={"feed": {"url": url}})
        for sink in sinks:
            sink.close()
    yield stream.getvalue()


def metrics_of_a_run(url):
    metrics = Metrics()
    metrics.follow(lambda: [figures_of(url)])
    for status in statuses_of(url):
        metrics.take(status)
    yield metrics.text()[0].decode()


def figures_of(url):
    return FeedStats(
        name_of(Feed(url)), redact(url, url), "network", True, "failed", redact(f"no {url}", url), 1.0, 0, 0
    )


def reloading(url):
    class Run:
        def add(self, feed):
            raise SourceError(f"{feed.url}: can't be opened")

    yield " ".join(FeedsInEffect(Run()).apply(Config((Feed(url),))))


SURFACES = [texts_redacted, a_source, a_feed, lines_of_a_run, sinks_of_a_run, metrics_of_a_run, reloading]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
def test_no_secret_of_a_nasty_address_shows(surface):
    leaks = [(nasty.url, text) for nasty in NASTY for text in surface(nasty.url) if nasty.found_in(text)]
    assert leaks == [], f"{len(leaks)} of {NUMBER}"


def test_no_secret_of_a_nasty_address_is_answered_over_http():
    figures = [figures_of(nasty.url) for nasty in NASTY]
    file = FeedsInMemory()
    with serving(0, lambda: figures, metrics=Metrics(), feeds_file=file) as server:
        told = ask(server.port, "/feeds").text
        leaks = [(nasty.url, "") for nasty in NASTY if nasty.found_in(told)]
        for number, nasty in enumerate(NASTY):
            name = f"feed {number}"
            answers = [
                ask(server.port, "/feeds", "POST", {"name": name, "url": nasty.url}),
                ask(server.port, "/feeds", "POST", {"name": name, "url": nasty.url, "odd": nasty.url}),
                ask(server.port, f"/feeds/{name.replace(' ', '%20')}", "DELETE"),
            ]
            leaks += [(nasty.url, answer.text) for answer in answers if nasty.found_in(answer.text)]
        assert leaks == []


def test_the_nasty_addresses_are_what_they_are_called():
    assert len({nasty.url for nasty in NASTY}) == NUMBER == 500
    assert all(nasty.found_in(nasty.url) for nasty in NASTY)
