"""Prints the progress of a training."""

import time
from typing import Any

from .callbacks import Watcher

#: Minimum number of steps between two lines, so that 20,000 steps print at most 200 lines.
STEPS = 100
#: Names of the columns, and the keys of the history.
LOSSES = {
    "loss": "train_loss",
    "task": "task_loss",
    "regularizer": "regularizer",
    "critic": "critic_loss",
}


class PrintLosses(Watcher):
    """Prints a table, with one line for at least `STEPS` steps and one for the last period.

    A line has the number of epochs and steps, the training loss and its parts, the validation
    score (minus the criterion), and the time.

    Parameters
    ----------
    title : str or None
        Printed with the names of the columns; None prints neither.
    every_period : bool
        Whether to print a line for each period.
    """

    def __init__(self, title: str | None, every_period: bool) -> None:
        self.title = title
        self.every_period = every_period

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        self.began_ = time.perf_counter()
        self.step_ = self.printed_ = 0
        if self.title is not None:
            names = [name for name in LOSSES if name != "critic" or net.critic_ is not None]
            names += [] if X[1] is None else ["validation"]
            print(f"[{self.title}]")
            print(_line("epoch", "step", *names, "time"), flush=True)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.step_ += net.history[-1, "train_batch_count"]
        if self.every_period or self.step_ - self.printed_ >= STEPS:
            self._print(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.step_ > self.printed_:
            self._print(net)

    def _print(self, net: Any) -> None:
        self.printed_ = self.step_
        period = net.history[-1]
        values = [f"{period[key]:.4g}" for key in LOSSES.values() if key in period]
        values += [f"{-period['valid_loss']:.4g}"] if "valid_loss" in period else []
        seconds = f"{time.perf_counter() - self.began_:.1f} s"
        print(_line(period["n_iter"], self.step_, *values, seconds), flush=True)


def _line(epoch: Any, step: Any, *values: str) -> str:
    return f"{epoch:>6}{step:>8}" + "".join(f"{value:>12}" for value in values)
