"""Convert the trained models to TFLite: float, and four kinds of int8.

    python 02_convert.py -d

Reads model_<type>.keras (or a published .h5, .hdf5) and, to calibrate, <data>/<type>/train/*.wav.
Writes model_<type>{,_quant,_quant_fullint,_quant_fullint_micro,_quant_fullint_micro_intio}.tflite
into the model folder, beside each a .tflite.json that says what it is, and model_<type>_c/: the
last one as C99 source.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until common.run takes over

import common
import keras_model
from asd import codegen, frames, provenance, tflite


def convert(cfg, path, store, machine_type):
    """Write the five variants of one model."""
    chain = keras_model.load_chain(path, cfg.feature.vector_size)
    prepared = tflite.prepare(chain, cfg.convert)
    n_windows = int(store.n_windows(cfg.feature.frames).sum())
    chosen = tflite.spread_windows(n_windows, cfg.convert.calibration_windows, cfg.seed)
    windows = store.gather(chosen, cfg.feature.frames)
    per_channel = cfg.convert.dense_weights == "per_channel"
    for variant in tflite.VARIANTS:
        content = tflite.convert(
            prepared, variant, windows, per_channel, cfg.convert.bias_correction
        )
        target = cfg.models / f"model_{machine_type}{variant.suffix}.tflite"
        with common.whole_file(target) as temporary:
            temporary.write_bytes(content)
        record = provenance.of_conversion(cfg, store, path, variant, content, len(chosen))
        common.write_json(target.with_suffix(".tflite.json"), record)
        print(f"{target}: {variant.title}, {len(content):,} bytes")
    folder = cfg.models / f"model_{machine_type}_c"
    codegen.write(content, folder)
    print(f"{folder}/: C99 source of the last one")


def main(argv=None):
    args = common.parse_args(__doc__, argv)
    cfg = common.load_config(args.config)
    machine_types = common.find_machine_types(cfg.data(args.mode), args.machine_type)
    models = [keras_model.require(cfg.models, name) for name in machine_types]
    for path in models:
        provenance.check_features(cfg, path)
    clip_sets = frames.survey(cfg, args, machine_types, "train")
    common.check_writable(cfg.models)

    stores = [frames.load(cfg, args, clip_set) for clip_set in clip_sets]
    for machine_type, path, store in zip(machine_types, models, stores, strict=True):
        convert(cfg, path, store, machine_type)


if __name__ == "__main__":
    sys.exit(common.run(main))
