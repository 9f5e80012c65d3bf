"""The loop that most open-source detectors come with: OpenCV reads, a Haar cascade finds faces, Meso-4 judges each.

    python -m benchmarks.usual_loop CLIP [--seconds 20]

One frame at a time, in one thread of Python; OpenCV and torch use all cores. The cascade needs OpenCV 4,
which has it in its main packages (benchmarks/README.md says how to get it). Prints one JSON object.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from stream_detect.experts.mesonet import Meso4

SIDE = 256  # of the network's input
LEAST_PX = 60  # smaller faces are not sought
WARM_UP_S = 2.0
NO_CASCADE = f"OpenCV {cv2.__version__} has no CascadeClassifier: expected OpenCV 4, see benchmarks/README.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured, after the warm-up")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S)
    parser.add_argument("--shrink", type=int, default=1, help="faces are sought on a picture so many times smaller")
    args = parser.parse_args()
    if not hasattr(cv2, "CascadeClassifier"):
        sys.exit(NO_CASCADE)
    print(json.dumps(measured(args.clip, args.seconds, args.warm_up, args.shrink)))


def measured(clip: Path, seconds: float, warm_up_s: float, shrink: int) -> dict[str, Any]:
    """Frames a second of the loop, once it is warm; the clip is read again when it ends."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"))
    torch.manual_seed(0)
    network = Meso4().eval()
    frames = faces = 0
    began_s = time.perf_counter()
    measured_from_s = cpu_s = 0.0
    for picture in pictures(clip):
        found = judged(picture, cascade, network, shrink)
        now_s = time.perf_counter()
        if now_s - began_s < warm_up_s:
            continue
        if not measured_from_s:
            measured_from_s, cpu_s = now_s, time.process_time()
            continue
        frames, faces = frames + 1, faces + len(found)
        if now_s - measured_from_s >= seconds:
            break
    took_s = time.perf_counter() - measured_from_s
    return {
        "fps": round(frames / took_s, 2),
        "cpu_ms_a_frame": round((time.process_time() - cpu_s) * 1000 / frames, 2),
        "faces_a_frame": round(faces / frames, 3),
        "opencv": cv2.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def pictures(clip: Path) -> Any:
    """Every picture of the clip, BGR, over and over."""
    while True:
        capture = cv2.VideoCapture(str(clip))
        while True:
            is_read, picture = capture.read()
            if not is_read:
                break
            yield picture
        capture.release()


def judged(picture: np.ndarray, cascade: Any, network: torch.nn.Module, shrink: int) -> list[float]:
    """How likely each face of a picture is forged, as far as an untrained network can say."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    if shrink > 1:
        grey = cv2.resize(grey, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    least = (LEAST_PX // shrink, LEAST_PX // shrink)
    said = []
    for box in cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=least):
        x, y, width, height = (shrink * int(side) for side in box)
        face = cv2.resize(picture[y : y + height, x : x + width], (SIDE, SIDE))
        rgb = cv2.cvtColor(face, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        with torch.inference_mode():
            logit = network(torch.from_numpy(rgb.transpose(2, 0, 1)[None]))
        said.append(float(torch.sigmoid(logit).flatten()[0]))
    return said


if __name__ == "__main__":
    main()
