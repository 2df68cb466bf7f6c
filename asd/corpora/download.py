"""Download, check and unpack the recordings of DCASE Task 2 and MIMII; skip what is whole.

  get_dataset.sh [TYPE ...]              as MLPerf Tiny trains: dev_data/TYPE; without TYPE, ToyCar
  get_dataset.sh --dcase2020 [TYPE ...]  dev_data/TYPE and eval_data/TYPE; without TYPE, all six
  get_dataset.sh --dcase2023 [TYPE ...]  dcase2023/dev_data/TYPE; without TYPE, all; so 2021 to 2026
  get_dataset.sh --dcase2023 --eval [TYPE ...]  dcase2023/eval_data/TYPE
  get_dataset.sh --mimii 6 [TYPE ...]    MIMII at 6 dB, mimii/6_dB/dev_data/TYPE; so -6 and 0
  get_dataset.sh --reference             models and evaluation lists of MLPerf Tiny: reference/
  get_dataset.sh --demo                  makes demo sound, downloads nothing: demo_data/

A folder appears, or is replaced, when all of it is there; files of your own in it are kept.
The recordings of DCASE are licensed CC BY-NC-SA 4.0, those of MIMII CC BY-SA 4.0, the files of
MLPerf Tiny Apache-2.0.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from asd.cli import run
from asd.corpora import records
from asd.corpora.archives import fetch_folder
from asd.corpora.fetch import Archive, download, is_whole
from asd.corpora.folders import held_md5s
from asd.corpora.rows import MIMII, YEARS, Corpus
from common import UserError


def _zenodo(record: int, stem: str, md5s: dict[str, str]) -> dict[str, Archive]:
    url = f"https://zenodo.org/records/{record}/files/{stem}_"
    return {t: Archive(f"{stem}_{t}.zip", f"{url}{t}.zip", md5) for t, md5 in md5s.items()}


# By machine type. The md5s are the Zenodo records' own; soundata's DCASE 2020 loader has the same.
# fmt: off
DEV = _zenodo(3678171, "dev_data", {
    "ToyCar": "4dec75ca8d9f666aa9e4c1894a740501", "ToyConveyor": "03b6aa1bfd09a39d53af0ba39f71fa91",
    "fan": "649bdfc06263ae7a838963f43b6641e6", "pump": "90e7091ef722b7238a7f1009365779cd",
    "slider": "da24a757719f0d94d5aa2d646bbfdc86", "valve": "34d2672f55bb041589ef79c10dc89934"})
EVAL_TRAIN = _zenodo(3727685, "eval_data_train", {
    "ToyCar": "a5d4ccd498af70b04dd74b644b820006", "ToyConveyor": "0e808ac0b761e9fb13d5e0c65caff00d",
    "fan": "567798854130c8019df8b664c095ed1e", "pump": "4e33ae9c0db5cc88437675f5e317caee",
    "slider": "f84f186f4295fc23754abcdd1b0580a7", "valve": "057cdd560caffb8305449541afd28c6d"})
EVAL_TEST = _zenodo(3841772, "eval_data_test", {
    "ToyCar": "bea2bdd612f616be8f2b8eb087b32c7c", "ToyConveyor": "ccfcc9847c7d3404d7ee9d6d9e0b2ba2",
    "fan": "1eb9356a768cadfd0f2e59a5c57e578b", "pump": "23a8f8f924be218c69df67fe07360348",
    "slider": "0193c769073840332ce3aad84b1ccaa2", "valve": "f69c551d2088691050d20cccca9d631c"})
_TINY = "https://raw.githubusercontent.com/mlcommons/tiny/1afd2c9820f795965a6134facd0b4dfae41ef23f"
_TRAINING, _LISTS = "training/anomaly_detection", "evaluation/datasets/ad01"
REFERENCE = [Archive(Path(path).name, f"{_TINY}/benchmark/{path}", md5) for md5, path in (
    ("ba1ba77919813dbace1b4ca8b549adc2", f"{_TRAINING}/trained_models/ad01.h5"),
    ("58fc53fe2cd587c76dd947b1b7c06623", f"{_TRAINING}/trained_models/ad01_fp32.tflite"),
    ("361fa1b1b871e2068b2ab38d9805ef56", f"{_TRAINING}/trained_models/ad01_int8.tflite"),
    ("d0b58c2d0970afc70ea78bc8cd852d28", f"{_TRAINING}/calibration.txt"),
    ("f373b31c8b8b74826428185718847902", f"{_LISTS}/y_labels.csv"),
    ("90b0f2143ce10bdbba9580cf6474effb", f"{_LISTS}/y_labels_alt.csv"))]
# fmt: on


def folders(types: Sequence[str], dcase2020: bool) -> dict[Path, list[Archive]]:
    """What each data folder is made of: as MLPerf Tiny trains, or as DCASE 2020 has it."""
    if not dcase2020:
        return {Path("dev_data", t): [DEV[t], EVAL_TRAIN[t]] for t in types}
    dev = {Path("dev_data", t): [DEV[t]] for t in types}
    return dev | {Path("eval_data", t): [EVAL_TRAIN[t], EVAL_TEST[t]] for t in types}


def main(argv: Sequence[str] | None = None) -> int | None:
    """Do what the command line says, below the current folder."""
    args = _arguments(argv)
    if args.demo:
        from asd.corpora import demo

        return demo.main([])
    if args.reference:
        _fetch_reference(_at(args.mirror, REFERENCE), Path("reference"))
        print("reference: whole; recipes/published.yaml says how to test the published model")
        return None
    if args.mimii is not None:
        place = Path("mimii", f"{args.mimii}_dB", "dev_data")
        _fetch_corpus(MIMII[args.mimii], "dev", place, args.types, args.mirror)
        return None
    if args.corpus:
        year, mode = YEARS[args.corpus], "eval" if args.eval else "dev"
        _fetch_corpus(year, mode, Path(year.name, f"{mode}_data"), args.types, args.mirror)
        if args.eval:
            print(f"the labels of its test clips are in {year.labels}: evaluation_labels in the "
                  "YAML")  # fmt: skip
        return None
    wanted = folders(args.types or (list(DEV) if args.dcase2020 else ["ToyCar"]), args.dcase2020)
    for folder in wanted:
        held_md5s(folder)  # a folder that is not ours stops the run before hours of download
    for folder, archives in wanted.items():
        same = folders([folder.name], True) | folders([folder.name], False)  # archives are shared
        elsewhere = [other for other in same if other != folder]
        fetch_folder(folder, _at(args.mirror, archives), elsewhere)
    return None


def _fetch_corpus(
    corpus: Corpus, mode: str, place: Path, types: Sequence[str], mirror: str | None
) -> None:
    """Bring the development or the evaluation data of some machine types, or of all."""
    wanted = [place / name for name in types or corpus.sections(mode)]
    for folder in wanted:
        held_md5s(folder)  # as above
    for folder in wanted:
        fetch_folder(folder, records.archives(corpus, mode, folder.name, place, mirror))


def _fetch_reference(archives: Sequence[Archive], folder: Path) -> None:
    paths = {folder / archive.name: archive for archive in archives}
    for path, archive in paths.items():
        if os.path.lexists(path) and not is_whole(archive, path):
            raise UserError(f"{path}: not the published one; move or delete it to download it")
    for path, archive in paths.items():
        download(archive, path)


def _at(mirror: str | None, archives: Sequence[Archive]) -> Sequence[Archive]:
    if mirror is None:
        return archives
    return [replace(archive, url=f"{mirror.rstrip('/')}/{archive.name}") for archive in archives]


def _snr(text: str) -> int:
    """A signal-to-noise ratio, dB: `6` or, as the archives have it, `6_dB`."""
    for snr in MIMII:
        if text.removesuffix("_dB") == str(snr):
            return snr
    raise argparse.ArgumentTypeError(f"MIMII has {', '.join(map(str, MIMII))} dB, not {text!r}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="get_dataset.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("types", nargs="*", metavar="TYPE", help=f"{', '.join(DEV)}; or a year's")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dcase2020", action="store_true", help="the folders of DCASE 2020 Task 2")
    for name in list(YEARS)[1:]:
        what.add_argument(f"--{name}", action="store_const", dest="corpus", const=name,
                          help=f"the folders of DCASE {YEARS[name].year} Task 2")  # fmt: skip
    what.add_argument("--mimii", metavar="SNR", type=_snr, help="MIMII at -6, 0 or 6 dB")
    what.add_argument("--reference", action="store_true", help="what MLPerf Tiny published")
    what.add_argument("--demo", action="store_true", help="demo sound, made on this machine")
    parser.add_argument("--eval", action="store_true", help="with --dcase2021 to --dcase2026: the "
                        "evaluation data, instead of the development data")  # fmt: skip
    parser.add_argument("--mirror", metavar="URL", help="take every file from URL/<its name>")
    args = parser.parse_args(argv)
    if args.eval and not args.corpus:
        parser.error("--eval goes with one of --dcase2021 to --dcase2026")
    mode = "eval" if args.eval else "dev"
    known = YEARS[args.corpus].sections(mode) if args.corpus else DEV
    known = MIMII[args.mimii].dev if args.mimii is not None else known
    for name in args.types:
        if name not in known:
            raise UserError(f"{name}: no such machine type; known: {', '.join(known)}")
    if args.types and (args.reference or args.demo):
        parser.error("--reference and --demo take no TYPE")
    return args


if __name__ == "__main__":
    sys.exit(run(main))
