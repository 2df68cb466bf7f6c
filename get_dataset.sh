#!/usr/bin/env bash
# Download recordings, or make --demo sound: ./get_dataset.sh -h says which.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/asd/environment.sh"
PYTHONPATH="$here" exec "$python" -m asd.corpora.download "$@"
