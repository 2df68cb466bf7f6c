"""A data set as a pipeline takes it: a zip of machine folders, checked and unpacked, or the demo.

    python -m apps.pipeline.dataset URL_OR_ZIP FOLDER

FOLDER then holds <machine>/train and <machine>/test.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from asd import cli
from asd.corpora import fetch, zips
from asd.messages import plain
from common import UserError

MD5 = re.compile("md5=([0-9a-f]{32})", re.IGNORECASE)
SPLITS = ("train", "test")


def bring(url: str, folder: Path, pause_seconds: float = fetch.PAUSE_SECONDS) -> list[str]:
    """Make `folder`, which is not there or empty, hold the machine folders of a data set.

    Parameters
    ----------
    url : http, https or file, or a file's name; of a zip whose folders, or those of its one
        folder, have a `train` and a `test` each. Behind `#md5=` the md5 that it must have; the
        recordings of DCASE 2020 have theirs by their names. "": demo sound. Or a folder like
        that, which is linked to.

    Returns
    -------
    the machine types

    Raises
    ------
    UserError : the file cannot be had, has another md5, is no sound zip, or holds no machine
        folders; nothing stays in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        work = Path(name)
        if url and Path(url).is_dir():
            return _linked(url, folder)
        if url:
            root = _machines_of(url, _unpacked(_archive(url, work, pause_seconds), work / "all"))
        else:
            root = _demo(work)
        found = sorted(path.name for path in _machine_folders(root))
        for machine in found:
            (root / machine).rename(folder / machine)
    return found


def _linked(url: str, folder: Path) -> list[str]:
    found = list(_machine_folders(_machines_of(url, Path(url).resolve())))
    for path in found:
        (folder / path.name).symlink_to(path, target_is_directory=True)
    return [path.name for path in found]


def _demo(work: Path) -> Path:
    from asd.corpora import demo

    demo.main(["--out", str(work / "demo")])
    return work / "demo/dev_data"


def _archive(url: str, work: Path, pause_seconds: float) -> Path:
    """The zip, on this machine, with the md5 that it should have."""
    address, fragment = urldefrag(url)
    parts = urlsplit(address)
    said = MD5.fullmatch(fragment)
    if fragment and not said:
        raise UserError(f"{plain(url)}: only #md5= and 32 hex digits can stand behind an address")
    name = Path(unquote(parts.path)).name or "dataset.zip"
    md5 = said[1].lower() if said else _known(name)
    if parts.scheme in ("http", "https"):
        archive = fetch.Archive(name, address, md5 or "")
        if md5:
            fetch.download(archive, work / name, pause_seconds)
        else:
            print(f"{plain(address)}: no checksum is known; #md5= behind the address is checked")
            fetch.receive(address, work / name, pause_seconds)
        return work / name
    if parts.scheme not in ("", "file"):
        raise UserError(f"{plain(url)}: neither http, https nor file; take one of them")
    path = Path(unquote(parts.path)) if parts.scheme else Path(address)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a zip, or its address with https://")
    if md5 and not fetch.is_whole(fetch.Archive(name, url, md5), path):
        raise UserError(f"{path}: has another md5 than {md5}, which is expected; get it again")
    return path


def _known(name: str) -> str | None:
    """The md5 of a published archive of DCASE 2020 Task 2, by its name."""
    from asd.corpora import download

    tables = (download.DEV, download.EVAL_TRAIN, download.EVAL_TEST)
    known = {archive.name: archive.md5 for table in tables for archive in table.values()}
    return known.get(name)


def _unpacked(path: Path, target: Path) -> Path:
    """Everything in the folders of a zip, whatever they are called."""
    tops = zips.tops(path)
    for top in tops:
        (target / top).mkdir(parents=True)
        zips.unpack([path], top, target / top, {}, tops)
    return target


def _machine_folders(root: Path) -> Iterator[Path]:
    """The folders that have clips to train on and to test with."""
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if all((path / split).is_dir() for split in SPLITS):
            yield path


def _machines_of(url: str, root: Path) -> Path:
    """The folder with machine folders: this one, or the only one in it."""
    for place in (root, *(sorted(root.iterdir()) if root.is_dir() else ())):
        if place.is_dir() and any(_machine_folders(place)):
            return place
    raise UserError(
        f"{plain(url)}: no folder in it has {SPLITS[0]}/ and {SPLITS[1]}/; a data set is a zip of "
        "<machine>/{train,test}/*.wav"
    )


def main() -> None:
    """Do what the command line says."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {__doc__.strip().splitlines()[2].strip()}")
    print(" ".join(bring(sys.argv[1], Path(sys.argv[2]))))


if __name__ == "__main__":
    sys.exit(cli.run(main))
