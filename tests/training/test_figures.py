"""Figures of made-up scores that can be worked out by hand."""

import numpy as np
import pytest

from stream_detect.config import VerdictLimits
from stream_detect.fusion.quality import QUALITY_NAMES
from stream_detect.training.figures import LEAST_PEOPLE, figures, pooled_calibration, subset_figures
from stream_detect.training.looks import file_llr
from stream_detect.training.report import as_markdown
from stream_detect.training.rows import MEAN, OURS, file_rows, frame_rows, rows_of
from stream_detect.weights import even_fusion
from tests.training.scored import EXPERTS, MISSING, clip, made_file, made_look, still

LIMITS = VerdictLimits()
FUSION = even_fusion(EXPERTS, QUALITY_NAMES, ("forged",))


@pytest.fixture(scope="module")
def stills():
    """30 reals of one source below 30 fakes, 25 reals of another above them."""
    rng = np.random.default_rng(0)
    easy = [still(k, False, -3 + rng.normal(0, 0.3), "easy") for k in range(30)]
    hard = [still(100 + k, False, 2 + rng.normal(0, 0.3), "hard") for k in range(25)]
    return [*easy, *hard, *(still(200 + k, True, 0 + rng.normal(0, 0.3), "made") for k in range(30))]


def test_each_large_source_of_reals_stands_alone_and_weighs_the_same(stills):
    told = figures(file_rows("image", stills), LIMITS, 50)
    assert {name: one["real"] for name, one in told["auc_against"].items()} == {"easy": 30, "hard": 25}
    assert told["auc_against"]["easy"]["auc"][OURS]["auc"] == 1.0
    assert told["auc_against"]["hard"]["auc"][OURS]["auc"] == 0.0
    assert told["auc_sources_equal"][OURS]["auc"] == 0.5
    assert told["auc"][OURS]["auc"] == pytest.approx(30 / 55, abs=1e-4)
    assert told["auc_by_real_source"]["hard"]["files"] == 25


def test_few_people_make_no_source_of_their_own(stills):
    few = [one for one in stills if one.item.source != "hard"] + [one for one in stills if one.item.source == "hard"][
        : LEAST_PEOPLE - 1
    ]
    told = figures(file_rows("image", few), LIMITS, 20)
    assert list(told["auc_against"]) == ["easy"]


def test_another_detector_stands_beside(stills):
    """The made-up official network says the opposite of ours."""
    told = figures(file_rows("image", stills), LIMITS, 20)
    assert told["auc"]["official Meso4_DF"]["auc"] == pytest.approx(1 - told["auc"][OURS]["auc"], abs=2e-4)
    assert told["auc_by_generator"]["paint"]["beside"]["official Meso4_DF"] is not None
    assert "ours - official Meso4_DF" in told["auc_differences"]


def test_the_mean_of_equal_experts_is_what_each_says(stills):
    rows = file_rows("image", stills)
    assert rows.columns[MEAN] == pytest.approx(rows.columns["spectrum"])


def test_no_error_among_fifteen_clips_bounds_little():
    clips = [clip(k, False, [-3.0] * 3) for k in range(15)] + [clip(20 + k, True, [3.0] * 3) for k in range(5)]
    told = figures(file_rows("video", clips), LIMITS, 20)["real_called_fake"]
    assert (told["judged"], told["called"], told["share"]) == (15, 0, 0.0)
    assert told["bound_95"] == pytest.approx(0.181, abs=1e-3)


def test_frames_are_counted_and_so_are_the_people_behind_them():
    clips = [clip(k, False, [-3.0, 3.0] + [-3.0] * 8, person=f"p{k % 2}") for k in range(4)]
    clips += [clip(9, True, [3.0] * 10)]
    told = figures(frame_rows(clips), LIMITS, 20)
    assert (told["real"], told["fake"], told["real_groups"]) == (40, 10, 2)
    alarms = told["real_called_fake"]
    assert (alarms["judged"], alarms["called"], alarms["share"]) == (40, 4, 0.1)
    assert (alarms["people"], alarms["people_called"], alarms["people_bound_95"]) == (2, 2, 1.0)


def test_of_each_frame_the_largest_face_counts():
    small, large = made_look(3.0, side=50), made_look(-3.0, side=90)
    rows = frame_rows([made_file("a.mp4", False, small, large)])
    assert len(rows) == 1
    assert rows.columns[OURS][0] < 0.1


def test_coverage_is_told_of_all_and_of_large_faces():
    small = [made_file(f"s{k}.png", k % 2 == 1, made_look(MISSING, side=40)) for k in range(4)]
    large = [still(k, k % 2 == 1, 3.0 if k % 2 else -3.0, side=80) for k in range(4)]
    unsure = [still(10 + k, k % 2 == 1, 0.2, side=80) for k in range(4)]
    told = figures(file_rows("image", [*small, *large, *unsure]), LIMITS, 20)
    assert told["coverage"] == pytest.approx(2 / 3, abs=1e-4)
    assert told["judged_from_64_px"]["share"] == 1.0
    assert (told["decided"]["all"]["share"], told["decided"]["from_64_px"]["share"]) == (pytest.approx(0.3333), 0.5)
    assert told["decided"]["from_64_px_real"]["rows"] == 4


def test_what_is_said_is_compared_with_what_is_so():
    """Said: 0.73 of all; the classes weigh the same, so half are fake."""
    files = [still(k, k < 5, 1.0) for k in range(20)]
    told = figures(file_rows("image", files), LIMITS, 20)
    assert told["calibration_error"] == pytest.approx(0.2311, abs=1e-4)
    assert told["reliability"] == {"said": [0.7311], "fake": [0.5], "rows": [20]}
    assert told["risk_coverage"]["error_at_full_coverage"] == 0.5


def test_stills_and_clips_together_are_calibrated_as_one():
    """Said of stills, all of them forged: 0.73; of clips, all of them real: 0.27."""
    stills = file_rows("image", [still(k, True, 1.0) for k in range(10)])
    clips = file_rows("video", [clip(k, False, [-1.0]) for k in range(10)])
    assert pooled_calibration([stills, clips], 20)["calibration_error"] == pytest.approx(0.2689, abs=1e-4)
    assert pooled_calibration([stills, stills], 20) == {"calibration_error": None}


def test_giving_up_the_unsure_lowers_the_error():
    sure = [still(k, k % 2 == 1, 4.0 if k % 2 else -4.0) for k in range(40)]
    wrong = [still(100 + k, k % 2 == 1, -0.1 if k % 2 else 0.1) for k in range(10)]
    risk = figures(file_rows("image", [*sure, *wrong]), LIMITS, 20)["risk_coverage"]
    assert (risk["error_at_full_coverage"], risk["error_at_80_percent"]) == (0.2, 0.0)
    low, high = risk["error_at_full_coverage_interval"]
    assert low <= 0.2 <= high


def test_bands_tell_whom_it_fails():
    """Small faces are called wrong, large ones right."""
    files = [still(k, k % 2 == 1, 3.0 if k % 2 == 0 else -3.0, side=50) for k in range(6)]
    files += [still(50 + k, k % 2 == 1, -3.0 if k % 2 == 0 else 3.0, side=150) for k in range(6)]
    small, *_, large, _ = figures(file_rows("image", files), LIMITS, 20)["bands"]["face size in pixels"]
    assert (small["from"], small["to"], small["real"], small["fake"]) == (0, 64, 3, 3)
    assert (small["real_called_fake"], small["fake_called_real"], small["auc"]) == (1.0, 1.0, 0.0)
    assert (large["from"], large["real_called_fake"], large["auc"]) == (128, 0.0, 1.0)


def test_each_person_of_several_files_is_told():
    clips = [clip(k, False, [-3.0], person="anna") for k in range(2)] + [clip(5, True, [3.0], person="bob")]
    told = figures(file_rows("video", clips), LIMITS, 20)["by_identity"]
    assert [(one["person"], one["rows"], one["auc"]) for one in told] == [("anna", 2, 1.0)]


def test_a_file_scored_again_with_its_own_ratios_keeps_its_score():
    one = clip(0, False, [-3.0, 1.0, 2.0])
    assert file_llr(one, np.array([-3.0, 1.0, 2.0])) == pytest.approx(0.0)
    assert np.isnan(file_llr(made_file("a.png", False, made_look(MISSING)), np.zeros(0)))


def test_every_subset_of_the_experts_is_weighed(stills):
    """Both made-up experts say the same: alone each is as good as both."""
    told = subset_figures(stills, FUSION, 20)
    assert [one["experts"] for one in told] == [["spectrum"], ["residual"], ["spectrum", "residual"]]
    for one in told:
        assert list(one) == ["experts", "image"]
        assert one["image"]["auc"] == pytest.approx(30 / 55, abs=1e-4)
        assert one["image"]["sources_equal"] == 0.5
        assert one["image"]["loss"]["difference"] == 0


def test_without_both_classes_there_are_no_figures():
    assert figures(file_rows("image", [still(0, False, 1.0)]), LIMITS, 10) == {}
    assert figures(frame_rows([]), LIMITS, 10) == {}
    assert subset_figures([], FUSION, 10) == []
    assert subset_figures([still(0, False, 1.0)], FUSION, 10) == []


def test_a_report_without_clips_reads_well(stills):
    told = {kind: figures(rows, LIMITS, 20) for kind, rows in rows_of(stills).items()}
    about = {"manifest": "m.csv", "encoding": "as published", "files": 85, "scored": 85, "failed": []}
    text = as_markdown(about | told | {"near_duplicates_left_out": 0, "draws": 20, "weights": "abc", "subsets": []})
    assert "## Stills: 55 real of 55 people or files, 30 fake of 30 people or files" in text
    assert "| AUC | all reals | easy (30) | hard (25) | those weighing the same |" in text
    assert "Clips" not in text
    assert set(EXPERTS) <= set(told["image"]["auc"])
