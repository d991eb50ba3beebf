from types import SimpleNamespace

import pytest
import torch
from skorch.history import History

from sklatent.training.callbacks import Patience


@pytest.mark.parametrize(("critic", "n_steps"), [(None, 300), ("critic", 1000)])
def test_an_epoch_of_few_steps_is_given_more_time_and_more_against_a_critic(critic, n_steps):
    net = SimpleNamespace(critic_=critic, n_periods_=1, history=History(), weights=dict)
    net.losses_on = lambda rows: torch.tensor([1.0])
    patience = Patience(tol=1e-4, n_iter_no_change=1).initialize()
    patience.on_train_begin(net, X=(None, "rows"))

    def epoch():
        net.history.new_epoch()
        net.history.record("valid_loss", 1.0)
        net.history.record("train_batch_count", 10)
        patience.on_epoch_end(net, dataset_valid="rows")

    for _ in range(n_steps // 10 - 1):
        epoch()
        assert not patience.done_
    epoch()
    assert patience.done_


@pytest.mark.parametrize(("critic", "stops"), [(None, True), ("critic", False)])
def test_a_training_loss_against_a_critic_stops_no_training(critic, stops):
    net = SimpleNamespace(critic_=critic, n_periods_=1, history=History())
    patience = Patience(tol=1e-4, n_iter_no_change=1).initialize()
    patience.on_train_begin(net, X=("rows", None))
    for _ in range(4):
        net.history.new_epoch()
        net.history.record("train_loss", 1.0)
        net.history.record("train_batch_count", 2000)
        patience.on_epoch_end(net)
    assert patience.done_ == stops


# An epoch of 5 periods counts as two of them.
@pytest.mark.parametrize(("first", "n_periods"), [(0.9, 1 + 20 + 1), (1.1, 1000 // 40)])
def test_a_long_epoch_counts_as_few_periods_and_the_start_is_given_time(first, n_periods):
    net = SimpleNamespace(critic_=None, n_periods_=5, history=History(), weights=dict)
    net.losses_on = lambda rows: torch.tensor([1.0])
    patience = Patience(tol=1e-4, n_iter_no_change=10).initialize()
    patience.on_train_begin(net, X=(None, "rows"))
    while not patience.done_:
        net.history.new_epoch()
        net.history.record("valid_loss", first)
        net.history.record("train_batch_count", 40)
        patience.on_epoch_end(net, dataset_valid="rows")
    assert len(net.history) == n_periods
