"""A program of its own that shows the pictures that come on stdin; `view.Window` starts it.

It imports OpenCV and nothing of ours: the X libraries in OpenCV's wheel and those in PyAV's don't bear each other in
one process (with PyAV loaded first a window hangs, with OpenCV loaded first grabbing the screen crashes).

Each picture is: lengths of the title, height, width (3 little-endian uint32), the title, then BGR bytes. The program
ends when stdin does, when q is pressed, or when a window is closed.
"""

import struct
import sys

HEADER = struct.Struct("<III")


def main() -> None:
    import cv2
    import numpy as np

    pipe, titles = sys.stdin.buffer, set()
    while len(header := pipe.read(HEADER.size)) == HEADER.size:
        length, height, width = HEADER.unpack(header)
        title, pixels = pipe.read(length).decode(), pipe.read(3 * height * width)
        if len(pixels) < 3 * height * width:
            return
        if title in titles and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            return
        cv2.imshow(title, np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
        titles.add(title)
        if cv2.waitKey(1) & 0xFF == ord("q"):
            return


if __name__ == "__main__":
    main()
