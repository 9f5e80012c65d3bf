"""Weights adapted to one's own footage: loadable, clearly better or as before, refused where it can't be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_detect import Detector
from stream_detect.errors import ConfigError, OutputError, WeightsError
from stream_detect.experts.attention import AttentionConfig, AttentionNet, AttentionTrunks
from stream_detect.experts.heads import fit_kind_heads
from stream_detect.experts.networks import pack
from stream_detect.fusion.fit import fit_fusion
from stream_detect.fusion.fusion import fuse
from stream_detect.training import adapt as adapting
from stream_detect.training.adapt import AdaptSettings, adapt
from stream_detect.training.evidence import trunk_heads
from stream_detect.training.folds import Footing, make_folds
from stream_detect.training.footage import spread
from stream_detect.training.refit import (
    as_it_is,
    better_heads,
    in_measures_of,
    is_clearly_better,
    recalibrated,
    refit_heads,
    refitted,
    with_kinds_of,
)
from stream_detect.training.tune import as_calibrated
from stream_detect.types import KINDS, LESSONS
from stream_detect.weights import even_fusion, load_weights, random_head, random_weights, save_weights
from tests.training.made import write_people

QUALITY = ("log2_face_px", "sharpness")
SEEN = tuple(kind for kind in KINDS if kind != "synthesised")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "weights"
    save_weights(random_weights(), folder)
    (folder / "MODEL_CARD.md").write_text("# Weights of chance\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def settings(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    footage = write_people(folder / "calls", 10)
    (footage / "broken.jpg").write_text("once upon a time")
    return AdaptSettings(
        out=folder / "weights", run=folder / "run", real=(footage,), base=base, faces=20, strengths=(0.0,), jobs=1
    )


@pytest.fixture(scope="module")
def adapted(settings):
    """What adapting told, what it warned of, and its report."""
    told, warned = [], []
    report = adapt(settings, lambda *line: told.append(line), warned.append)
    return told, warned, report


def test_adapted_weights_load_and_score_a_picture(adapted, settings, base):
    weights, before = load_weights(settings.out), load_weights(base)
    assert weights.operating["adapted"] == adapted[2].taken
    for name in before.networks:
        ours, theirs = weights.networks[name].tensors, before.networks[name].tensors
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    with Detector(device="cpu", weights=settings.out) as detector:
        assert 0 < detector.score(settings.real[0] / "person00.png").fake_probability < 1


def test_figures_before_and_after_are_told_and_kept(adapted, settings):
    _, _, report = adapted
    assert set(report.before) == set(report.after)
    assert report.people == 10
    assert report.missing == ("synthesised",)
    assert report.after["log_loss"] <= report.before["log_loss"]
    notes = (settings.out / "ADAPTED.md").read_text(encoding="utf-8")
    assert f"| log loss (nats) | {report.before['log_loss']:.3f} | {report.after['log_loss']:.3f} |" in notes
    assert str(settings.run) not in notes
    assert (settings.out / "MODEL_CARD.md").read_text(encoding="utf-8") == "# Weights of chance\n"


def test_files_that_were_left_out_are_named(adapted):
    _, warned, _ = adapted
    assert any("broken.jpg" in words and "left out" in words for words in warned)
    assert any("no face in 1 (broken.jpg) of 11 files" in words for words in warned)


def test_every_step_tells_how_far_it_is(adapted):
    last = {step: (done, of) for step, done, of, _ in adapted[0]}
    assert list(last) == ["cutting faces", "forging and degrading", "asking the experts", "fitting"]
    assert all(done == of for done, of in last.values())


def test_a_second_run_forges_nothing_anew(adapted, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(adapting.Workshop, "_rows", lambda *_: pytest.fail("forged anew"))
    adapt(replace(settings, out=tmp_path / "weights"))
    first, again = (json.loads((out / "heads.json").read_text()) for out in (settings.out, tmp_path / "weights"))
    assert first["files"] == again["files"]


def test_limits_of_few_people_only_call_fewer_faces_fake_or_real(adapted):
    for name, (before, after) in adapted[2].limits.items():
        assert after >= before if name == "fake" else True
        assert after <= before if name == "real" else True


def test_few_people_are_refused(settings, tmp_path):
    write_people(tmp_path / "real", 3)
    with pytest.raises(ConfigError, match="too few people: expected real faces of 8 or more"):
        adapt(replace(settings, real=(tmp_path / "real",), run=tmp_path / "run", out=tmp_path / "w"))


def test_footage_without_a_face_is_refused(settings, empty_clip, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "nobody.mp4").write_bytes(empty_clip.read_bytes())
    with pytest.raises(ConfigError, match="no face was found in the real footage"):
        adapt(replace(settings, real=(tmp_path / "real",), run=tmp_path / "run", out=tmp_path / "w"))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"real": ()}, ConfigError, "nothing to train on"),
        ({"real": (), "fake": (Path("calls"),)}, ConfigError, "only forged footage was given"),
        ({"real": (Path("nowhere"),)}, ConfigError, "nowhere: no such folder"),
        ({"base": Path("nowhere")}, WeightsError, "expected a folder of weights"),
    ],
)
def test_what_can_not_be_meant_is_refused(settings, tmp_path, wrong, error, words):
    with pytest.raises(error, match=words):
        adapt(replace(settings, out=tmp_path / "w", **wrong))


def test_the_weights_to_start_from_are_never_replaced(settings, base, tmp_path):
    with pytest.raises(OutputError, match="these are the weights to start from"):
        adapt(replace(settings, out=base))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write weights here"):
        adapt(replace(settings, out=tmp_path / "file" / "weights"))


def test_weights_that_know_no_kinds_are_refused(settings, tmp_path):
    given = random_weights()
    rng = np.random.default_rng(0)
    heads = {name: random_head(rng, head.dim, ("forged",)) for name, head in given.heads.items()}
    fusion = even_fusion(given.fusion.experts, given.fusion.quality, ("forged",))
    save_weights(replace(given, heads=heads, fusion=fusion), tmp_path / "old")
    with pytest.raises(WeightsError, match="expected weights that tell apart synthesised"):
        adapt(replace(settings, base=tmp_path / "old", out=tmp_path / "w"))


def made_footing(people=30, strength=1.5, seed=0):
    """Rows of people with one real face and a forgery of each kind but "synthesised"; two experts, both right."""
    rng = np.random.default_rng(seed)
    kind_of = np.tile(["real", *SEEN], people)
    groups = np.repeat([f"person{k}" for k in range(people)], 1 + len(SEEN))
    sign = np.where(kind_of == "real", -1, 1)[:, None, None]
    return Footing(
        logits=(strength * sign + rng.normal(0, 1, (len(sign), 2, len(KINDS)))).astype(np.float32),
        quality=rng.normal(0, 1, (len(sign), 2)),
        kind_of=kind_of,
        family=np.where(kind_of == "real", "real", np.char.add(kind_of, rng.integers(0, 2, len(sign)).astype(str))),
        groups=groups,
        weight=np.ones(len(sign)),
    )


@pytest.fixture(scope="module")
def rows():
    given = made_footing()
    return given, make_folds(given.groups, given.family, given.kind_of)


def two_heads():
    rng = np.random.default_rng(1)
    return {name: random_head(rng, 3) for name in ("a", "b")}


def test_a_fusion_that_is_right_stays(rows):
    given, folds = rows
    way = {"joint": "noisy_or", "l2": 3e-3, "l2_quality": 1.0}
    good = refitted("good", two_heads(), even_fusion(("a", "b"), QUALITY), given, folds, way)
    before = as_it_is(two_heads(), good.fusion, made_footing(seed=5))
    again = refitted("again", two_heads(), good.fusion, before.given, folds, way)
    assert not is_clearly_better(again.llr, before.llr, before.given)


def test_a_fusion_that_is_wrong_is_replaced(rows):
    given, folds = rows
    wrong = replace(even_fusion(("a", "b"), QUALITY), band_offset=np.full((3, 1), 4, np.float32))
    before = as_it_is(two_heads(), wrong, given)
    after = recalibrated("calibration", two_heads(), wrong, given, folds)
    assert is_clearly_better(after.llr, before.llr, given)
    assert not is_clearly_better(before.llr, after.llr, given)
    assert not is_clearly_better(before.llr, before.llr, given)


def test_kinds_that_are_missing_keep_what_is_known_of_them(rows):
    given, folds = rows
    rng = np.random.default_rng(3)
    even = even_fusion(("a", "b"), QUALITY)
    base = replace(
        even,
        quality_mean=np.array([0.5, -1], np.float32),
        quality_scale=np.array([2, 0.5], np.float32),
        quality_weights=rng.normal(0, 1, even.quality_weights.shape).astype(np.float32),
        bias=rng.normal(0, 1, even.bias.shape).astype(np.float32),
    )
    after = refitted("new", two_heads(), base, given, folds, {"joint": "noisy_or", "modulate": True})
    k = KINDS.index("synthesised")
    for name in ("weights", "modulation"):
        assert np.array_equal(getattr(after.fusion, name)[:, :, k], getattr(base, name)[:, :, k])
    assert np.array_equal(after.fusion.quality_weights[:, k], base.quality_weights[:, k])
    assert np.array_equal(after.fusion.bias[:, k], base.bias[:, k])
    assert not np.array_equal(after.fusion.bias[:, k - 1], base.bias[:, k - 1])


def test_a_fusion_says_the_same_in_the_measures_of_another(rows):
    given, _ = rows
    names = {"experts": ("a", "b"), "quality_names": QUALITY, "kinds": KINDS}
    fusion = replace(
        fit_fusion(given.logits, given.quality, given.kind_of, modulate=True, **names), limit=np.full(1, 8.0)
    )
    other = replace(
        even_fusion(("a", "b"), QUALITY),
        quality_mean=np.array([0.2, -0.1], np.float32),
        quality_scale=np.array([1.5, 0.8], np.float32),
    )
    moved = in_measures_of(other, fusion)
    near = np.abs(given.quality).max(axis=1) < 2  # where neither standardization is clipped
    said = [fuse(given.logits, given.quality, one)[near] for one in (fusion, moved)]
    np.testing.assert_allclose(*said, atol=1e-3)
    whole = with_kinds_of(other, moved, KINDS)
    assert np.array_equal(whole.weights, other.weights)


def test_heads_stay_where_nothing_says_otherwise():
    rng = np.random.default_rng(4)
    features, kind_of = rng.normal(0, 1, (400, 3)), np.array(["real", *KINDS])[rng.integers(0, 5, 400)]
    features[kind_of != "real", 0] += 2
    base = fit_kind_heads(features, kind_of, l2=1e-3)
    again = refit_heads(base, features, kind_of, np.ones(400))
    np.testing.assert_allclose(again.weight, base.weight, rtol=0.05, atol=0.05)
    some = kind_of != "synthesised"
    kept = refit_heads(base, -features[some], kind_of[some], np.ones(some.sum()))
    k = KINDS.index("synthesised")
    assert np.array_equal(kept.weight[:, k], base.weight[:, k])
    assert (kept.weight[0, k + 1 :] < 0).all()


def test_the_heads_with_the_lower_loss_are_taken(rows):
    given, folds = rows
    rng = np.random.default_rng(6)
    features = {"a": rng.normal(0, 1, (len(given.groups), 3)), "b": rng.normal(0, 1, (len(given.groups), 3))}
    features["a"][given.labels == 1, 0] += 3
    heads = {"a": random_head(rng, 3), "b": replace(random_head(rng, 3), weight=np.zeros((3, len(KINDS)), np.float32))}
    logits = np.stack([heads[name](features[name]) for name in heads], axis=1)
    chosen, now = better_heads(heads, features, replace(given, logits=logits), folds, ["a", "b"])
    assert chosen["a"] is not heads["a"]
    assert chosen["b"] is heads["b"]
    assert np.array_equal(now.logits[:, 1], logits[:, 1])


def test_footage_is_spread_over_people():
    groups = ["a"] * 10 + ["b"] * 2 + ["c"]
    assert spread(groups, 100) == list(range(13))
    assert spread(groups, 6) == [0, 4, 9, 10, 11, 12]
    assert len(spread([str(k) for k in range(50)], 7)) == 7


@pytest.fixture
def trunks(tmp_path):
    """Small weights whose attention expert is made of two trunks."""
    given = random_weights()
    torch.manual_seed(0)
    tiny = AttentionConfig(stem="patches", crop_px=64, input_px=64, dim=24, depth=1, outputs=2)
    network = AttentionTrunks({name: AttentionNet(tiny) for name in ("synthesised", "border")}).eval()
    heads = {**given.heads, "attention": trunk_heads(network)}
    networks = {**given.networks, "attention": pack(network)}
    save_weights(replace(given, heads=heads, networks=networks), tmp_path / "trunks")
    return tmp_path / "trunks"


def test_networks_may_be_tuned_as_well(settings, trunks, tmp_path, monkeypatch):
    monkeypatch.setattr(adapting, "FEWEST_PEOPLE", 3)
    monkeypatch.setattr(adapting, "is_clearly_better", lambda new, old, given: len(new) > 0)
    write_people(tmp_path / "real", 15)
    changed = {"real": (tmp_path / "real",), "faces": 15, "base": trunks, "out": tmp_path / "w", "run": tmp_path / "r"}
    report = adapt(replace(settings, networks=True, epochs=0.5, **changed))
    assert report.people == 3
    assert report.taken.startswith("networks")
    before, after = (load_weights(folder).networks for folder in (trunks, tmp_path / "w"))
    assert {name.split(".")[1] for name in changed_tensors(before["attention"], after["attention"])} == set(LESSONS)
    assert not changed_tensors(before["mesonet"], after["mesonet"])


def changed_tensors(before, after):
    return [name for name, tensor in before.tensors.items() if (tensor != after.tensors[name]).any()]


def test_tuning_networks_needs_many_people_and_trunks(settings, trunks, tmp_path):
    with pytest.raises(WeightsError, match="expected an attention expert made of trunks"):
        adapt(replace(settings, networks=True, out=tmp_path / "w"))
    with pytest.raises(ConfigError, match=r"too few people to tune networks: .* expected 8 of them, got 2"):
        adapt(replace(settings, networks=True, base=trunks, out=tmp_path / "w"))


def test_a_tuned_head_is_scaled_as_the_one_before():
    rng = np.random.default_rng(0)
    before, now = random_head(rng, 6), random_head(rng, 6)
    given = replace(before, weight=before.weight * 2, bias=before.bias * 2 + 1)
    scaled = as_calibrated(now, before, given)
    np.testing.assert_allclose(scaled.weight, 2 * now.weight, rtol=1e-5)
    np.testing.assert_allclose(scaled.bias, 2 * now.bias + 1, rtol=1e-5)
