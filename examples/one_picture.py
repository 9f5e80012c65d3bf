"""Judge every face of one picture that is already in memory: python examples/one_picture.py photo.jpg"""

import argparse

import numpy as np
from PIL import Image

from stream_detect import Detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="a picture")
    parser.add_argument("--weights", help="a folder of weights other than the shipped ones")
    args = parser.parse_args()

    rgb = np.asarray(Image.open(args.path).convert("RGB"))  # (height, width, 3) uint8
    verdict = Detector(device="auto", weights=args.weights).frame(rgb)
    print(f"{len(verdict.faces)} faces in {verdict.latency_ms:.0f} ms")
    for face in verdict.faces:
        x1, y1, x2, y2 = (round(side) for side in face.box)
        print(f"({x1}, {y1}) to ({x2}, {y2}): {face.verdict} {face.fake_probability} {' '.join(face.reasons)}")


if __name__ == "__main__":
    main()
