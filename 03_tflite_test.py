"""Score the test clips with the converted models: are they still the model that was trained?

    python 03_tflite_test.py -d

Reads <data>/<type>/test/*.wav, the TFLite files and C source of 02_convert.py and the scores of
01_test.py. Writes tflite<suffix>_anomaly_score_<type>_id_XX.csv, tflite<suffix>_result.csv,
parity.csv and, of the C on this machine and on emulated boards, mcu.csv into the result folder; of
a network of embeddings its TFLite files score by the centres, and embeddings.csv tells how far
embeddings are apart. The report of 01_test.py is made again, with these comparisons.
Exit status 1 when a tolerance of the configuration is exceeded or a byte differs.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

import numpy as np

import common
from asd import cli, config, files, provenance, store
from asd.backends import centres
from asd.clips import Scores
from asd.corpora.find import find_machine_types
from asd.corpora.survey import survey
from asd.detectors import kinds, sections
from asd.embedded import boards, costs, targets
from asd.evaluation import deviations, parity, scores, tables
from asd.page import report as page
from asd.paths import Paths
from asd.tflite import body, litert
from asd.tflite.convert import MCU, VARIANTS, Variant

TITLES = {variant.suffix: variant.title for variant in VARIANTS}


def check_files(paths, name, model, folder, variants=VARIANTS):
    """See that every TFLite file is of this model; return how each was converted."""
    tflite_files = {variant: paths.tflite(name, variant.suffix) for variant in variants}
    if not any(path.exists() for v, path in tflite_files.items() if v.calibrated):
        tflite_files = {v: path for v, path in tflite_files.items() if not v.calibrated}
        print(f"{name}: no int8 files to compare; 02_convert.py makes them with clips in {folder}")
    return {v: provenance.check_conversion(path, model) for v, path in tflite_files.items()}


class Compared(NamedTuple):
    """A machine type, or a section: what its model gives, and what is compared with it."""

    keras: Scores
    conversions: dict[Variant, dict[str, Any]]  # how each TFLite file was made
    clips: store.Store | sections.Some  # frames, or embeddings
    tflite: Callable[[Variant], Path]  # the TFLite files
    score: Callable[[Variant], np.ndarray]  # the clips' scores by one of them
    section: str = ""  # "": of all
    error: common.Error | None = None  # of a clip's frames, of a model that becomes C

    @property
    def name(self):
        """What its files are called by."""
        return sections.name_of(self.keras.machine_type, self.section)


def of_chains(cfg, paths, detector, path, clips, keras):
    """What is compared of a machine type whose model is chains of dense layers, by section."""
    found = sections.chains(detector)
    if not found:
        print(f"{path}: detector.kind {detector.kind} has no TFLite or C to compare with")
    there = {section: sections.clips_of(clips.clips, section) for section in found}
    return [of_chain(cfg, paths, detector, path, sections.Some(clips, index), keras.at(index), one)
            for one, index in there.items() if index]  # fmt: skip


def of_chain(cfg, paths, detector, path, clips, keras, section):
    """What is compared of one of them."""
    machine_type, error, n = keras.machine_type, detector.error, cfg.feature.frames
    name = sections.name_of(machine_type, section)

    def tflite(variant):
        return paths.tflite(name, variant.suffix)

    def score(variant):
        predict = litert.predictor(tflite(variant))
        return common.anomaly_scores(predict, clips, n, error=error)

    conversions = check_files(paths, name, path, paths.clips(machine_type, "train"))
    return Compared(keras, conversions, clips, tflite, score, section, error)


class Network:
    """The TFLite files of a network of embeddings, and what they give for machine types."""

    def __init__(self, paths, detector):
        self.paths, self.own = paths, detector.network_paths
        self.name = detector.network_name
        path = detector.network_path
        how = self.own.data, body.NETWORK_VARIANTS
        self.conversions = check_files(self.own, self.name, path, *how)
        self.rows = {v: detector.rows_of(self.tflite(v)) for v in self.conversions}
        self.deviations, self.stood_for = [], []

    def tflite(self, variant):
        """The file of a variant."""
        return self.own.tflite(self.name, variant.suffix)

    def compared(self, path, clip_set, clips, scored, args):
        """What is compared of a machine type; scored are its clips by the detector's back end."""
        name = clip_set.machine_type
        provenance.check_centres(self.paths.centres(name), path)
        kept = centres.load(self.paths.centres(name))
        keras = clips.read(range(len(clips)))  # (n_clips, width) float32
        others = {}
        for variant, rows in self.rows.items():
            own = store.load(self.paths, clip_set, rows, args.skip_bad_clips, args.verify)
            others[variant] = own.read(range(len(own)))
            self.deviations.append(deviations.of(variant.suffix, name, keras, others[variant]))
        by_centres = Scores(clips.clips, kept.score(keras))
        self.stood_for.append(deviations.stood_for(kept, scored, by_centres))
        score = {variant: kept.score(values) for variant, values in others.items()}
        return [Compared(by_centres, self.conversions, clips, self.tflite, score.__getitem__)]


def compare(cfg, paths, one):
    """Score the clips by every TFLite file: rows of comparisons, and tables by variant."""
    keras, rows, evaluated = one.keras, [], {}
    for variant, conversion in one.conversions.items():
        path = one.tflite(variant)
        sha256 = files.file_hash(path)
        scored = Scores(keras.clips, one.score(variant))
        scores.write(paths, scored, variant.suffix, one.name)
        scores.write_source(paths, path.name, sha256, one.name, one.clips, variant.suffix)
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


def verify(cfg, paths, compared):
    """Compare TFLite files with the Keras models; the exit status."""
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
    return parity.show(rows, TITLES, paths.table("parity"))


def verify_c(cfg, paths, compared, ready, missing, all_windows):
    """Compare C with the TFLite files; the exit status."""
    measured, failures = [], []
    for one in compared:
        if MCU in one.conversions:
            cost, failed = measure_c(cfg, paths, one, ready, all_windows)
            measured += cost
            failures += failed
    costs.write(paths.table("mcu"), measured)
    return costs.show(measured, missing, failures, paths.table("mcu"))


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

    detectors = kinds.each(cfg, paths, machine_types)
    networks, compared = {}, []
    for path, clip_set in zip(models, clip_sets, strict=True):
        detector = detectors[clip_set.machine_type]
        clips = store.load(paths, clip_set, detector.rows, args.skip_bad_clips, args.verify)
        scored = scores.read(paths, path, clip_set.machine_type, clips)
        detector.load(path)
        if detector.network:
            network = networks.get(detector.network_name) or Network(paths, detector)
            networks[network.name] = network
            compared += network.compared(path, clip_set, clips, scored, args)
        else:
            compared += of_chains(cfg, paths, detector, path, clips, scored)
    if not compared:
        return 0
    if networks:
        apart = [row for one in networks.values() for row in one.deviations]
        stood_for = [row for one in networks.values() for row in one.stood_for]
        deviations.write(paths.table("embeddings"), apart)
        deviations.show(apart, stood_for, TITLES, paths.table("embeddings"))
        paths.table("mcu").unlink(missing_ok=True)
        lost = verify(cfg, paths, compared)
    else:
        lost = verify(cfg, paths, compared)
        lost = verify_c(cfg, paths, compared, ready, missing, args.all_windows) or lost
    page.of_conversion(paths)
    return lost


if __name__ == "__main__":
    sys.exit(cli.run(main))
