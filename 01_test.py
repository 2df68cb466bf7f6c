"""Score the test clips with the trained models; AUC and pAUC per machine id.

    python 01_test.py -d

Reads <data>/<type>/test/*.wav and model_<type>.keras (or a published .h5, .hdf5, _fp32.tflite, or
what the detector's kind has). Writes anomaly_score_<type>_id_XX.csv, result.csv, metrics.csv and
pictures into the result folder.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

from asd import cli, config, files, provenance, store
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.embedded import boards
from asd.evaluation import scores, tables
from asd.paths import Paths


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config)
    paths, detector = Paths(cfg, args.mode), kinds.of(cfg)
    machine_types = find_machine_types(paths, args.machine_type)
    models = [paths.require_model(name, detector.suffixes) for name in machine_types]
    for path in models:
        provenance.check_model(detector, path)
    clip_sets = survey(paths, machine_types, "test", args.skip_bad_clips)
    files.check_writable(paths.results)

    scored = []
    for path, clip_set in zip(models, clip_sets, strict=True):
        clips = store.load(paths, clip_set, detector.rows, args.skip_bad_clips, args.verify)
        print(f"{clip_set.machine_type}: {clips}")
        sha256 = files.file_hash(path)  # before: another run may put another model there
        detector.load(path)
        scored.append(detector.score(clips))
        scores.write(paths, scored[-1])
        scores.write_source(paths, path.name, sha256, clip_set.machine_type, clips)
    if any(-1 in one.labels for one in scored):
        n_clips = sum(len(one.clips) for one in scored)
        print(f"{paths.results}: scores of {n_clips} clips without labels")
        print("the evaluation data has no labels, so there is no AUC; scores only")
        return
    results = [tables.evaluate(one, cfg.max_fpr) for one in scored]
    tables.write_result(paths.result(), results)
    tables.write_metrics(paths.table("metrics"), results)
    tables.draw(paths, scored, results, detector.score_title)
    tables.show(results, paths.results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
