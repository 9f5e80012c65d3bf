"""GStreamer's RTSP server as a program; Debian's python3 runs it, since python3-gi belongs to that.

It serves a live test pattern, or a loop of pictures, at rtsp://127.0.0.1:PORT/live and prints "ready". The encoder is
ultrafast, gives a key frame every half second, and an end of the parent ends it. A loop of pictures that are H.264
already goes out as it is, which costs next to nothing.

It takes commands on its standard input, a line each, and answers "ok":

    size 640x480     the pattern's size changes, within the same session
    codec h265       sessions are ended; from now on the pattern is coded so
    absent, present  nothing is to be found under /live any more; it is there again
    login a:b        from now on this login is asked for
"""

import argparse
import os
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODERS = {
    # one slice a picture: rtph264pay puts parameter sets before each slice of a key frame, which tears pictures in two
    "h264": "x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max={gop} bitrate={rate} ! "
    "rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} bitrate={rate} log-level=none ! "
    "rtph265pay name=pay0 pt=96 config-interval=-1",
}


def launch_line(args: argparse.Namespace) -> str:
    if args.packets:
        kind = f"video/x-h264,stream-format=byte-stream,alignment=au,framerate={args.fps}/1"
        return (
            f'( multifilesrc location="{args.packets}" loop=true caps="{kind}" ! h264parse ! clocksync ! '
            "rtph264pay name=pay0 pt=96 config-interval=0 )"
        )
    if args.pictures:
        source = (
            f'multifilesrc location="{args.pictures}" loop=true caps="image/png,framerate={args.fps}/1" ! pngdec ! '
            "videoconvert ! clocksync"
        )
    else:
        size = f"video/x-raw,width={args.width},height={args.height},framerate={args.fps}/1"
        source = f"videotestsrc is-live=true pattern=ball ! videoscale ! capsfilter name=size caps={size}"
    encoder = ENCODERS[args.codec].format(gop=args.gop or max(1, args.fps // 2), rate=args.kbps)
    return f"( {source} ! videoconvert ! video/x-raw,format=I420 ! {encoder} )"


class Server:
    """The server and what it serves; its methods are the commands, and run in the main loop."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.media: GstRtspServer.RTSPMedia | None = None
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service(args.port)
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(launch_line(args))
        self.factory.set_shared(True)
        self.factory.connect("media-configure", self.keep_media)
        if args.login:
            self.login(args.login)
        self.present()
        assert self.server.attach(None), f"port {args.port} is taken"

    def keep_media(self, factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia) -> None:
        self.media = media

    def present(self) -> None:
        self.server.get_mount_points().add_factory("/live", self.factory)

    def absent(self) -> None:
        self.server.get_mount_points().remove_factory("/live")
        self.end_sessions()

    def login(self, login: str) -> None:
        user, _, password = login.partition(":")
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth = GstRtspServer.RTSPAuth()
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        self.server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        self.factory.set_permissions(permissions)
        self.end_sessions()

    def codec(self, name: str) -> None:
        self.args.codec = name
        self.factory.set_launch(launch_line(self.args))
        self.end_sessions()

    def size(self, words: str) -> None:
        width, height = words.split("x")
        caps = Gst.Caps.from_string(f"video/x-raw,width={width},height={height},framerate={self.args.fps}/1")
        self.media.get_element().get_by_name("size").set_property("caps", caps)

    def end_sessions(self) -> None:
        self.server.client_filter(lambda server, client: GstRtspServer.RTSPFilterResult.REMOVE)

    def obey(self, line: str) -> bool:
        name, *words = line.split()
        getattr(self, name)(*words)
        print("ok", flush=True)
        return False  # an idle source runs once


def end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def read_commands(server: Server) -> None:
    for line in sys.stdin:
        GLib.idle_add(server.obey, line)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--codec", default="h264", choices=sorted(ENCODERS))
    parser.add_argument("--login", default="")
    parser.add_argument("--pictures", default="", help="a pattern such as folder/%%05d.png, played in a loop")
    parser.add_argument("--packets", default="", help="a pattern of files, each a coded H.264 picture, sent in a loop")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--kbps", type=int, default=1000)
    parser.add_argument("--gop", type=int, default=0, help="pictures from key frame to key frame; 0: half a second")
    args = parser.parse_args()
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    Gst.init(None)
    server = Server(args)
    threading.Thread(target=read_commands, args=(server,), daemon=True).start()
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
