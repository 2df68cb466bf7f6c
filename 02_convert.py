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
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

from asd import cli, config, files, provenance, store
from asd.corpora.dcase2020 import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.embedded import boards, codegen
from asd.tflite import fold
from asd.tflite.convert import MCU, conversions, spread_windows


def calibration_windows(cfg, clips):
    """Windows spread over all training clips, (n, vector_size) float32, dB."""
    n = cfg.feature.frames
    total, count = int(clips.n_windows(n).sum()), cfg.convert.calibration_windows
    return clips.gather(spread_windows(total, count, cfg.seed), n)


def convert(cfg, paths, chain, model, clips, machine_type):
    """Write the five variants of one model, and the C of the last."""
    prepared = fold.prepare(chain, cfg.convert)
    windows = calibration_windows(cfg, clips)
    per_channel = cfg.convert.dense_weights == "per_channel"
    correct = cfg.convert.bias_correction
    contents = dict(conversions(prepared, windows, per_channel, correct))
    for variant, content in contents.items():
        path = paths.tflite(machine_type, variant.suffix)
        made = provenance.of_conversion(cfg, clips, model, variant, content, len(windows))
        with files.whole_file(path, durable=True) as temporary:
            temporary.write_bytes(content)
            files.write_json(files.record(path), made, durable=True)
        print(f"{path}: {variant.title}, {len(content):,} bytes")
    folder = paths.c_source(machine_type)
    codegen.write(contents[MCU], folder)
    print(f"{folder}/: C99 source of the last one")


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config)
    paths, detector = files.Paths(cfg, args.mode), kinds.of(cfg)
    machine_types = find_machine_types(paths.data, args.machine_type)
    models = [paths.require_model(name, detector.suffixes) for name in machine_types]
    for path in models:
        provenance.check_model(detector, path)
    chains = {}
    for machine_type, path in zip(machine_types, models, strict=True):
        detector.load(path)
        if chain := detector.chain():
            chains[machine_type] = chain, path
        else:
            print(f"{path}: a {detector.kind} detector has no network that becomes TFLite or C")
    clip_sets = survey(paths, list(chains), "train", args.skip_bad_clips)
    files.check_writable(paths.models)

    how = detector.rows, args.skip_bad_clips, args.verify
    stores = [store.load(paths, clip_set, *how) for clip_set in clip_sets]
    for (machine_type, (chain, path)), clips in zip(chains.items(), stores, strict=True):
        convert(cfg, paths, chain, path, clips, machine_type)


if __name__ == "__main__":
    sys.exit(cli.run(main))
