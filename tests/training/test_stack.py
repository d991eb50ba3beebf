import numpy as np
import pytest
import torch
from torch import nn

from sklatent.networks import MLP, Gated
from sklatent.training import Rows
from sklatent.training.stack import FoldBatches, stack_modules


def folds(*sizes):
    """Rows that say which fold they are of, and which row of it."""
    return [
        Rows(torch.stack([torch.full((n,), float(f)), torch.arange(float(n))], dim=-1))
        for f, n in enumerate(sizes)
    ]


def seeded(n):
    return [torch.Generator().manual_seed(seed) for seed in range(n)]


def test_each_fold_has_its_own_rows_in_its_own_order():
    batches = list(FoldBatches(folds(60, 60), 20, seeded(2)))
    assert [x.shape for x, _ in batches] == [(2, 20, 2)] * 3
    seen = torch.cat([x for x, _ in batches], dim=1)
    for fold in range(2):
        assert (seen[fold, :, 0] == fold).all()
        assert seen[fold, :, 1].sort().values.tolist() == list(range(60))
    assert not torch.equal(seen[0, :, 1], seen[1, :, 1])


def test_an_epoch_leaves_out_no_more_than_does_not_fill_a_step():
    batches = list(FoldBatches(folds(65), 20, seeded(1)))
    seen = torch.cat([x[0, :, 1] for x, _ in batches])
    assert len(batches) == 3
    assert len(seen) == len(seen.unique()) == 63


def test_a_small_fold_goes_round_again():
    batches = list(FoldBatches(folds(90, 40), 30, seeded(2)))
    counts = torch.cat([x[1, :, 1] for x, _ in batches]).long().bincount()
    assert len(counts) == 40
    assert counts.sum() == 90
    assert set(counts.tolist()) == {2, 3}


def test_labels_and_weights_stay_with_their_rows():
    x, weight = torch.arange(10.0)[:, None], torch.tensor([0.5] * 5 + [1.5] * 5)
    rows = Rows(x, x[:, 0].long(), weight)
    ((x, y),) = FoldBatches([rows, rows], 10, seeded(2))
    np.testing.assert_array_equal(x[..., 0], y)
    assert ((y >= 5).sum(dim=1) >= 7).all()


@pytest.mark.parametrize("kind", ["MLP", "Gated"])
def test_a_stack_of_modules_is_a_loop_over_them(kind):
    modules = [MLP(3, 2, (8,), generator=generator) for generator in seeded(2)]
    if kind == "Gated":
        modules = [Gated(module, 2) for module in modules]
        for module in modules:
            nn.init.normal_(module.gain)
    index = torch.tensor([1, 0, 1])
    stacked = stack_modules(modules, index)
    x = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))
    for i, j in enumerate(index):
        if kind == "MLP":
            torch.testing.assert_close(stacked(x)[i], modules[j](x[i]))
        for name, value in modules[j].named_parameters():
            assert torch.equal(stacked.get_parameter(name)[i], value)
    # The modules are left as they were.
    assert modules[0] is not stacked
    assert next(modules[0].parameters()).ndim == next(stacked.parameters()).ndim - 1
