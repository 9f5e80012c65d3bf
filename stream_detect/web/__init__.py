"""The one local HTTP application: metrics, health and the feeds of a run. It listens on 127.0.0.1 alone."""

from stream_detect.web.app import FeedsFileLike, Run, build_app
from stream_detect.web.server import Server, serving

__all__ = ["FeedsFileLike", "Run", "Server", "build_app", "serving"]
