"""Score the test clips with the converted models: are they still the model that was trained?

    python 03_tflite_test.py -d

Reads <data>/<type>/test/*.wav, the TFLite files and C source of 02_convert.py and the scores of
01_test.py. Writes tflite<suffix>_anomaly_score_<type>_id_XX.csv, tflite<suffix>_result.csv,
parity.csv and, of the C on this machine and on emulated boards, mcu.csv into the result folder.
Exit status 1 when a tolerance of the configuration is exceeded or a byte differs.
"""

import signal
import sys
from typing import Any, NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

import common
from asd import cli, config, files, provenance, store
from asd.clips import Scores
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds, sections
from asd.embedded import boards, costs, targets
from asd.evaluation import parity, scores, tables
from asd.paths import Paths
from asd.tflite import litert
from asd.tflite.convert import MCU, VARIANTS, Variant


def check_files(paths, machine_type, name, model):
    """See that every TFLite file is of this model; return how each was converted."""
    tflite_files = {variant: paths.tflite(name, variant.suffix) for variant in VARIANTS}
    if not any(path.exists() for v, path in tflite_files.items() if v.calibrated):
        tflite_files = {v: path for v, path in tflite_files.items() if not v.calibrated}
        print(f"{name}: no int8 files to compare; 02_convert.py makes them with clips in "
              f"{paths.clips(machine_type, 'train')}")  # fmt: skip
    return {v: provenance.check_conversion(path, model) for v, path in tflite_files.items()}


class Compared(NamedTuple):
    """A machine type, or a section: what its model gives, and what is compared with it."""

    section: str  # "" for all
    keras: Scores
    clips: sections.Some  # frames
    error: common.Error  # of a clip, from which the scores are made
    conversions: dict[Variant, dict[str, Any]]  # how each TFLite file was made

    @property
    def name(self):
        """What its files are called by."""
        return sections.name_of(self.keras.machine_type, self.section)


def compare(cfg, paths, one):
    """Score the clips by every TFLite file: rows of comparisons, and tables by variant."""
    keras, clips = one.keras, one.clips
    rows, evaluated = [], {}
    for variant, conversion in one.conversions.items():
        predict = litert.predictor(paths.tflite(one.name, variant.suffix))
        values = common.anomaly_scores(predict, clips, cfg.feature.frames, error=one.error)
        scored = Scores(clips.clips, values)
        scores.write(paths, scored, variant.suffix)
        weights = conversion["dense_weights"]
        tolerance = parity.tolerance_of(cfg.parity, variant.quantised, weights)
        level = cfg.parity.significance_level
        rows += parity.compare_sections(variant.suffix, keras, scored, tolerance, level)
        if -1 not in scored.labels:
            evaluated[variant.suffix] = tables.evaluate(scored, cfg.max_fpr)
    return rows, evaluated


def measure_c(cfg, paths, one, ready, all_windows):
    """What the C of a model costs on this machine and on boards, and where it fails."""
    chosen = targets.sample(len(one.clips), cfg.parity.board_clips, all_windows)
    quantised = parity.tolerance_of(cfg.parity, True, one.conversions[MCU]["dense_weights"])
    return targets.measure(
        paths.tflite(one.name, MCU.suffix),
        paths.c_source(one.name),
        sections.told_apart(one.keras.at(chosen), one.section),
        [one.clips[i] for i in chosen],
        cfg.feature.frames,
        one.error,
        (quantised.score_median, cfg.parity.float.score_max),
        ready,
    )


def verify(cfg, paths, compared, ready, missing, all_windows):
    """Compare TFLite files, then C, with the Keras models; the exit status."""
    rows, by_type = [], []
    for one in compared:
        of_type, evaluated = compare(cfg, paths, one)
        rows += of_type
        by_type.append(evaluated)
    for variant in VARIANTS:
        suffix = variant.suffix
        if results := [evaluated[suffix] for evaluated in by_type if suffix in evaluated]:
            tables.write_result(paths.result(suffix), results)
        else:
            paths.result(suffix).unlink(missing_ok=True)  # an earlier run's, which had labels
    parity.write(paths.table("parity"), rows)
    if any(how["reference_fold"] for one in compared for how in one.conversions.values()):
        print("reference_fold: true: another function than the Keras model, by its configuration")
    lost = parity.show(rows, {v.suffix: v.title for v in VARIANTS}, paths.table("parity"))

    measured, failures = [], []
    for one in compared:
        if MCU in one.conversions:
            cost, failed = measure_c(cfg, paths, one, ready, all_windows)
            measured += cost
            failures += failed
    costs.write(paths.table("mcu"), measured)
    return costs.show(measured, missing, failures, paths.table("mcu")) or lost


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config, args.seed)
    paths = Paths(cfg, args.mode)
    detector = kinds.of(cfg, paths)
    machine_types = find_machine_types(paths, args.machine_type)
    models = [paths.require_model(name, detector.suffixes) for name in machine_types]
    clip_sets = survey(paths, machine_types, "test", args.skip_bad_clips)
    files.check_writable(paths.results)
    ready, missing = targets.available(args.boards)

    compared = []
    for path, clip_set in zip(models, clip_sets, strict=True):
        clips = store.load(paths, clip_set, detector.rows, args.skip_bad_clips, args.verify)
        keras = scores.read(paths, path, clip_set.machine_type, clips)
        detector.load(path)
        found = sections.chains(detector)
        for section in found:
            index = sections.clips_of(clips.clips, section)
            if not index:
                continue
            name = sections.name_of(clip_set.machine_type, section)
            conversions = check_files(paths, clip_set.machine_type, name, path)
            some = keras.at(index), sections.Some(clips, index)
            compared.append(Compared(section, *some, detector.error, conversions))
        if not found:
            print(f"{path}: detector.kind {detector.kind} has no TFLite or C to compare with")
    if not compared:
        return 0
    return verify(cfg, paths, compared, ready, missing, args.all_windows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
