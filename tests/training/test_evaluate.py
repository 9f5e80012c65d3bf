"""An evaluation in small: the report, what it leaves out and says so, and the same numbers as a single score."""

import json

import numpy as np
import pytest
from PIL import Image

from stream_detect import Detector
from stream_detect.errors import ConfigError, OutputError, SourceError, UsageError
from stream_detect.faces import find_faces
from stream_detect.sources import open_source, read_frames
from stream_detect.training import evaluate as module
from stream_detect.training.alike import encode_alike
from stream_detect.training.controlled import encode_controlled
from stream_detect.training.evaluate import EvaluateSettings, Scorer, evaluate, near_duplicates
from stream_detect.training.facts import file_facts
from stream_detect.training.manifest import Item, read_manifest
from stream_detect.training.subsets import file_llrs
from tests import clips
from tests.requirements import require_shared
from tests.training.made import noise, person


@pytest.fixture(scope="module")
def detector(weights_folder):
    with Detector(device="cpu", weights=weights_folder) as one:
        yield one


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Pictures and clips of both labels in different sizes and codecs, one without a face, one broken, one missing."""
    folder = tmp_path_factory.mktemp("footage")
    rows = ["path,label,generator,source,identity"]
    for number in range(6):
        is_fake = number % 2 == 1
        name = f"{number}.{'png' if is_fake else 'jpg'}"
        Image.fromarray(person(number, 320, 360 + 20 * is_fake, 150)).save(folder / name)
        rows.append(f"{name},{'fake,paint' if is_fake else 'real,none'},calls,person{number}")
    for number in range(4):
        name = f"clip{number}.{('mp4', 'webm')[number % 2]}"
        codec = ("h264", "vp9")[number % 2]
        clips.write_clip(folder / name, [person(number, 240, 320, 120)] * 3, codec=codec)
        rows.append(f"{name},{('real,none', 'fake,swap')[number % 2]},calls,person{number}")
    Image.fromarray(noise()).save(folder / "nobody.png")
    (folder / "broken.jpg").write_text("once upon a time")
    rows += ["nobody.png,real,none,calls,", "broken.jpg,real,none,calls,", "none.mp4,fake,swap,calls,"]
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def done(manifest, detector, tmp_path_factory):
    """A report with the folder that it was written to."""
    out = tmp_path_factory.mktemp("out") / "deep" / "report"
    return evaluate(EvaluateSettings(manifest, out, draws=20), detector), out


def test_everything_is_written(done):
    report, out = done
    assert {path.name for path in out.iterdir()} == {
        "report.json",
        "report.md",
        "scores.jsonl",
        "looks.jsonl",
        "images.png",
        "videos.png",
        "frames.png",
    }
    assert json.loads((out / "report.json").read_text()) == report
    text = (out / "report.md").read_text()
    assert "| paint | 3 | 3 |" in text
    assert "## Frames of clips: 2 real of 2 people or files, 2 fake of 2 people or files" in text


def test_a_file_that_can_not_be_read_is_listed(done):
    report, _ = done
    assert (report["files"], report["scored"], len(report["failed"])) == (13, 11, 2)
    assert "broken.jpg" in report["failed"][0]
    assert "none.mp4" in report["failed"][1]
    assert "## Not read" in (done[1] / "report.md").read_text()


def test_every_line_is_what_score_gives(done, manifest, detector):
    _, out = done
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 11
    for line in lines[:2] + lines[-2:]:
        alone = detector.score(manifest.parent / line["path"]).to_json()
        assert {key: line[key] for key in alone if key != "path"} == {k: v for k, v in alone.items() if k != "path"}
    assert (lines[1]["label"], lines[1]["generator"], lines[1]["identity"]) == ("fake", "paint", "person1")


def test_the_lines_name_files_as_the_manifest_does(detector, tmp_path):
    """Of two files of the same name in two folders each has a line of its own."""
    rows = ["path,label"]
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        Image.fromarray(person(number)).save(tmp_path / folder / "face.png")
        rows.append(f"{folder}/face.png,{('real', 'fake')[number]}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    evaluate(EvaluateSettings(tmp_path / "manifest.csv", tmp_path / "out", draws=10), detector)
    for name in ("scores.jsonl", "looks.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]
        assert [line["path"] for line in lines] == ["a/face.png", "b/face.png"]


def test_every_look_holds_what_each_expert_said(done, detector):
    _, out = done
    looks = [json.loads(line) for line in (out / "looks.jsonl").read_text().splitlines()]
    judged = [look for look in looks if look["llr"] is not None]
    assert len(judged) == 6 + 4  # of a clip shorter than an eighth of a second one frame is looked at
    for look in judged:
        assert set(look["logits"]) == set(detector.experts)
        assert np.isfinite(look["measures"]).all()


@pytest.mark.parametrize("experts", [("spectrum", "residual", "color", "mesonet", "attention"), ("color", "mesonet")])
def test_fewer_experts_score_as_a_detector_that_has_no_others(experts, manifest, detector, weights_folder, tmp_path):
    items = [item for item in read_manifest(manifest) if item.path.name in ("1.png", "clip1.webm")]
    with Scorer(detector, "raw", (), tmp_path) as scorer:
        scored = [scorer(item) for item in items]
    llrs = file_llrs(scored, detector.weights.fusion, experts)
    with Detector(device="cpu", weights=weights_folder, experts=experts) as alone:
        said = [alone.score(item.path).fake_probability for item in items]
    assert 1 / (1 + np.exp(-llrs)) == pytest.approx(said, abs=1e-4)


def test_two_processes_give_what_one_gives(done, manifest, detector, tmp_path):
    report, out = done
    again = evaluate(EvaluateSettings(manifest, tmp_path, draws=20, jobs=2), detector)
    assert again == report
    assert (tmp_path / "scores.jsonl").read_text() == (out / "scores.jsonl").read_text()


def test_what_was_not_judged_counts_as_a_half(done):
    report, _ = done
    images = report["image"]
    assert (images["real"], images["fake"], images["groups"]) == (4, 3, 7)
    assert (images["coverage"], images["coverage_real"], images["coverage_fake"]) == (round(6 / 7, 4), 0.75, 1.0)
    assert images["verdicts"]["real"]["inconclusive"] >= 1
    assert images["auc"]["ours"]["low"] <= images["auc"]["ours"]["auc"] <= images["auc"]["ours"]["high"]
    experts = {"spectrum", "residual", "color", "mesonet", "attention"}
    assert set(images["auc"]) == experts | {"ours", "facts", "mean of experts"}


def test_progress_is_told(manifest, detector, tmp_path):
    told = []
    evaluate(EvaluateSettings(manifest, tmp_path, draws=10), detector, lambda *line: told.append(line[:3]))
    assert told == [("scoring", number, 13) for number in range(1, 14)] + [("figures", 0, 1), ("figures", 1, 1)]


def test_without_files_of_both_labels_there_are_no_figures(detector, tmp_path):
    Image.fromarray(person(0)).save(tmp_path / "0.png")
    (tmp_path / "manifest.csv").write_text("path,label\n0.png,real\n")
    report = evaluate(EvaluateSettings(tmp_path / "manifest.csv", tmp_path / "out", draws=10), detector)
    assert report["image"] == report["video"] == report["frame"] == {}
    assert report["subsets"] == []
    assert not list((tmp_path / "out").glob("*.png"))


def test_encoded_alike_the_container_tells_nothing(manifest, finder, tmp_path):
    facts = {"image": set(), "video": set()}
    for item in read_manifest(manifest)[:11]:
        path = encode_alike(item, tmp_path, finder)
        one = file_facts(path)
        facts[item.kind].add((one.height, one.width, one.codec, one.fps))
    assert facts == {"image": {(192, 192, "JPEG", 0.0)}, "video": {(256, 256, "h264", 25.0)}}


def test_a_clip_whose_face_comes_late_keeps_its_time(finder, tmp_path):
    frames = clips.scenery(5, 240, 320) + [clips.portrait(240, 320, 100)] * 5
    clip = clips.write_clip(tmp_path / "late.mkv", frames, fps=5)
    alike = encode_alike(Item(clip, False, "video"), tmp_path, finder)
    pictures = [frame.rgb((0, 0, 256, 256)).astype(int) for frame in read_frames(open_source(str(alike)))]
    assert 45 <= len(pictures) <= 50
    assert np.abs(pictures[0] - pictures[10]).mean() > 1  # the scenery moves
    assert np.abs(pictures[0] - pictures[-1]).mean() > 20


def test_a_clip_without_a_face_is_taken_whole(finder, empty_clip, tmp_path):
    alike = encode_alike(Item(empty_clip, False, "video"), tmp_path, finder)
    assert (file_facts(alike).height, file_facts(alike).width) == (256, 256)


def test_a_file_that_is_none_can_not_be_encoded(finder, tmp_path):
    (tmp_path / "text.mp4").write_text("once upon a time")
    with pytest.raises(SourceError, match=r"text\.mp4"):
        encode_alike(Item(tmp_path / "text.mp4", False, "video"), tmp_path, finder)


def test_alike_evaluates_what_it_encoded(manifest, detector, tmp_path):
    report = evaluate(EvaluateSettings(manifest, tmp_path, "alike", draws=10), detector)
    assert report["terms"] == "alike"
    assert (report["scored"], len(report["failed"])) == (11, 2)
    assert report["image"]["coverage_fake"] == 1.0


def test_controlled_every_face_has_the_same_size_and_codec(manifest, finder, tmp_path):
    for item in read_manifest(manifest)[:10]:
        path = encode_controlled(item, tmp_path, finder)
        facts = file_facts(path)
        assert (facts.height, facts.width, facts.codec, facts.fps) == (256, 256, "h264", 25.0)
        frames = list(read_frames(open_source(str(path))))
        assert len(frames) == (1 if item.kind == "image" else 3)
        (face,) = find_faces(frames[:1], finder)[0]
        assert abs(face.box[2] - face.box[0] - 112) < 9  # found anew, a box differs by some pixels
        assert abs((face.box[0] + face.box[2]) / 2 - 128) < 6


def test_controlled_a_face_at_the_edge_keeps_its_place(finder, tmp_path):
    Image.fromarray(clips.portrait(300, 300, 140, center=(90, 90))).save(tmp_path / "edge.png")
    path = encode_controlled(Item(tmp_path / "edge.png", False, "image"), tmp_path, finder)
    (frame,) = read_frames(open_source(str(path)))
    faces = find_faces([frame], finder)[0]
    assert any(np.abs((face.box[:2] + face.box[2:]) / 2 - 128).max() < 8 for face in faces)


def test_controlled_a_file_without_a_face_is_taken_whole(finder, empty_clip, tmp_path):
    path = encode_controlled(Item(empty_clip, False, "video"), tmp_path, finder)
    assert (file_facts(path).height, file_facts(path).width) == (256, 256)
    (tmp_path / "text.mp4").write_text("once upon a time")
    with pytest.raises(SourceError, match=r"text\.mp4"):
        encode_controlled(Item(tmp_path / "text.mp4", False, "video"), tmp_path, finder)


def test_controlled_evaluates_what_it_encoded(manifest, detector, tmp_path):
    report = evaluate(EvaluateSettings(manifest, tmp_path, "controlled", draws=10), detector)
    assert (report["terms"], report["scored"], len(report["failed"])) == ("controlled", 11, 2)
    assert (report["image"]["real"], report["image"]["fake"]) == (4, 3)
    assert report["image"]["coverage_fake"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert {(line["path"].rsplit(".", 1)[1], line["kind"]) for line in lines} == {
        ("jpg", "image"),
        ("png", "image"),
        ("mp4", "video"),
        ("webm", "video"),
    }


def test_no_process_is_too_few(manifest, tmp_path):
    with pytest.raises(ConfigError, match="got 1000 and 0"):
        EvaluateSettings(manifest, tmp_path, jobs=0)


def test_a_recompressed_copy_is_a_near_duplicate(tmp_path):
    rng = np.random.default_rng(0)
    fakes = [Item(tmp_path / f"{number}.png", True, "image") for number in range(3)]
    for fake in fakes:
        blots = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(blots).resize((320, 300), Image.Resampling.BICUBIC).save(fake.path)
    copy = tmp_path / "copy.jpg"
    with Image.open(fakes[0].path) as picture:
        picture.resize((200, 180)).save(copy, quality=40)
    trained_on = [Item(copy, True, "image"), Item(tmp_path / "gone.png", True, "image")]
    assert near_duplicates(fakes, trained_on) == [fakes[0]]
    assert near_duplicates(fakes, [Item(copy, False, "image")]) == []


def test_near_duplicates_are_left_out_of_the_figures_but_not_of_the_lines(manifest, detector, tmp_path):
    without = tmp_path / "train.csv"
    without.write_text(f"path,label\n{manifest.parent / '1.png'},fake\n")
    report = evaluate(EvaluateSettings(manifest, tmp_path / "out", without=without, draws=10), detector)
    assert report["near_duplicates_left_out"] >= 1
    assert report["image"]["fake"] < 3
    assert len((tmp_path / "out" / "scores.jsonl").read_text().splitlines()) == 11


def test_the_published_mesonet_stands_beside_and_leaves_again(manifest, detector, tmp_path):
    weights = tuple(sorted(require_shared("peers/mesonet").rglob("Meso4_*.h5")))
    before = dict(detector.experts)
    report = evaluate(EvaluateSettings(manifest, tmp_path, official=weights, draws=10), detector)
    for path in weights:
        assert f"official {path.stem}" in report["image"]["auc"]
        assert f"official {path.stem}" in report["frame"]["auc"]
        assert f"ours - official {path.stem}" in report["video"]["auc_differences"]
    assert detector.experts == before


@pytest.mark.parametrize(("absent", "official"), [("matplotlib", None), ("h5py", "Meso4_DF.h5")])
def test_a_missing_package_is_told_at_once(manifest, detector, tmp_path, monkeypatch, absent, official):
    find = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == absent else find(name))
    settings = EvaluateSettings(manifest, tmp_path / "out", official=(tmp_path / official,) if official else ())
    with pytest.raises(UsageError, match=rf"package {absent}: pip install 'stream-detect\[train\]'"):
        evaluate(settings, detector)


def test_a_place_that_can_not_be_written_is_told_at_once(manifest, detector, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="name another folder"):
        evaluate(EvaluateSettings(manifest, tmp_path / "file" / "out"), detector)
