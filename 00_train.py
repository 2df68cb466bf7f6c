"""Train one auto-encoder per machine type on its normal clips.

    python 00_train.py -d

Reads <data>/<type>/train/*.wav. Writes model_<type>.keras, model_<type>.json (what it was made
of), history_<type>.csv and history_<type>.png into the model folder.
"""

import signal
import sys
import time

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until common.run takes over

import common
import keras_model
from asd import frames, provenance, training


def train(cfg, store, machine_type):
    """Train and write one model."""
    from asd import plots

    start = time.perf_counter()
    keras_model.start_tensorflow(cfg.seed)
    model = keras_model.build(cfg.feature.vector_size)
    history = training.fit(model, store, cfg)
    seconds = time.perf_counter() - start

    path = cfg.models / f"model_{machine_type}.keras"
    with common.whole_file(path) as temporary:
        model.save(temporary)
        record = provenance.of_training(cfg, store, temporary, history, seconds)
        common.write_json(path.with_suffix(".json"), record | {"model": path.name})
    rows = [(epoch, loss, "" if val is None else val) for epoch, loss, val in history]
    history_path = cfg.models / f"history_{machine_type}.csv"
    common.write_csv(history_path, [("epoch", "loss", "val_loss"), *rows])
    plots.history(history_path.with_suffix(".png"), machine_type, history)
    print(f"{path}: loss {history[-1][1]:.3f} dB^2 after {len(history)} epochs, {seconds:.0f} s")


def main(argv=None):
    args = common.parse_args(__doc__, argv)
    cfg = common.load_config(args.config)
    data = cfg.data(args.mode)
    machine_types = common.find_machine_types(data, args.machine_type)
    clip_sets = frames.survey(cfg, args, machine_types, "train")
    with_test = [name for name in machine_types if (data / name / "test").is_dir()]
    frames.survey(cfg, args, with_test, "test")
    common.check_writable(cfg.models)

    stores = [frames.load(cfg, args, clip_set) for clip_set in clip_sets]
    pairs = list(zip(machine_types, stores, strict=True))
    trained = {name: provenance.is_trained(cfg, s, name, args.overwrite) for name, s in pairs}
    for machine_type, store in pairs:
        print(f"{machine_type}: {len(store)} clips, {store.n_frames} frames")
        if trained[machine_type]:
            print(f"{machine_type}: already trained on these clips with this configuration; kept")
        else:
            train(cfg, store, machine_type)


if __name__ == "__main__":
    sys.exit(common.run(main))
