#!/usr/bin/env bash
# Install what the tests need and run them all. Arguments go on to pytest.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/asd/environment.sh"
install "$venv/tests-requirements.txt" "$here/tests/requirements.txt" || exit 1
cd "$here" || exit 1
# kfp has an environment of its own, see apps/pipeline/README.md.
if [ -f apps/pipeline/requirements.txt ]; then
    (
        python="$here/.venv-pipeline/bin/python"
        [ -x "$python" ] || "$venv/bin/python" -m venv .venv-pipeline || exit 1
        install .venv-pipeline/requirements.txt apps/pipeline/requirements.txt
    ) || exit 1
fi
"$python" -m ruff check . && "$python" -m ruff format --check . || exit 1
exec "$python" -m pytest -n auto --dist loadfile "$@"
