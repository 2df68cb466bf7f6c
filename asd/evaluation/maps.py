"""Draw embeddings in two dimensions: what a detector holds for alike.

    python -m asd.evaluation.maps -d -c recipes/scac_trainable_small.yaml [--by pca|tsne|umap]

Reads the models and recordings that 01_test.py reads, of a detector whose clips have an embedding.
Writes map_<by>_<type>.png into the result folder: a picture of each machine type, its sections in
colours, training clips small, test clips large; source and target, normal and anomalous by their
marks. PCA keeps distances as well as two dimensions can; t-SNE (van der Maaten and Hinton, JMLR 9
(2008) 2579-2605) and UMAP (arXiv:1802.03426; an extra) keep neighbours together, and
the gaps between groups mean little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd import cli, config, store
from asd.clips import Clip
from asd.corpora.find import find_machine_types, has_clips
from asd.corpora.survey import survey
from asd.detectors import kinds
from asd.detectors.embedding import Embedding
from asd.detectors.frozen import Frozen
from asd.evaluation import canvas
from asd.paths import Paths
from common import UserError

EXTRA = "asd/evaluation/requirements.txt"
METHODS = ("pca", "tsne", "umap")
MOST_NEIGHBOURS = 30  # t-SNE's perplexity; of fewer clips a third of them
SIZES = {"train": 8, "test": 28}  # points squared
MARKS = {("source", 0): "o", ("target", 0): "^", ("source", 1): "x", ("target", 1): "+",
         ("source", None): ".", ("target", None): "."}  # fmt: skip
MEANINGS = {"o": "normal", "^": "normal, target", "x": "anomalous", "+": "anomalous, target",
            ".": "without label"}  # fmt: skip


def check_installed(by: str) -> None:
    """See that what a picture needs is there, before the work that comes before it.

    Raises
    ------
    UserError : umap-learn is asked for and not installed.
    """
    try:
        if by == "umap":
            import umap  # noqa: F401
    except ImportError as error:
        raise UserError("--by umap needs umap-learn: .venv/bin/python -m pip install -r "
                        f"{EXTRA}; or take pca or tsne") from error  # fmt: skip


def flattened(embeddings: np.ndarray, by: str, seed: int) -> np.ndarray:
    """Embeddings in two dimensions, (n, 2) float64, the mean of each 0.

    Parameters
    ----------
    embeddings : (n, width) float32, of at least two clips
    by : of `METHODS`
    seed : of what t-SNE and UMAP draw

    Raises
    ------
    UserError : umap-learn is asked for and not installed.
    """
    values = embeddings.astype(np.float64)
    check_installed(by)
    if by == "umap":
        from umap import UMAP

        flat = UMAP(random_state=seed, n_jobs=1).fit_transform(values)
    elif by == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(MOST_NEIGHBOURS, max(len(values) / 3, 1))
        flat = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    else:
        away = values - values.mean(axis=0)
        _, _, directions = np.linalg.svd(away, full_matrices=False)
        flat = np.zeros((len(values), 2))
        found = away @ directions[:2].T
        flat[:, : found.shape[1]] = found
    return np.asarray(flat, np.float64) - np.mean(flat, axis=0)


def draw(path: Path, machine_type: str, clips: Sequence[Clip], flat: np.ndarray, by: str) -> None:
    """The picture of a machine type.

    Parameters
    ----------
    clips, flat : of training and test clips, and their places, (n, 2)
    """
    sections = [section for _, section in sorted({clip.place for clip in clips})]
    words = machine_type + "".join(sections)
    with canvas.figure(path, words=words, height=canvas.WIDTH_INCHES) as (axes,):
        kinds_of = [(clip.section, clip.split, MARKS[clip.domain or "source", clip.label])
                    for clip in clips]  # fmt: skip
        for kind in sorted(set(kinds_of), key=lambda one: (one[1] == "test", one)):
            section, split, mark = kind
            some = flat[[one == kind for one in kinds_of]]
            axes.scatter(*some.T, s=SIZES[split], marker=mark, linewidths=0.9,
                         color=f"C{sections.index(section) % 10}",
                         alpha=0.45 if split == "train" else 0.9)  # fmt: skip
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        _legend(axes, sections, {mark for _, _, mark in kinds_of})
        canvas.set_title(axes.figure, machine_type, f"embeddings by {by}; small: training clips")


def _legend(axes, sections: Sequence[str], marks: set[str]) -> None:
    from matplotlib.lines import Line2D

    how = {"linestyle": "", "markersize": 6}
    handles = [Line2D([], [], marker=mark, color="black", label=text, **how)
               for mark, text in MEANINGS.items() if mark in marks]  # fmt: skip
    if len(sections) > 1:
        handles += [Line2D([], [], marker="s", color=f"C{i % 10}",
                           label=f"section {canvas.readable(section)}", **how)
                    for i, section in enumerate(sections)]  # fmt: skip
    axes.legend(handles=handles, fontsize=8, loc="best", framealpha=0.7)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=METHODS, default="pca", help="%(default)s")


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = cli.parse_args(__doc__, argv, _arguments)
    cfg = config.load_config(args.config, args.seed)
    paths = Paths(cfg, args.mode)
    detector = kinds.of(cfg, paths)
    if not isinstance(detector, Frozen | Embedding):
        raise UserError(f"{args.config}: detector.kind {detector.kind} has no embedding of a clip; "
                        "take frozen or embedding")  # fmt: skip
    machine_types = find_machine_types(paths, args.machine_type)
    for name in machine_types:
        rows = kinds.of(cfg, paths, name).rows
        clips, parts = [], []
        for split in ("train", "test"):
            if has_clips(paths, name, split):
                (found,) = survey(paths, [name], split, args.skip_bad_clips)
                own = store.load(paths, found, rows, args.skip_bad_clips, args.verify)
                clips += own.clips
                parts.append(own.read(range(len(own))))
        if len(clips) < 2:
            raise UserError(f"{paths.data / name}: a single clip makes no map; add others")
        path = paths.picture(f"map_{args.by}", name)
        draw(path, name, clips, flattened(np.concatenate(parts), args.by, cfg.seed), args.by)
        print(path)


if __name__ == "__main__":
    sys.exit(cli.run(main))
