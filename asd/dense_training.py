"""Training the dense auto-encoder with Adam on the mean squared error, as Numba's machine code.

It computes what Keras' fit does, arranged for a few cores: each takes its part of every batch
through all layers, where values stay in its cache, and they meet at a barrier only where batch
normalisation and Adam need the whole batch.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from asd import workers
from asd.machine_code import barrier, compiled, mend_cache, new_barrier, seal_cache
from asd.tflite import keras_chain
from asd.tflite.chain import Dense, NotAChain

if TYPE_CHECKING:
    import keras

MOST_PARTS = 4  # of a batch; 128 windows of the usual 512
# Of Adam, Kingma and Ba 2015, arXiv:1412.6980; Keras and PyTorch have the same defaults but for
# epsilon, which PyTorch adds to the root of the corrected second moment, Keras to the other.
LEARNING_RATE, BETA_1, BETA_2 = 0.001, 0.9, 0.999
EPSILON_OF = {"keras": 1e-7, "torch": 1e-8}
EPSILON, DECAY, TORCH = range(3)  # of State.how
ZERO = np.float32(0)  # a literal 0 would make it float64
N_IN, N_OUT, START = range(3)  # START: of the n_in x n_out weights in State.parameters
BIAS, GAMMA, BETA = range(3)  # of a layer's units
PRODUCTS, OUTPUTS, GRADIENTS = range(3)  # buffers of a part
# Of a unit's products x @ weights in this batch: outputs = (products - MEAN) * SCALE + beta,
# INVERSE = 1 / deviation; SHIFT and SLOPE: their share in the gradients of mean and deviation.
MEAN, INVERSE, SCALE, SHIFT, SLOPE = range(5)


class State(NamedTuple):
    """What the parts share; float32 but for the integers. Layers' units are padded to `widest`."""

    layers: np.ndarray  # (n_layers, 3) int64: N_IN, N_OUT, START
    constants: np.ndarray  # (n_layers, 2) epsilon and momentum of batch normalisation
    how: np.ndarray  # (3,) EPSILON, DECAY: of weights, TORCH: 1 by PyTorch's conventions
    parameters: np.ndarray  # (n,) all weights, then (n_layers, 3, widest) BIAS, GAMMA, BETA
    moments: np.ndarray  # (2, n) Adam's
    gradients: np.ndarray  # (n_parts, n) to be added up
    moving: np.ndarray  # (n_layers, 2, widest) mean and variance for inference
    sums: np.ndarray  # (n_layers, n_parts, 2, widest) of products, of squares about their mean
    slopes: np.ndarray  # (n_layers, n_parts, 2, widest) of gradients, of gradients * products
    columns: np.ndarray  # (n_parts, n_layers, 5, widest) MEAN to SLOPE
    buffers: np.ndarray  # (n_parts, 3, 1 + n_layers, rows * widest); OUTPUTS 0 are the windows
    sync: np.ndarray  # of `new_barrier`


@compiled
def matrix(flat, n_rows, n_columns):
    return flat[: n_rows * n_columns].reshape(n_rows, n_columns)


@compiled
def units(flat, state):
    """BIAS, GAMMA and BETA of all layers among parameters or gradients."""
    n_layers, _, widest = state.moving.shape
    return flat[len(flat) - 3 * n_layers * widest :].reshape(n_layers, 3, widest)


@compiled
def normalisation(i, part, counts, state, products, learn):
    """Mean and deviation of each column of a layer's products: of all parts' rows, or the moving.

    The parts' are merged as by Chan, Golub and LeVeque 1979, Stanford CS-79-773, equation 2.1.
    """
    (rows, n_columns), n = products.shape, counts.sum()
    columns, moving, sums = state.columns[part, i], state.moving[i], state.sums[i, part]
    if learn:
        sums[:] = 0
        for k in range(rows):
            for j in range(n_columns):
                sums[0, j] += products[k, j]
        for j in range(n_columns):
            columns[MEAN, j] = sums[0, j] / max(rows, 1)
        own_mean = columns[MEAN]
        for k in range(rows):
            for j in range(n_columns):
                away = products[k, j] - own_mean[j]
                sums[1, j] += away * away
        barrier(state.sync, len(counts))
    epsilon, momentum = state.constants[i, 0], state.constants[i, 1]
    of_units = units(state.parameters, state)[i]
    for j in range(n_columns):
        bias = of_units[BIAS, j]  # products are without
        mean, variance = np.float64(moving[0, j] - bias), np.float64(moving[1, j])
        if learn:
            mean = variance = 0.0
            for k in range(len(counts)):
                mean += state.sums[i, k, 0, j] / n
            for k in range(len(counts)):
                if counts[k]:
                    away_of_part = state.sums[i, k, 0, j] / counts[k] - mean
                    squares = counts[k] * away_of_part * away_of_part
                    variance += (state.sums[i, k, 1, j] + squares) / n
            if part == 0:
                unbiased = n / (n - 1) if state.how[TORCH] else 1.0
                moving[0, j] += (mean + bias - moving[0, j]) * (1 - momentum)
                moving[1, j] += (variance * unbiased - moving[1, j]) * (1 - momentum)
        columns[MEAN, j] = mean
        columns[INVERSE, j] = 1 / math.sqrt(variance + epsilon)
        columns[SCALE, j] = of_units[GAMMA, j] * columns[INVERSE, j]


@compiled
def forward(part, counts, state, learn):
    """Take a part's windows through all layers but the last bias."""
    n, last = counts[part], len(state.layers) - 1
    for i in range(last + 1):
        n_in, n_out, start = state.layers[i, N_IN], state.layers[i, N_OUT], state.layers[i, START]
        products = matrix(state.buffers[part, PRODUCTS, i], n, n_out)
        inputs = matrix(state.buffers[part, OUTPUTS, i], n, n_in)
        np.dot(inputs, matrix(state.parameters[start:], n_in, n_out), products)
        if i < last:
            columns, shift = state.columns[part, i], units(state.parameters, state)[i, BETA]
            normalisation(i, part, counts, state, products, learn)
            outputs = matrix(state.buffers[part, OUTPUTS, i + 1], n, n_out)
            mean, scale = columns[MEAN], columns[SCALE]
            for k in range(n):
                for j in range(n_out):
                    line = (products[k, j] - mean[j]) * scale[j] + shift[j]
                    outputs[k, j] = line if line > ZERO else ZERO  # ReLU


@compiled
def mse_gradient(part, counts, state, losses):
    """The last layer's products become the loss's gradient; the losses of the part's windows."""
    last = len(state.layers) - 1
    n, n_out = counts[part], state.layers[last, N_OUT]
    windows = matrix(state.buffers[part, OUTPUTS, 0], n, n_out)
    products = matrix(state.buffers[part, PRODUCTS, last], n, n_out)
    bias = units(state.parameters, state)[last, BIAS]
    of_bias = units(state.gradients[part], state)[last, BIAS]
    share = np.float32(2 / (counts.sum() * n_out))
    of_bias[:] = 0
    for i in range(n):
        errors = products[i]
        for j in range(n_out):
            errors[j] += bias[j] - windows[i, j]
        losses[i] = np.dot(errors, errors) / n_out
        for j in range(n_out):
            errors[j] *= share
            of_bias[j] += errors[j]


@compiled
def relu_and_normalisation_gradient(i, part, counts, state, gradients, products, outputs):
    """Gradients before ReLU, then before batch normalisation, of a layer's products.

    The latter: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """
    (rows, n_columns), slopes = products.shape, state.slopes[i, part]
    columns, own = state.columns[part, i], units(state.gradients[part], state)[i]
    mean, scale = columns[MEAN], columns[SCALE]
    shift, slope = columns[SHIFT], columns[SLOPE]
    slopes[:] = 0
    for k in range(rows):
        for j in range(n_columns):
            gradient = gradients[k, j]
            if not outputs[k, j] > ZERO:
                gradient = ZERO
            gradients[k, j] = gradient
            slopes[0, j] += gradient
            slopes[1, j] += gradient * (products[k, j] - mean[j])
    barrier(state.sync, len(counts))
    for j in range(n_columns):
        of_beta = of_gamma = ZERO
        for k in range(len(counts)):
            of_beta += state.slopes[i, k, 0, j]
            of_gamma += state.slopes[i, k, 1, j] * columns[INVERSE, j]
        if part == 0:
            own[GAMMA, j], own[BETA, j] = of_gamma, of_beta
        shift[j] = of_beta / counts.sum()
        slope[j] = of_gamma * columns[INVERSE, j] / counts.sum()
    for k in range(rows):
        for j in range(n_columns):
            away = products[k, j] - mean[j]
            gradients[k, j] = (gradients[k, j] - shift[j] - away * slope[j]) * scale[j]


@compiled
def backward(part, counts, state):
    """Gradients of all parameters from that of the last layer's products."""
    n, last = counts[part], len(state.layers) - 1
    for i in range(last, -1, -1):
        n_in, n_out, start = state.layers[i, N_IN], state.layers[i, N_OUT], state.layers[i, START]
        gradients = matrix(state.buffers[part, PRODUCTS if i == last else GRADIENTS, i], n, n_out)
        if i < last:  # the bias has no gradient: the normalisation takes any away
            products = matrix(state.buffers[part, PRODUCTS, i], n, n_out)
            outputs = matrix(state.buffers[part, OUTPUTS, i + 1], n, n_out)
            relu_and_normalisation_gradient(i, part, counts, state, gradients, products, outputs)
        inputs = matrix(state.buffers[part, OUTPUTS, i], n, n_in)
        np.dot(inputs.T, gradients, matrix(state.gradients[part, start:], n_in, n_out))
        if i:
            weights = matrix(state.parameters[start:], n_in, n_out)
            np.dot(gradients, weights.T, matrix(state.buffers[part, GRADIENTS, i - 1], n, n_in))


@compiled
def adam(part, state, steps):
    """A part's share of a step of Adam, as Keras takes it."""
    correction = math.sqrt(1 - BETA_2**steps)
    rate = np.float32(LEARNING_RATE * correction / (1 - BETA_1**steps))
    epsilon = np.float32(state.how[EPSILON] * (correction if state.how[TORCH] else 1.0))
    kept = np.float32(1 - LEARNING_RATE * state.how[DECAY])
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
        step = rate * first[i] / (np.sqrt(second[i]) + epsilon)
        parameters[i] = parameters[i] * kept - step


@compiled
def run_batches(part, frames, starts, batch_size, state, steps, learn, losses):
    """One part's share of all batches; the losses of its windows."""
    n_parts, width, n_mels = len(state.gradients), state.layers[0, N_IN], frames.shape[1]
    counts, flat = np.empty(n_parts, np.int64), frames.reshape(-1)
    for begin in range(0, len(starts), batch_size):
        n = min(batch_size, len(starts) - begin)
        share = (n + n_parts - 1) // n_parts
        for k in range(n_parts):
            counts[k] = max(min(share, n - k * share), 0)
        windows = matrix(state.buffers[part, OUTPUTS, 0], counts[part], width)
        for k in range(counts[part]):
            row = starts[begin + part * share + k]
            for j in range(width):
                windows[k, j] = flat[row * n_mels + j]
        forward(part, counts, state, learn)
        mse_gradient(part, counts, state, losses[begin + part * share :])
        if learn:
            steps += 1
            backward(part, counts, state)
            barrier(state.sync, n_parts)
            adam(part, state, steps)
            barrier(state.sync, n_parts)


def suits(model: keras.Model) -> bool:
    """Whether `Trainer` trains all of a model, and as it asks for."""
    try:
        *hidden, last = keras_chain.of_model(model)
    except NotAChain:
        return False
    kinds = {type(layer).__name__ for layer in model.layers}  # dropout is nothing, but not here
    configs = [layer.get_config() for layer in model.layers]
    extras = ("regularizer", "constraint")
    return (
        kinds <= {"InputLayer", "Dense", "BatchNormalization", "Activation", "ReLU"}
        and all(layer.norm and layer.relu for layer in hidden)
        and not (last.norm or last.relu)
        and model.input_shape == model.output_shape
        and len(model.trainable_variables) == 4 * len(hidden) + 2
        and all(variable.dtype == "float32" for variable in model.weights)
        and not any(one[key] for one in configs for key in one if key.endswith(extras))
    )


class Trainer:
    """The dense chain of a Keras model that `suits`, in training."""

    def __init__(
        self,
        model: keras.Model,
        batch_size: int,
        conventions: Literal["keras", "torch"] = "keras",
        weight_decay: float = 0.0,
    ) -> None:
        self._model, self._batch_size, self._steps = model, batch_size, 0
        self._state, self._arrays = initial_state(keras_chain.of_model(model), batch_size)
        self._torch = conventions == "torch"
        self._state.how[:] = EPSILON_OF[conventions], weight_decay, self._torch
        for ours, theirs in zip(self._arrays, model.get_weights(), strict=True):
            ours[:] = theirs
        mend_cache(run_batches)

    def run(self, learn: bool, frames: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Go through windows batch by batch, and learn from them (the model follows) or not.

        `starts`, (n_windows,) int32, are the rows of `frames`, (n_frames, n_mels) float32, dB, at
        which windows begin. Returns the windows' mean squared errors, (n_windows,) float32, dB^2.
        By PyTorch's conventions nothing is learnt from a last batch of one window, which has no
        variance, and its error is left out.
        """
        if learn and self._torch and len(starts) % self._batch_size == 1:
            starts = starts[:-1]
        losses = np.empty(len(starts), np.float32)

        def work(part: int) -> None:
            size, state, steps = self._batch_size, self._state, self._steps
            run_batches(part, frames, starts, size, state, steps, learn, losses)

        n_parts = len(self._state.gradients)
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_parts) as pool:
            list(pool.map(work, range(n_parts)))
        if learn:
            if not self._steps:  # now everything is compiled
                seal_cache(run_batches)
            self._steps += -(-len(starts) // self._batch_size)
            self._model.set_weights(self._arrays)
        return losses


def initial_state(chain: list[Dense], batch_size: int) -> tuple[State, list[np.ndarray]]:
    """What the parts share, and in it the arrays of the model in Keras' order, still empty."""
    n_parts, n_layers = min(workers.cores(), MOST_PARTS), len(chain)
    widest = max(max(layer.weights.shape) for layer in chain)
    sizes = [layer.weights.size for layer in chain]
    table = [(*one.weights.shape, sum(sizes[:i])) for i, one in enumerate(chain)]
    n = sum(sizes) + 3 * n_layers * widest
    shapes = {
        "constants": (n_layers, 2), "how": 3, "parameters": n, "moments": (2, n),
        "gradients": (n_parts, n),
        "moving": (n_layers, 2, widest), "sums": (n_layers, n_parts, 2, widest),
        "slopes": (n_layers, n_parts, 2, widest), "columns": (n_parts, n_layers, 5, widest),
        "buffers": (n_parts, 3, 1 + n_layers, -(-batch_size // n_parts) * widest),
    }  # fmt: skip
    floats = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    state, arrays = State(np.array(table, np.int64), **floats, sync=new_barrier()), []
    for i, (layer, size, (*shape, start)) in enumerate(zip(chain, sizes, table, strict=True)):
        of_units = units.py_func(state.parameters, state)[i, :, : shape[1]]
        arrays += [state.parameters[start : start + size].reshape(shape), of_units[BIAS]]
        if norm := layer.norm:
            arrays += [of_units[GAMMA], of_units[BETA], *state.moving[i, :, : shape[1]]]
            state.constants[i] = norm.epsilon, norm.momentum
    return state, arrays
