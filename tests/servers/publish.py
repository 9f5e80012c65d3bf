"""Publishes a moving pattern to an RTSP or RTMP address in real time, as soon as somebody listens there.

PyAV holds the GIL while a network output opens and closes, so this is a process of its own and no thread of the test.
"""

import sys
import time

import av
import numpy as np

PATIENCE_S = 20.0


def publish(url: str, seconds: float) -> None:
    kind, options = ("rtsp", {"rtsp_transport": "tcp"}) if url.startswith("rtsp") else ("flv", {})
    with av.open(url, "w", format=kind, container_options=options) as output:
        stream = output.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency", "g": "12"}
        )
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        start_s = time.monotonic()
        for number in range(int(25 * seconds)):
            rgb = np.full((120, 160, 3), 20 + 4 * (number % 50), np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                output.mux(packet)
            time.sleep(max(0.0, start_s + number / 25 - time.monotonic()))


def main(url: str, seconds: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return publish(url, float(seconds))
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)


main(*sys.argv[1:])
