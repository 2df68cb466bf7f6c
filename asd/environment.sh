# Sourced by the shell scripts: makes .venv from requirements.txt, once, and sets $python to it.
# Expects $here, the folder of the project. $PYTHON names the interpreter to make it with.

trap 'exit 130' INT

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10 python; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10 to 3.13 with venv found; install one (Debian and Ubuntu:" \
         "python3 and python3-venv), or name it: PYTHON=/path/to/python" >&2
    return 1
}

# install STAMP REQUIREMENTS: pip install, unless the stamp shows that it was done.
install() {
    if ! cmp -s "$2" "$1"; then
        "$python" -m pip install --disable-pip-version-check -q -r "$2" || {
            echo "error: pip could not install $2 (its message is above); run again to go on" >&2
            return 1
        }
        cp "$2" "$1"
    fi
}

venv="$here/.venv"
python="$venv/bin/python"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    base=$(find_python) || exit 1
    echo "preparing .venv from requirements.txt (a few minutes, once) ..."
    rm -rf "$venv"
    "$base" -m venv "$venv" || exit 1
    install "$venv/requirements.txt" "$here/requirements.txt" || exit 1
fi

# story SCRIPT SCRIPT [ARGUMENT ...]: two numbered scripts with the same arguments. Without -d or
# -e it is -d; --demo is the demo recipe, whose sound is made when it is missing.
story() {
    local first=$1 second=$2 mode=-d demo= only_first= arguments=()
    shift 2
    for argument in "$@"; do
        case "$argument" in
            --demo) demo=1 && arguments+=(-c "$here/recipes/demo.yaml") && continue ;;
            -d | --dev | -e | --eval) mode= ;;
            -h | --help | -v | --version) only_first=1 ;;
        esac
        arguments+=("$argument")
    done
    [ -z "$mode" ] || arguments=("$mode" "${arguments[@]}")
    if [ -n "$only_first" ]; then
        "$python" "$here/$first" "${arguments[@]}"
        return
    fi
    if [ -n "$demo" ] && [ ! -e demo_data/causes.csv ]; then  # its last file
        PYTHONPATH="$here" "$python" -m asd.corpora.demo || return
    fi
    "$python" "$here/$first" "${arguments[@]}" && "$python" "$here/$second" "${arguments[@]}"
}
