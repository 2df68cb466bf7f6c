#!/usr/bin/env bash
# Install what the tests need and run them all. Arguments go on to pytest.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/asd/environment.sh"
install "$venv/tests-requirements.txt" "$here/tests/requirements.txt" || exit 1
cd "$here" || exit 1
"$python" -m ruff check . && "$python" -m ruff format --check . || exit 1
exec "$python" -m pytest -n auto --dist loadfile "$@"
