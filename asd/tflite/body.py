"""The body of a network of any layers as TFLite, by TensorFlow's converter; and TFLite run by name.

A body has named inputs of one row each, see `asd.networks.parts`: log-mel patches, spectrograms.
"""

from __future__ import annotations

import itertools
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asd import workers
from asd.cli import quiet_stderr
from asd.config import Conversion
from asd.features.segments import Segments
from asd.tflite import litert, reader
from asd.tflite.convert import MCU, VARIANTS, Variant, spread_windows
from common import UserError

if TYPE_CHECKING:
    from asd.networks.parts import Parts

NETWORK_VARIANTS = (VARIANTS[0], MCU)  # float, and int8 in and out
OUTPUT = "embedding"
MOST_REASON = 200  # letters of what the converter says
Rows = Callable[[], Iterator[Mapping[str, np.ndarray]]]  # (1, ...) float32 of each input, by name


def check(conversion: Conversion) -> None:
    """See that the settings ask for nothing that is only for chains of dense layers.

    Raises
    ------
    UserError : they do.
    """
    if conversion.dense_weights != "per_channel":
        raise UserError("convert.dense_weights: per_tensor is for chains of dense layers; a "
                        "network has one scale per channel: per_channel")  # fmt: skip
    if conversion.reference_fold:
        raise UserError("convert.reference_fold: true is for the published auto-encoder; set it "
                        "to false for a network")  # fmt: skip


def convert(parts: Parts, variant: Variant, rows: Rows | None = None) -> bytes:
    """The body of a network as a TFLite file that takes one row at a time.

    Parameters
    ----------
    variant : of `NETWORK_VARIANTS`; int8 has scales per channel of weights, and integers throughout
    rows : calibrate the activations of int8

    Raises
    ------
    UserError : TFLite lacks operators that the network needs; they are named.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        _save(parts, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if variant.int8_io:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = rows
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            content = converter.convert()
        except UserError:
            raise
        except Exception as error:  # the converter raises whatever a layer leads it to
            raise UserError(_lacking(str(error), variant)) from error
    return bytes(content)


def calibration(
    parts: Parts, segments: Segments, clips: Sequence[int], count: int, seed: int
) -> tuple[int, Rows]:
    """Rows of clips, drawn evenly over all of them; see `spread_windows`.

    Parameters
    ----------
    clips : numbers of clips in `segments`
    count : of rows; all where there are fewer

    Returns
    -------
    how many there are, and what gives them, a clip's at a time
    """
    numbers = spread_windows(len(clips) * parts.n_rows, count, seed)

    def rows() -> Iterator[dict[str, np.ndarray]]:
        for i, some in itertools.groupby(numbers, lambda number: int(number) // parts.n_rows):
            tensors = [one.numpy() for one in parts.tensors(segments.wave(clips[i])[None])]
            of_clip = list(rows_of(tensors, parts.names))
            yield from (of_clip[int(number) % parts.n_rows] for number in some)

    return len(numbers), rows


def _save(parts: Parts, folder: Path) -> None:
    """Write the body, its weights constant, as a saved model with named inputs."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    specs = [tf.TensorSpec((1, *one.shape[1:]), tf.float32, name=name)
             for name, one in zip(parts.names, parts.body.inputs, strict=True)]  # fmt: skip

    def body(*values: tf.Tensor) -> tf.Tensor:
        return parts.body(list(values), training=False)

    function = tf.function(body, input_signature=specs).get_concrete_function()
    frozen = convert_to_constants.convert_variables_to_constants_v2(function)

    def named(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        (output,) = frozen(*values)
        return {OUTPUT: output}

    module = tf.Module()
    module.call = tf.function(named, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.call)


def _lacking(text: str, variant: Variant) -> str:
    """One line of what the converter says, with the operators that it cannot convert."""
    named = re.findall(r"\btf\.[A-Z]\w*|(?<=for op: ')\w+", text)
    if ops := ", ".join(dict.fromkeys(named)):
        return (f"TFLite ({variant.title}) has no operator for {ops}; build the network of others, "
                "or leave them in its front end")  # fmt: skip
    return f"not convertible to TFLite ({variant.title}): {' '.join(text.split())[:MOST_REASON]}"


def runner(path: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """A body's TFLite file, run by LiteRT; threads share it.

    Returns
    -------
    function of (1, ...) float32 of each input by name -> (1, width) float32. Where the file has
    int8 inputs they are quantised, and its output is dequantised; see `litert.in_floats`.

    Raises
    ------
    UserError : not a TFLite model, or one of other inputs.
    """
    content = path.read_bytes()
    again = "run 02_convert.py again"
    try:
        reader.describe(content)  # and a damaged file goes no further
        with quiet_stderr():
            network = _interpreter(content).get_signature_runner()
        sources, target = network.get_input_details(), network.get_output_details()[OUTPUT]
    except UserError as error:
        raise UserError(f"{path}: {error}; {again}") from error
    except Exception as error:  # whatever a damaged file leads the reader to
        raise UserError(f"{path}: not a readable TFLite model; {again}") from error
    lock = threading.Lock()

    def run(row: Mapping[str, np.ndarray]) -> np.ndarray:
        given = {name: _given(row[name], source) for name, source in sources.items()}
        with lock:
            output = network(**given)[OUTPUT]
        if target["dtype"] == np.int8:
            return litert.to_float(output, *target["quantization"])
        return output

    return run


def _interpreter(content: bytes) -> Any:
    """LiteRT's interpreter of a file; by its plain kernels where XNNPACK does not take it."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    how = {"model_content": content, "num_threads": workers.cores()}
    interpreter = Interpreter(**how)
    try:
        interpreter.allocate_tensors()
    except RuntimeError:
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(**how, experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
    return interpreter


def _given(values: np.ndarray, source: Mapping[str, Any]) -> np.ndarray:
    """Floats as a network takes them."""
    values = np.ascontiguousarray(values, np.float32)
    if source["dtype"] == np.int8:
        return litert.to_int8(values, *source["quantization"])
    return values


def rows_of(tensors: Sequence[np.ndarray], names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """The rows of what a front end gives, one after the other."""
    for i in range(len(tensors[0])):
        yield {name: one[i : i + 1] for name, one in zip(names, tensors, strict=True)}
