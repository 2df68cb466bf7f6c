#!/usr/bin/env bash
# Train (00_train.py) and test (01_test.py). ./train.sh --demo does it on synthetic demo sound.
# Other arguments go on to both scripts; -d, the development data, unless -e is given.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/asd/environment.sh"
story 00_train.py 01_test.py "$@"
