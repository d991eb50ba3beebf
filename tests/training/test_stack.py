import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.testing import assert_close

from sklatent import GaussianEmbedder
from sklatent.networks import MLP, Gated
from sklatent.regularizers import Regularizer
from sklatent.training import Drop, Samples, Stack
from sklatent.training.stack import FoldBatches, stack_modules


def folds(*sizes):
    """Samples that say which fold they are of, and which row of it."""
    return [
        Samples(torch.stack([torch.full((n,), float(f)), torch.arange(float(n))], dim=-1))
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
    rows = Samples(x, x[:, 0].long(), weight)
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


# A stack of nets: each model is trained and watched as its net alone would be.

WINE = scale(load_wine().data)
FOLD_SIZES = (90, 60)


class InverseRows(Regularizer):
    """One over the number of rows that batches are from, in nats; plus the mean square."""

    in_nats = True

    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample.square().mean(dim=(-2, -1)) * self.scale + 1 / n_rows

    scale = 0.0


class MeanSquare(InverseRows):
    scale = 1.0


def nets_of_folds(regularizer, **params):
    """Nets at their start, and each fold's rows to train on and to watch."""
    nets, train, valid = [], [], []
    for n in FOLD_SIZES:
        embedder = GaussianEmbedder(
            2, regularizer=regularizer, hidden_layer_sizes=(4,), max_iter=0, random_state=0
        )
        net = embedder.set_params(**params).fit(WINE[:n]).net_
        x = embedder._start.standardize(WINE[: n + 20])
        train.append(net.samples(x[:n], None, None))
        valid.append(net.samples(x[n:], None, None))
        nets.append(net)
    return nets, train, valid


def criterion_alone(net, valid, reg_weight):
    net = copy.deepcopy(net)
    net.criterion_.reg_weight = reg_weight
    return net.losses_on(valid)[0].item()


def test_each_fold_has_its_own_nats_and_number_of_rows():
    nets, train, _ = nets_of_folds(InverseRows())
    folds = torch.tensor([0, 1, 1, 0])
    nets[0].batch_size, nets[1].batch_size = 45, 20
    # Also where another model has left.
    leave = Drop([2], lambda alone: [0])
    stack = Stack(nets, folds, torch.ones(4), [leave]).initialize()
    trained = stack.train_models(train, None, 2)
    assert [len(net.history) for net in trained] == [1, 2, 2, 2]
    # An epoch has as many steps as one of the largest fold alone.
    assert stack.history[-1, "train_batch_count"] == 2
    for net, fold in zip(trained, folds.tolist(), strict=True):
        nats = nets[fold].criterion_.task.nats_
        expected = 1 / (FOLD_SIZES[fold] * nats)
        assert net.history[-1, "regularizer"] == pytest.approx(expected, rel=1e-5)
    assert nets[0].criterion_.task.nats_ != nets[1].criterion_.task.nats_


def test_scores_are_the_models_own_after_others_have_left():
    nets, train, valid = nets_of_folds(MeanSquare())
    pairs = [(0, 0.1), (1, 10.0), (0, 30.0), (1, 0.5)]
    compared = []

    def select(alone):
        compared.extend(alone)
        return [0, 2]

    folds, reg_weights = (torch.tensor(each) for each in zip(*pairs, strict=True))
    stack = Stack(nets, folds, reg_weights, [Drop([3], select)]).initialize()
    trained = stack.train_models(train, valid, 3)
    assert [len(net.history) for net in trained] == [1, 3, 1, 3]
    for net, (fold, reg_weight) in zip(trained, pairs, strict=True):
        start = criterion_alone(nets[fold], valid[fold], reg_weight)
        assert -net.patience.scores_[0] == pytest.approx(start, rel=1e-5)
        # The best weights come back, and they are this model's.
        best = criterion_alone(net, valid[fold], reg_weight)
        assert -max(net.patience.scores_) == pytest.approx(best, rel=1e-5)
    assert len(compared) == 4


def test_models_are_compared_and_leave_with_their_best_weights():
    # Steps so large that the start is best. The first model leaves before the second.
    nets, train, valid = nets_of_folds(MeanSquare(), learning_rate_init=0.3)
    compared = []
    select = Drop([2], lambda alone: compared.extend(alone) or [0])
    stack = Stack(nets, torch.tensor([0, 1]), torch.ones(2), [select]).initialize()
    trained = stack.train_models(train, valid, 4)
    assert [len(net.history) for net in trained] == [2, 4]
    for net, start in zip(compared + trained, nets + nets, strict=True):
        assert max(net.patience.scores_[1:]) < net.patience.scores_[0]
        for name, value in start.module_.state_dict().items():
            assert_close(net.module_.state_dict()[name], value)


class NanCriterion(MeanSquare):
    """The criterion of one model of the stack is nan at one evaluation."""

    evaluations = 0
    wrong = None

    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        value = super().__call__(embedding, n_rows, generator)
        if not torch.is_grad_enabled():
            self.evaluations += 1
            if self.evaluations == self.wrong:
                value[1] = torch.nan
        return value


@pytest.mark.parametrize("wrong", [1, 3])  # before training, or after two epochs
def test_a_criterion_that_is_nan_ends_its_model_only(wrong):
    nets, train, valid = nets_of_folds(NanCriterion())
    for net in nets:
        net.criterion_.regularizer.evaluations, net.criterion_.regularizer.wrong = 0, wrong
    stack = Stack(nets, torch.tensor([0, 1, 0]), torch.ones(3), []).initialize()
    trained = stack.train_models(train, valid, 3)
    assert [net is None for net in trained] == [False, True, False]
    assert all(np.isfinite(net.patience.scores_).all() for net in (trained[0], trained[2]))


def test_critics_are_the_models_own():
    nets, train, _ = nets_of_folds("adversarial")
    stack = Stack(nets, torch.tensor([0, 1]), torch.ones(2), []).initialize()
    trained = stack.train_models(train, None, 1)
    critics = [parameters_to_vector(net.critic_.module.parameters()) for net in nets + trained]
    # Those of the nets at their start are alike, and stay as they were.
    assert torch.equal(critics[0], critics[1])
    assert len({tuple(critic.tolist()) for critic in critics}) == 3
