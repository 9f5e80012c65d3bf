"""The robustness suite in small: made-up people, two channels, untrained weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import robustness, robustness_people, robustness_scores
from benchmarks.forgeries_unseen import UNSEEN
from benchmarks.forgeries_unseen.canvas import Canvas, recolored, skin_mask
from benchmarks.forgeries_unseen.multiband import splined
from benchmarks.forgeries_unseen.quilt import cheapest_cut
from benchmarks.robustness_figures import Cells, channel_figures, figures, front
from benchmarks.robustness_people import People, RealFace, gather, real_items
from benchmarks.robustness_scores import MESONET, PLAIN, SUITE, Scores, contact_sheet, forged_pictures, score
from stream_detect import Detector
from stream_detect.errors import ConfigError, SourceNotFound
from stream_detect.training.degrade import CHANNELS
from stream_detect.training.forgeries import FAMILIES, Footage
from stream_detect.training.scenes import Scene
from tests.training.made import made_face, person, write_people
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]
SMALL = ("swap", "mouth_or_eyes", "multiband_swap")


def scene(number: int) -> Scene:
    return Scene(person(number), made_face(side=120), number)


def people(count: int) -> People:
    return People([RealFace(scene(number), f"person{number}", "made", False) for number in range(count)])


@pytest.fixture
def in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three families and two channels."""
    monkeypatch.setattr(robustness_scores, "SUITE", {name: SUITE[name] for name in SMALL})
    few = {name: CHANNELS[name] for name in ("untouched", "jpeg")}
    monkeypatch.setattr(robustness_scores, "CHANNELS", few)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people, a picture each."""
    return write_people(tmp_path_factory.mktemp("footage"), 5)


def made_scores(llr: np.ndarray, is_fake: np.ndarray, person_of: np.ndarray) -> Scores:
    """One family, one channel; every forgery beside the first real picture of its person."""
    rows = len(llr)
    first = {person_: int(np.flatnonzero(~is_fake & (person_of == person_))[0]) for person_ in np.unique(person_of)}
    return Scores(
        families=("morph",),
        channels=("jpeg",),
        experts=(),
        people=tuple(f"person{k}" for k in range(int(person_of.max()) + 1)),
        face=person_of,
        person=person_of,
        family=np.where(is_fake, 0, PLAIN),
        channel=np.zeros(rows, np.int64),
        is_fake=is_fake,
        partner=np.array([first[p] if fake else k for k, (p, fake) in enumerate(zip(person_of, is_fake, strict=True))]),
        face_px=np.full(rows, 100.0),
        is_found=np.ones(rows, bool),
        llr=llr,
        is_called_fake=llr > 2,
        is_decided=np.abs(llr) > 2,
        said={},
        looks=(None,) * rows,
        cost_ms={},
    )


def test_the_suite_has_ten_families_and_eight_channels():
    assert len(SUITE) == 10
    assert len(CHANNELS) == 8


def test_four_families_are_unknown_to_training():
    assert len(UNSEEN) == 4
    assert not set(UNSEEN) & set(FAMILIES)
    assert {name for names in SUITE.values() for name in names} - set(UNSEEN) <= set(FAMILIES)


def test_an_unseen_forgery_borrows_nothing_from_the_training_families():
    folder = Path(robustness.__file__).parent / "forgeries_unseen"
    for path in folder.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if "stream_detect.training.forgeries" in line]
        assert all(line.startswith("from stream_detect.training.forgeries.family import") for line in lines), path


@pytest.mark.parametrize("name", UNSEEN)
def test_a_forgery_changes_the_face_and_nothing_else(name: str):
    forged = UNSEEN[name].forge(people(4).footage(0), np.random.default_rng(1))
    assert forged is not None
    assert forged.fake.shape == forged.real.shape
    assert forged.fake.dtype == np.uint8
    changed = (forged.fake != forged.real).any(axis=2)
    assert np.array_equal(forged.fake[forged.mask == 0], forged.real[forged.mask == 0])
    assert changed[110:190, 110:190].mean() > 0.8
    assert not changed[:40].any()
    assert 0 <= forged.mask.min() <= forged.mask.max() <= 1
    assert np.abs(forged.fake.astype(float) - forged.real).mean(axis=2)[110:190, 110:190].mean() > 1


@pytest.mark.parametrize("name", UNSEEN)
def test_the_same_seed_gives_the_same_forgery(name: str):
    one, other = (UNSEEN[name].forge(people(4).footage(0), np.random.default_rng(7)) for _ in range(2))
    assert one is not None
    assert other is not None
    assert np.array_equal(one.fake, other.fake)
    assert np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize("name", UNSEEN)
def test_a_forgery_that_needs_others_is_left_out_where_there_are_none(name: str):
    alone = Footage(scene(0), lambda rng: None, lambda rng: None)
    assert UNSEEN[name].forge(alone, np.random.default_rng(0)) is None


def test_what_is_cut_to_a_canvas_and_pasted_back_is_the_same_picture():
    one = scene(0)
    canvas = Canvas.of(one.face)
    forged = canvas.paste(one, canvas.cut(one.rgb), np.ones(one.rgb.shape[:2], np.float32))
    inside = (slice(110, 190), slice(110, 190))
    assert np.abs(forged.fake[inside].astype(int) - one.rgb[inside]).mean() < 4


def test_colors_take_the_mean_of_those_that_they_are_transferred_to():
    rng = np.random.default_rng(0)
    source, target = (rng.normal(mean, 0.05, (64, 64, 3)).astype(np.float32) for mean in (0.3, 0.6))
    mask = skin_mask(64)
    moved = recolored(source, target, mask)
    assert moved[mask > 0].mean(axis=0) == pytest.approx(target[mask > 0].mean(axis=0), abs=0.01)


def test_a_picture_splined_into_itself_stays_as_it_is():
    picture = person(0).astype(np.float32) / 255
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[100:200, 100:200] = 1
    mixed, weight = splined(picture, picture, mask)
    assert mixed == pytest.approx(picture, abs=1e-5)
    assert weight[150, 150] == pytest.approx(1)
    assert weight[10, 10] == 0


def test_a_seam_follows_the_column_without_a_difference():
    error = np.ones((10, 6))
    error[np.arange(10), [1, 1, 2, 3, 3, 4, 4, 3, 2, 2]] = 0
    assert cheapest_cut(error).tolist() == [1, 1, 2, 3, 3, 4, 4, 3, 2, 2]


def test_a_forgery_is_always_shown_with_its_real_partner():
    shown = forged_pictures(people(4), 0, seed=0)
    assert not shown[0].is_fake
    assert sum(one.is_fake for one in shown) >= 9
    assert all(not shown[one.partner].is_fake for one in shown)
    assert all(shown[one.partner].rgb.shape == one.rgb.shape for one in shown)


@pytest.mark.usefixtures("in_small")
def test_the_same_footage_and_seed_give_the_same_figures(weights_folder: Path):
    told = []
    for _ in range(2):
        with Detector("cpu", weights_folder) as detector:
            scores = score(people(3), detector, None, seed=5)
            told.append(json.dumps(figures(scores, detector.weights.fusion, draws=20)))
    assert told[0] == told[1]


@pytest.mark.usefixtures("in_small")
def test_a_run_leaves_the_detector_as_it_was(weights_folder: Path):
    with Detector("cpu", weights_folder) as detector:
        experts = dict(detector.experts)
        scores = score(people(2), detector, None, seed=0)
        assert detector.experts == experts
    assert set(scores.cost_ms) == set(experts)
    assert all(cost > 0 for cost in scores.cost_ms.values())


@pytest.mark.usefixtures("in_small")
def test_a_run_writes_figures_tables_maps_and_scores(footage: Path, weights_folder: Path, tmp_path: Path):
    given = [str(footage), "--faces", "4", "--weights", str(weights_folder), "--out", str(tmp_path), "--sheet"]
    assert robustness.main(given) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"robustness.json", "robustness.md", "scores.npz", "forgeries.png", "front.png", "heat_fused.png"} <= names
    result = json.loads((tmp_path / "robustness.json").read_text())
    assert result["figures"]["people"] == 4
    assert result["figures"]["judged_fake"]["swap"]["jpeg"] <= 4
    assert set(result["figures"]["auc"]) == {"fused", *result["cost_ms_a_face"]}
    assert len(result["front"]) == 2 ** len(result["cost_ms_a_face"]) - 1
    assert str(tmp_path) not in json.dumps(result)
    assert "| multiband_swap * |" in (tmp_path / "robustness.md").read_text()


def test_a_sheet_has_a_row_a_face_and_a_column_a_family():
    assert contact_sheet(people(3), 0, faces=2, side_px=32).shape == (64, 32 * 11, 3)


def test_faces_are_found_in_footage_and_know_whose_they_are(footage: Path):
    from stream_detect.faces import load_detector

    found = gather(footage, None, 3, seed=0, finder=load_detector())
    assert len(found) == len(set(found.groups)) == 3
    again = gather(footage, None, 3, seed=0, finder=load_detector())
    assert found.groups == again.groups


def test_only_real_items_of_a_manifest_and_people_held_out_of_another_are_used(tmp_path: Path):
    rows = [f"{k}.png,{'fake' if k % 2 else 'real'},person{k}" for k in range(60)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label,identity", *rows]))
    everyone = real_items(tmp_path, None)
    assert {item.identity for item in everyone} == {f"person{k}" for k in range(0, 60, 2)}
    held = real_items(tmp_path, tmp_path / "manifest.csv")
    assert 0 < len(held) < len(everyone)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "nothing to look at"), (1, "2 people or more")], ids=["no faces", "one person"]
)
def test_footage_that_can_not_be_used_is_refused_in_one_line(
    count: int, words: str, tmp_path: Path, weights_folder: Path, capsys: pytest.CaptureFixture[str]
):
    write_people(tmp_path / "footage", count)
    given = [str(tmp_path / "footage"), "--weights", str(weights_folder), "--out", str(tmp_path / "out")]
    assert robustness.main(given) != 0
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_pictures_without_faces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from stream_detect.faces import load_detector

    write_people(tmp_path, 2)
    monkeypatch.setattr(robustness_people, "LEAST_FACE_PX", 1000.0)
    with pytest.raises(ConfigError, match="no face of 1000 pixels or more in 2 files"):
        gather(tmp_path, None, 10, 0, load_detector())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(SourceNotFound, match="nowhere: no such folder or manifest"):
        real_items(tmp_path / "nowhere", None)


def test_auc_and_its_interval_are_over_judged_pictures_and_people():
    person_of = np.repeat(np.arange(10), 2)
    is_fake = np.tile([False, True], 10)
    llr = np.where(is_fake, 1.0, -1.0) + 0.01 * np.arange(20)
    llr[1] = np.nan
    scores = made_scores(llr, is_fake, person_of)
    told = Cells.of(scores, draws=30)
    fakes, reals = told.counts()
    assert (fakes.item(), reals.item()) == (9, 10)  # the real partner of a forgery that was not judged still counts
    assert told.grid(scores.llr).item() == 1.0
    assert np.nanmin(told.drawn(scores.llr)) == 1.0


def test_false_alarms_coverage_and_calibration_are_told_by_channel():
    person_of = np.repeat(np.arange(4), 2)
    is_fake = np.tile([False, True], 4)
    llr = np.array([-9.0, 9, -9, 9, 9, 9, np.nan, 9])
    told = channel_figures(made_scores(llr, is_fake, person_of), 0)
    assert (told["judged_real"], told["called_fake"]) == (3, 1)
    assert told["false_alarms"] == pytest.approx(1 / 3, abs=1e-4)
    assert told["coverage"] == pytest.approx(7 / 8, abs=1e-4)
    assert told["calibration_error"] == pytest.approx(1 / 6, abs=0.01)


def test_the_front_holds_those_that_no_cheaper_subset_equals():
    cost = {"a": 1.0, "b": 2.0, "c": 3.0}
    subsets = [
        {"experts": ["a"], "mean": 0.7},
        {"experts": ["b"], "mean": 0.6},
        {"experts": ["c"], "mean": 0.9},
        {"experts": ["a", "b"], "mean": 0.8},
    ]
    told = front(subsets, cost)
    assert [one["ms_a_face"] for one in told] == [1, 2, 3, 3]
    assert {tuple(one["experts"]) for one in told if one["on_front"]} == {("a",), ("c",)}


def test_an_expert_that_says_nothing_of_a_judged_face_counts_as_undecided():
    llr = np.array([-1.0, 1.0, -1.0, 1.0])
    scores = made_scores(llr, np.array([False, True, False, True]), np.array([0, 0, 1, 1]))
    silent = replace(scores, said={MESONET: np.array([np.nan, np.nan, -1.0, 1.0])})
    table = figures(silent, empty_fusion(), draws=10)["auc"][MESONET]
    assert table["mean"]["auc"] == pytest.approx(7 / 8)


def empty_fusion():
    from stream_detect.weights import random_weights

    return random_weights().fusion
