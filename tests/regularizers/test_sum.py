"""Sums and multiples of regularizers."""

import pytest
import torch
from sklearn.base import clone

from sklatent import GaussianEmbedder
from sklatent.networks import Embedding
from sklatent.regularizers import Adversarial, KLDivergence, MomentMatching, SlicedEppsPulley

U = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
BATCH = Embedding(U, 0.1 * U, U + 1)


def sliced_of(batch):
    return SlicedEppsPulley()(batch, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "total",
    [MomentMatching() + 3 * SlicedEppsPulley(), 3 * SlicedEppsPulley() + MomentMatching()],
    ids=str,
)
def test_a_sum_adds_and_a_multiple_multiplies(total):
    expected = MomentMatching()(BATCH, n_rows=80) + 3 * sliced_of(BATCH)
    value = clone(total)(BATCH, n_rows=80, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(value, expected)


def test_a_multiple_is_of_the_penalty_for_the_same_number_of_samples():
    expected = 3 * MomentMatching()(BATCH, n_rows=80)
    torch.testing.assert_close((3 * MomentMatching())(BATCH, n_rows=80), expected)


@pytest.mark.parametrize(
    "total", [KLDivergence() + 2 * MomentMatching(), 2 * MomentMatching() + KLDivergence()], ids=str
)
def test_only_terms_in_nats_are_divided_by_nats(total):
    assert total.stochastic
    expected = KLDivergence()(BATCH) / 7 + 2 * MomentMatching()(BATCH)
    torch.testing.assert_close(total.penalty(BATCH, nats=7.0), expected)


def test_a_multiple_is_divided_by_nats_too():
    assert not (MomentMatching() + 2 * MomentMatching()).stochastic
    twice = 2 * KLDivergence()
    assert twice.stochastic
    torch.testing.assert_close(twice.penalty(BATCH, nats=7.0), 2 * KLDivergence()(BATCH) / 7)
    torch.testing.assert_close(twice(BATCH), 2 * KLDivergence()(BATCH))


def test_terms_can_be_set_and_searched():
    embedder = GaussianEmbedder(regularizer=MomentMatching() + 3 * SlicedEppsPulley())
    embedder.set_params(regularizer__second__weight=5, regularizer__first__cov_weight=2)
    assert embedder.regularizer.second.weight == 5
    assert embedder.regularizer.first.cov_weight == 2


@pytest.mark.parametrize(
    ("regularizer", "message"),
    [
        (-1 * MomentMatching(), "'weight' parameter of Weighted .* Got -1"),
        (MomentMatching() + 2 * MomentMatching(cov_weight=-3), "'cov_weight' .* Got -3"),
        (MomentMatching() + Adversarial(), r"Adversarial\(\) cannot be a term of a sum"),
    ],
)
def test_terms_are_checked(regularizer, message):
    with pytest.raises(ValueError, match=message):
        GaussianEmbedder(2, regularizer=regularizer).fit(torch.randn(30, 4).numpy())
