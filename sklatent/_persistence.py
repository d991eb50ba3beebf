"""Files and pickles of estimators: arrays and JSON, so that loading executes no code."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import re
import stat
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from . import __version__
from ._params import OURS
from .regularizers import Regularizer
from .training import EmbedderNet

#: Version of the file format. Increase it if an older version of the package cannot read new files.
FORMAT = 1
#: Attributes that scikit-learn sets on an estimator for its callbacks.
CALLBACKS = (
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
)
KEYS = {"format", "format_version", "sklatent_version", "contents", "sha256"}
#: Names of temporary files, and their age in seconds when another `save` removes them.
TEMPORARY, OLD = re.compile(r"\.sklatent-[0-9a-f]{32}\.tmp"), 86400.0

SPLITTERS = ("GroupKFold", "KFold", "ShuffleSplit", "StratifiedKFold", "StratifiedShuffleSplit")
NUMBERS: tuple[type, ...] = (np.bool_, np.float16, np.float32, np.float64)
NUMBERS += (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
SCALARS: dict[str, type] = {kind.__name__: kind for kind in (*NUMBERS, np.str_)}
#: Optimizers of torch that take a step without arguments of their own.
OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)

Arrays = dict[str, NDArray]


def _net_params(params: dict[str, Any] | None) -> bool:
    """Raise if net_params contain what a file must not contain, such as a compiler's options."""
    for name, value in (params or {}).items():
        numbers = value if isinstance(value, tuple | list) else (value,)
        if not (
            (name == "callbacks" and value == [])
            or (name == "compile" and isinstance(value, bool))
            or (name == "optimizer" and isinstance(value, type) and value in _functions().values())
            or (name.startswith("optimizer__") and all(isinstance(n, Real | None) for n in numbers))
        ):
            raise ValueError(
                f"a file must not hold net_params={{{name!r}: {value!r:.100}}}: it can hold an "
                "optimizer of torch.optim, numbers for the optimizer, and compile=True or False"
            )
    return True


#: A net's state, and what a critic adds to it, in the notation of `FIELDS`.
PERIOD = {"n_iter": int, "train_loss": float, "task_loss": float, "regularizer": float, str: Real}
NET = {
    "seed": int,
    "reg_weight": Real,
    "settings": {"lr": Real, "batch_size": Integral},
    "patience": {"tol": Real, "n_iter_no_change": Integral},
    "generator": "u1 b",
    "history": ["t", PERIOD],
    "scores": ["s", float],
    "module": dict,
    "optimizer": dict,
}
CRITIC = {"critic": dict, "critic_optimizer": dict, "paused": (None, tuple)}
FEATURES = {"n_features_in_": "= p", "feature_names_in_?": "O p"}
OUTPUT = {"_sklearn_output_config?": {"transform": str}}

#: The attributes of the classes that can be stored, besides the parameters of their constructors,
#: and the parameters that a file restricts. A value fits
#:
#: - a type, None, a predicate, or one of a tuple;
#: - "f8 k p", an array of finite numbers of this NumPy type ("*" for any) and shape;
#: - "Target k", an object of the class that has the size k;
#: - "= k", the size k as an integer;
#: - ["n", ...], a list or tuple of n values that fit;
#: - a dict, if the values of its keys fit. The key `str` stands for all other keys.
#:
#: Equal letters of an object are equal sizes. Only a capital letter can be 0. The sizes after the
#: name of a class are those that other classes refer to. An attribute with "?" can be missing. An
#: estimator without its first attribute is not fitted, and can lack all.
_FIELDS: dict[str, dict[str, Any]] = {
    "AffineCalibration k": {"mean_": "f8 k", "root_ inverse_root_": "f8 k k"},
    "Gaussianization k N": {
        "random_state": int,
        "n_rounds_": "= N",
        "_first": "AffineCalibration k",
        "_axes": "f8 k R",
        "_rounds": ["N", ("MixtureFlow R", "_Round R")],
        "_last": ("AffineCalibration R", "AffineCalibration k"),
    },
    "MixtureFlow k": {
        "centers": "f8 m k",
        "log_weights squares": "f8 m",
        "levels": "f8 l",
        "scale least_slope": float,
    },
    "_Round k": {"affine": "AffineCalibration k", "rotation": "f8 k k", "splines": "Splines k"},
    "Splines k": {"values slopes": "f8 33 k"},
    "Whitening p r": {
        "mean_ scale_": "f8 p",
        "axes_ whiten_": "f8 p r",
        "unwhiten_": "f8 r p",
        "log_slope_ _tolerance": float,
    },
    "PCAStart p k": {
        "mean": "f8 p",
        "components": "f8 k p",
        "variances": "f8 k",
        "scale noise_variance": float,
    },
    "Target k": {"mean": "f8 k", "cov factor": "f8 k k"},
    "Model p k": {
        "calibration": (None, "AffineCalibration k", "Gaussianization k N"),
        "prior": (None, "Gaussianization k M"),
        "noise_variance": (None, float, "f8 p"),
    },
    "Reservoir p": {
        "size n_seen": int,
        "random_state": np.random.RandomState,
        "samples": "f4 n p",
        "weight": "f8 n",
    },
    "Reconstruction p": {"out_features_": "= p", "nats_ scale_": float, "mean_": "f8 p"},
    "Classification c": {"out_features_": "= c", "nats_": float, "classes_": "* c"},
    "Regression q": {
        "out_features_": "= q",
        "nats_": float,
        "mean_ scale_": "f8 q",
        "shape_": ["d", "= q"],
    },
    "GaussianEmbedder p k": {
        "net_": (EmbedderNet, NET, NET | CRITIC),
        "net_params?": _net_params,
        "_fixed": {"net_params": _net_params, str: object},
        "n_components_": "= k",
        "regularizer_": (None, Regularizer),
        "task_": (None, "Reconstruction p", "Classification c", "Regression q"),
        "_start": "PCAStart p k",
        "_target": "Target k",
        "_model": "Model p k",
        "_reservoir?": "Reservoir p",
        "target_mean_": "f8 k",
        "target_cov_": "f8 k k",
        "classes_?": "* c",
        "noise_variance_?": (float, "f8 p"),
        "interrupted_": bool,
        "n_iter_ n_active_components_? _n_calibrated?": int,
        "loss_ best_loss_": (None, float),
        "loss_curve_ task_loss_curve_ regularizer_curve_ critic_loss_curve_?": ["t", float],
        "critic_gap_?": float,
        "validation_scores_": (None, ["v", float]),
        **FEATURES,
        **OUTPUT,
    },
    "GaussianEmbedderCV p": {
        "n_splits_": int,
        "net_params?": _net_params,
        "reg_weights_": "f8 w",
        "cv_results_?": {str: ("* w", ["w", dict])},
        "best_index_?": int,
        "best_score_? reg_weight_?": float,
        "best_embedder_?": "GaussianEmbedder p k",
        **OUTPUT,
    },
    "Gaussianizer p": {
        "n_rounds_": "= N",
        "_whitening": "Whitening p r",
        "_gaussianization": "Gaussianization r N",
        **FEATURES,
        **OUTPUT,
    },
}
FIELDS: dict[str, tuple[list[str], dict[str, Any]]] = {
    kind: (sizes, {name: spec for names, spec in fields.items() for name in names.split()})
    for (kind, *sizes), fields in ((key.split(), fields) for key, fields in _FIELDS.items())
}


@functools.cache
def _classes() -> dict[str, type]:
    """Return the classes whose objects can be stored, by name."""
    from ._embedder import GaussianEmbedder
    from ._embedder_cv import GaussianEmbedderCV
    from ._gaussianizer import Gaussianizer
    from ._model import Model
    from ._reservoir import Reservoir
    from ._start import PCAStart
    from ._target import Target
    from ._whitening import Whitening
    from .calibration import AffineCalibration, Gaussianization
    from .calibration._flow import MixtureFlow
    from .calibration._gaussianization import _Round
    from .calibration._splines import Splines
    from .metrics._scorers import _MostGaussianWithin

    splitters = (getattr(model_selection, name) for name in SPLITTERS)
    estimators = GaussianEmbedder, GaussianEmbedderCV, Gaussianizer
    fitted = Model, Reservoir, PCAStart, Target, Whitening
    maps = AffineCalibration, Gaussianization, MixtureFlow, _Round, Splines
    classes = (*estimators, *OURS, *splitters, *fitted, *maps, _MostGaussianWithin)
    return {kind.__name__: kind for kind in classes}


@functools.cache
def _functions() -> dict[str, Callable]:
    """Return the functions and optimizers that parameters can hold, by name."""
    from . import metrics

    scorers = [name for name in metrics.__all__ if name.endswith("_scorer")]
    return {name: getattr(metrics, name) for name in scorers} | {
        f"torch.optim.{name}": getattr(torch.optim, name) for name in OPTIMIZERS
    }


@functools.cache
def _params(kind: type) -> tuple[str, ...]:
    """Return the names of the parameters of a class's constructor."""
    return tuple(inspect.signature(kind).parameters)


class _Attributes:
    """Attributes in a pickle that cannot be stored as numbers, strings and arrays.

    skops loads an object of this class only if its user trusts the class.
    """

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes


class Storable:
    """Base class of the estimators that can be saved to a file without pickle."""

    def save(self, path: str | os.PathLike) -> None:
        """Save the estimator to a file, which `sklatent.load` reads.

        The file has the format of safetensors: arrays, and the parameters as JSON. To load a
        file executes no code, so files from others are safe to load. Callbacks of `set_callbacks`
        are not stored; pickles store them.

        Parameters
        ----------
        path : str or path-like
            A file that exists is replaced when the new file is complete. The new file keeps the
            permissions of the old file, and its owner if the system allows it. If `save` fails,
            or the process ends, the old file is kept. If the old file has other names (hard
            links), they keep the old contents.

        Raises
        ------
        ValueError
            If a parameter is a network, a function, a task or a regularizer of your own, or
            another object that cannot be stored as numbers, strings and arrays; or if `net_params`
            contain anything other than an optimizer of torch, its numbers, and ``compile``.
        OSError
            If the path cannot be written, or exists and is not a regular file.
        """
        arrays = Arrays()
        metadata = {
            "format": "sklatent",
            "format_version": str(FORMAT),
            "sklatent_version": __version__,
            "contents": json.dumps(_encode(self, "", arrays)),
        }
        metadata["sha256"] = _checksum(metadata, arrays)
        _replace(path, save(arrays, metadata))

    def _pack(self) -> dict[str, Any]:
        """Return the attributes to store."""
        return vars(self).copy()

    def _unpack(self) -> None:
        """Make the attributes that `_pack` leaves out, after the others have been set."""

    def __getstate__(self) -> dict[str, Any]:
        state, arrays = self._pack(), Arrays()
        told = {name: state.pop(name) for name in CALLBACKS if name in state}
        try:
            state = {"_contents": json.dumps(_encode(self, "", arrays)), "_arrays": arrays}
        except NotStorableError:
            state = {"_attributes": _Attributes(state)}  # a pickle can hold the object anyway
        return state | told | {"_sklatent_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_sklatent_version", "pre-0.1.0")
        if version != __version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=f"sklatent.{type(self).__name__}",
                    current_sklearn_version=__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        told = {name: state.pop(name) for name in CALLBACKS if name in state}
        match state:
            case {"_contents": contents, "_arrays": arrays, **more} if not more:
                new = vars(_estimator("the pickle", contents, dict(arrays), type(self)))
            case {"_attributes": _Attributes(attributes=new), **more} if not more:
                pass
            case _:
                raise ValueError(f"the pickle has unknown attributes: {sorted(state)}")
        self.__dict__.update(new | told)
        self._unpack()

    def __copy__(self) -> Any:
        # A shallow copy shares all attributes, also those that a pickle makes anew.
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new


def load(path: str | os.PathLike) -> Any:
    """Load an estimator from a file that its method ``save`` wrote.

    Loading executes no code from the file. The file contains numbers, strings, arrays, and names
    of classes of this package and of a few others. A name that is not on a fixed list is refused.
    So are attributes whose types and shapes contradict each other, before memory is allocated for
    them. Their numbers are not checked: a file from others can hold a useless model.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    GaussianEmbedder, GaussianEmbedderCV or Gaussianizer
        The estimator gives the same results as the estimator that was saved, and can continue its
        training. If it was trained on a device that is not available, it is loaded on the CPU,
        with a warning.

    Raises
    ------
    ValueError
        If the file is truncated, altered, not a file of this package, or written by a newer
        version in a format that this version does not know.
    OSError
        If the path does not exist or is not a regular file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklatent import Gaussianizer, load
    >>> X, _ = load_iris(return_X_y=True)
    >>> gaussianizer = Gaussianizer(random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gaussianizer.save(f"{folder}/iris.safetensors")
    ...     again = load(f"{folder}/iris.safetensors")
    >>> bool((again.transform(X) == gaussianizer.transform(X)).all())
    True
    """
    path = _regular(path)
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is truncated, altered or not a file of `save` (for a pickle use joblib.load, "
            f"for a file of skops use skops.io.load): {error}"
        ) from error
    if metadata.get("format") != "sklatent":
        raise ValueError(f"{path} was altered or not saved by sklatent")
    version, writer = metadata.get("format_version", ""), metadata.get("sklatent_version", "")
    if version != str(FORMAT):
        raise ValueError(
            f"{path} has the format {version:.9} of sklatent {writer:.9}, and sklatent "
            f"{__version__} reads format {FORMAT}: install a newer version"
        )
    if unknown := metadata.keys() ^ KEYS:
        raise ValueError(f"{path} has unknown keys, or keys are missing: {sorted(unknown)}")
    if metadata.pop("sha256") != _checksum(metadata, arrays):
        raise ValueError(f"{path} was altered: its contents do not have the stored checksum")
    return _estimator(path, metadata["contents"], arrays, Storable)


def _estimator(source: Any, contents: str, arrays: Arrays, kind: type) -> Any:
    """Return the estimator of a kind that the contents of a file or pickle describe."""
    try:
        estimator = _decode(json.loads(contents), arrays)
        if not isinstance(estimator, kind):
            raise ValueError(f"it holds {estimator!r:.100} instead of an estimator")
        if arrays:
            raise ValueError(f"it has unknown arrays: {sorted(arrays)!s:.200}")
    except Exception as error:
        raise ValueError(f"{source} does not hold a valid estimator: {error!r}") from error
    return estimator


def _checksum(metadata: dict[str, str], arrays: dict[str, NDArray]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _regular(path: str | os.PathLike) -> Path:
    """Return a path; raise if it exists and is a folder, a device or a pipe."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file")
    return path


def _replace(path: str | os.PathLike, contents: bytes) -> None:
    """Write a file such that the path holds either the old or the complete new contents."""
    target = _regular(path).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: {target.parent} is not a folder")
    _remove_old(target.parent)
    old = target.stat() if target.exists() else None
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode)
    # A rename needs the same folder. Nobody who cannot read the old file can read this one.
    temporary = target.with_name(f".sklatent-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", opener=functools.partial(os.open, mode=mode)) as file:
            if old is not None:
                with suppress(OSError, AttributeError):  # not allowed, or no fchown (Windows)
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                temporary.chmod(mode)
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove_old(folder: Path) -> None:
    """Remove the temporary files of processes that were killed more than a day ago."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            ours = TEMPORARY.fullmatch(entry.name) and stat.S_ISREG(status.st_mode)
            if ours and time.time() - status.st_mtime > OLD:
                os.unlink(entry)


# Objects as JSON. Anything but None, booleans, integers, strings, floats and lists becomes a JSON
# object with one key, its kind.


class NotStorableError(ValueError):
    """An attribute cannot be stored as numbers, strings and arrays."""


def _encode(value: Any, where: str, arrays: Arrays) -> Any:
    """Return a value as JSON, and add its arrays to `arrays`.

    Parameters
    ----------
    value : object
    where : str
        Names of the attributes that lead to the value. Arrays are named by it.
    arrays : dict of ndarrays

    Raises
    ------
    NotStorableError
        If the value, or a value inside it, is of a class that cannot be stored.
    """
    kind = type(value)
    if value is None or kind in (bool, float, str) or (kind is int and _is_short(value)):
        return value
    if kind in (list, tuple):
        items = [_encode(item, f"{where}.{i}", arrays) for i, item in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        return {
            "dict": [
                [_encode(key, where, arrays), _encode(item, f"{where}.{key}", arrays)]
                for key, item in value.items()
            ]
        }
    if kind in (np.ndarray, np.memmap):
        return _encode_array(value, where, arrays)
    if kind is np.ma.MaskedArray:
        parts = (value.data, np.ma.getmaskarray(value))
        return {"masked": [_encode(part, f"{where}.{i}", arrays) for i, part in enumerate(parts)]}
    if kind in SCALARS.values():
        return {"scalar": [kind.__name__, value.item()]}
    if kind is torch.device:
        return {"device": str(value)}
    if (
        kind is np.random.RandomState
        and value.get_state(legacy=False)["bit_generator"] == "MT19937"
    ):
        return {"random_state": _encode(list(value.get_state()[1:]), where, arrays)}
    for name, function in _functions().items():
        if value is function:
            return {"function": name}
    if _classes().get(kind.__name__) is kind:
        attributes, prefix = _attributes(value), f"{where}." if where else ""
        for name in attributes:
            if isinstance(attributes[name], EmbedderNet):  # the estimator makes the net again
                attributes[name] = attributes[name].to_arrays()
        encoded = {
            name: _encode(item, f"{prefix}{name}", arrays) for name, item in attributes.items()
        }
        try:
            _check(kind, attributes)
        except ValueError as error:
            raise NotStorableError(f"cannot save {where or kind.__name__}: {error}") from None
        return {"object": [kind.__name__, encoded]}
    raise NotStorableError(
        f"cannot save {where or kind.__name__}={value!r:.100}: a file holds numbers, strings, "
        "arrays, and objects of sklatent's own classes. pickle and joblib can store this estimator"
    )


def _is_short(value: int) -> bool:
    return -(2**63) <= value < 2**64


def _attributes(value: Any) -> dict[str, Any]:
    """Return the parameters and the other attributes of an object."""
    if isinstance(value, Storable):
        return {name: item for name, item in value._pack().items() if name not in CALLBACKS}
    if isinstance(value, BaseEstimator):
        return vars(value).copy()
    kind: type = type(value)
    names = [*_params(kind), *FIELDS.get(kind.__name__, ([], {}))[1]]
    return {name: getattr(value, name) for name in names}


def _encode_array(array: NDArray, where: str, arrays: Arrays) -> dict[str, Any]:
    kind = "array"
    if array.dtype.kind == "O":
        items = [_encode(item, where, arrays) for item in array.ravel().tolist()]
        return {"objects": [list(array.shape), items]}
    if array.dtype.kind == "U":  # as code points, so that the width of the strings costs the file
        kind, width = "text", array.dtype.itemsize // 4
        native = array.astype(array.dtype.newbyteorder("="), "C")
        array = native.view(np.uint32).reshape(*array.shape, width)
    if array.dtype.type not in NUMBERS:
        raise NotStorableError(f"cannot save {where}: arrays must not have dtype {array.dtype}")
    # Matrix products depend on the order in memory, in the last digit.
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    while where in arrays:
        where += "_"
    arrays[where] = np.asarray(array.T if order == "F" else array, array.dtype.type, "C")
    return {kind: [where, order]}


def _decode(value: Any, arrays: Arrays) -> Any:
    """Return the value that `_encode` was given, and remove its arrays from `arrays`."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            value[i] = _decode(item, arrays)
        return value
    if not isinstance(value, dict):
        if type(value) is int and not _is_short(value):
            raise ValueError("an integer has more than 64 bits")
        return value
    ((kind, content),) = value.items()
    if kind == "object":
        name, attributes = content
        return _make(name, {key: _decode(item, arrays) for key, item in attributes.items()})
    if kind in ("array", "text"):
        name, order = content
        array = arrays.pop(name)
        if type(array) not in (np.ndarray, np.memmap) or array.dtype.type not in NUMBERS:
            raise ValueError(f"{name} is not an array of numbers")
        array = array.T if order == "F" else array
        if kind == "array":
            return array
        if array.dtype != np.uint32 or array.max(initial=0) > sys.maxunicode:
            raise ValueError(f"{name} is not text")
        return np.ascontiguousarray(array).view(f"U{array.shape[-1]}")[..., 0]
    parts = _decode(content, arrays)
    if kind == "objects":
        shape, items = parts
        array = np.empty(len(items), object)
        for i, item in enumerate(items):
            array[i] = item
        return array.reshape(shape)
    if kind == "tuple":
        return tuple(parts)
    if kind == "dict":
        return dict(parts)
    if kind == "masked":
        data, mask = parts
        if data.shape != mask.shape:
            raise ValueError("a mask has another shape than its array")
        return np.ma.MaskedArray(data, mask)
    if kind == "scalar":
        name, number = parts
        if not isinstance(number, bool | int | float | str):
            raise ValueError(f"{number!r:.100} is not a number")
        return SCALARS[name](number)
    if kind == "device":
        return torch.device(parts)
    if kind == "random_state":
        random_state = np.random.RandomState()
        key, place, has_gauss, gauss = parts
        fits = _fits(key, "u4 624", {}) and _fits(place, int, {}) and 0 <= place <= 624
        if not (fits and has_gauss in (0, 1) and isinstance(gauss, float)):
            raise ValueError("it has an invalid state of a RandomState")
        random_state.set_state(("MT19937", *parts))
        return random_state
    if kind == "function":
        return _functions()[parts]
    raise ValueError(f"unknown kind of value: {kind!r}")


def _make(name: str, attributes: dict[str, Any]) -> Any:
    """Return an object of the class with this name."""
    kind = _classes().get(name)
    if kind is None:
        raise ValueError(f"unknown class: {name!r}")
    _check(kind, attributes)
    params = _params(kind)
    new = kind(**{key: item for key, item in attributes.items() if key in params})
    for key, item in attributes.items():
        if key not in params:
            setattr(new, key, item)
    if isinstance(new, Storable):
        new._unpack()
    return new


def _check(kind: type, attributes: dict[str, Any]) -> list[int | None]:
    """Return the sizes of an object; raise if its attributes are not as declared."""
    letters, fields = FIELDS.get(kind.__name__, ([], {}))
    known = {*_params(kind), *(field.rstrip("?") for field in fields)}
    if unknown := sorted(attributes.keys() - known):
        raise ValueError(f"unknown attributes of {kind.__name__}: {unknown}")
    sizes: dict[str, int] = {}
    fitted = not issubclass(kind, BaseEstimator) or next(iter(fields), None) in attributes
    for field, spec in fields.items():
        name = field.rstrip("?")
        if name not in attributes:
            if fitted and name == field:
                raise ValueError(f"{kind.__name__} lacks the attribute {name}")
        elif not _fits(attributes[name], spec, sizes):
            raise ValueError(f"{name} of {kind.__name__} has an unexpected type, shape or value")
    return [sizes.get(letter) for letter in letters] if fitted else []


def _fits(value: Any, spec: Any, sizes: dict[str, int]) -> bool:
    """Return whether a value fits what `FIELDS` says, and add new sizes to `sizes`."""
    if isinstance(spec, tuple):
        return any(_fits(value, each, sizes) for each in spec)
    if isinstance(spec, dict):
        return (
            isinstance(value, dict)
            and spec.keys() - {str} <= value.keys()
            and (str in spec or value.keys() <= spec.keys())
            and all(_fits(item, spec.get(key, spec.get(str)), sizes) for key, item in value.items())
        )
    if isinstance(spec, list):
        letter, each = spec
        return (
            isinstance(value, list | tuple)
            and sizes.setdefault(letter, len(value)) == len(value)
            and all(_fits(item, each, sizes) for item in value)
        )
    if isinstance(spec, str):
        kind, *letters = spec.split()
        shape: Any = ()
        if kind == "=" and isinstance(value, Integral):
            shape = [value]
        elif kind in FIELDS and type(value) is _classes()[kind]:
            shape = _check(type(value), _attributes(value))
        elif isinstance(value, np.ndarray) and kind in ("*", value.dtype.str[1:]):
            finite = kind[0] != "f" or np.isfinite(value).all()
            shape = value.shape if finite else ()
        return len(shape) == len(letters) and all(
            n is None
            or (n == (int(a) if a.isdigit() else sizes.setdefault(a, n)) and n >= a.islower())
            for n, a in zip(shape, letters, strict=True)
        )
    if isinstance(spec, type):
        return isinstance(value, spec) and (spec is not int or type(value) is int)
    return value is None if spec is None else spec(value)
