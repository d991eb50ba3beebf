"""Loss curves of a fit."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..metrics._unwrap import unwrap
from ._plotting import BLUE, GREEN, GREY, PURPLE, VERMILION, check_matplotlib, merged, panels_on


class LossCurveDisplay:
    """Training loss, its two parts, and the criterion of early stopping, during training.

    The training loss is the task's loss plus `reg_weight` times the regularizer, averaged over the
    steps of an epoch. The criterion is the same sum on the validation samples at the end of the
    epoch, and epoch 0 is the start of training. (For `regularizers.Adversarial`, the criterion uses
    `regularizers.SlicedEppsPulley` in place of the critic's output. Therefore criterion and
    training loss cannot be compared.) A mark shows the best epoch, whose weights `fit` returns. A
    best epoch of 0 means that training did not improve the criterion. A second panel shows the loss
    of the critic, if there is one.

    For large data, the curves have several values per epoch (see the notes of `GaussianEmbedder`).
    The horizontal axis then shows the number of steps instead of the number of epochs.

    Use `from_estimator` to create a display.

    Parameters
    ----------
    loss : ndarray of shape (n_iter,)
    task_loss : ndarray of shape (n_iter,)
    regularizer : ndarray of shape (n_iter,)
        The regularizer times the `reg_weight` of the training.
    criterion : ndarray of shape (n_iter + 1,) or None
        The value is nan for epochs without early stopping. None if no epoch used early stopping.
    critic_loss : ndarray of shape (n_iter,) or None
        The training loss of the critic. None without a critic.
    steps : ndarray of shape (n_iter,) or None
        Number of steps until each value of `loss`. None if each value belongs to an epoch.

    Attributes
    ----------
    lines_ : dict of str to Line2D
        The curves "loss", "task_loss" and "regularizer", and if available "criterion" and
        "critic_loss".
    best_epoch_ : int or None
        The epoch with the smallest criterion, or with `steps` the step. None without early
        stopping.
    best_ : PathCollection or None
        The mark of the best epoch.
    axes_ : ndarray of Axes of shape (1,) or (2,)
        The second panel shows the critic's loss.
    ax_ : Axes
        The first of `axes_`.
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklatent import GaussianEmbedder
    >>> from sklatent.inspection import LossCurveDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> embedder = GaussianEmbedder(tol=0.01, random_state=0).fit(X)
    >>> display = LossCurveDisplay.from_estimator(embedder)
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(
        self,
        *,
        loss: NDArray,
        task_loss: NDArray,
        regularizer: NDArray,
        criterion: NDArray | None = None,
        critic_loss: NDArray | None = None,
        steps: NDArray | None = None,
    ) -> None:
        self.loss = loss
        self.task_loss = task_loss
        self.regularizer = regularizer
        self.criterion = criterion
        self.critic_loss = critic_loss
        self.steps = steps

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        line_kwargs: Mapping[str, Any] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the losses of a fitted embedder.

        Parameters
        ----------
        estimator : GaussianEmbedder, GaussianEmbedderCV, Pipeline or GridSearchCV
            A fitted estimator. The display uses the last step of a pipeline, and the best estimator
            of a search.
        ax, line_kwargs, scatter_kwargs
            As in `plot`.

        Returns
        -------
        LossCurveDisplay

        Raises
        ------
        TypeError
            If the estimator has no ``loss_curve_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        embedder = unwrap(estimator)
        if not hasattr(embedder, "task_loss_curve_"):
            raise TypeError(
                f"{cls.__name__}.from_estimator needs a fitted GaussianEmbedder, got {estimator!r}"
            )
        loss, task_loss = np.array(embedder.loss_curve_), np.array(embedder.task_loss_curve_)
        scores = embedder.validation_scores_
        critic = getattr(embedder, "critic_loss_curve_", None)
        history = embedder.net_.history
        by_epoch = [period["n_iter"] for period in history] == [*range(1, len(history) + 1)]
        display = cls(
            loss=loss,
            task_loss=task_loss,
            regularizer=loss - task_loss,  # reg_weight may have changed since fit
            criterion=None if scores is None else -np.array(scores),
            critic_loss=None if critic is None else np.array(critic),
            steps=None if by_epoch else np.cumsum(history[:, "train_batch_count"]),
        )
        return display.plot(ax, line_kwargs=line_kwargs, scatter_kwargs=scatter_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: Mapping[str, Any] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : Axes or array of Axes, default=None
            One Axes, or two if there is a critic. With a critic, a single Axes of a grid of
            subplots is divided. If None, create a new figure.
        line_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.plot` for all curves.
        scatter_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.scatter` for the mark of the best epoch.

        Returns
        -------
        LossCurveDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        n_panels = 1 if self.critic_loss is None else 2
        self.axes_ = panels_on(ax, n_panels, n_columns=1, size=(5.6, 4.4 / n_panels**0.5))
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        self.lines_: dict[str, Any] = {}
        unit, ends = "step", self.steps
        if ends is None:
            unit, ends = "epoch", np.arange(1, len(self.loss) + 1)
        ends = np.append(0, ends)
        curves = {
            "loss": ("training loss", BLUE, "-", self.loss),
            "task_loss": ("  of which task", GREEN, "--", self.task_loss),
            "regularizer": ("  of which reg_weight x regularizer", PURPLE, ":", self.regularizer),
            "criterion": ("criterion, on validation samples", "black", "-", self.criterion),
            "critic_loss": ("critic's training loss", GREY, "-", self.critic_loss),
        }
        for name, (label, color, dashes, values) in curves.items():
            if values is None:
                continue
            axes = self.axes_[-1] if name == "critic_loss" else self.ax_
            style = {"color": color, "linestyle": dashes, "label": label}
            # A line needs two values. A marker shows a single value.
            style["marker"] = "o" if len(values) == 1 else "none"
            x = ends[len(ends) - len(values) :]  # the criterion starts at 0
            (self.lines_[name],) = axes.plot(x, values, **merged(Line2D, style, line_kwargs))
        self.best_epoch_ = self.best_ = None
        if self.criterion is not None:
            index = int(np.nanargmin(self.criterion))
            self.best_epoch_ = best = int(ends[index])
            mark = {"s": 110, "facecolors": "none", "edgecolors": VERMILION, "linewidths": 2}
            mark |= {"label": f"best {unit}: {best}", "zorder": 4, "clip_on": False}
            mark = merged(PathCollection, mark, scatter_kwargs)
            self.best_ = self.ax_.scatter([best], [self.criterion[index]], **mark)
        for axes in self.axes_:
            axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
            axes.set(xlabel=unit, ylabel="loss")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if n_panels == 2:
            self.axes_[1].set_xlim(self.ax_.get_xlim())
            self.axes_[1].set_ylabel("critic's loss")
        self._add_legend(above=ax is None)
        return self

    def _add_legend(self, above: bool) -> None:
        if above:
            handles, labels = self.ax_.get_legend_handles_labels()
            self.figure_.legend(
                handles, labels, loc="outside upper left", ncols=2, fontsize="small", frameon=False
            )
        else:
            self.ax_.legend(fontsize="small")
