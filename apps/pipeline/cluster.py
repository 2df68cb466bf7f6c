"""The pipeline for a cluster: as a file, and as a run on one."""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

from asd import files
from asd.corpora.answers import one_line
from common import HERE, UserError

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # what a registry takes
COMMIT_DIGITS = 12


def commit() -> str:
    """The commit that the images are named by.

    Raises
    ------
    UserError : the folder is no checkout, or holds changes that no image of a commit has.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        found = git("rev-parse", "HEAD")[:COMMIT_DIGITS]
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{HERE}: no git checkout to name the images by; name one with --tag"
                        ) from error  # fmt: skip
    if changed:
        first = changed.splitlines()[0].split()[-1]
        raise UserError(f"{first}: changed since the last commit, so no image has it; commit it, "
                        "or name an image of yours with --tag")  # fmt: skip
    return found


def check_tag(tag: str) -> str:
    """The tag, if it is one.

    Raises
    ------
    UserError : no registry would take it.
    """
    if not TAG.fullmatch(tag):
        raise UserError(f"--tag {one_line(tag)!r}: letters, digits, _, . and - make a tag, 128 "
                        "at most")  # fmt: skip
    return tag


def compile_to(pipeline: Any, path: Path) -> None:
    """Write a pipeline as a cluster takes it: the YAML of its intermediate representation."""
    from kfp import compiler

    with files.whole_file(path) as temporary, tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "pipeline.yaml")  # kfp looks at the suffix
        compiler.Compiler().compile(pipeline, str(made))
        temporary.write_bytes(made.read_bytes())


def submit(pipeline: Any, arguments: dict[str, Any], host: str, experiment: str) -> str:
    """Start a run on a cluster; its id.

    Parameters
    ----------
    pipeline : see `pipeline.build`
    arguments : of the pipeline
    host : address of the Kubeflow Pipelines API
    experiment : that the run is filed under

    Raises
    ------
    UserError : the cluster cannot be reached, or refuses.
    """
    import kfp
    import kfp_server_api
    import urllib3

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "pipeline.yaml")
        compile_to(pipeline, package)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the cluster must be of version 2
                client = kfp.Client(host=host)
            started = client.create_run_from_pipeline_package(
                str(package), arguments=arguments,
                experiment_name=experiment, enable_caching=True,
            )  # fmt: skip
        except kfp_server_api.ApiException as error:
            reason = f"HTTP {error.status} {one_line(error.reason)}"
            raise UserError(f"{host}: the cluster refused: {reason}") from error
        # RuntimeError and ValueError are kfp's own, of an address that leads to no such API.
        except (urllib3.exceptions.HTTPError, RuntimeError, ValueError, OSError) as error:
            reason = one_line(_cause(error))
            raise UserError(f"{host}: no Kubeflow Pipelines API answers there ({reason}); name "
                            "another with --host") from error  # fmt: skip
    return str(started.run_id)


def _cause(error: BaseException) -> object:
    """What a library's error is about: the innermost reason says it shortest."""
    reason = getattr(error, "reason", None)
    return _cause(reason) if isinstance(reason, BaseException) else error
