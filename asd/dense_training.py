"""Training a dense chain with Adam on the mean squared error, as Numba's machine code.

It computes what Keras' fit does, arranged for a few cores: each takes its part of every batch
through all layers, where values stay in its cache, and they meet only where batch normalisation
and Adam need the whole batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from threadpoolctl import threadpool_limits

from asd import dense

if TYPE_CHECKING:
    import keras

MOST_PARTS = 4  # of a batch; 128 windows of the usual 512
# Keras' defaults; the betas are those of Kingma and Ba 2015, arXiv:1412.6980.
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7
CACHE_LINE = 8  # int64

# Columns of the table of layers. Offsets are of the first of n_in x n_out weights, n_out biases,
# gammas and betas (GAMMA -1: no batch normalisation), and of inputs and outputs in the buffers.
N_IN, N_OUT, WEIGHTS, BIAS, GAMMA, BETA, RELU, INPUTS, OUTPUTS = range(9)
# What is known of a column of a layer's products x @ weights in this batch:
# outputs = (products - MEAN) * SCALE + beta, INVERSE = 1 / deviation, SCALE = gamma * INVERSE;
# SHIFT and SLOPE of the products' share in the gradients of mean and deviation.
MEAN, INVERSE, SCALE, SHIFT, SLOPE = range(5)


class State(NamedTuple):
    """What the parts share; float32 unless said otherwise."""

    layers: np.ndarray  # (n_layers, 9) int64
    constants: np.ndarray  # (n_layers, 2) epsilon and momentum of batch normalisation
    parameters: np.ndarray  # (n_parameters,)
    moments: np.ndarray  # (2, n_parameters) Adam's
    gradients: np.ndarray  # (n_parts, n_parameters), to be added up
    moving: np.ndarray  # (n_layers, 2, widest) mean and variance for inference
    sums: np.ndarray  # (n_layers, n_parts, 2, widest) of products, of squares about their mean
    slopes: np.ndarray  # (n_layers, n_parts, 2, widest) of gradients, of gradients * products
    columns: np.ndarray  # (n_parts, n_layers, 5, widest) MEAN to SLOPE
    buffers: np.ndarray  # (n_parts, 3, n) products, outputs and gradients of all layers
    arrivals: np.ndarray  # (n_parts, CACHE_LINE) int64


def compiled(function: Callable) -> Callable:
    """Machine code of a function, made when it is first called, and kept where that can be."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written to
        return numba.njit(**options)(function)


@intrinsic
def _fence(_):
    """What was written before is seen before what is written after."""

    def generate(context, builder, *_):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@compiled
def _meet(arrivals, part):
    """Wait until every part is here."""
    _fence()
    arrivals[part, 0] += 1
    for other in range(len(arrivals)):
        while arrivals[other, 0] < arrivals[part, 0]:
            _sched_yield()
    _fence()


@compiled
def _matrix(flat, start, n_rows, n_columns):
    return flat[start : start + n_rows * n_columns].reshape(n_rows, n_columns)


@compiled
def _gather(frames, starts, windows):
    """The windows whose first frames are given, (n, n_frames * n_mels)."""
    n_mels = frames.shape[1]
    for i in range(len(starts)):
        for k in range(windows.shape[1] // n_mels):
            for j in range(n_mels):
                windows[i, k * n_mels + j] = frames[starts[i] + k, j]


@compiled
def _sum_up(products, mean, sums):
    """Sum of each column, and of its squares about its mean in these rows."""
    n, n_columns = products.shape
    sums[:] = 0
    for i in range(n):
        for j in range(n_columns):
            sums[0, j] += products[i, j]
    for j in range(n_columns):
        mean[j] = sums[0, j] / max(n, 1)
    for i in range(n):
        for j in range(n_columns):
            away = products[i, j] - mean[j]
            sums[1, j] += away * away


@compiled
def _describe(i, part, counts, state, learn):
    """Mean and deviation of each column: of all parts' rows, or the moving ones.

    The parts' are merged as by Chan, Golub and LeVeque 1979, Stanford CS-79-773, equation 2.1.
    """
    epsilon, momentum = state.constants[i, 0], state.constants[i, 1]
    columns, moving, n = state.columns[part, i], state.moving[i], counts.sum()
    for j in range(state.layers[i, N_OUT]):
        bias = state.parameters[state.layers[i, BIAS] + j]  # products are without
        mean, variance = np.float64(moving[0, j] - bias), np.float64(moving[1, j])
        if learn:
            mean = variance = 0.0
            for k in range(len(counts)):
                mean += state.sums[i, k, 0, j] / n
            for k in range(len(counts)):
                if counts[k]:
                    away = state.sums[i, k, 0, j] / counts[k] - mean
                    variance += (state.sums[i, k, 1, j] + counts[k] * away * away) / n
            if part == 0:
                moving[0, j] += (mean + bias - moving[0, j]) * (1 - momentum)
                moving[1, j] += (variance - moving[1, j]) * (1 - momentum)
        columns[MEAN, j] = mean
        columns[INVERSE, j] = 1 / math.sqrt(variance + epsilon)
        gamma = state.parameters[state.layers[i, GAMMA] + j]
        columns[SCALE, j] = gamma * columns[INVERSE, j]


@compiled
def _activate(products, columns, shift, relu, outputs):
    """(products - MEAN) * SCALE + shift, and ReLU."""
    mean, scale = columns[MEAN], columns[SCALE]
    floor = np.float32(0 if relu else -np.inf)
    for i in range(products.shape[0]):
        for j in range(products.shape[1]):
            line = (products[i, j] - mean[j]) * scale[j] + shift[j]
            outputs[i, j] = line if line > floor else floor


@compiled
def _forward(part, counts, state, learn):
    """Take a part's windows, which are in its buffers, through all layers but the last bias.

    Parameters
    ----------
    counts : (n_parts,) int64, windows of each part of this batch
    learn : False: normalise with the moving statistics
    """
    n = counts[part]
    for i in range(len(state.layers)):
        n_in, n_out = state.layers[i, N_IN], state.layers[i, N_OUT]
        weights = _matrix(state.parameters, state.layers[i, WEIGHTS], n_in, n_out)
        inputs = _matrix(state.buffers[part, 1], state.layers[i, INPUTS], n, n_in)
        products = _matrix(state.buffers[part, 0], state.layers[i, OUTPUTS], n, n_out)
        outputs = _matrix(state.buffers[part, 1], state.layers[i, OUTPUTS], n, n_out)
        columns = state.columns[part, i]
        np.dot(inputs, weights, products)
        if i < len(state.layers) - 1:
            shift = state.parameters[state.layers[i, BIAS] :]
            if state.layers[i, GAMMA] >= 0:
                shift = state.parameters[state.layers[i, BETA] :]
                if learn:
                    _sum_up(products, columns[MEAN], state.sums[i, part])
                    _meet(state.arrivals, part)
                _describe(i, part, counts, state, learn)
            _activate(products, columns, shift, state.layers[i, RELU], outputs)


@compiled
def _compare(part, counts, state):
    """The last layer's products become the gradient of the mean squared error of the batch.

    Returns the sum over this part's windows of their mean squared errors.
    """
    last = len(state.layers) - 1
    n, n_out, bias = counts[part], state.layers[last, N_OUT], state.layers[last, BIAS]
    windows = _matrix(state.buffers[part, 1], 0, n, n_out)
    products = _matrix(state.buffers[part, 0], state.layers[last, OUTPUTS], n, n_out)
    shift, of_shift = state.parameters[bias:], state.gradients[part, bias : bias + n_out]
    squares = state.columns[part, last, SLOPE]  # free: the last layer has no normalisation
    share = np.float32(2 / (counts.sum() * n_out))
    squares[:] = 0
    of_shift[:] = 0
    for i in range(n):
        for j in range(n_out):
            error = products[i, j] + shift[j] - windows[i, j]
            squares[j] += error * error
            error *= share
            of_shift[j] += error
            products[i, j] = error
    return np.float64(squares[:n_out].sum()) / n_out


@compiled
def _mask(gradients, relu, outputs, products, mean, slopes):
    """Gradients before a ReLU; their sums, and their sums with the products."""
    floor = np.float32(0 if relu else -np.inf)
    slopes[:] = 0
    for i in range(gradients.shape[0]):
        for j in range(gradients.shape[1]):
            gradient = gradients[i, j]
            if not outputs[i, j] > floor:
                gradient = np.float32(0)
            gradients[i, j] = gradient
            slopes[0, j] += gradient
            slopes[1, j] += gradient * (products[i, j] - mean[j])


@compiled
def _through_norm(i, part, counts, state, gradients, products):
    """Gradients before batch normalisation; Ioffe and Szegedy 2015, arXiv:1502.03167, section 3."""
    columns, own = state.columns[part, i], state.gradients[part]
    gamma, beta = state.layers[i, GAMMA], state.layers[i, BETA]
    for j in range(state.layers[i, N_OUT]):
        of_beta = of_gamma = np.float32(0)
        for k in range(len(counts)):
            of_beta += state.slopes[i, k, 0, j]
            of_gamma += state.slopes[i, k, 1, j] * columns[INVERSE, j]
        if part == 0:
            own[gamma + j], own[beta + j] = of_gamma, of_beta
        columns[SHIFT, j] = of_beta / counts.sum()
        columns[SLOPE, j] = of_gamma * columns[INVERSE, j] / counts.sum()
    mean, scale = columns[MEAN], columns[SCALE]
    shift, slope = columns[SHIFT], columns[SLOPE]
    for i in range(gradients.shape[0]):
        for j in range(gradients.shape[1]):
            away = products[i, j] - mean[j]
            gradients[i, j] = (gradients[i, j] - shift[j] - away * slope[j]) * scale[j]


@compiled
def _backward(part, counts, state):
    """Gradients of all parameters from that of the last layer's products."""
    n, own, last = counts[part], state.gradients[part], len(state.layers) - 1
    for i in range(last, -1, -1):
        n_in, n_out = state.layers[i, N_IN], state.layers[i, N_OUT]
        at, bias = state.layers[i, WEIGHTS], state.layers[i, BIAS]
        from_, to = state.layers[i, INPUTS], state.layers[i, OUTPUTS]
        gradients = _matrix(state.buffers[part, 0 if i == last else 2], to, n, n_out)
        if i < last:
            products = _matrix(state.buffers[part, 0], to, n, n_out)
            outputs = _matrix(state.buffers[part, 1], to, n, n_out)
            slopes, mean = state.slopes[i, part], state.columns[part, i, MEAN]
            _mask(gradients, state.layers[i, RELU], outputs, products, mean, slopes)
            if state.layers[i, GAMMA] < 0:
                for j in range(n_out):  # in whole, it takes 2 s to compile
                    own[bias + j] = slopes[0, j]
            else:  # the bias has no gradient: the normalisation takes any away
                _meet(state.arrivals, part)
                _through_norm(i, part, counts, state, gradients, products)
        inputs = _matrix(state.buffers[part, 1], from_, n, n_in)
        np.dot(inputs.T, gradients, _matrix(own, at, n_in, n_out))
        if i:
            before = _matrix(state.buffers[part, 2], from_, n, n_in)
            np.dot(gradients, _matrix(state.parameters, at, n_in, n_out).T, before)


@compiled
def _adam(part, state, steps):
    """A part's share of a step of Adam, as Keras takes it."""
    rate = np.float32(LEARNING_RATE * math.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps))
    n_parts, n = state.gradients.shape
    begin, end = n * part // n_parts, n * (part + 1) // n_parts
    parameters, gradient = state.parameters[begin:end], state.gradients[0, begin:end]
    first, second = state.moments[0, begin:end], state.moments[1, begin:end]
    for k in range(1, n_parts):
        other = state.gradients[k, begin:end]
        for i in range(len(gradient)):
            gradient[i] += other[i]
    for i in range(len(gradient)):
        first[i] += (gradient[i] - first[i]) * np.float32(1 - BETA_1)
        second[i] += (gradient[i] * gradient[i] - second[i]) * np.float32(1 - BETA_2)
        parameters[i] -= rate * first[i] / (np.sqrt(second[i]) + np.float32(EPSILON))


@compiled
def _work(part, frames, starts, batch_size, state, steps, learn):
    """One part's share of going through all windows, batch by batch.

    Parameters
    ----------
    frames : (n_frames, n_mels) float32, dB
    starts : (n,) int32, the rows at which windows begin
    steps : batches that were learnt from before
    learn : False: measure, in inference mode

    Returns
    -------
    sum over this part's windows of their mean squared errors, dB^2
    """
    n_parts = len(state.arrivals)
    counts = np.empty(n_parts, np.int64)
    errors = 0.0
    for begin in range(0, len(starts), batch_size):
        n = min(batch_size, len(starts) - begin)
        share = (n + n_parts - 1) // n_parts
        for k in range(n_parts):
            counts[k] = max(min(share, n - k * share), 0)
        own = starts[begin + min(part * share, n) :][: counts[part]]
        _gather(frames, own, _matrix(state.buffers[part, 1], 0, len(own), state.layers[0, N_IN]))
        _forward(part, counts, state, learn)
        errors += _compare(part, counts, state)
        if learn:
            steps += 1
            _backward(part, counts, state)
            _meet(state.arrivals, part)
            _adam(part, state, steps)
            _meet(state.arrivals, part)
    return errors


def suits(model: keras.Model) -> bool:
    """Whether `Trainer` trains all of a model, and as it asks for."""
    try:
        chain = dense.of_model(model)
    except dense.NotAChain:
        return False
    extras = ("regularizer", "constraint")
    configs = [layer.get_config() for layer in model.layers]
    return (
        len(chain[0].weights) == len(chain[-1].bias)
        and not (chain[-1].norm or chain[-1].relu)
        and len(model.trainable_variables) == sum(4 if one.norm else 2 for one in chain)
        and all(variable.dtype == "float32" for variable in model.weights)
        and not any(one[key] for one in configs for key in one if key.endswith(extras))
    )


class Trainer:
    """The dense chain of a Keras model, in training.

    Parameters
    ----------
    model : one that `suits`
    batch_size : windows of a step
    """

    def __init__(self, model: keras.Model, batch_size: int) -> None:
        self._model, self._batch_size, self._steps = model, batch_size, 0
        self._chain = dense.of_model(model)
        self._state = _state(self._chain, batch_size)

    def train(self, frames: np.ndarray, starts: np.ndarray) -> float:
        """Learn from windows batch by batch; the model follows.

        Parameters
        ----------
        frames : (n_frames, n_mels) float32, dB
        starts : (n_windows,) int32, the rows of `frames` at which windows begin

        Returns
        -------
        sum over windows of their mean squared errors while they were learnt from, dB^2
        """
        errors = self._run(frames, starts, learn=True)
        self._steps += -(-len(starts) // self._batch_size)
        self._model.set_weights(list(_arrays(self._chain, self._state)))
        return errors

    def measure(self, frames: np.ndarray, starts: np.ndarray) -> float:
        """The same sum in inference mode; nothing is learnt."""
        return self._run(frames, starts, learn=False)

    def _run(self, frames: np.ndarray, starts: np.ndarray, learn: bool) -> float:
        def work(part: int) -> float:
            return _work(part, frames, starts, self._batch_size, self._state, self._steps, learn)

        n_parts = len(self._state.arrivals)
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_parts) as pool:
            return math.fsum(pool.map(work, range(n_parts)))


def _state(chain: Sequence[dense.Dense], batch_size: int) -> State:
    """What the parts share before the first step."""
    n_parts, n_layers = min(os.cpu_count() or 1, MOST_PARTS), len(chain)
    rows = -(-batch_size // n_parts)
    widest = max(len(layer.bias) for layer in chain)
    table, arrays, at, place = [], [], 0, 0
    for layer in chain:
        own = [layer.weights, layer.bias]
        own += [layer.norm.gamma, layer.norm.beta] if layer.norm else []
        *offsets, end = [at, *(at + np.cumsum([array.size for array in own])).tolist()]
        offsets += [-1, -1][len(offsets) - 2 :]
        outputs = place + rows * len(layer.weights)
        table.append((*layer.weights.shape, *offsets, layer.relu, place, outputs))
        at, place, arrays = end, outputs, arrays + [array.ravel() for array in own]
    shape, floats = (n_layers, n_parts, 2, widest), np.float32
    state = State(
        layers=np.array(table, np.int64),
        constants=np.zeros((n_layers, 2), floats),
        parameters=np.concatenate(arrays),
        moments=np.zeros((2, at), floats),
        gradients=np.zeros((n_parts, at), floats),
        moving=np.zeros((n_layers, 2, widest), floats),
        sums=np.zeros(shape, floats),
        slopes=np.zeros(shape, floats),
        columns=np.zeros((n_parts, n_layers, 5, widest), floats),
        buffers=np.zeros((n_parts, 3, place + rows * len(chain[-1].bias)), floats),
        arrivals=np.zeros((n_parts, CACHE_LINE), np.int64),
    )
    state.columns[:, :, SCALE] = 1  # stays so without batch normalisation
    for layer, constants, moving in zip(chain, state.constants, state.moving, strict=True):
        if norm := layer.norm:
            constants[:] = norm.epsilon, norm.momentum
            moving[:, : len(layer.bias)] = norm.mean, norm.variance
    return state


def _arrays(chain: Sequence[dense.Dense], state: State) -> Iterator[np.ndarray]:
    """The weights of the model, in Keras' order."""
    for layer, row, moving in zip(chain, state.layers, state.moving, strict=True):
        size = len(layer.bias)
        yield state.parameters[row[WEIGHTS] :][: layer.weights.size].reshape(layer.weights.shape)
        yield state.parameters[row[BIAS] :][:size]
        if layer.norm:
            yield state.parameters[row[GAMMA] :][:size]
            yield state.parameters[row[BETA] :][:size]
            yield from moving[:, :size]
