"""Watch a feed and print every alert: python examples/watch_rtsp.py rtsp://user:password@192.168.1.20/live

Anything that `stream-detect watch` takes can be watched: an address, a file, webcam, screen. Ctrl-C ends it.
"""

import argparse

from stream_detect import Alert, Detector, Status, watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="rtsp://host/path, a file, webcam, ...")
    parser.add_argument("--weights", help="a folder of weights other than the shipped ones")
    parser.add_argument("--duration", type=float, help="stop after so many seconds")
    args = parser.parse_args()

    detector = Detector(device="auto", weights=args.weights)
    for line in watch(args.source, detector, duration_s=args.duration):
        if isinstance(line, Status):
            print(f"{line.source} is {line.state} {line.reason}")
        elif isinstance(line, Alert):
            print(f"{line.event}: track {line.track} since {line.started_s:.1f} s, {line.fake_probability:.2f} forged")


if __name__ == "__main__":
    main()
