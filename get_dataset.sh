#!/usr/bin/env bash
# Download recordings: ./get_dataset.sh [TYPE ...], --dcase2020 to --dcase2026, --mimii, --reference; or make --demo sound.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/asd/environment.sh"
PYTHONPATH="$here" exec "$python" -m asd.corpora.download "$@"
