#!/usr/bin/env bash
# Convert to TFLite (02_convert.py) and verify (03_tflite_test.py). --demo: on the demo's models.
# Other arguments go on to both scripts; -d, the development data, unless -e is given.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/asd/environment.sh"
story 02_convert.py 03_tflite_test.py "$@"
