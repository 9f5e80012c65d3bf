"""Score pictures and videos: python examples/score_file.py clip.mp4 photo.jpg"""

import argparse

from stream_detect import Detector, SourceError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="pictures and videos")
    parser.add_argument("--weights", help="a folder of weights other than the shipped ones")
    args = parser.parse_args()

    detector = Detector(device="auto", weights=args.weights)
    for path in args.paths:
        try:
            score = detector.score(path)
        except SourceError as error:
            print(error)
            continue
        probability = "" if score.fake_probability is None else f"{score.fake_probability:.2f}"
        print(path, score.verdict, probability, *score.reasons)
        for name, expert in score.experts.items():
            print(f"    {name}: {'nothing' if expert is None else round(expert, 2)}")


if __name__ == "__main__":
    main()
