"""Real servers for tests, each a context manager on a free loopback port: RTSP, HTTP (HLS, MJPEG), RTMP, a display;
and a proxy that suffers faults."""

from tests.servers.display import virtual_display
from tests.servers.http import mjpeg_server, serve_folder
from tests.servers.ports import free_port
from tests.servers.proxy import FAULTS, FaultProxy
from tests.servers.publisher import Publisher
from tests.servers.rtsp import RtspServer
from tests.servers.strange import greedy_server, mute_rtsp_server, silent_server

__all__ = [
    "FAULTS",
    "FaultProxy",
    "Publisher",
    "RtspServer",
    "free_port",
    "greedy_server",
    "mjpeg_server",
    "mute_rtsp_server",
    "serve_folder",
    "silent_server",
    "virtual_display",
]
