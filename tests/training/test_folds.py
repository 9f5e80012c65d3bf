"""Folds: nobody judges a person or a family that it has seen, and what it says becomes fusion and report."""

import numpy as np
import pytest

from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.fusion.fusion import fuse
from stream_detect.training.folds import (
    Fitted,
    Footing,
    Predict,
    compare_settings,
    cross_fit_heads,
    cross_predict,
    fit_with_folds,
    fusion_report,
    make_folds,
    rows_of_interest,
)

KINDS = ("synthesised", "blended")
NAMES = {"experts": ("spectrum", "mesonet"), "quality_names": ("sharpness",), "kinds": KINDS}


def footing(faces: int = 1500, seed: int = 0) -> Footing:
    """Each kind in two families, seen by one expert, in sharp pictures three times better than in blurred ones."""
    rng = np.random.default_rng(seed)
    kind_of = rng.choice(["real", *KINDS], faces, p=[0.5, 0.25, 0.25])
    family = np.char.add(kind_of, rng.integers(0, 2, faces).astype(str))
    logits = rng.normal(-1, 1, (faces, 2, 2))
    for k, kind in enumerate(KINDS):
        logits[kind_of == kind, k, k] += 3
    sharp = rng.normal(0, 1, (faces, 1))
    logits[sharp[:, 0] < 0] /= 3
    people = np.char.add("person", rng.integers(0, 40, faces).astype(str))
    return Footing(logits, sharp, kind_of, family, people, np.ones(faces))


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_with_folds(footing(), **NAMES)


def test_people_and_families_are_dealt_out_whole() -> None:
    given = footing()
    folds = make_folds(given.groups, given.family, given.kind_of, people=3, parts=2)
    assert (folds.people, folds.families) == (3, 2)
    for group in np.unique(given.groups):
        assert len(np.unique(folds.person[given.groups == group])) == 1
    for kind in KINDS:  # each part takes one family of each kind away, and leaves the other
        rows = given.kind_of == kind
        assert sorted(np.unique(folds.family[rows])) == [0, 1]
    assert (folds.family[given.kind_of == "real"] == -1).all()


def test_too_few_people_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 3 people to leave some of them out, got 1"):
        make_folds(["ann"], np.array(["swap"]), np.array(["blended"]))


def test_nobody_judges_whom_it_has_seen() -> None:
    given = footing(300)
    folds = make_folds(given.groups, given.family, given.kind_of, people=3, parts=2)
    judged = np.zeros(300, int)

    def fit(seen: np.ndarray) -> Predict:
        def predict(rows: np.ndarray) -> np.ndarray:
            assert not set(given.groups[rows]) & set(given.groups[seen])
            forged = rows[given.kind_of[rows] != "real"]
            assert not set(given.family[forged]) & set(given.family[seen][given.kind_of[seen] != "real"])
            judged[rows] += 1
            return np.ones((len(rows), 2))

        return predict

    assert (cross_predict(folds, fit) == 1).all()
    assert (judged[given.kind_of != "real"] == 1).all()
    assert (judged[given.kind_of == "real"] == 2).all()  # once for each part of the families


def test_heads_are_judged_on_families_that_they_never_saw() -> None:
    given = footing(600)
    rng = np.random.default_rng(1)
    features = rng.standard_normal((600, 2)).astype(np.float32)
    features[given.kind_of == "synthesised", 0] += 2
    folds = make_folds(given.groups, given.family, given.kind_of, people=2, parts=2)
    logits = cross_fit_heads(features, given.kind_of, folds, kinds=KINDS)
    assert logits.shape == (600, 2)
    assert logits[given.kind_of == "synthesised", 0].mean() > 1 > -1 > logits[given.kind_of == "real", 0].mean()


def test_rows_of_interest_are_each_alone_all_but_one_and_all() -> None:
    assert rows_of_interest(1) == [0]
    assert rows_of_interest(3) == [0, 1, 2, 3, 4, 5, 6]
    assert rows_of_interest(5) == [0, 1, 3, 7, 14, 15, 22, 26, 28, 29, 30]


def test_a_fusion_is_calibrated_on_what_is_out_of_fold(fitted: Fitted) -> None:
    given, unseen = footing(), footing(3000, seed=1)
    assert fitted.llr.shape == (len(given.labels),)
    assert expected_calibration_error(1 / (1 + np.exp(-fitted.llr)), given.labels) < 0.05
    for part in (unseen.quality[:, 0] < -0.3, unseen.quality[:, 0] > 0.3):
        llr = fuse(unseen.logits[part], unseen.quality[part], fitted.fusion)
        assert expected_calibration_error(1 / (1 + np.exp(-llr)), unseen.labels[part]) < 0.08


def test_an_expert_that_says_nothing_of_a_face_is_done_without() -> None:
    given = footing(400)
    given.logits[:5, 0] = np.nan
    holed = fit_with_folds(given, **NAMES, people=2, parts=2)
    assert np.isfinite(holed.llr).all()


def test_the_report_shows_what_each_expert_is_worth(fitted: Fitted) -> None:
    report = fusion_report(fitted, footing())
    assert set(report) == {
        "spectrum",
        "mesonet",
        "spectrum alone",
        "mesonet alone",
        "fused",
    }  # with two experts, "all but one" is "one alone"
    assert set(report["fused"]) == {"synthesised0", "synthesised1", "blended0", "blended1", "all"}
    assert report["fused"]["all"] > max(report["spectrum"]["all"], report["mesonet"]["all"]) + 0.05
    assert report["spectrum"]["synthesised0"] > 0.8 > 0.6 > report["spectrum"]["blended0"]


def test_settings_are_compared_out_of_fold() -> None:
    told = compare_settings(footing(), {"either": {}, "sum": {"joint": "linear"}}, **NAMES, people=2, parts=2)
    assert told["either"]["auc"] > told["sum"]["auc"]
    assert told["either"]["log_loss"] < told["sum"]["log_loss"] < np.log(2)
