"""What went wrong is said in words that help and counted under a short one."""

import errno
from http.server import BaseHTTPRequestHandler

import pytest

from stream_detect.errors import SourceDenied, SourceError, SourceNotFound
from stream_detect.sources import SourceOptions, open_source
from stream_detect.sources.faults import explain
from tests.servers import free_port
from tests.servers.http import serve
from tests.sources.following import Following


@pytest.mark.parametrize(
    ("code", "kind", "fault"),
    [
        (401, SourceDenied, "denied"),
        (403, SourceDenied, "denied"),
        (404, SourceNotFound, "not_found"),
        (429, SourceDenied, "busy"),
        (503, SourceError, "broken"),
    ],
)
def test_what_a_server_answers(code: int, kind: type[SourceError], fault: str):
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(code)

        def log_message(self, format: str, *args: object) -> None:
            return

    with serve(Refuses) as address, Following(f"{address}/a?token=s3cret", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert isinstance(feed.error, kind)
        assert feed.error.fault == fault
        assert feed.reader.counts.reconnects == {fault: 1}
        assert "s3cret" not in f"{feed.said}{feed.error}"


def test_where_nobody_listens():
    with Following(f"rtsp://127.0.0.1:{free_port()}/a", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert feed.reader.counts.reconnects == {"refused": 1}


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EIO])
def test_a_host_to_which_there_is_no_way(number: int):
    fault = explain(OSError(number, "no way"), open_source("rtsp://127.0.0.1/a"), is_open=False)
    assert fault.fault == "unreachable"
    assert SourceError.fault == "broken"  # that of the class stays as it is
