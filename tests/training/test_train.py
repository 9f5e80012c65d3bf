"""A whole training in small: footage in, weights out; interrupted, resumed, and refused where it can't be meant."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_detect import Detector
from stream_detect.errors import ConfigError, OutputError
from stream_detect.experts.attention import AttentionConfig, AttentionNet, AttentionTrunks
from stream_detect.experts.mesonet import Meso4
from stream_detect.training.evidence import NEVER, meso_heads, trunk_heads
from stream_detect.training.forgeries import FAMILIES
from stream_detect.training.manifest import Item
from stream_detect.training.samples import FINGERPRINTS
from stream_detect.training.train import TrainSettings, copies_of, held_out, row_weights, train
from stream_detect.weights import load_weights
from tests import clips
from tests.training.made import made_samples, person, write_people

EXPERTS = [*FINGERPRINTS, "mesonet", "attention"]


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Eleven people in pictures, one in a clip."""
    folder = write_people(tmp_path_factory.mktemp("footage") / "calls", 11)
    clips.write_clip(folder / "clip.mp4", [person(11)] * 3)
    (folder / "broken.jpg").write_text("once upon a time")
    return folder


@pytest.fixture(scope="module")
def settings(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return TrainSettings(
        out=folder / "weights",
        run=folder / "run",
        real=(footage,),
        rounds=1,
        per_clip=2,
        epochs=1.0,
        input_px=64,
        pretrained=False,
    )


@pytest.fixture(scope="module")
def trained(settings):
    """What training told, and its report."""
    told = []
    report = train(settings, lambda *line: told.append(line))
    return told, report


def test_training_gives_figures_of_every_expert(trained):
    _, report = trained
    assert {*EXPERTS, "fused", *(f"{name} alone" for name in EXPERTS), *(f"without {name}" for name in EXPERTS)} <= set(
        report
    )
    for name in [*EXPERTS, "fused"]:
        assert set(report[name]) <= {*FAMILIES, "all"}
        assert 0 <= report[name]["all"] <= 1


def test_every_step_tells_how_far_it_is(trained):
    told, _ = trained
    last = {step: (done, of) for step, done, of, _ in told}
    networks = ["learning synthesised", "learning border", "learning mesonet"]
    assert list(last) == ["cutting faces", "forging and degrading", *networks]
    assert last["cutting faces"] == (13, 13)
    assert all(done == of for done, of in last.values())


def test_the_weights_are_whole_and_score_a_picture(trained, settings, footage):
    weights = load_weights(settings.out)
    assert list(weights.heads) == EXPERTS
    assert 0 <= weights.thresholds["real"] <= weights.thresholds["fake"] <= 1
    assert weights.kinds == ("synthesised", "resynthesised", "blended", "partial")
    assert weights.operating["fusion"]
    assert {head.bias[0] for head in weights.heads.values()} == {NEVER}  # no generator's face was among the footage
    assert {"spectrum_mean", "spectrum_std"} <= set(weights.reference)
    assert "calls" in weights.data
    weights = replace(weights, quality_limits={})  # so few faces support no judgement of one of this size
    with Detector(device="cpu", weights=weights) as detector:
        score = detector.score(footage / "person00.png")
    assert score.faces == score.judged == 1
    assert 0 < score.fake_probability < 1
    assert all(0 <= score.experts[name] <= 1 for name in EXPERTS)


def test_a_card_lies_beside_the_weights(trained, settings):
    _, report = trained
    card = (settings.out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| calls | 13 | 0 | 13 |" in card
    assert f"{report['fused']['all']:.3f}" in card
    assert "What they can't do" in card
    assert "rounds 1" in card
    assert str(settings.run) not in card


def test_a_second_run_makes_nothing_anew(trained, settings):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in settings.run.rglob("*.*") if path.name != "run.json"}

    before, told = stamps(), []
    report = train(settings, lambda *line: told.append(line[0]))
    assert json.dumps(report) == json.dumps(trained[1])  # as text, in which NaN is NaN
    assert stamps() == before
    assert not [step for step in told if step.startswith("learning")]


def test_an_interrupted_training_goes_on_to_the_same_weights(trained, settings, tmp_path):
    def interrupt(step, done, of, detail):
        if step == "learning border":
            raise KeyboardInterrupt

    again = replace(settings, out=tmp_path / "weights", run=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(again, interrupt)
    assert (tmp_path / "run" / "checkpoints" / "synthesised.safetensors").is_file()
    assert not (tmp_path / "weights" / "heads.json").exists()
    train(again)
    index, first = (json.loads((folder / "heads.json").read_text()) for folder in (again.out, settings.out))
    assert index["files"] == first["files"]


def test_a_run_of_other_footage_is_refused(trained, settings, tmp_path):
    write_people(tmp_path / "others", 6)
    with pytest.raises(ConfigError, match="begun with another footage; name another folder"):
        train(replace(settings, real=(tmp_path / "others",)))
    with pytest.raises(ConfigError, match="begun with another seed"):
        train(replace(settings, seed=12))


def test_one_person_is_too_few(settings, tmp_path):
    write_people(tmp_path / "real", 1)
    few = replace(settings, real=(tmp_path / "real",), run=tmp_path / "run", out=tmp_path / "weights")
    with pytest.raises(ConfigError, match="too few people: expected faces of 8 or more"):
        train(few)


def test_footage_without_a_face_is_refused(settings, empty_clip, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "nobody.mp4").write_bytes(empty_clip.read_bytes())
    nobody = replace(settings, real=(tmp_path / "real",), run=tmp_path / "run", out=tmp_path / "weights")
    with pytest.raises(ConfigError, match="no face was found"):
        train(nobody)


def test_a_folder_that_can_not_be_made_is_told_at_once(settings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't make this folder"):
        train(replace(settings, out=tmp_path / "file" / "weights"))
    with pytest.raises(OutputError, match="can't make this folder"):
        train(replace(settings, out=tmp_path / "weights", run=tmp_path / "file"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"real": ()}, "nothing to train on"),
        ({"rounds": 0}, "must be positive"),
        ({"epochs": 0.0}, "must be positive"),
        ({"strengths": (0.5, 1.5)}, r"strengths must lie in \[0, 1\]"),
        ({"strengths": ()}, r"strengths must lie in \[0, 1\]"),
    ],
)
def test_settings_that_can_not_be_meant_fail(settings, wrong, words):
    with pytest.raises(ConfigError, match=words):
        replace(settings, **wrong)


def test_about_every_fifth_person_is_held_out():
    assert len(held_out(["a", "b", "a"])) == 1
    assert len(held_out([f"person{k}" for k in range(10)])) == 2
    assert 150 < len(held_out([f"person{k}" for k in range(1000)])) < 250
    some = held_out([f"person{k}" for k in range(100)])
    assert some == held_out([f"person{k}" for k in range(200)]) & {f"person{k}" for k in range(100)}


def test_small_sources_come_more_often():
    def items(count, source, kind="image"):
        return [Item(Path(f"{source}{k}"), False, kind, source=source) for k in range(count)]

    copies = copies_of([*items(16, "large"), *items(4, "small"), *items(1, "tiny"), *items(1, "clips", "video")])
    assert [copies[k] for k in (0, 16, 20, 21)] == [1, 2, 3, 1]


def test_both_classes_and_all_sources_weigh_the_same():
    items = [Item(Path(f"{k}"), False, "image", source="a" if k < 8 else "b") for k in range(16)]
    numbers = np.repeat(np.arange(16), 2)
    is_fake = np.arange(32) % 2 == 1
    kind = np.where(is_fake, "blended", "real")
    samples = made_samples(np.zeros((32, 1, 1, 3), np.uint8), is_fake, numbers, kind)
    weights = row_weights(items, samples)
    assert weights[is_fake].sum() == pytest.approx(16)
    assert weights[~is_fake].sum() == pytest.approx(16)
    assert weights[:16].sum() == pytest.approx(weights[16:].sum())


def test_clips_are_drawn_twice_as_often_as_pictures_of_as_many_people():
    items = [Item(Path(f"{k}"), False, "video" if k < 8 else "image", source="a" if k < 8 else "b") for k in range(16)]
    numbers, is_fake = np.repeat(np.arange(16), 2), np.arange(32) % 2 == 1
    samples = made_samples(np.zeros((32, 1, 1, 3), np.uint8), is_fake, numbers, np.where(is_fake, "blended", "real"))
    weights = row_weights(items, samples)
    assert weights[:16].sum() == pytest.approx(2 * weights[16:].sum())


def test_heads_give_the_logits_of_their_networks():
    torch.manual_seed(0)
    tiny = {"stem": "patches", "input_px": 32, "dim": 24, "depth": 1}
    trunks = AttentionTrunks(
        {
            "synthesised": AttentionNet(AttentionConfig(**tiny, outputs=2)),
            "border": AttentionNet(AttentionConfig(**tiny, outputs=2)),
        }
    ).eval()
    meso, x = Meso4(4).eval(), torch.rand(3, 3, 256, 256)
    with torch.inference_mode():
        np.testing.assert_allclose(meso_heads(meso)(meso.features(x).numpy()), meso.kind_logits(x).numpy(), atol=1e-5)
        expected = torch.cat([trunk.kind_logits(x) for trunk in trunks.each().values()], dim=1)
        np.testing.assert_allclose(trunk_heads(trunks)(trunks.features(x).numpy()), expected.numpy(), atol=1e-5)
