"""A network learns what separates the classes, and an interrupted run ends in the same weights as another."""

import numpy as np
import pytest
import torch
from torch import nn

from stream_detect.experts.mesonet import Meso4
from stream_detect.training import networks
from stream_detect.training.metrics import auc
from stream_detect.training.networks import (
    Lesson,
    Schedule,
    augment,
    batch_loss,
    draw_batches,
    embed_all,
    fit_network,
    parameter_groups,
    places_loss,
    teacher_loss,
)
from tests.training.made import striped_samples

KINDS = ("synthesised", "blended", "partial")
SHORT = Schedule(epochs=4, batch=8, rate=2e-2, weight_decay=0.0, seed=3)


class Tiny(nn.Module):
    """Eight filters, their mean magnitude, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 1))

    def features(self, x):
        return self.norm(self.stem(x).abs().mean((2, 3)))

    def kind_logits(self, x):
        return self.head(self.features(x))


def fresh(make=Tiny):
    torch.manual_seed(0)
    return make().to(memory_format=torch.channels_last)


def fitted(path, samples, schedule=SHORT, make=Tiny, progress=lambda *_: None):
    network = fresh(make)
    fit_network(network, samples, np.ones(len(samples)), KINDS[:1], schedule, path, progress)
    return network


def lesson(samples, weights=None, kinds=KINDS[:1], teacher=None):
    return Lesson(samples, np.ones(len(samples)) if weights is None else weights, kinds, teacher)


def same(first, second):
    one, other = first.state_dict(), second.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_tiny_network_learns_what_separates_the_classes(tmp_path):
    samples = striped_samples(12)
    network = fitted(tmp_path / "tiny.safetensors", samples, Schedule(epochs=30, batch=8, rate=3e-2, seed=1))
    x = torch.from_numpy(samples.aligned[np.arange(24)]).permute(0, 3, 1, 2) / 255
    assert not network.training
    with torch.inference_mode():
        assert auc(network.kind_logits(x)[:, 0].numpy(), samples.is_fake) == 1.0


def test_embeddings_are_those_of_the_stored_network(tmp_path):
    samples, network = striped_samples(3), Meso4(3).eval()
    embedding = embed_all(network, samples, np.array([4, 0, 1]), batch=2)
    assert (embedding.shape, embedding.dtype) == ((3, 16), np.float32)
    x = torch.from_numpy(samples.aligned[np.array([4, 0, 1])]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        np.testing.assert_allclose(embedding, network.features(x).numpy(), atol=1e-4)


@pytest.mark.parametrize("make", [Tiny, Meso4])
def test_an_interrupted_run_ends_in_the_same_weights(tmp_path, monkeypatch, make):
    """Dropout, normalization, the optimizer's memory and the learning rate all go on where they were."""
    monkeypatch.setattr(networks, "CHECKPOINT_STEPS", 3)
    samples = striped_samples(8)

    def stop(name, step, steps, loss):
        if step == 5:
            raise KeyboardInterrupt

    undisturbed = fitted(tmp_path / "whole.safetensors", samples, make=make)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "cut.safetensors", samples, make=make, progress=stop)
    resumed = fitted(tmp_path / "cut.safetensors", samples, make=make, progress=lambda *a: seen.append(a[1]))
    assert seen == [4, 5, 6, 7, 8]
    assert same(undisturbed, resumed)


def test_a_finished_run_is_not_learned_again(tmp_path):
    samples, seen = striped_samples(4), []
    first = fitted(tmp_path / "n.safetensors", samples)
    again = fitted(tmp_path / "n.safetensors", samples, progress=lambda *a: seen.append(a))
    assert seen == []
    assert same(first, again)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path):
    samples, seen = striped_samples(4), []
    fitted(tmp_path / "n.safetensors", samples)
    longer = Schedule(epochs=5, batch=8, rate=2e-2, seed=3)
    fitted(tmp_path / "n.safetensors", samples, longer, progress=lambda *a: seen.append(a[1]))
    assert seen == [1, 2, 3, 4, 5]
    fitted(tmp_path / "n.safetensors", samples, longer, make=Meso4, progress=lambda *a: seen.append(a[1]))
    assert seen[5:] == [1, 2, 3, 4, 5]


def test_progress_is_told(tmp_path):
    told = []
    fitted(tmp_path / "tiny.safetensors", striped_samples(4), progress=lambda *a: told.append(a))
    assert [line[:3] for line in told] == [("tiny", step, 4) for step in range(1, 5)]
    assert all(0 < line[3] < 2 for line in told)


def test_a_batch_holds_whole_pairs():
    samples = striped_samples(10, lone=6)
    for rows in draw_batches(lesson(samples), SHORT, 0, 20):
        for pair in np.unique(samples.pair[rows]):
            drawn = rows[samples.pair[rows] == pair]
            assert set(drawn) == set(np.flatnonzero(samples.pair == pair))


def test_rows_without_weight_are_never_drawn():
    samples = striped_samples(10)
    weights = np.where(samples.pair < 4, 0.0, 1.0)
    drawn = np.concatenate(list(draw_batches(lesson(samples, weights), SHORT, 0, 50)))
    assert set(samples.pair[drawn]) == set(range(4, 10))


def test_a_resumed_run_draws_the_same_batches():
    samples = striped_samples(10)
    whole = list(draw_batches(lesson(samples), SHORT, 0, 6))
    rest = list(draw_batches(lesson(samples), SHORT, 4, 6))
    assert all(np.array_equal(a, b) for a, b in zip(whole[4:], rest, strict=True))


def test_augmented_faces_keep_shape_and_range():
    faces = striped_samples(4).aligned[np.arange(8)]
    x, masks = augment(faces, np.random.default_rng(0))
    assert (masks.shape, float(masks.max())) == ((8, 16, 16), 0)
    assert (x.shape, x.dtype) == ((8, 3, 256, 256), torch.float32)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert torch.equal(x, augment(faces, np.random.default_rng(0))[0])
    assert not torch.equal(x, augment(faces, np.random.default_rng(1))[0])


class Constant(nn.Module):
    """The same logits for every face, whatever it shows."""

    def __init__(self, outputs):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kind_logits(self, x):
        return self.bias.expand(len(x), -1)


def test_both_classes_weigh_the_same_in_a_batch():
    """One real and nine fakes: a network that says 0 loses log 2, and the pull on both sides is equal."""
    network = Constant(1)
    loss = batch_loss(network, lesson(striped_samples(1, lone=8)), np.arange(10), Schedule(smoothing=0.0), 0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(2), rel=1e-5)
    assert float(network.bias.grad[0]) == pytest.approx(0, abs=1e-6)


def test_an_output_hears_of_real_faces_and_its_own_kind_alone():
    """Real faces and blended ones in the batch: the output for partial forgeries is left as it is."""
    samples, network = striped_samples(4, kinds=("blended", "partial")), Constant(2)
    two = lesson(samples, kinds=("blended", "partial"))
    rows = np.flatnonzero((samples.kind == "blended") | (samples.pair == 0))
    batch_loss(network, two, rows, Schedule(), 0).backward()
    assert network.bias.grad.tolist() == pytest.approx([0, 0], abs=1e-6)
    rows = np.array([0, 1, 3])  # one real face, one blended, one partial
    batch_loss(network, two, rows, Schedule(smoothing=0.0), 0).backward()
    assert network.bias.grad.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_forgeries_of_other_kinds_are_left_out():
    samples = striped_samples(9, kinds=KINDS)
    assert set(samples.kind[lesson(samples, kinds=("partial",)).rows]) == {"real", "partial"}
    with pytest.raises(ValueError, match="kinds blended to learn from, got none"):
        lesson(striped_samples(3), kinds=("blended",))


def test_lone_forgeries_make_up_their_share_of_the_draws():
    some = lesson(striped_samples(10, lone=3))
    chances = some.chances(0.4)
    assert chances.sum() == pytest.approx(1)
    assert chances[some.is_lone].sum() == pytest.approx(0.4)
    assert lesson(striped_samples(0, lone=3)).chances(0.4).sum() == pytest.approx(1)


def test_the_loss_of_places_falls_where_the_map_is_right():
    masks = torch.zeros(2, 16, 16)
    masks[1, :8] = 1
    right = torch.full((2, 1, 4, 4), -5.0)
    right[1, 0, :2] = 5
    kind = np.array([-1, 0])
    losses = [float(places_loss(places, kind, masks)) for places in (right, torch.zeros_like(right), -right)]
    assert losses[0] < 0.1 < losses[1] < losses[2]


def test_the_teacher_is_followed_where_it_says_something():
    logits, given = torch.zeros(2, 1, requires_grad=True), torch.tensor([[4.0], [float("nan")]])
    teacher_loss(logits, given).backward()
    assert float(logits.grad[0, 0]) < 0
    assert float(logits.grad[1, 0]) == 0
    assert float(teacher_loss(logits, torch.full((2, 1), float("nan"))).detach()) == 0


def test_the_stem_learns_at_its_own_rate():
    groups = parameter_groups(Tiny(), Schedule(rate=1e-3, stem_rate=0.5))
    assert [(group["lr"], len(group["params"])) for group in groups] == [(1e-3, 4), (5e-4, 2)]
    assert [len(group["params"]) for group in parameter_groups(Meso4(), Schedule())] == [len([*Meso4().parameters()])]
