"""The images of the pipeline: checked by hadolint, built by buildah without a registry, run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BASE = "docker.io/library/python:3.11-slim-bookworm"  # the Dockerfile's
RELEASE, PYTHON = "bookworm", "python3 python3-venv python3-pip ca-certificates"
DOCKERFILE = ROOT / "apps/pipeline/Dockerfile"
TRAIN = "ASD_TRAIN_IMAGE"  # in the environment: build the large one too


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_dockerfile_is_clean():
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("no hadolint; tests/requirements.txt has it where there is one")
    assert run(linter, DOCKERFILE) == ""


def configured_for_pip():
    """Options that let pip in an image find packages as it does here."""
    said = run(sys.executable, "-m", "pip", "config", "debug") + str(os.environ.get("PIP_CERT"))
    said += run(sys.executable, "-m", "pip", "config", "list")
    found = {Path(path) for path in re.findall(r"(?:file://)?(/[^\s',:]+)", said)}
    # An index of files lies beside the files that it leads to.
    paths = {path.parent if path.name == "simple" else path for path in found if path.exists()}
    return [
        part for path in sorted(paths) if path != Path("/") for part in ("-v", f"{path}:{path}:ro")
    ]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    """Run buildah with a storage of its own, which has the base image."""
    for tool in ("buildah", "mmdebstrap"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}: apt install buildah mmdebstrap")
    if os.geteuid() != 0:
        pytest.skip("mmdebstrap makes a base image as root")
    folder = tmp_path_factory.mktemp("images")
    env = os.environ | {"BUILDAH_ISOLATION": "chroot"}

    def call(*words):
        where = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
        return run("buildah", *where, *words, env=env)

    base = folder / "base.tar"
    run("mmdebstrap", "--variant=minbase", f"--include={PYTHON.replace(' ', ',')}", RELEASE, base)
    container = call("from", "scratch").strip()
    call("add", "-q", container, base, "/")
    call("commit", "-q", container, BASE)
    call("rm", container)
    base.unlink()
    yield call
    shutil.rmtree(folder)


def built(buildah, target):
    """A container of a target."""
    how = ("--pull-never", "--isolation", "chroot", "--format", "docker", "--target", target)
    buildah("bud", *how, "-t", f"asd-{target}:test", *configured_for_pip(), "-f", DOCKERFILE, ROOT)
    return buildah("from", "--pull-never", f"localhost/asd-{target}:test").strip()


def test_the_slim_image_reads_what_steps_leave(buildah):
    container = built(buildah, "slim")
    said = buildah("run", container, "--", "id", "-u")
    assert said.strip() == "1000"
    compiled = "python3 -m apps.pipeline compile /tmp/p.yaml --tag COMMIT && cat /tmp/p.yaml"
    yaml = buildah("run", container, "--", "sh", "-c", compiled)
    assert yaml.partition("\n")[2] == (ROOT / "apps/pipeline/pipeline.yaml").read_text()
    code = "import importlib.util as u; print(u.find_spec('tensorflow'))"
    assert buildah("run", container, "--", "python3", "-c", code).strip() == "None"
    demo = ("from pathlib import Path; from apps.pipeline import steps\n"
            "print(steps.download('', Path('/tmp/d')))")  # fmt: skip
    said = buildah("run", container, "--", "python3", "-c", demo)
    assert said.splitlines()[-1] == "['DemoFan', 'DemoPump']"


def test_the_training_image_runs_the_whole_pipeline(buildah):
    if not os.environ.get(TRAIN):
        pytest.skip(f"it takes ten minutes and 8 GB of disk; {TRAIN}=1 builds it")
    container = built(buildah, "train")
    command = "python3 -m apps.pipeline local --fit_epochs 1 --gate 0 --out /tmp/runs"
    said = buildah("run", container, "--", "sh", "-c", f"cd /tmp && {command}")
    assert "DemoPump" in said and "/tmp/runs/report.html: the report" in said
    found = buildah("run", container, "--", "sh", "-c", "ls -d /tmp/runs/*/*/release/released/*_c")
    assert len(found.split()) == 2
