"""The rules of the house that a program can check, from the files themselves.

Each check is a function of a folder, so that a copy with one rule broken shows that it fails.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS

# The floors of the house: a file imports files of its own floor or of those below.
FLOORS = (
    ("common",),
    ("asd.messages", "asd.yaml_files", "asd.sections", "asd.config", "asd.csv_cells", "asd.files",
     "asd.paths", "asd.cli", "asd.versions", "asd.workers", "asd.wav"),
    ("asd.clips", "asd.rows"),
    ("asd.store",),
    ("asd.corpora", "asd.features"),
    ("keras_model", "asd.networks", "asd.losses", "asd.augment", "asd.optimisers"),
    ("asd.machine_code", "asd.tflite", "asd.dense_training", "asd.training", "asd.backends",
     "asd.discriminative", "asd.auxiliary", "asd.densities", "asd.embeddings"),
    ("asd.detectors", "asd.causes"),
    ("asd.evaluation", "asd.provenance"),
    ("asd.monitor",),
    ("asd.embedded",),
    ("asd.page",),
    tuple(name.removesuffix(".py") for name in SCRIPTS),
    ("apps",),
)  # fmt: skip
# Imported only inside functions, so that help and tools start in an instant.
HEAVY = {"tensorflow", "keras", "matplotlib", "sklearn", "scipy", "librosa", "joblib", "h5py",
         "numba", "onnxruntime", "mlflow", "sounddevice"}  # fmt: skip
HEAVY_ROOMS = ("asd.networks", "asd.losses", "asd.augment", "asd.optimisers", "asd.densities",
               "asd.discriminative", "asd.auxiliary", "asd.dense_training",
               "asd.machine_code")  # fmt: skip
MOST_LINES, MOST_FUNCTION_LINES, MOST_ENTRIES = 300, 40, 20
LONG_FILES = {
    "common.py": (350, "the whole way from a clip to its score, read in one go"),
    "asd/dense_training.py": (345, "one algorithm, forward and backward"),
    "asd/embedded/c/kernels.h": (600, "generated C stands alone with its kernels"),
}
LONG_FUNCTIONS: dict[str, str] = {}


def modules(root: Path) -> dict[str, Path]:
    """Our Python files by module name; not the tests."""
    paths = [*root.glob("*.py"), *(root / "asd").rglob("*.py"), *(root / "apps").rglob("*.py")]
    names = {}
    for path in sorted(paths):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, lazy: bool = True) -> tuple[tuple[str, bool], ...]:
    """Every module that a file names in an import, and whether it needs to be there at run time.

    Parameters
    ----------
    lazy : with the imports inside functions
    """
    return imports_of(path.read_text(encoding="utf-8"), lazy)


@functools.cache  # by text, as copies of the house are all but equal
def imports_of(text: str, lazy: bool) -> tuple[tuple[str, bool], ...]:
    """As above, of a file's text."""

    def walk(node: ast.AST, typing: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, not typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", not typing
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                yield from walk(child, True)
        elif lazy or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for child in ast.iter_child_nodes(node):
                yield from walk(child, typing)

    return tuple(walk(ast.parse(text), False))


@functools.cache
def functions_of(text: str) -> tuple[tuple[str, int], ...]:
    """The functions of a file's text, and how many lines each has without its docstring."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= first.end_lineno - first.lineno + 1
            found.append((node.name, lines))
    return tuple(found)


def of_ours(name: str, ours: dict[str, Path]) -> str | None:
    """The file of ours that an imported name stands for: a module, or a name in one."""
    while name and name not in ours:
        name = name.rpartition(".")[0]
    return name or None


def floor(module: str) -> int | None:
    for i, names in enumerate(FLOORS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return i
    return None


def edges(root: Path) -> dict[str, set[str]]:
    """Which of our files each of our files imports."""
    ours = modules(root)
    return {
        module: {of_ours(name, ours) for name, _ in imports(path)} - {None, module}
        for module, path in ours.items()
    }


def wrong_ways(root: Path) -> list[str]:
    """Rule 1: imports go one way."""
    found = []
    for module, targets in edges(root).items():
        if module in ("asd", "apps"):
            continue
        here = floor(module)
        if here is None:
            found.append(f"{module} is on no floor")
            continue
        for target in targets - {"asd", "apps"}:
            there = floor(target)
            if there is None or there > here:
                found.append(f"{module} imports {target}, which is above it")
        if module == "common" and targets:
            found.append(f"common imports {targets}")
    return found


def circles(root: Path) -> list[str]:
    """Rule 1: no circle between files."""
    graph, done, found = edges(root), set(), []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def between_apps(root: Path) -> list[str]:
    """Rule 7: nothing knows an app, and apps do not know each other."""
    return [
        f"{module} imports {name}"
        for module, path in modules(root).items()
        for name, _ in imports(path)
        if name.startswith("apps.") and module.split(".")[:2] != name.split(".")[:2]
    ]


def heavy_at_import(root: Path) -> list[str]:
    """Rule 2: slow libraries are imported inside functions."""
    found = []
    for module, path in modules(root).items():
        if not module.startswith(HEAVY_ROOMS):
            for name, at_run_time in imports(path, lazy=False):
                if at_run_time and (name.split(".")[0] in HEAVY or name.startswith(HEAVY_ROOMS)):
                    found.append(f"{module} imports {name} at import")
    return found


def command_line_in_the_library(root: Path) -> list[str]:
    """Rule 4: no argparse Namespace below the scripts."""
    return [
        module
        for module, path in modules(root).items()
        if module.startswith("asd") and re.search(r"\bNamespace\b", path.read_text())
        and not re.search(r"^def main\(", path.read_text(), re.MULTILINE)
        and module != "asd.cli"
    ]  # fmt: skip


def too_long(root: Path) -> list[str]:
    """Rule 9: files of at most 300 lines, functions of at most 40 without their docstring."""
    found = []
    sources = [*modules(root).values(), *(root / "asd").rglob("*.[ch]")]
    for path in sources:
        name = str(path.relative_to(root))
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONG_FILES.get(name, (MOST_LINES, ""))[0]:
            found.append(f"{name} has {lines} lines")
    for module, path in modules(root).items():
        for name, lines in functions_of(path.read_text(encoding="utf-8")):
            if lines > MOST_FUNCTION_LINES and f"{module}.{name}" not in LONG_FUNCTIONS:
                found.append(f"{module}.{name} has {lines} lines")
    return found


def root_entries(root: Path) -> list[str]:
    """Rule 8: what a visitor sees first; tracked files where there is a repository."""
    listed = subprocess.run(["git", "ls-tree", "--name-only", "HEAD"], cwd=root,
                            capture_output=True, text=True)  # fmt: skip
    names = listed.stdout.split() if listed.returncode == 0 else [p.name for p in root.iterdir()]
    return [name for name in names if not name.startswith((".", "__"))]


CHECKS = (wrong_ways, circles, between_apps, heavy_at_import, command_line_in_the_library, too_long)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_keeps_its_rules(check):
    assert check(ROOT) == []


def test_the_root_is_dear():
    if not (ROOT / ".git").exists():
        pytest.skip("no repository: build products cannot be told apart")
    assert len(root_entries(ROOT)) <= MOST_ENTRIES


def test_exceptions_are_needed():
    """A file that has become short loses its exception."""
    for name in LONG_FILES:
        if (ROOT / name).exists():
            assert len((ROOT / name).read_text().splitlines()) > MOST_LINES, name


BREAKS = {
    "a way up": (wrong_ways, "asd/store.py", "import asd.training\n"),
    "a way up in a function": (wrong_ways, "asd/clips.py", "def f():\n    import asd.evaluation\n"),
    "a way up for types": (wrong_ways, "asd/files.py",
                           "if TYPE_CHECKING:\n    from asd.store import Store\n"),
    "common knows the library": (wrong_ways, "common.py", "from asd import files\n"),
    "the library knows the top": (wrong_ways, "asd/provenance.py", "import asd.embedded.codegen\n"),
    "a room on no floor": (wrong_ways, "asd/attic.py", "import common\n"),
    "a circle": (circles, "asd/sections.py", "from asd.config import Config\n"),
    "an app in a script": (between_apps, "01_test.py", "from apps.submission import rules\n"),
    "an app in an app": (between_apps, "apps/benchmarks/measure.py",
                         "def f():\n    import apps.submission.rules\n"),
    "TensorFlow at import": (heavy_at_import, "asd/training.py", "import tensorflow as tf\n"),
    "scikit-learn at import": (heavy_at_import, "asd/backends/__init__.py",
                               "from sklearn.metrics import roc_curve\n"),
    "a heavy room at import": (heavy_at_import, "asd/training.py",
                               "from asd import dense_training\n"),
    "the command line": (command_line_in_the_library, "asd/store.py",
                         "def load(args: argparse.Namespace): ...\n"),
    "a long file": (too_long, "asd/versions.py", "# more\n" * 300),
    "a long function": (too_long, "asd/versions.py", "def f():\n" + "    f()\n" * 41),
    "a long header": (too_long, "asd/embedded/c/model.h", "/* */\n" * 301),
}  # fmt: skip


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_rule_is_seen(tmp_path, fault):
    check, name, text = BREAKS[fault]
    if not (ROOT / name).parent.exists():
        pytest.skip(f"{Path(name).parent} has been removed")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "asd", copy / "asd", ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "apps").exists():
        shutil.copytree(ROOT / "apps", copy / "apps", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, copy)
    before = check(copy)
    with (copy / name).open("a") as file:
        file.write(f"\n{text}")
    assert len(check(copy)) > len(before)


def test_a_full_root_is_seen(tmp_path):
    for i in range(MOST_ENTRIES + 1):
        (tmp_path / f"file{i}").touch()
    assert len(root_entries(tmp_path)) > MOST_ENTRIES
