"""Files and pickles of estimators: arrays and JSON, so that loading executes no code."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
import re
import stat
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, cast

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

#: Modules whose classes can be stored. Their attributes are numbers, strings, arrays, or objects
#: of such classes.
MODULES = (
    "_embedder",
    "_embedder_cv",
    "_gaussianizer",
    "_model",
    "_reservoir",
    "_start",
    "_target",
    "_whitening",
    "calibration._affine",
    "calibration._flow",
    "calibration._gaussianization",
    "calibration._splines",
    "metrics._scorers",
)
SPLITTERS = ("GroupKFold", "KFold", "ShuffleSplit", "StratifiedKFold", "StratifiedShuffleSplit")
NUMBERS: tuple[type, ...] = (np.bool_, np.float16, np.float32, np.float64)
NUMBERS += (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
SCALARS: dict[str, type] = {kind.__name__: kind for kind in (*NUMBERS, np.str_)}


@functools.cache
def _classes() -> dict[str, type]:
    """Return the classes whose objects can be stored, by name."""
    classes = [*OURS, *(getattr(model_selection, name) for name in SPLITTERS)]
    for name in MODULES:
        module = import_module(f".{name}", __package__)
        own = (value for value in vars(module).values() if isinstance(value, type))
        classes += [value for value in own if value.__module__ == module.__name__]
    return {value.__name__: value for value in classes}


@functools.cache
def _functions() -> dict[str, Callable]:
    """Return the functions and optimizers that parameters can hold, by name."""
    metrics = import_module(".metrics", __package__)
    scorers = [name for name in metrics.__all__ if name.endswith("_scorer")]
    return {name: getattr(metrics, name) for name in scorers} | {
        f"torch.optim.{name}": getattr(torch.optim, name)
        for name in vars(torch.optim)
        if inspect.isclass(getattr(torch.optim, name))
    }


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
            another object that cannot be stored as numbers, strings and arrays.
        OSError
            If the path cannot be written, or exists and is not a regular file.
        """
        arrays: dict[str, NDArray] = {}
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
        state, arrays = self._pack(), dict[str, NDArray]()
        told = {name: state.pop(name) for name in CALLBACKS if name in state}
        try:
            contents = json.dumps(_encode_attributes(type(self), state, "", arrays))
            state = {"_contents": contents, "_arrays": arrays}
        except NotStorableError:
            pass  # a pickle can hold the object anyway
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
        if "_contents" in state:
            arrays = dict(state.pop("_arrays"))
            encoded = json.loads(state.pop("_contents"))
            state |= {name: _decode(value, arrays) for name, value in encoded.items()}
        self.__dict__.update(state)
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
    version = metadata.get("format_version", "")
    if version.isdecimal() and int(version) > FORMAT:
        raise ValueError(
            f"{path} has the format {version} of sklatent {metadata.get('sklatent_version')}, and "
            f"sklatent {__version__} reads formats up to {FORMAT}: install a newer version"
        )
    if unknown := metadata.keys() ^ KEYS:
        raise ValueError(f"{path} has unknown keys, or keys are missing: {sorted(unknown)}")
    if metadata.pop("sha256") != _checksum(metadata, arrays):
        raise ValueError(f"{path} was altered: its contents do not have the stored checksum")
    try:
        estimator = _decode(json.loads(metadata["contents"]), arrays)
        if not isinstance(estimator, Storable):
            raise ValueError(f"it holds {estimator!r:.100} instead of an estimator")
        if arrays:
            raise ValueError(f"it has unknown arrays: {sorted(arrays)}")
    except Exception as error:
        raise ValueError(f"{path} does not hold a valid estimator: {error!r}") from error
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
                with suppress(PermissionError, AttributeError):  # Windows has no fchown
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


# Objects as JSON. Anything but None, booleans, integers, strings, finite floats and lists becomes
# a JSON object with one key, its kind.


class NotStorableError(ValueError):
    """An attribute cannot be stored as numbers, strings and arrays."""


def _encode(value: Any, where: str, arrays: dict[str, NDArray]) -> Any:
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
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
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
        parts = (value.data, value.mask)
        return {"masked": [_encode(part, f"{where}.{i}", arrays) for i, part in enumerate(parts)]}
    if kind in SCALARS.values():
        return {"scalar": [kind.__name__, _encode(value.item(), where, arrays)]}
    if kind is torch.device:
        return {"device": str(value)}
    if kind is np.random.RandomState:
        state: Any = value.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":
            return {"random_state": _encode(state, where, arrays)}
    for name, function in _functions().items():
        if value is function:
            return {"function": name}
    if _classes().get(kind.__name__) is kind:
        return {
            "object": [kind.__name__, _encode_attributes(kind, _attributes(value), where, arrays)]
        }
    if kind is EmbedderNet:  # the estimator makes the net again from the arrays
        return _encode(value.to_arrays(), where, arrays)
    raise NotStorableError(
        f"cannot save {where or kind.__name__}={value!r:.100}: a file holds numbers, strings, "
        "arrays, and objects of sklatent's own classes. pickle and joblib can store this estimator"
    )


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, Storable):
        return {name: item for name, item in value._pack().items() if name not in CALLBACKS}
    if isinstance(value, tuple):
        return cast(Any, value)._asdict()
    if dataclasses.is_dataclass(value):
        fields = (field for field in dataclasses.fields(value) if field.init)
        return {field.name: getattr(value, field.name) for field in fields}
    return vars(value)


def _encode_attributes(
    kind: type, attributes: dict[str, Any], where: str, arrays: dict[str, NDArray]
) -> dict[str, Any]:
    if unknown := _unknown(kind, attributes):
        raise NotStorableError(f"cannot save {unknown}: {kind.__name__} has no such attributes")
    prefix = f"{where}." if where else ""
    return {name: _encode(value, f"{prefix}{name}", arrays) for name, value in attributes.items()}


def _unknown(kind: Any, attributes: dict[str, Any]) -> list[str]:
    """Return the names of attributes that are neither parameters nor made by a fit."""
    if not issubclass(kind, BaseEstimator):
        return []
    names = set(attributes) - set(kind._get_param_names())
    return sorted(name for name in names if not (name.startswith("_") or name.endswith("_")))


def _encode_array(array: NDArray, where: str, arrays: dict[str, NDArray]) -> dict[str, Any]:
    if array.dtype.kind in "OU":
        items = [_encode(item, where, arrays) for item in array.ravel().tolist()]
        return {"objects": [array.dtype.str, list(array.shape), items]}
    if array.dtype.type not in NUMBERS:
        raise NotStorableError(f"cannot save {where}: arrays must not have dtype {array.dtype}")
    # Matrix products depend on the order in memory, in the last digit.
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    while where in arrays:
        where += "_"
    arrays[where] = np.asarray(array.T if order == "F" else array, array.dtype.type, "C")
    return {"array": [where, order]}


def _decode(value: Any, arrays: dict[str, NDArray]) -> Any:
    """Return the value that `_encode` was given, and remove its arrays from `arrays`."""
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "object":
        name, attributes = content
        return _make(name, {key: _decode(item, arrays) for key, item in attributes.items()})
    if kind == "array":
        name, order = content
        array = arrays.pop(name)
        return array.T if order == "F" else array
    if kind == "objects":
        dtype, shape, items = content
        array = np.empty(len(items), np.dtype(dtype) if dtype[1] == "U" else object)
        for i, item in enumerate(items):
            array[i] = _decode(item, arrays)
        return array.reshape(shape)
    parts = _decode(content, arrays)
    if kind == "float":
        return float(parts)
    if kind == "tuple":
        return tuple(parts)
    if kind == "dict":
        return dict(parts)
    if kind == "masked":
        return np.ma.MaskedArray(*parts)
    if kind == "scalar":
        return SCALARS[parts[0]](parts[1])
    if kind == "device":
        return torch.device(parts)
    if kind == "random_state":
        random_state = np.random.RandomState()
        random_state.set_state(parts)
        return random_state
    if kind == "function":
        return _functions()[parts]
    raise ValueError(f"unknown kind of value: {kind!r}")


def _make(name: str, attributes: dict[str, Any]) -> Any:
    """Return an object of the class with this name."""
    kind = _classes().get(name)
    if kind is None:
        raise ValueError(f"unknown class: {name!r}")
    if unknown := _unknown(kind, attributes):
        raise ValueError(f"unknown attributes of {name}: {unknown}")
    if issubclass(kind, tuple) or dataclasses.is_dataclass(kind):
        return kind(**attributes)
    new = kind.__new__(kind)
    if issubclass(kind, BaseEstimator):  # files of older versions lack newer parameters
        params = inspect.signature(kind).parameters.values()
        new.__dict__.update(
            {each.name: each.default for each in params if each.default is not each.empty}
        )
    new.__dict__.update(attributes)
    if isinstance(new, Storable):
        new._unpack()
    return new
