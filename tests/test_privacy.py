"""Hidden faces: nobody finds or matches them, nothing else is touched, and videos hide them before and after too."""

import math
import os
import shutil
import subprocess

import av
import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.experts.residual import high_pass
from stream_detect.faces.detector import find_faces, load_detector
from stream_detect.faces.tracker import TrackerSettings
from stream_detect.privacy import AHEAD, CELLS, FaceHider, blurred, window_of
from stream_detect.types import FaceVerdict, FrameVerdict
from tests import clips
from tests.cli.program import PROGRAM

NOISE = np.random.default_rng(7).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector():
    return load_detector()


def faces_in(rgb, detector):
    return find_faces([Frame.from_rgb(rgb)], detector)[0]


def box_of(face):
    return tuple(float(side) for side in face.box)


@pytest.mark.parametrize("face_px", [16, 24, 60, 120, 240])
def test_a_hidden_face_is_not_found(detector, face_px):
    rgb = clips.portrait(360, 480, face_px)
    found = faces_in(rgb, detector)
    assert found
    assert not faces_in(blurred(rgb, [box_of(face) for face in found]), detector)


def test_no_more_than_a_few_colours_are_left_of_a_face():
    """Nine colours of sixteen levels each: too little to tell one person from the next."""
    box = (140.0, 80.0, 340.0, 280.0)
    x1, y1, x2, y2 = window_of(box, 360, 480)
    hidden = blurred(clips.portrait(360, 480, 200), [box])[y1:y2, x1:x2]
    corners = [[hidden[row, column] for column in (0, hidden.shape[1] // 2, -1)] for row in (0, 140, -1)]
    rebuilt = cv2.resize(np.array(corners, np.uint8), hidden.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(rebuilt.astype(int) - hidden).max() <= 2


def test_an_averaged_face_is_no_sharper_after_deconvolution():
    """Nothing finer than a cell is left in the spectrum, so no filter brings it back."""
    hidden = blurred(NOISE, [(30.0, 20.0, 130.0, 100.0)])[10:110, 20:140].mean(axis=2)
    seen = NOISE[10:110, 20:140].mean(axis=2)
    assert finer_power(hidden) < 1e-3 * finer_power(seen)


def finer_power(luma):
    """Power of what repeats within a quarter of a cell."""
    window = np.outer(np.hanning(luma.shape[0]), np.hanning(luma.shape[1]))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(side) * side) for side in luma.shape)
    return power[np.maximum(rows[:, None], columns) > 4 * CELLS].sum()


def test_the_fingerprint_of_a_face_is_not_kept():
    rgb = clips.portrait(360, 480, 200)
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    before, after = (
        np.abs(next(iter(high_pass(luma_of(one)[None, None]).values()))).mean()
        for one in (noisy[100:260, 160:320], blurred(noisy, [(140.0, 80.0, 340.0, 280.0)])[100:260, 160:320])
    )
    assert after < before / 10


def luma_of(rgb):
    return (rgb.mean(axis=2) / 255).astype(np.float32)


def test_two_pictures_of_equal_averages_are_hidden_alike():
    """What is shown depends on a few averages alone: the rest is gone."""
    mixed = NOISE.copy()
    tile = mixed[40:44, 60:64]
    mixed[40:44, 60:64] = tile[::-1, ::-1]
    box = [(20.0, 10.0, 140.0, 110.0)]
    assert not np.array_equal(mixed, NOISE)
    assert np.array_equal(blurred(mixed, box), blurred(NOISE, box))


def test_what_lies_outside_is_untouched_and_the_picture_is_a_copy():
    before = NOISE.copy()
    hidden = blurred(NOISE, [(60.0, 40.0, 100.0, 80.0)])
    x1, y1, x2, y2 = window_of((60.0, 40.0, 100.0, 80.0), 120, 160)
    assert (x1, y1, x2, y2) == (52, 32, 108, 88)
    hidden[y1:y2, x1:x2] = before[y1:y2, x1:x2]
    assert np.array_equal(hidden, before)
    assert np.array_equal(NOISE, before)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 20.0, 20.0), (150.0, 110.0, 400.0, 300.0), (80.0, 60.0, 81.0, 60.5)])
def test_faces_at_the_edge_and_tiny_ones_are_hidden(box):
    x1, y1, x2, y2 = window_of(box, 120, 160)
    part = blurred(NOISE, [box])[y1:y2, x1:x2]
    assert part.std() < NOISE.std() / 3


def test_a_box_beside_the_picture_hides_nothing():
    assert np.array_equal(blurred(NOISE, [(200.0, 10.0, 240.0, 60.0)]), NOISE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_box_that_is_no_box_hides_everything(bad):
    assert blurred(NOISE, [(bad, 0.0, 10.0, 10.0)]).std() < NOISE.std() / 3


def said(pts_s, *boxes, reasons=(), source="cam"):
    faces = tuple(FaceVerdict(n, box, None, None, None, "inconclusive", (), {}, 1.0) for n, box in enumerate(boxes, 1))
    return FrameVerdict(source, 0, pts_s, "t", None, faces, reasons=reasons)


BOX = (60.0, 40.0, 100.0, 80.0)


def is_hidden(rgb, x=80, y=60):
    return rgb[y - 8 : y + 8, x - 8 : x + 8].std() < 20


def test_a_face_that_is_lost_stays_hidden_for_a_moment():
    hider = FaceHider(hold_s=1.0, ahead=0)
    shown = [is_hidden(hider.take(NOISE, one)[0][0]) for one in (said(0.0, BOX), said(0.9), said(1.1))]
    assert shown == [True, True, False]


def test_a_face_is_hidden_before_it_is_first_found():
    hider = FaceHider(ahead=3)
    given = [one for pts_s in (0.0, 0.1, 0.2) for one in hider.take(NOISE, said(pts_s))]
    assert not given
    given += hider.take(NOISE, said(0.3, BOX))
    assert len(given) == 1
    given += hider.rest()
    assert [verdict.pts_s for _, verdict in given] == [0.0, 0.1, 0.2, 0.3]
    assert all(is_hidden(rgb) for rgb, _ in given)


def test_a_face_that_moves_leaves_no_trail():
    hider = FaceHider(ahead=0)
    hider.take(NOISE, said(0.0, BOX))
    (rgb, _), *_ = hider.take(NOISE, said(0.1, (10.0, 10.0, 30.0, 30.0)))
    assert is_hidden(rgb, 20, 20)
    assert not is_hidden(rgb)


@pytest.mark.parametrize("reason", ["corrupt", "frozen"])
def test_a_frame_that_was_not_judged_is_hidden_as_a_whole(reason):
    (rgb, verdict), *_ = FaceHider(ahead=0).take(NOISE, said(0.0, reasons=(reason,)))
    assert rgb.std() < NOISE.std() / 3
    assert verdict.reasons == (reason,)


def test_sources_do_not_hide_each_others_faces():
    hider = FaceHider(ahead=0)
    hider.take(NOISE, said(0.0, BOX, source="one"))
    (rgb, _), *_ = hider.take(NOISE, said(0.1, source="other"))
    assert np.array_equal(rgb, NOISE)


def test_a_source_that_begins_anew_gives_out_what_waits():
    hider = FaceHider()
    hider.take(NOISE, said(5.0, BOX))
    given = hider.take(NOISE, said(0.0))
    assert [verdict.pts_s for _, verdict in given] == [5.0]
    assert [verdict.pts_s for _, verdict in hider.rest()] == [0.0]


def test_as_many_frames_are_waited_for_as_a_search_takes():
    assert TrackerSettings().every + 1 <= AHEAD


# The whole program


def everything_under(*folders):
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


def places(tmp_path):
    """Folders that stand for those in which programs keep things, and the environment that says so."""
    named = {name: tmp_path / name for name in ("here", "home", "tmp", "cache", "state", "config", "data", "runtime")}
    for folder in named.values():
        folder.mkdir()
    xdg = {"CACHE": "cache", "STATE": "state", "CONFIG": "config", "DATA": "data"}
    environment = {f"XDG_{key}_HOME": str(named[name]) for key, name in xdg.items()}
    environment |= {"HOME": str(named["home"]), "TMPDIR": str(named["tmp"])}
    return named, environment | {"XDG_RUNTIME_DIR": str(named["runtime"])}


def watched(folder, *arguments, **environment):
    return subprocess.run(
        [PROGRAM, "watch", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_plain_watch_leaves_no_file(face_clip, tmp_path, isolation):
    named, environment = places(tmp_path)
    done = watched(named["here"], face_clip, "--isolation", isolation, **environment)
    assert done.returncode == 0, done.stderr
    assert "10 frames, 10 analysed" in done.stdout
    assert everything_under(*named.values()) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("arguments", "written"), [((), []), (("--jsonl", "lines.jsonl"), ["lines.jsonl"])])
def test_only_what_is_asked_for_is_opened_to_write(face_clip, tmp_path, arguments, written):
    named, environment = places(tmp_path)
    log = tmp_path / "calls"
    calls = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate"
    command = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", str(log), PROGRAM, "watch", str(face_clip)]
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *arguments],
        cwd=named["here"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        timeout=200,
    )
    assert done.returncode == 0
    opened = [line for line in log.read_text().splitlines() if is_writing(line)]
    assert [name for name in written if not any(name in line for line in opened)] == []
    assert [line for line in opened if not any(name in line for name in written)] == []


def is_writing(line):
    """Whether a call opens or makes a file that stays; devices, /proc and what failed don't count."""
    if " = -1 " in line or any(place in line for place in ('"/dev/', '"/proc/', '"/sys/')):
        return False
    return "O_RDONLY" not in line and not any(word in line for word in ("O_DIRECTORY", "resumed", "+++", "---"))


def test_hidden_faces_are_not_found_in_an_overlay(face_clip, tmp_path, detector):
    done = watched(tmp_path, face_clip, "--overlay", "out.mp4", "--privacy", "blur")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mp4")) as video:
        pictures = [picture.to_ndarray(format="rgb24") for picture in video.decode(video=0)]
    assert len(pictures) == 10
    assert not any(faces_in(rgb, detector) for rgb in pictures)


def test_without_privacy_the_overlay_shows_faces(face_clip, tmp_path, detector):
    done = watched(tmp_path, face_clip, "--overlay", "out.mp4")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert faces_in(next(video.decode(video=0)).to_ndarray(format="rgb24"), detector)


def test_a_file_may_ask_for_privacy_and_the_command_line_comes_before_it(face_clip, tmp_path, detector):
    (tmp_path / "feeds.toml").write_text('[evidence]\nprivacy = "blur"\n')
    for privacy, is_hidden_there in (((), True), (("--privacy", "none"), False)):
        done = watched(tmp_path, face_clip, "--config", "feeds.toml", "--overlay", "out.mp4", *privacy)
        assert done.returncode == 0, done.stderr
        with av.open(str(tmp_path / "out.mp4")) as video:
            shown = next(video.decode(video=0)).to_ndarray(format="rgb24")
        assert bool(faces_in(shown, detector)) is not is_hidden_there


def test_privacy_that_is_not_known_fails(face_clip, tmp_path):
    done = watched(tmp_path, face_clip, "--privacy", "pixelate")
    assert done.returncode == 2
    assert "--privacy: privacy must be blur or none, got 'pixelate'" in done.stderr
