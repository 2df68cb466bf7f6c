"""The published way of working, written plainly: what the benchmark compares with.

    python -m apps.benchmarks.published {train,test,convert,tflite} DATA WORK EPOCHS

It does what the published scripts of MLPerf Tiny do, in their order and with their libraries, on
today's TensorFlow: librosa on whole clips, all frames; one float64 matrix of all vectors; Keras'
fit on it; predict clip by clip; a converter fed with every fifth vector, one at a time; TFLite
files run window by window, and their features computed anew for each.

DATA holds train/ and test/ of one machine type; models and results go to WORK.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

UNITS = (128, 128, 128, 128, 8, 128, 128, 128, 128)
N_FFT, HOP, N_MELS, FRAMES, POWER = 1024, 512, 128, 5, 2.0
FIRST, END = 50, 250  # frames kept
CALIBRATED = ("_quant_fullint", "_quant_fullint_micro", "_quant_fullint_micro_intio")


def vectors_of(path: Path) -> np.ndarray:
    """(196, 640) float64, dB, of a clip of 11 s."""
    import librosa

    samples, rate = librosa.load(path, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, power=POWER
    )
    log_mel = 20 / POWER * np.log10(mel + sys.float_info.epsilon)
    log_mel = log_mel[:, FIRST:END]
    n = log_mel.shape[1] - FRAMES + 1
    vectors = np.zeros((n, N_MELS * FRAMES))
    for t in range(FRAMES):
        vectors[:, N_MELS * t : N_MELS * (t + 1)] = log_mel[:, t : t + n].T
    return vectors


def matrix_of(paths: list[Path]) -> np.ndarray:
    """(n_clips * 196, 640) float64, dB."""
    first = vectors_of(paths[0])
    matrix = np.zeros((len(first) * len(paths), first.shape[1]))
    for i, path in enumerate(paths):
        matrix[len(first) * i : len(first) * (i + 1)] = first if i == 0 else vectors_of(path)
    return matrix


def fit(matrix: np.ndarray, epochs: int, callbacks: Iterable[Any] = ()) -> Any:
    """A trained Keras model and its history."""
    import keras_model

    model = keras_model.build(matrix.shape[1], UNITS)
    model.compile(optimizer="adam", loss="mean_squared_error")
    history = model.fit(
        matrix, matrix, epochs=epochs, batch_size=512, shuffle=True, validation_split=0.1,
        verbose=0, callbacks=list(callbacks),
    )  # fmt: skip
    return model, history.history


def score(model: Any, vectors: np.ndarray) -> float:
    """The anomaly score of a clip."""
    errors = np.mean(np.square(vectors - model.predict(vectors, verbose=0)), axis=1)
    return float(np.mean(errors))


def folded(model: Any) -> Any:
    """The model without its batch normalisation. (Rightly folded, which takes as long.)"""
    from keras import Input, Model, layers

    from asd.tflite import fold

    inputs = x = Input(model.input_shape[1:])
    chain = fold.fold_batch_norm(model)
    for layer in chain:
        x = layers.Dense(len(layer.bias), activation="relu" if layer.relu else None)(x)
    without = Model(inputs, x)
    without.set_weights([array for layer in chain for array in (layer.weights, layer.bias)])
    return without


def conversions(model: Any, matrix: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of the five TFLite files."""
    import tensorflow as tf

    def calibration() -> Iterator[list[np.ndarray]]:
        for vector in matrix[::5]:
            yield [np.expand_dims(vector.astype(np.float32), axis=0)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    yield "", converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    yield "_quant", converter.convert()
    converter.representative_dataset = calibration
    for suffix in CALIBRATED:
        if "micro" in suffix:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if "intio" in suffix:
            converter.inference_input_type = converter.inference_output_type = tf.int8
        yield suffix, converter.convert()


def run_by_window(interpreter: Any, vectors: np.ndarray) -> np.ndarray:
    """(n, 640) -> (n, 640): a TFLite model invoked for each window."""
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    inputs, outputs = np.array(vectors, np.float32), np.empty_like(vectors)
    for i in range(len(inputs)):
        interpreter.set_tensor(source["index"], inputs[i : i + 1])
        interpreter.invoke()
        outputs[i : i + 1] = interpreter.get_tensor(target["index"])
    return outputs


def clips(folder: Path) -> list[Path]:
    """The wavs of a folder."""
    return sorted(folder.glob("*.wav"))


def write_scores(path: Path, paths: list[Path], scores: list[float]) -> None:
    """CSV of names and scores, and the AUC and pAUC on the screen."""
    from sklearn.metrics import roc_auc_score

    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(zip([p.name for p in paths], scores, strict=True))
    labels = [p.name.startswith("anomaly") for p in paths]
    print(path, roc_auc_score(labels, scores), roc_auc_score(labels, scores, max_fpr=0.1))


def train(data: Path, work: Path, epochs: int) -> None:
    """00_train.py"""
    from matplotlib import pyplot

    matrix = matrix_of(clips(data / "train"))
    model, history = fit(matrix, epochs)
    losses = history["loss"], history["val_loss"]
    with (work / "history.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(zip(*losses, strict=True))
    for values in losses:
        pyplot.plot(values)
    pyplot.savefig(work / "history.png")
    model.save(work / "model.h5")


def test(data: Path, work: Path, _: int) -> None:
    """01_test.py"""
    import keras

    model = keras.models.load_model(work / "model.h5", compile=False)
    paths = clips(data / "test")
    write_scores(work / "scores.csv", paths, [score(model, vectors_of(path)) for path in paths])


def convert(data: Path, work: Path, _: int) -> None:
    """02_convert.py"""
    import keras

    model = folded(keras.models.load_model(work / "model.h5", compile=False))
    matrix = matrix_of(clips(data / "train"))
    for suffix, content in conversions(model, matrix):
        (work / f"model{suffix}.tflite").write_bytes(content)


def tflite(data: Path, work: Path, _: int) -> None:
    """03_tflite_test.py, which leaves the last file out."""
    import tensorflow as tf

    paths = clips(data / "test")
    for suffix in ("", "_quant", *CALIBRATED[:2]):
        interpreter = tf.lite.Interpreter(model_path=str(work / f"model{suffix}.tflite"))
        interpreter.allocate_tensors()
        scores = []
        for path in paths:
            vectors = vectors_of(path)
            errors = np.square(vectors - run_by_window(interpreter, vectors)).mean(axis=1)
            scores.append(float(errors.mean()))
        write_scores(work / f"scores{suffix}.csv", paths, scores)


STAGES = {"train": train, "test": test, "convert": convert, "tflite": tflite}

if __name__ == "__main__":
    name, data_folder, work_folder, n_epochs = sys.argv[1:]
    STAGES[name](Path(data_folder), Path(work_folder), int(n_epochs))
