"""A server behind a proxy, and a check after each test that nothing is left behind."""

from collections.abc import Iterator

import pytest

from tests.faults.outage import assert_nothing_more_than, held
from tests.servers import FaultProxy, RtspServer


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    """One that every test of a module leaves as it was."""
    with RtspServer() as server:
        yield server


@pytest.fixture
def nothing_left(server: RtspServer) -> Iterator[None]:
    """No thread, file, socket or process may be left when the test is over."""
    before = held()
    yield
    assert_nothing_more_than(before)


@pytest.fixture
def proxy(server: RtspServer, nothing_left: None) -> Iterator[FaultProxy]:
    """Before `server`."""
    with FaultProxy(server.port, is_rtsp=True) as proxy:
        yield proxy
