"""Score the test clips with the trained models; AUC and pAUC, the year's score, decisions.

    python 01_test.py -d

Reads <data>/<type>/test/*.wav, model_<type>.keras (or a published .h5, .hdf5, _fp32.tflite, or what
the detector's kind has) and normal_score_<type>.csv. Writes anomaly_score_<type>_id_XX.csv and, of
labelled clips, result.csv, metrics.csv, pictures and official.csv; with scores of training clips
decisions.csv and the year's decision_result files; of a whole year's evaluation data submission/.
Last of all report.html, a page that tells all of this and shows some clips, and report.json, which
it is made of.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

from asd import cli, config, files, provenance, store
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds, reconstruction
from asd.embedded import boards
from asd.evaluation import normal_scores, report, scores, tracking, years
from asd.page import report as page
from asd.page.gather import Part
from asd.paths import Paths


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config, args.seed)
    tracking.check(cfg)
    paths = Paths(cfg, args.mode)
    detector = kinds.of(cfg, paths)
    year = years.of_corpus(cfg.corpus, getattr(detector, "names_as_published", False))
    machine_types = find_machine_types(paths, args.machine_type)
    models = [paths.require_model(name, detector.suffixes) for name in machine_types]
    detectors = kinds.each(cfg, paths, machine_types)
    for machine_type, path in zip(machine_types, models, strict=True):
        provenance.check_model(detectors[machine_type], path)
        normal_scores.check(path, machine_type)
    clip_sets = survey(paths, machine_types, "test", args.skip_bad_clips)
    files.check_writable(paths.results)

    parts = []
    for path, clip_set in zip(models, clip_sets, strict=True):
        detector = detectors[clip_set.machine_type]
        clips = store.load(paths, clip_set, detector.rows, args.skip_bad_clips, args.verify)
        print(f"{clip_set.machine_type}: {clips}")
        sha256 = files.file_hash(path)  # before: another run may put another model there
        detector.load(path)
        scored = detector.score(clips)
        scores.write(paths, scored)
        scores.write_source(paths, path.name, sha256, clip_set.machine_type, clips)
        normal = normal_scores.read(cfg, path, sha256, clip_set.machine_type)
        parts.append(Part(path, sha256, clips, scored, normal, reconstruction.of(detector)))
    scored = [part.scored for part in parts]
    report.figures(paths, year, scored, detector.score_title)
    decided = report.decide(paths, year, scored, [part.normal for part in parts])
    report.submit(paths, year, scored, decided)
    page.of_scores(paths, detector, parts)
    tracking.export(paths, dict(zip(machine_types, models, strict=True)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
