"""Recordings in; scores, AUC by id and checked int8 models out: on a cluster, here, many times.

    python -m apps.pipeline compile OUT.yaml          the pipeline, to look at or to upload
    python -m apps.pipeline submit --host URL         run it on a Kubeflow cluster
    python -m apps.pipeline local --dataset_url ZIP   run it here; without a zip on demo sound
    python -m apps.pipeline grid GRID.yaml            recipes x machine types x seeds

The first three need an environment of their own: apps/pipeline/README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from apps.pipeline import parameters
from asd import cli
from common import UserError

OUT = Path("pipeline_runs")


def _images(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--tag", help="of the images asd-train and asd-slim; without it this commit")
    option("--registry", default="", metavar="HOST/FOLDER/", help="before the images' names")
    option("--accelerator", default="", metavar="NAME",
           help="of the training, as Kubernetes calls it: nvidia.com/gpu")  # fmt: skip
    option("--parallel", type=int, default=0, metavar="N",
           help="machine types at once; without it all of them")  # fmt: skip


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.pipeline", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = commands.add_parser("compile", help="write the pipeline as YAML")
    made.add_argument("path", type=Path, metavar="OUT.yaml")
    _images(made)
    sent = commands.add_parser("submit", help="run it on a cluster")
    sent.add_argument("--host", required=True, metavar="URL", help="of Kubeflow Pipelines")
    sent.add_argument("--experiment", default="Default", help="that the run is filed under")
    _images(sent)
    here = commands.add_parser("local", help="run it here")
    here.add_argument("--out", type=Path, default=OUT, metavar="FOLDER",
                      help=f"what the steps leave; without it {OUT}/")  # fmt: skip
    here.add_argument(
        "--parallel", type=int, default=max(1, (os.cpu_count() or 1) // 2), metavar="N",
        help="machine types at once; without it half the cores",
    )  # fmt: skip
    for one in (sent, here):
        parameters.add_arguments(one)
    commands.add_parser("grid", help="run recipes x machine types x seeds", add_help=False)
    return parser.parse_args(argv)


def _cluster(args: argparse.Namespace) -> Any:
    from apps.pipeline import cluster
    from apps.pipeline.pipeline import Cluster

    tag = cluster.check_tag(args.tag) if args.tag else cluster.commit()
    return Cluster(tag, args.registry, args.accelerator, args.parallel)


def _check_kfp() -> None:
    if not importlib.util.find_spec("kfp"):
        raise UserError(
            "kfp is not installed in this environment; make it one of its own: python3 -m venv "
            ".venv-pipeline && .venv-pipeline/bin/pip install -r apps/pipeline/requirements.txt"
        )


def main(argv: Sequence[str] | None = None) -> int | None:
    """Do what the command line says."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["grid"]:
        from apps.pipeline import grid

        return grid.main(argv[1:])
    args = _arguments(argv)
    _check_kfp()
    from apps.pipeline import cluster, local, pipeline

    if args.command == "compile":
        cluster.compile_to(pipeline.build(_cluster(args)), args.path)
        print(f"{args.path}: the pipeline")
        return None
    chosen = parameters.from_arguments(args)
    if args.command == "submit":
        values = msgspec.structs.asdict(chosen)
        built = pipeline.build(_cluster(args))
        run = cluster.submit(built, values, args.host, args.experiment)
        print(f"run {run} started")
        return None
    table, report = local.run(chosen, args.out, args.parallel)
    local.show(table)
    print(f"{table.parent.parent}: models, scores, curves of each step")
    print(f"{report}: the report, for a browser")
    return None


if __name__ == "__main__":
    sys.exit(cli.run(main))
