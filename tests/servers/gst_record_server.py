"""GStreamer's RTSP server as one that takes what is published: `gst_record_server.py PORT FILE`.

Whoever publishes to rtsp://127.0.0.1:PORT/live finds his H.264, as it came, at the end of FILE (Annex B). Debian's
python3 runs it; it prints "ready", and an end of the parent ends it.
"""

import os
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( rtph264depay name=depay0 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! "
    'filesink location="{file}" append=true buffer-mode=unbuffered sync=false )'
)


def end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main(port: str, file: str) -> None:
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_launch(LAUNCH.format(file=file))
    server.get_mount_points().add_factory("/live", factory)
    assert server.attach(None), f"port {port} is taken"
    print("ready", flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
