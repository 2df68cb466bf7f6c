"""Versions of what shapes the numbers, for the records beside models and scores."""

from __future__ import annotations

from common import __version__

LIBRARIES = (
    "tensorflow", "keras", "ai-edge-litert", "numpy", "numba", "scikit-learn", "scipy", "soundfile",
)  # fmt: skip
OPTIONAL = ("onnxruntime",)


def versions() -> dict[str, str]:
    """Versions of this project, Python and the libraries that shape the numbers."""
    import contextlib
    import importlib.metadata
    import platform

    installed = {name: importlib.metadata.version(name) for name in LIBRARIES}
    for name in OPTIONAL:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return {"asd": __version__, "python": platform.python_version()} | installed
