"""Grids of experiments.

python -m apps.pipeline grid GRID.yaml --engine local
"""

import sys

from asd import cli
from common import UserError


def main() -> int:
    """Do what the command line says."""
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(__doc__)
        return 0 if sys.argv[1:] else 2
    if sys.argv[1] == "grid":
        from apps.pipeline import grid

        return grid.main(sys.argv[2:])
    raise UserError(f"{sys.argv[1]}: no such command; known: grid")


if __name__ == "__main__":
    sys.exit(cli.run(main))
