"""kernels/kind_heads.cu: on this machine's CPU, and on a GPU where there is one.

A logit is a sum of up to 1600 products in float32, in another order than BLAS adds them: 1e-6 of the sum of their
magnitudes is allowed. Of the shipped weights that is at most 1e-4 of a logit; a tenth of it is seen.
"""

import numpy as np
import pytest

from stream_detect.cuda.fingerprints import DeviceHeads
from stream_detect.cuda.kernels import CudaBench
from stream_detect.experts.heads import FEATURE_LIMIT, KindHeads, columns_of, expand, standardize
from stream_detect.types import KINDS
from stream_detect.weights import load_weights
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers

Heads = dict[str, KindHeads]


def shipped() -> Heads:
    return dict(load_weights().heads)


def made_up(dim: int, knots: int, kinds: int, seed: int = 0) -> KindHeads:
    rng = np.random.default_rng(seed)
    bends = np.sort(rng.normal(size=(dim, knots)), axis=1) + 0.01 * np.arange(knots)
    numbers = rng.normal(size=dim), rng.uniform(0.1, 2, size=dim), bends
    weights = rng.normal(size=(columns_of(dim, knots), kinds)), rng.normal(size=kinds)
    names = tuple(f"kind {k}" for k in range(kinds))
    return KindHeads(names, *(part.astype(np.float32) for part in (*numbers, *weights)))


def random_features(heads: Heads, faces: int) -> dict[str, np.ndarray]:
    """As each head expects them, some far beyond its limit."""
    rng = np.random.default_rng(faces)
    return {
        name: (head.mean + np.minimum(head.scale, 1) * rng.normal(size=(faces, head.dim)) * 3).astype(np.float32)
        for name, head in heads.items()
    }


def by_definition(heads: Heads, features: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([head(features[name]) for name, head in heads.items()], axis=1)


def allowed(heads: Heads, features: dict[str, np.ndarray]) -> np.ndarray:
    """(faces, experts, kinds): 1e-6 of the magnitudes that are added up, and of the bias."""
    sums = []
    for name, head in heads.items():
        z = standardize(np.nan_to_num(features[name]).astype(np.float64), head.mean, head.scale)
        sums.append(np.abs(expand(z, head.knots)) @ np.abs(head.weight) + np.abs(head.bias))
    return 1e-6 * np.stack(sums, axis=1)


def assert_equal_logits(given: np.ndarray, heads: Heads, features: dict[str, np.ndarray]) -> None:
    expected = by_definition(heads, features)
    assert given.shape == expected.shape
    assert given.dtype == np.float32
    assert np.array_equal(np.isnan(given), np.isnan(expected))
    assert (np.nan_to_num(np.abs(given - expected)) <= allowed(heads, features)).all()


@pytest.mark.parametrize("faces", [1, 3, 64])
def test_shipped_heads_give_the_definitions_logits(faces):
    heads = shipped()
    features = random_features(heads, faces)
    assert_equal_logits(DeviceHeads(HostBench(), heads)(features), heads, features)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_makes_only_its_own_logits_nan(value):
    heads = shipped()
    features = random_features(heads, 5)
    features["color"][1, 62] = features["attention"][4, 0] = value
    given = DeviceHeads(HostBench(), heads)(features)
    spoiled = np.zeros(given.shape, bool)
    spoiled[1, list(heads).index("color")] = spoiled[4, list(heads).index("attention")] = True
    assert np.array_equal(np.isnan(given), spoiled)
    assert_equal_logits(given, heads, features)


def test_the_largest_features_are_held_within_the_limit():
    heads = {"some": made_up(3, 4, 4)}
    huge = np.full((1, 3), np.finfo(np.float32).max, np.float32) * np.array([1, -1, 1], np.float32)
    limit = heads["some"].mean + 2 * FEATURE_LIMIT * heads["some"].scale * np.sign(huge)
    call = DeviceHeads(HostBench(), heads)
    assert np.array_equal(call({"some": huge}), call({"some": limit.astype(np.float32)}))


@pytest.mark.parametrize("kinds", [1, 2, 4, 5, 8, 9])
@pytest.mark.parametrize(("dim", "knots"), [(1, 0), (1, 2), (31, 3), (130, 8)])
def test_any_numbers_of_features_knots_and_kinds(dim, knots, kinds):
    heads = {"one": made_up(dim, knots, kinds, 1), "other": made_up(dim + 2, 0, kinds, 2)}
    features = random_features(heads, 2)
    assert_equal_logits(DeviceHeads(HostBench(), heads)(features), heads, features)


def test_features_at_and_between_knots_follow_the_ramps():
    knots = np.array([[-1, 0, 2]], np.float32)
    weight = np.array([[0], [1], [10]], np.float32)  # the feature itself, then one ramp each
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    heads = {"some": KindHeads(("forged",), zero, one, knots, weight, zero)}
    features = np.array([[-3], [-1], [-0.5], [0], [1], [2], [5]], np.float32)
    given = DeviceHeads(HostBench(), heads)({"some": features})
    assert given[:, 0, 0].tolist() == [0, 0, 0.5, 1, 6, 11, 11]


def test_an_expert_without_features_says_nothing():
    heads = shipped()
    features = random_features(heads, 2)
    del features["mesonet"]
    given = DeviceHeads(HostBench(), heads)(features)
    assert np.isnan(given[:, list(heads).index("mesonet")]).all()
    assert np.isfinite(np.delete(given, list(heads).index("mesonet"), axis=1)).all()


def test_heads_of_fewer_features_take_the_first():
    heads = {"some": made_up(7, 2, 4)}
    wide = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    wide[:, 7:] = np.nan
    assert_equal_logits(DeviceHeads(HostBench(), heads)({"some": wide}), heads, {"some": wide[:, :7]})


def test_rows_may_be_apart():
    heads = {"some": made_up(7, 2, 4)}
    buffer = np.random.default_rng(0).normal(size=(6, 20)).astype(np.float32)
    rows = buffer[::2, 5:12]
    assert_equal_logits(DeviceHeads(HostBench(), heads)({"some": rows}), heads, {"some": rows})


def test_new_numbers_in_the_same_arrays_are_seen():
    heads = shipped()
    features, call = random_features(heads, 2), DeviceHeads(HostBench(), heads)
    call(features)
    for array in features.values():
        array += 0.1
    assert_equal_logits(call(features), heads, features)


def test_more_sets_of_arrays_than_are_held():
    heads = {"some": made_up(3, 0, 4)}
    call = DeviceHeads(HostBench(), heads)
    kept = [np.full((1, 3), k, np.float32) for k in range(70)]
    for features in [*kept, *kept]:
        assert_equal_logits(call({"some": features}), heads, {"some": features})


def test_one_launch_for_all_experts_and_the_same_bits_again():
    bench, heads = HostBench(), shipped()
    features, call = random_features(heads, 3), DeviceHeads(bench, heads)
    given = call(features)
    assert dict(bench.launches) == {"kind_heads": 1}
    assert np.array_equal(call(features), given)


@pytest.mark.parametrize("kinds", [4, 9])
def test_the_order_of_threads_changes_nothing(kinds):
    heads = {"some": made_up(300, 3, kinds)}
    features = random_features(heads, 2)
    given = [DeviceHeads(HostBench(backwards), heads)(features) for backwards in (False, True)]
    assert np.array_equal(*given)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sums_stay_in_registers(architecture):
    assert bytes_out_of_registers("kind_heads", architecture) == 0


def test_no_face_launches_nothing():
    bench, heads = HostBench(), shipped()
    assert DeviceHeads(bench, heads)(random_features(heads, 0)).shape == (0, 5, len(KINDS))
    assert not bench.launches


def test_heads_of_different_kinds_are_refused():
    with pytest.raises(ValueError, match="expected experts of the same kinds of forgery, got"):
        DeviceHeads(HostBench(), {"one": made_up(3, 0, 4), "other": made_up(3, 0, 3)})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "expected features of some of some, got"),
        ({"another": np.zeros((1, 3), np.float32)}, "expected features of some of some, got another"),
        ({"some": np.zeros((1, 2), np.float32)}, r"some: expected \(1, 3\) float32.*got \(1, 2\) float32"),
        ({"some": np.zeros((1, 3))}, r"some: expected \(1, 3\) float32.*got \(1, 3\) float64"),
        ({"some": np.zeros((1, 6), np.float32)[:, ::2]}, "side by side"),
        ({"some": np.zeros((2, 3), np.float32)[::-1]}, "row after row"),
    ],
)
def test_other_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        DeviceHeads(HostBench(), {"some": made_up(3, 0, 4)})(features)


def test_least_traffic_counts_the_weights_once():
    heads = DeviceHeads(HostBench(), {"some": made_up(4, 2, 4)})
    numbers = 4 + 4 + 4 + 4 + 4 + 2 * 4 * 4
    assert heads.bytes_moved(10) == {"kind_heads": 4 * (numbers + 10 * 4 + 10 * 4)}


@pytest.mark.gpu
@pytest.mark.parametrize("faces", [1, 3, 64])
def test_a_gpu_gives_the_definitions_logits(faces):
    import cupy

    heads = shipped()
    features = random_features(heads, faces)
    features["color"][0, 0] = np.nan
    call, placed = DeviceHeads(CudaBench(), heads), {name: cupy.asarray(array) for name, array in features.items()}
    given = [call(placed).get() for _ in range(2)]
    assert_equal_logits(given[0], heads, features)
    assert np.array_equal(given[0], given[1], equal_nan=True)
