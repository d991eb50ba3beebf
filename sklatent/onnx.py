"""Converters to ONNX, so that fitted estimators run without Python, torch or scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ._embedder import GaussianEmbedder
from ._embedder_cv import GaussianEmbedderCV
from ._gaussianizer import Gaussianizer
from ._units import farthest
from .calibration import AffineCalibration, Gaussianization
from .calibration._flow import MixtureFlow
from .calibration._splines import KNOTS, STEP, Splines
from .networks import Encoder, Gated, Linear

__all__ = ["register_converters"]

#: Layers that are one operator without parameters.
SIMPLE = {nn.ReLU: "Relu", nn.Sigmoid: "Sigmoid", nn.Tanh: "Tanh"}


def register_converters() -> None:
    """Register the converters of this package with skl2onnx.

    Afterwards, `skl2onnx.to_onnx` and `skl2onnx.convert_sklearn` convert `GaussianEmbedder`,
    `GaussianEmbedderCV` and `Gaussianizer`, alone and as steps of pipelines. The ONNX model
    computes the same output as `transform`, with the calibration. The converters need opset 13 or
    later, and opset 17 for an encoder with layer normalization.

    The ONNX model computes in the same types as `transform`: the network in the type of the
    input, float32 or float64, and the calibration in float64. So the outputs of both differ by
    rounding errors only.

    Your own encoder can consist of the layers `torch.nn.Sequential`, `Linear`, `LayerNorm`,
    `BatchNorm1d`, `Dropout`, `Identity`, `ReLU`, `Sigmoid`, `SiLU`, `GELU` and `Tanh`. Other
    layers, and layers with hooks, raise a ValueError during the conversion.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklatent import GaussianEmbedder
    >>> from sklatent.onnx import register_converters
    >>> register_converters()
    >>> X = load_wine().data.astype("float32")
    >>> embedder = GaussianEmbedder(max_iter=0, random_state=0)  # no training
    >>> model = to_onnx(make_pipeline(StandardScaler(), embedder).fit(X), X[:1])
    >>> [output.name for output in model.graph.output]
    ['variable']
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "register_converters needs skl2onnx: pip install 'sklatent[onnx]'"
        ) from error
    for estimator, convert in (
        (GaussianEmbedder, _embedder),
        (GaussianEmbedderCV, _best_embedder),
        (Gaussianizer, _gaussianizer),
    ):
        update_registered_converter(
            estimator,
            f"Sklatent{estimator.__name__}",
            _set_shape,
            _converter(convert),
            parser=_parse,
            # Pipelines give this option to each of their classifiers.
            options={"zipmap": None},
        )


# The interface of skl2onnx: a parser, a calculator of shapes and a converter.


def _parse(scope: Any, model: Any, inputs: list, custom_parsers: Any = None) -> list:
    """Declare the output: the embedding, even if the estimator is a classifier."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    check_is_fitted(model)
    alias = f"Sklatent{type(model).__name__}"
    operator = scope.declare_local_operator(alias, model)
    operator.inputs = inputs
    double = any(isinstance(each.type, DoubleTensorType) for each in inputs)
    kind = DoubleTensorType if double else FloatTensorType
    operator.outputs.append(scope.declare_local_variable("variable", kind()))
    return operator.outputs


def _set_shape(operator: Any) -> None:
    model = operator.raw_operator
    widths = [each.type.shape[1] if len(each.type.shape) > 1 else 1 for each in operator.inputs]
    if None not in widths and sum(widths) != model.n_features_in_:
        raise ValueError(
            f"The inputs of the ONNX model have {sum(widths)} features, but "
            f"{type(model).__name__} is expecting {model.n_features_in_} features as input"
        )
    n_samples = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type.shape = [n_samples, len(model.get_feature_names_out())]


def _converter(convert: Callable[[_Graph, Any, str, type], str]) -> Callable:
    """Return a converter for skl2onnx from a function (graph, model, x, type) -> output.

    The function gets the input x in float64, and the type of the output.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import guess_numpy_type

        graph = _Graph(scope, container)
        columns = [graph.cast(each.full_name, np.float64) for each in operator.inputs]
        x = columns[0] if len(columns) == 1 else graph.op("Concat", *columns, axis=1)
        output = operator.outputs[0]
        dtype = guess_numpy_type(output.type)
        value = graph.cast(convert(graph, operator.raw_operator, x, dtype), dtype)
        container.add_node("Identity", value, output.full_name)

    return converter


class _Graph:
    """A graph of ONNX to which operators are added.

    Parameters
    ----------
    scope, container
        The arguments that skl2onnx passes to a converter.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container
        self._constants: dict[int, tuple[str, NDArray]] = {}

    def op(self, kind: str, *inputs: str | NDArray, **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        output = self._scope.get_unique_variable_name(f"sklatent_{kind}")
        self._container.add_node(kind, names, output, name=output, **attributes)
        return output

    def cast(self, x: str, dtype: type) -> str:
        """Convert to float32, float64 or int64."""
        return self.op("Cast", x, to=_proto_type(np.dtype(dtype)))

    def affine(self, x: str, matrix: NDArray, offset: NDArray) -> str:
        """Add x matrix + offset."""
        return self.op("Gemm", x, matrix, offset)

    def clip(self, x: str, limit: float) -> str:
        """Clip to [-limit, limit]."""
        return self.op("Clip", x, np.array(-limit), np.array(limit))

    def _constant(self, array: NDArray) -> str:
        if id(array) not in self._constants:
            name = self._scope.get_unique_variable_name("sklatent_constant")
            self._container.add_initializer(
                name, _proto_type(array.dtype), array.shape, array.ravel().tolist()
            )
            self._constants[id(array)] = name, array  # an array in use keeps its id
        return self._constants[id(array)][0]


def _proto_type(dtype: np.dtype) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return np_dtype_to_tensor_dtype(dtype)


# Estimators


def _embedder(graph: _Graph, embedder: GaussianEmbedder, x: str, dtype: type) -> str:
    model = embedder._model
    x = graph.op("Sub", x, model.start.mean)
    x = graph.clip(graph.op("Div", x, np.array(model.start.scale)), farthest(dtype))
    u = _encoder(graph, model._module(dtype).encoder, graph.cast(x, dtype), dtype)
    u = graph.cast(u, np.float64)
    for calibration in (model.prior, model.calibration):
        if isinstance(calibration, Gaussianization):
            u = _gaussianization(graph, calibration, u)
        elif calibration is not None:
            u = graph.affine(u, *_matrix_and_offset(calibration))
    return graph.affine(u, model.target.factor.T, model.target.mean)


def _best_embedder(graph: _Graph, search: GaussianEmbedderCV, x: str, dtype: type) -> str:
    return _embedder(graph, search.best_embedder_, x, dtype)


def _gaussianizer(graph: _Graph, gaussianizer: Gaussianizer, x: str, dtype: type) -> str:
    whitening = gaussianizer._whitening
    x = graph.op("Div", graph.op("Sub", x, whitening.mean_), whitening.scale_)
    x = graph.clip(x, farthest(np.float64))
    u = _gaussianization(
        graph, gaussianizer._gaussianization, graph.op("MatMul", x, whitening.whiten_)
    )
    axes = whitening.axes_
    if axes.shape[0] != axes.shape[1]:
        outside = graph.op("Sub", x, graph.op("MatMul", x, axes @ axes.T))
        u = graph.op("Add", graph.op("MatMul", u, axes.T), outside)
    return graph.clip(u, float(np.finfo(dtype).max))


# Calibrations, all in float64


def _matrix_and_offset(affine: AffineCalibration) -> tuple[NDArray, NDArray]:
    return affine.inverse_root_, -affine.mean_ @ affine.inverse_root_


def _gaussianization(graph: _Graph, gaussianization: Gaussianization, u: str) -> str:
    z = graph.affine(u, *_matrix_and_offset(gaussianization._first))
    axes = gaussianization._axes
    if not axes.size:
        return z
    whole = axes.shape[0] == axes.shape[1]
    flat = z if whole else graph.op("MatMul", z, axes)
    bent = flat
    # The affine maps between two rounds of splines are one matrix.
    back = np.eye(axes.shape[1])
    for layer in gaussianization._rounds:
        if isinstance(layer, MixtureFlow):
            bent = _flow(graph, layer, bent)
            continue
        matrix, offset = _matrix_and_offset(layer.affine)
        matrix, offset = back @ matrix @ layer.rotation, offset @ layer.rotation
        bent = _splines(graph, layer.splines, graph.affine(bent, matrix, offset))
        back = layer.rotation.T
    matrix, offset = _matrix_and_offset(gaussianization._last)
    bent = graph.affine(bent, back @ matrix, offset)
    if whole:
        return bent
    return graph.op("Add", z, graph.op("MatMul", graph.op("Sub", bent, flat), axes.T))


def _splines(graph: _Graph, splines: Splines, x: str) -> str:
    inside = graph.op("Clip", x, np.array(KNOTS[0]), np.array(KNOTS[-1]))
    position = graph.op("Div", graph.op("Sub", inside, KNOTS[:1]), np.array([STEP]))
    left = graph.op("Min", graph.op("Floor", position), np.array([len(KNOTS) - 2.0]))
    share = graph.op("Sub", position, left)
    mixed = graph.op("Mul", share, graph.op("Sub", np.ones(1), share))
    # With numerator and denominator divided by the chord.
    rises = np.diff(splines.values, axis=0)
    lefts, rights = (each * STEP / rises for each in (splines.slopes[:-1], splines.slopes[1:]))
    index = graph.cast(left, np.int64)
    value, rise, slope, excess = (
        graph.op("GatherElements", table, index, axis=0)
        for table in (splines.values[:-1], rises, lefts, lefts + rights - 2)
    )
    up = graph.op("Add", graph.op("Mul", share, share), graph.op("Mul", slope, mixed))
    down = graph.op("Add", np.ones(1), graph.op("Mul", excess, mixed))
    bent = graph.op("Mul", rise, graph.op("Div", up, down))
    outer = graph.op("Sub", x, inside)
    below = graph.op("Mul", graph.op("Min", outer, np.zeros(1)), splines.slopes[0])
    above = graph.op("Mul", graph.op("Max", outer, np.zeros(1)), splines.slopes[-1])
    return graph.op("Sum", value, bent, below, above)


def _flow(graph: _Graph, flow: MixtureFlow, x: str) -> str:
    """Integrate the flow as `MixtureFlow` does, with the same steps."""
    forth, back = flow.centers.T.copy(), flow.centers

    def velocity(y: str, level: float) -> str:
        root = np.exp(0.5 * level)
        logits = graph.op("Mul", graph.op("MatMul", y, forth), np.array([1 / root]))
        weights = flow.log_weights - 0.5 * np.exp(-level) * flow.squares
        r = graph.op("Softmax", graph.op("Add", logits, weights), axis=1)
        return graph.op("Mul", graph.op("MatMul", r, back), np.array([-0.5 / root]))

    def moved(y: str, step: float, *velocities: str) -> str:
        total = velocities[0] if len(velocities) == 1 else graph.op("Sum", *velocities)
        return graph.op("Add", y, graph.op("Mul", total, np.array([step])))

    levels = flow.levels
    y = graph.op("Mul", x, np.array([np.exp(-0.5 * levels[0])]))
    for level, following in pairwise(levels):
        h = following - level
        a = velocity(y, level)
        b = velocity(moved(y, h / 2, a), level + h / 2)
        c = velocity(moved(y, h / 2, b), level + h / 2)
        d = velocity(moved(y, h, c), following)
        y = moved(y, h / 6, a, b, b, c, c, d)
    return graph.op("Mul", y, np.array([flow.scale * np.exp(0.5 * levels[-1])]))


# Networks, in the type of their input


def _encoder(graph: _Graph, encoder: Encoder, x: str, dtype: type) -> str:
    u = _layer(graph, encoder.network, x, dtype)
    if encoder.log_var is not None:  # the first half of the outputs are the means
        k = np.array([encoder.log_var.shape[-1]])
        u = graph.op("Slice", u, np.array([0]), k, np.array([1]))
    if encoder.skip is None:
        return u
    return graph.op("Add", u, graph.op("MatMul", x, _array(encoder.skip).T))


def _layer(graph: _Graph, layer: Any, x: str, dtype: type) -> str:
    """Add the operators of a layer in evaluation mode."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise ValueError(f"the encoder contains {layer} with hooks, which cannot become ONNX")
    if isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward:
        for each in layer:
            x = _layer(graph, each, x, dtype)
        return x
    kind = type(layer)
    parts = {name: _array(value) for name, value in layer.state_dict().items()}
    if kind is Gated:
        return graph.op("Mul", _layer(graph, layer.module, x, dtype), parts["gain"])
    if kind in (Linear, nn.Linear):
        bias = parts.get("bias", np.zeros(len(parts["weight"]), dtype))
        return graph.affine(x, parts["weight"].T, bias)
    if kind in (nn.Identity, nn.Dropout):
        return x
    if kind in SIMPLE:
        return graph.op(SIMPLE[kind], x)
    if kind is nn.SiLU:
        return graph.op("Mul", x, graph.op("Sigmoid", x))
    if kind is nn.GELU and layer.approximate == "none":
        # onnxruntime has the error function in float32 only.
        scaled = graph.op("Mul", x, np.array([np.sqrt(0.5)], dtype))
        erf = graph.cast(graph.op("Erf", graph.cast(scaled, np.float32)), dtype)
        half = graph.op("Mul", x, np.array([0.5], dtype))
        return graph.op("Add", half, graph.op("Mul", half, erf))
    if kind is nn.LayerNorm and layer.elementwise_affine and len(layer.normalized_shape) == 1:
        inputs = [parts[name] for name in ("weight", "bias") if name in parts]
        return graph.op("LayerNormalization", x, *inputs, axis=-1, epsilon=layer.eps)
    if kind is nn.BatchNorm1d and layer.affine and layer.track_running_stats:
        scale = parts["weight"] / np.sqrt(parts["running_var"] + dtype(layer.eps))
        offset = parts["bias"] - parts["running_mean"] * scale
        return graph.op("Add", graph.op("Mul", x, scale), offset)
    raise ValueError(
        f"the encoder contains {layer}, which has no converter to ONNX: see "
        "sklatent.onnx.register_converters for the layers that have one"
    )


def _array(tensor: Any) -> NDArray:
    return tensor.detach().cpu().numpy()
