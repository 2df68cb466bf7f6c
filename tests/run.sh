#!/usr/bin/env bash
# Install what the tests need and run them all. Arguments go on to pytest.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$here/asd/environment.sh"
install "$venv/tests-requirements.txt" "$here/tests/requirements.txt" || exit 1
cd "$here" || exit 1
# These apps have environments of their own, see their README.md.
for app in pipeline server; do
    [ -f "apps/$app/requirements.txt" ] || continue
    (
        python="$here/.venv-$app/bin/python"
        [ -x "$python" ] || "$venv/bin/python" -m venv ".venv-$app" || exit 1
        install ".venv-$app/requirements.txt" "apps/$app/requirements.txt"
    ) || exit 1
done
"$python" -m ruff check . && "$python" -m ruff format --check . || exit 1
# tests/conftest.py says which files begin.
exec "$python" -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@"
