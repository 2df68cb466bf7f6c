"""Score the test clips with the trained models; AUC and pAUC per machine id.

    python 01_test.py -d

Reads <data>/<type>/test/*.wav and model_<type>.keras (or a published .h5, .hdf5). Writes
anomaly_score_<type>_id_XX.csv, result.csv, metrics.csv and pictures into the result folder.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until common.run takes over

import common
import keras_model
from asd import frames, provenance, report


def main(argv=None):
    args = common.parse_args(__doc__, argv)
    cfg = common.load_config(args.config)
    machine_types = common.find_machine_types(cfg.data(args.mode), args.machine_type)
    models = [keras_model.require(cfg.models, name) for name in machine_types]
    for path in models:
        provenance.check_features(cfg, path)
    clip_sets = frames.survey(cfg, args, machine_types, "test")
    common.check_writable(cfg.results)

    scored = []
    for path, clip_set in zip(models, clip_sets, strict=True):
        store = frames.load(cfg, args, clip_set)
        predict = keras_model.scorer(path, cfg.feature.vector_size)
        scores = common.anomaly_scores(predict, store, cfg.feature.frames)
        scored.append(report.Scored(clip_set.machine_type, store.clips, scores))
        report.write_scores(cfg.results, "", scored[-1])
        report.write_source(cfg.results, args.mode, path, clip_set.machine_type, store)
    if args.mode == "eval":
        print(f"{cfg.results}: scores of {sum(len(s.clips) for s in scored)} clips without labels")
        print("the evaluation data has no labels, so there is no AUC; scores only")
        return
    tables = [report.evaluate(one, cfg.max_fpr) for one in scored]
    report.write_result(cfg.results / cfg.result_file, tables)
    report.write_metrics(cfg.results / "metrics.csv", tables)
    report.draw(cfg.results, scored, tables, cfg.max_fpr)
    report.show(tables, cfg.results)


if __name__ == "__main__":
    sys.exit(common.run(main))
