import numpy as np
import pytest
import torch
from common import seeded
from sklearn.datasets import load_wine

from sklatent.training.batches import PERIOD, Batches, Samples, systematic_resample

WINE = load_wine()
N = len(WINE.data)


def numbered(n, weight=None):
    """Samples that hold their own number."""
    return Samples(torch.arange(n)[:, None], None, weight)


def epoch(batches):
    return torch.cat([x[:, 0] for x, _ in batches])


def uneven(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).exponential(size=n))


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 255, 256, 300, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_are_even_and_none_is_small(n, weighted):
    rows = numbered(n, uneven(n) if weighted else None)
    batches = Batches(rows, 128, seeded())
    sizes = [len(x) for x, _ in batches]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(n, 128)
    assert max(sizes) < 2 * 128
    assert batches.n_steps == len(sizes)


@pytest.mark.parametrize("weight", [None, 1.0, 0.1, 1e-8])
@pytest.mark.parametrize("n", [1, 100, 1000])
def test_an_epoch_of_equal_rows_is_a_permutation(n, weight):
    weight = None if weight is None else torch.full((n,), weight, dtype=torch.float64)
    batches = Batches(numbered(n, weight), 32, seeded())
    first, second = epoch(batches), epoch(batches)
    assert torch.equal(first.sort().values, torch.arange(n))
    assert torch.equal(second.sort().values, torch.arange(n))
    if n > 1:
        assert not torch.equal(first, second)
        assert not torch.equal(first, torch.arange(n))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_weighted_draws_are_the_expected_number_rounded_down_or_up(scale):
    n, epochs = 50, 2000
    weight = uneven(n)
    expected = (n * weight / weight.sum()).numpy()
    batches = Batches(numbered(n, scale * weight), 16, seeded())
    counts = np.stack([torch.bincount(epoch(batches), minlength=n) for _ in range(epochs)])
    assert (counts >= np.floor(expected)).all()
    assert (counts <= np.floor(expected) + 1).all()
    # A count rounded up with probability f has variance f (1 - f).
    part = expected % 1
    error = np.sqrt(part * (1 - part) / epochs)
    assert (np.abs(counts.mean(axis=0) - expected) < 4 * error + 1e-12).all()


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_integer_expectations_are_met_exactly(n):
    weight = torch.tensor([0.0, 1.0, 2.0, 1.0], dtype=torch.float64).repeat(n)
    index = systematic_resample(weight, seeded())
    assert torch.equal(torch.bincount(index, minlength=4 * n), weight.long())


def test_rows_are_shuffled_across_batches():
    # In order of label, as the rows are given, the first batch would hold one class only.
    rows = Samples(torch.from_numpy(WINE.data), torch.from_numpy(WINE.target), uneven(N))
    for _, y in Batches(rows, 32, seeded()):
        assert len(y.unique()) == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_x_and_y_stay_together(weighted):
    x = torch.from_numpy(WINE.data)
    rows = Samples(x, x.sum(dim=1), uneven(N) if weighted else None)
    for x, y in Batches(rows, 32, seeded()):
        assert torch.equal(x.sum(dim=1), y)


def test_without_y_batches_have_none():
    assert all(y is None for _, y in Batches(numbered(100), 32, seeded()))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_generator_decides(weighted):
    rows = numbered(100, uneven(100) if weighted else None)
    a, b, c = (epoch(Batches(rows, 32, seeded(seed))) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("weighted", [False, True])
def test_global_random_state_is_left_alone(weighted):
    before = torch.get_rng_state()
    epoch(Batches(numbered(100, uneven(100) if weighted else None), 32, seeded()))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_generator_rows_come_in_order():
    assert torch.equal(epoch(Batches(numbered(100), 32)), torch.arange(100))


@pytest.mark.parametrize("n_steps", [PERIOD - 1, PERIOD, PERIOD + 1, 3 * PERIOD - 1])
def test_periods_are_even_parts_of_an_epoch(n_steps):
    batches = Batches(numbered(2 * n_steps), 2, seeded())
    assert (batches.n_periods > 1) == (n_steps > PERIOD)
    for _ in range(2):
        periods = [[x[:, 0] for x, _ in batches] for _ in range(batches.n_periods)]
        sizes = [len(period) for period in periods]
        assert sum(sizes) == n_steps
        assert max(sizes) <= PERIOD
        assert max(sizes) - min(sizes) <= 1
        drawn = torch.cat([x for period in periods for x in period])
        assert torch.equal(drawn.sort().values, torch.arange(2 * n_steps))
