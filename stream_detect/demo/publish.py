"""Publishes a clip to an RTSP address in real time: `python publish.py URL CLIP`.

A process of its own, because PyAV holds the GIL while a network output opens and closes. The packets are sent as they
stand in the file; nothing is encoded again.
"""

import sys
import time
from collections.abc import Sequence

import av

PATIENCE_S = 30.0  # for somebody to listen at the address
RETRY_S = 0.1


def main(arguments: Sequence[str]) -> None:
    url, clip = arguments
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return publish(url, clip)
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                sys.exit(f"nobody listened at {url} within {PATIENCE_S:g} s")
            time.sleep(RETRY_S)


def publish(url: str, clip: str) -> None:
    """Send a clip's video at its own pace.

    Raises:
        ConnectionRefusedError: if nobody listens at `url`.
    """
    with (
        av.open(clip) as video,
        av.open(url, "w", format="rtsp", container_options={"rtsp_transport": "tcp"}) as output,
    ):
        stream = video.streams.video[0]
        sent = output.add_stream_from_template(stream)
        start_s = time.monotonic()
        for packet in video.demux(stream):
            if packet.dts is None or packet.time_base is None:
                continue
            time.sleep(max(0.0, start_s + float(packet.dts * packet.time_base) - time.monotonic()))
            packet.stream = sent
            output.mux(packet)


if __name__ == "__main__":
    main(sys.argv[1:])
