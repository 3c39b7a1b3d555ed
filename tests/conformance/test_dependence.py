"""What every registered measure of dependence must do."""

import numpy as np
import pytest
import torch

from semirobust.core.errors import InputError
from semirobust.dependence import DEPENDENCES

EVERY = pytest.mark.parametrize("name", DEPENDENCES.names())
QUICK = {"infonce": {"steps": 60}}


def _make(name, **settings):
    return DEPENDENCES.make(name, {**QUICK.get(name, {}), **settings})


def _pair(n=200, d=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    return x, x + 0.3 * torch.randn(n, d, generator=generator)


@EVERY
def test_tells_dependence_from_independence(name):
    x, y = _pair()
    found, none = (
        _make(name)(x, y),
        _make(name)(x, torch.randn(200, 3, generator=torch.Generator().manual_seed(4))),
    )
    assert found.verdict == "informative" and found.p_value <= 0.05 and found.excess > 3 * found.null_sd
    assert none.verdict == "indistinguishable from independence"
    low, high = found.interval
    assert (
        low <= found.value <= high
        and found.error > 0
        and len(found.null) == 20
        and found.value <= found.ceiling
    )
    assert found.excess_interval[0] <= found.excess == found.value - found.null_mean
    assert name in str(found).lower().replace(" ", "-") and found.verdict in str(found)


@EVERY
def test_units(name):
    found = _make(name, permutations=1)(*_pair())
    if found.unit == "bits":
        assert (found.bits, found.null_bits, found.ceiling_bits) == (
            found.value,
            found.null_mean,
            found.ceiling,
        )
        assert found.excess_bits == found.excess
    else:
        with pytest.raises(InputError, match="no bits"):
            _ = found.bits


@EVERY
def test_equal_seeds_give_equal_estimates_and_leave_the_global_state_alone(name):
    x, y = _pair(d=20)
    measure = _make(name, permutations=3)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = measure(x, y, seed=1), measure(x, y, seed=1), measure(x, y, seed=2)
    assert torch.equal(before, torch.get_rng_state()) and (numbers == np.random.get_state()[1]).all()  # noqa: NPY002
    assert (first.value, first.null) == (again.value, again.null) and (first.value, first.null) != (
        other.value,
        other.null,
    )


@EVERY
def test_given_the_class_it_is_the_weighted_mean_over_classes(name):
    x, y = _pair(n=180)
    labels = torch.tensor([0] * 90 + [2] * 45 + [5] * 41 + [7] * 4)[
        torch.randperm(180, generator=torch.Generator().manual_seed(1))
    ]
    found = _make(name, permutations=4)(x, y, given=labels)
    assert set(found.classes) == {0, 2, 5} and set(found.left_out) == {7} and "got 4" in found.left_out[7]
    assert found.n == 176 and found.classes[2].n == 45
    weights = {0: 90 / 176, 2: 45 / 176, 5: 41 / 176}
    assert found.value == pytest.approx(sum(w * found.classes[c].value for c, w in weights.items()))
    assert found.null == pytest.approx(
        [sum(w * found.classes[c].null[i] for c, w in weights.items()) for i in range(4)]
    )
    alone = _make(name, permutations=0)(x[labels == 0], y[labels == 0])
    if name not in ("infonce",):  # whose training is drawn anew
        assert found.classes[0].value == pytest.approx(alone.value, abs=1e-6)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_shapes_and_types(name, dtype):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(60, 2, 3, 3, generator=generator) * 3).to(dtype)
    y = x[:, :, 0].transpose(1, 2)  # not contiguous
    kept = x.clone()
    found = _make(name, permutations=1)(x, y)
    assert np.isfinite(found.value) and torch.equal(x, kept)
    single = _make(name, permutations=1)(np.arange(60.0) % 7, (np.arange(60.0) % 7).tolist())
    assert single.value > single.null_mean


@EVERY
def test_bad_input_is_said_in_one_sentence(name):
    measure = _make(name)
    x, y = _pair()
    broken = x.clone()
    broken[3, 1] = torch.nan
    for arguments, text in (
        ((broken, y), "1 NaN or infinite"),
        ((x, y[:50]), "as many rows"),
        ((x[:5], y[:5]), "at least"),
        ((x[:0], y[:0]), "at least one"),
        ((x, torch.ones(200, 2)), "alike"),
        ((torch.full((200, 2), 0.1), y), "alike"),
        ((3.0, y), "one row"),
        ((x, [[1.0], [2.0, 3.0]]), "equal length"),
        ((np.array(["a"] * 200), y), "real numbers"),
        ((x, y * 1j), "real numbers"),
    ):
        with pytest.raises(InputError, match=text) as error:
            measure(*arguments)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="as many rows"):
        measure(x, y, given=[0, 1])
    with pytest.raises(InputError, match="integer labels"):
        measure(x, y, given=torch.rand(200))
    for given in (["a"] * 200, 3):
        with pytest.raises(InputError, match="given"):
            measure(x, y, given=given)
    with pytest.raises(InputError, match="no class has enough"):
        measure(x[:60], y[:60], given=torch.arange(60) // 4)
    for permutations in (-1, True):
        with pytest.raises(InputError, match="permutations"):
            type(measure)(permutations=permutations)


@EVERY
def test_the_error_is_that_of_the_estimate_over_samples(name):
    """Standard errors are not far below what other samples show."""
    found = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(150, 2, generator=generator)
        found.append(
            _make(name, permutations=0)(
                x, 0.8 * x + 0.6 * torch.randn(150, 2, generator=generator), seed=seed
            )
        )
    spread, error = np.std([e.value for e in found], ddof=1), np.mean([e.error for e in found])
    assert 0.5 * spread < error < 3 * spread
    assert {e.verdict for e in found} == {"not tested"}


@EVERY
def test_batches_may_be_empty_reused_mapped_from_a_file_or_of_another_kind(name, tmp_path):
    x, y = _pair(n=120)
    measure = _make(name, permutations=1)
    alone = measure(x, y)
    buffers = torch.empty(40, 3), torch.empty(40, 3)

    def reused():
        for start in range(0, 120, 40):
            yield x[:0], y[:0]
            for buffer, side in zip(buffers, (x, y)):
                buffer.copy_(side[start : start + 40])
            yield buffers

    assert measure.of_batches(reused).value == pytest.approx(alone.value, abs=1e-6)
    np.save(tmp_path / "x.npy", x.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert measure(mapped, y.numpy().astype(">f4")).value == pytest.approx(alone.value, abs=1e-5)
    with torch.inference_mode():
        assert measure(x, y).value == pytest.approx(alone.value, abs=1e-6)
    with pytest.raises(InputError, match="function that gives them"):
        measure.of_batches(iter([(x, y)]))
    if measure.moments:
        for passes in ([120, 0], [0, 120], [120, 80]):
            sizes = iter(passes)
            with pytest.raises(InputError, match=r"same examples in each pass|at least"):
                measure.of_batches(lambda sizes=sizes: iter([(x[: (n := next(sizes))], y[:n])]))


@EVERY
def test_equal_examples_and_tiny_features(name):
    """Duplicates, binary features, sizes far from 1: a finite estimate or one sentence."""
    generator = torch.Generator().manual_seed(3)
    binary = (torch.rand(200, 12, generator=generator) < 0.1).float()
    many = torch.randn(200, 20, generator=generator)
    many[:30] = many[0]
    for x in (binary, many, 1e-8 * many, 1e8 * many):
        try:
            found = _make(name, permutations=2)(x, torch.relu(x[:, ::2]))
        except InputError as error:
            assert "vary by less than 0.0001" in str(error) and name == "edge"
        else:
            assert np.isfinite([found.value, found.error, *found.null]).all()
    constant = torch.full((1013, 700), 0.1, dtype=torch.float64)
    with pytest.raises(InputError, match="alike"):
        _make(name)(constant, torch.randn(1013, 3, generator=generator))


@EVERY
def test_constant_features_among_others_do_no_harm(name):
    x, y = _pair(d=8)
    x[:, 2] = 0
    y[:, 5] = 7
    found = _make(name)(x, y)
    assert np.isfinite(found.value) and found.p_value <= 0.05
