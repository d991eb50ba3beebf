from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2

from sklatent._reservoir import Reservoir


def samples(start, stop):
    """Samples that hold their own number."""
    return np.arange(start, stop, dtype=float)[:, None]


def filled(size, random_state, chunks, weighted=False):
    reservoir = Reservoir(size, random_state)
    for start, stop in pairwise(chunks):
        part = samples(start, stop)
        reservoir.add(part, 10 * part[:, 0] if weighted else None)
    return reservoir


@pytest.mark.parametrize("chunks", [[0, 20], [0, 5, 6, 20], [0, 12]])
def test_all_samples_are_kept_in_order_while_there_is_room(chunks):
    reservoir = filled(20, np.random.RandomState(0), chunks)
    np.testing.assert_array_equal(reservoir.samples, samples(0, chunks[-1]))
    np.testing.assert_array_equal(reservoir.weight, np.ones(chunks[-1]))


@pytest.mark.parametrize("chunks", [[0, 100], [0, 3, 50, 100], [0, 20, 21, 100]])
def test_a_full_reservoir_holds_distinct_samples_and_their_weights(chunks):
    reservoir = filled(20, np.random.RandomState(0), chunks, weighted=True)
    assert reservoir.samples.shape == (20, 1)
    kept = reservoir.samples[:, 0]
    assert len(np.unique(kept)) == 20
    np.testing.assert_array_equal(reservoir.weight, 10 * kept)


@pytest.mark.parametrize("chunks", [[0, 30], [0, 4, 15, 30]])
def test_every_row_is_as_likely_to_be_kept(chunks):
    n, size, repetitions = 30, 6, 3000
    random_state = np.random.RandomState(0)
    counts = np.zeros(n)
    for _ in range(repetitions):
        counts[filled(size, random_state, chunks).samples[:, 0].astype(int)] += 1
    # Under simple random sampling the counts have variance r f (1 - f) and correlation
    # -1 / (n - 1), f = size / n.
    share = size / n
    statistic = np.square(counts - repetitions * share).sum() / (
        repetitions * share * (1 - share) * n / (n - 1)
    )
    assert statistic < chi2.isf(1e-4, n - 1)
    assert statistic > chi2.ppf(1e-4, n - 1)


def test_random_state_decides():
    a, b, c = (filled(5, np.random.RandomState(seed), [0, 50]).samples for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_samples_of_the_caller_are_left_alone():
    first = samples(0, 5)
    reservoir = Reservoir(5, np.random.RandomState(0))
    reservoir.add(first, None)
    reservoir.add(samples(5, 100), None)
    np.testing.assert_array_equal(first, samples(0, 5))
