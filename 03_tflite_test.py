"""Score the test clips with the converted models: are they still the model that was trained?

    python 03_tflite_test.py -d

Reads <data>/<type>/test/*.wav, the TFLite files and C source of 02_convert.py and the scores of
01_test.py. Writes tflite<suffix>_anomaly_score_<type>_id_XX.csv, tflite<suffix>_result.csv,
parity.csv and, of the C on this machine and on emulated boards, mcu.csv into the result folder.
Exit status 1 when a bar of the configuration is missed or a byte differs.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until common.run takes over

import common
import keras_model
from asd import frames, parity, report, rungs, tflite


def ladder(cfg, machine_type, path, store):
    """Scores of a machine type by every rung: yields (variant, conversion settings, Scored)."""
    for variant in tflite.VARIANTS:
        file = cfg.models / f"model_{machine_type}{variant.suffix}.tflite"
        conversion = tflite.check_source(file, path)
        predict = tflite.predictor(file)
        scores = common.anomaly_scores(predict, store, cfg.feature.frames)
        yield variant, conversion, report.Scored(machine_type, store.clips, scores)


def c_ladder(cfg, args, keras, store, bar, ready, failures):
    """What the C of a machine type's model costs on this machine and on boards."""
    chosen = rungs.sample(len(store), cfg.parity.board_clips, args.all_windows)
    clips = [store[i] for i in chosen]
    model = cfg.models / f"model_{keras.machine_type}{rungs.VARIANT}.tflite"
    n = cfg.feature.frames
    return rungs.climb(model, keras.at(chosen), clips, n, bar.score_median, ready, failures)


def main(argv=None):
    args = common.parse_args(__doc__, argv)
    cfg = common.load_config(args.config)
    machine_types = common.find_machine_types(cfg.data(args.mode), args.machine_type)
    models = [keras_model.require(cfg.models, name) for name in machine_types]
    clip_sets = frames.survey(cfg, args, machine_types, "test")
    common.check_writable(cfg.results)
    ready, missing = rungs.available(args)

    rows, of_type, tables = [], [], {variant.suffix: [] for variant in tflite.VARIANTS}
    for path, clip_set in zip(models, clip_sets, strict=True):
        store = frames.load(cfg, args, clip_set)
        name = clip_set.machine_type
        keras = report.Scored(
            name, store.clips, report.read_scores(cfg.results, args.mode, path, name, store)
        )
        for variant, conversion, scored in ladder(cfg, name, path, store):
            report.write_scores(cfg.results, f"tflite{variant.suffix}_", scored)
            bar = parity.bar_of(cfg.parity, variant.quantised, conversion["dense_weights"])
            rows += parity.compare_ids(variant.suffix, keras, scored, bar, cfg.parity.chance_p)
            if args.mode == "dev":
                tables[variant.suffix].append(report.evaluate(scored, cfg.max_fpr))
        of_type.append((keras, store, bar))
    for suffix, of_variant in tables.items():
        if of_variant:
            report.write_result(cfg.results / f"tflite{suffix}_{cfg.result_file}", of_variant)
    parity.write(cfg.results / "parity.csv", rows)
    if conversion["reference_fold"]:
        print("reference_fold: true: another function than the Keras model, by its configuration")
    titles = {variant.suffix: variant.title for variant in tflite.VARIANTS}
    lost = parity.show(rows, titles, cfg.results)

    costs, failures = [], []
    for keras, store, bar in of_type:
        costs += c_ladder(cfg, args, keras, store, bar, ready, failures)
    rungs.write(cfg.results / "mcu.csv", costs)
    return rungs.show(costs, missing, failures, cfg.results) or lost


if __name__ == "__main__":
    sys.exit(common.run(main))
