"""Train a detector per machine type on its normal clips.

    python 00_train.py -d

Reads <data>/<type>/train/*.wav. Writes model_<type>.keras (or what the detector's kind has),
model_<type>.json (what it was made of), normal_score_<type>.csv (the scores of the training clips,
which thresholds are made of), history_<type>.csv and .png into the model folder.
"""

import signal
import sys
import time

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

from asd import cli, config, files, provenance, store
from asd.corpora.find import find_machine_types, has_clips
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.embedded import boards
from asd.evaluation import normal_scores, tracking
from asd.paths import Paths, record_of


def learn(cfg, detector, clip_sets, args):
    """Train the network of these machine types, if it is not there already."""
    network, paths, name = detector.network, detector.network_paths, detector.network_name
    clips = detector.learnt_from(clip_sets, args.skip_bad_clips, args.verify)
    print(f"{name}: {clips}")
    if provenance.is_trained(network, paths, clips, name, args.overwrite):
        print(f"{name}: already trained on these clips with this configuration; kept")
        return
    start, checkpoint = time.perf_counter(), paths.checkpoint(name)
    fitted = network.fit(clips, checkpoint)
    write(cfg, paths, network, clips, name, fitted, time.perf_counter() - start, None)
    checkpoint.unlink()


def load(paths, detectors, clip_sets, args):
    """What the model of each machine type learns from: its clips, or with them those of others."""
    names, detector = [one.machine_type for one in clip_sets], next(iter(detectors.values()))
    if detector.scope == "company":
        wanted, clip_sets = () if detector.hears_others else names, []
        for there in detector.company:
            some = find_machine_types(there, wanted)
            clip_sets += survey(there, some, "train", args.skip_bad_clips)
    rows = [detectors.get(one.machine_type, detector).rows for one in clip_sets]
    how = args.skip_bad_clips, args.verify
    stores = [store.load(paths, one, r, *how) for one, r in zip(clip_sets, rows, strict=True)]
    if detector.scope == "company":
        return {name: detector.lesson(name, stores) for name in names}
    return dict(zip(names, stores, strict=True))


def train(cfg, paths, clips, machine_type):
    """Train and write one model."""
    start = time.perf_counter()
    detector = kinds.of(cfg, paths, machine_type)
    fitted = detector.fit(clips)
    seconds = time.perf_counter() - start
    normal = normal_scores.of(detector, clips)
    write(cfg, paths, detector, clips, machine_type, fitted, seconds, normal)
    paths.checkpoint(machine_type).unlink(missing_ok=True)


def write(cfg, paths, detector, clips, machine_type, fitted, seconds, normal):
    """Write a model, what it was made of, and how it came about."""
    path = paths.model(machine_type, detector.suffixes[0])
    how = ""
    with files.alone(paths.models), files.whole_file(path, durable=True) as temporary:
        detector.save(temporary)
        sha256 = normal_scores.write(paths, machine_type, normal)
        record = provenance.of_training(detector, cfg, clips, temporary, fitted, seconds, sha256)
        if history := fitted.history:
            write_history(paths, machine_type, history)
            how = f"loss {history[-1].loss:.3f} after {len(history)} epochs, "
        # The model last, and rather none than one with another's record.
        files.write_json(record_of(path), record, durable=True, instead_of=path)
    print(f"{path}: {how}{seconds:.0f} s")


def write_history(paths, machine_type, history):
    """Losses by epoch, as CSV and as a picture."""
    from asd.evaluation import plots

    rows = [(row.number, row.loss, "" if row.val_loss is None else row.val_loss) for row in history]
    files.write_csv(paths.history(machine_type, ".csv"), [("epoch", "loss", "val_loss"), *rows])
    plots.history(paths.history(machine_type, ".png"), machine_type, history)


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config, args.seed)
    tracking.check(cfg)
    paths = Paths(cfg, args.mode)
    detector = kinds.of(cfg, paths)
    machine_types = find_machine_types(paths, args.machine_type)
    clip_sets = survey(paths, machine_types, "train", args.skip_bad_clips)
    with_test = [name for name in machine_types if has_clips(paths, name, "test")]
    survey(paths, with_test, "test", args.skip_bad_clips)
    files.check_writable(paths.models)

    detectors = kinds.each(cfg, paths, machine_types)
    for group in detector.groups(machine_types) if detector.network else ():
        own = [one for one in clip_sets if one.machine_type in group]
        learn(cfg, detectors[group[0]], own, args)
    stores = load(paths, detectors, clip_sets, args)
    if detector.scope == "company":
        paths = detector.home
    trained = {
        name: provenance.is_trained(detectors[name], paths, clips, name, args.overwrite)
        for name, clips in stores.items()
    }
    for machine_type, clips in stores.items():
        print(f"{machine_type}: {clips}")
        if trained[machine_type]:
            print(f"{machine_type}: already trained on these clips with this configuration; kept")
            normal_scores.renew(kinds.of(cfg, paths, machine_type), paths, clips, machine_type)
        else:
            train(cfg, paths, clips, machine_type)


if __name__ == "__main__":
    sys.exit(cli.run(main))
