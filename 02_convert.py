"""Convert the trained models to TFLite: float, and four kinds of int8.

    python 02_convert.py -d

Reads model_<type>.keras (or a published .h5, .hdf5, _fp32.tflite) and, to calibrate the last three,
<data>/<type>/train/*.wav; without such clips only the first two are written.
Writes model_<type>{,_quant,_quant_fullint,_quant_fullint_micro,_quant_fullint_micro_intio}.tflite
into the model folder, beside each a .tflite.json that says what it is, for a service with the
threshold that the training clips give the first and the last, for a stream (asd.monitor) with what
they give the last, and model_<type>_c/: the last one as C99 source, with the distance that makes
its score where that is one, and with the stream. A detector that has a chain
for each section has these as model_<type>_section_<section>. Of a network of embeddings the first
and the last, model_all{,...}.tflite or model_<type>_network{,...}.tflite, without front end, and
of each machine type model_<type>_centres.npz, with which a device compares embeddings.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until cli.run takes over

import common
from asd import cli, config, files, provenance, store
from asd.corpora.find import find_machine_types, has_clips
from asd.corpora.survey import survey
from asd.detectors import kinds, sections
from asd.embedded import boards, codegen, distance
from asd.embedded import stream as stream_in_c
from asd.evaluation import serving, streaming
from asd.paths import Paths, record_of
from asd.tflite import body, fold, litert
from asd.tflite.convert import (
    MCU,
    VARIANTS,
    calibration_clips,
    conversions,
    spread_windows,
    way_of,
)

SERVED = VARIANTS[0], MCU  # what a service may run


def calibration_windows(cfg, clips, chosen):
    """Windows spread over the clips that calibrate, (n, vector_size) float32, dB."""
    n, count = cfg.feature.frames, cfg.convert.calibration_windows
    windows = clips.windows_of(chosen, n)
    return clips.gather(windows[spread_windows(len(windows), count, cfg.seed)], n)


def convert(cfg, paths, chain, error, source, model, clips, machine_type, section):
    """Write the variants of one model, and the C of the last; without clips, the uncalibrated.

    Parameters
    ----------
    source, model : its name and hash, and its file
    clips : of the machine type; those of the section calibrate
    section : whose chain it is; "": of all
    """
    name = sections.name_of(machine_type, section)
    prepared = fold.prepare(chain, cfg.convert)
    windows = calibration = None
    if clips:
        own = sections.clips_of(clips.clips, section)
        names = [clips.clips[i].name for i in own]
        chosen = [own[i] for i in calibration_clips(cfg.convert, names)]
        windows = calibration_windows(cfg, clips, chosen)
        calibration = provenance.of_calibration(cfg, clips, chosen, len(windows))
    variants = [variant for variant in VARIANTS if clips or not variant.calibrated]
    contents = dict(conversions(prepared, windows, way_of(cfg.convert), variants))
    served, stream = {}, None
    if clips and error is common.reconstruction_error:
        some = sections.Some(clips, own)
        heard = {one: training_clips(cfg, contents[one], some) for one in SERVED}
        served = {one: {serving.KEY: serving.of(cfg, heard[one])} for one in SERVED}
        apart = streaming.unheard(model, clips)
        stream = streaming.of(cfg, heard[MCU], [i for i, one in enumerate(own) if one in apart])
        served[MCU] |= {streaming.KEY: stream} if stream else {}
    write(cfg, paths, name, source, contents, calibration, served)
    if served:
        print(streaming.tell(paths.tflite(name, MCU.suffix), stream))
    if clips:
        folder = paths.c_source(name)
        codegen.write(contents[MCU], folder)
        distance.write(distance.in_c(error), cfg.feature.frames, folder)
        refusal = stream_in_c.refusal(cfg.feature) if stream else None
        stream_in_c.write(contents[MCU], None if refusal else stream, folder)
        part = f", without a stream: {refusal}" if refusal else ", from samples to alarms"
        print(f"{folder}/: C99 source of the last one{part * bool(stream)}")
    else:
        tell_uncalibrated(paths, name, source, paths.clips(machine_type, "train"))


def training_clips(cfg, content, clips):
    """What a TFLite file makes of the training clips, which services and streams judge by."""
    return serving.heard(litert.predictor(content), clips, cfg.feature.frames)


def convert_network(cfg, paths, detector, clips):
    """Write the variants of a network; without clips, the float one."""
    body.check(cfg.convert)
    path = detector.network_path
    provenance.check_model(detector.network, path)
    source = {"model": path.name, "sha256": files.file_hash(path)}
    parts, rows, calibration = detector.parts(), None, None
    if clips:
        chosen = calibration_clips(cfg.convert, [clip.name for clip in clips.clips])
        how = chosen, cfg.convert.network_rows, cfg.seed
        count, rows = body.calibration(parts, clips, *how)
        calibration = provenance.of_calibration(cfg, clips, chosen, count)
    variants = [variant for variant in body.NETWORK_VARIANTS if clips or not variant.calibrated]
    contents = {variant: body.convert(parts, variant, rows) for variant in variants}
    facts = {"rows": parts.n_rows, "samples": int(parts.front.input_shape[-1])}
    name = detector.network_name
    write(cfg, paths, name, source, contents, calibration, dict.fromkeys(variants, facts))
    if not clips:
        tell_uncalibrated(paths, name, source, paths.data)


def write_centres(cfg, paths, detector, path, machine_type):
    """Write what a device compares the embeddings of a machine type with."""
    source = {"model": path.name, "sha256": files.file_hash(path)}
    detector.load(path)
    kept, target = detector.centres(), paths.centres(machine_type)
    with files.whole_file(target, durable=True) as temporary:
        kept.save(temporary)
        sha256 = files.file_hash(temporary)
        record = provenance.of_centres(cfg, source, kept, sha256)
        files.write_json(record_of(target), record, durable=True)
    count, width = kept.vectors.shape
    print(f"{target}: {count} vectors of {width} {kept.vectors.dtype}, {kept.bytes:,} bytes")


def write(cfg, paths, name, source, contents, calibration, more):
    """Write the TFLite files of a model and their records, with `more` in that of a variant."""
    for variant, content in contents.items():
        path = paths.tflite(name, variant.suffix)
        made = provenance.of_conversion(cfg, source, variant, content, calibration)
        made |= more.get(variant, {})
        with files.whole_file(path, durable=True) as temporary:
            temporary.write_bytes(content)
            files.write_json(record_of(path), made, durable=True)
        print(f"{path}: {variant.title}, {len(content):,} bytes")


def tell_uncalibrated(paths, name, source, folder):
    """Say why there are no int8 files, and remove those of another model."""
    provenance.remove_stale(paths, name, source)
    print(f"{name}: no int8 files, their activations are calibrated on training clips; "
          f"put some into {folder} and run again")  # fmt: skip


def convert_shared(cfg, paths, detector, machine_types, models, args):
    """Convert a network, and what a device compares with of each of its machine types."""
    own = detector.network_paths
    # Those that it has learnt from, whichever are asked for: one file serves all of them.
    there = [name for name in detector.heard(paths) if has_clips(paths, name, "train")]
    known = [name for name in there if paths.find_model(name, detector.suffixes)]
    clip_sets = survey(paths, known, "train", args.skip_bad_clips)
    files.check_writable(own.models)
    files.check_writable(paths.models)
    clips = detector.learnt_from(clip_sets, args.skip_bad_clips, args.verify) if known else None
    convert_network(cfg, own, detector, clips)
    for machine_type, path in zip(machine_types, models, strict=True):
        write_centres(cfg, paths, detector, path, machine_type)


def main(argv=None):
    args = cli.parse_args(__doc__, argv, boards.add_arguments)
    cfg = config.load_config(args.config, args.seed)
    paths = Paths(cfg, args.mode)
    detector = kinds.of(cfg, paths)
    machine_types = find_machine_types(paths, args.machine_type)
    models = [paths.require_model(name, detector.suffixes) for name in machine_types]
    by_type = dict(zip(machine_types, models, strict=True))
    detectors = kinds.each(cfg, paths, machine_types)
    for machine_type, path in by_type.items():
        provenance.check_model(detectors[machine_type], path)
    for group in detector.groups(machine_types) if detector.network else ():
        own = detectors[group[0]]
        convert_shared(cfg, paths, own, group, [by_type[one] for one in group], args)
    if detector.network:
        return
    chains = {}
    for machine_type, path in by_type.items():
        source = {"model": path.name, "sha256": files.file_hash(path)}  # of what is loaded
        detector.load(path)
        found = sections.chains(detector)
        for section, chain in found.items():
            chains[machine_type, section] = chain, detector.error, source, path
        if not found:
            print(f"{path}: detector.kind {detector.kind} has nothing that becomes TFLite or C")
    with_chains = dict.fromkeys(machine_type for machine_type, _ in chains)
    with_clips = [name for name in with_chains if has_clips(paths, name, "train")]
    clip_sets = survey(paths, with_clips, "train", args.skip_bad_clips)
    files.check_writable(paths.models)

    how = detector.rows, args.skip_bad_clips, args.verify
    stores = {clips.machine_type: store.load(paths, clips, *how) for clips in clip_sets}
    for (machine_type, section), model in chains.items():
        convert(cfg, paths, *model, stores.get(machine_type), machine_type, section)


if __name__ == "__main__":
    sys.exit(cli.run(main))
