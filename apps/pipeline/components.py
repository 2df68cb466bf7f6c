"""The components: each calls one function of `steps` and says what is in its artefacts.

kfp writes the body of each into the pipeline, so imports stand in it; nothing is installed when a
step runs. Annotations are real types here, as kfp reads them.
"""

from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
)

TRAINING, SLIM = "asd-train", "asd-slim"  # images: with TensorFlow and the scripts, without
_as_they_are = {"packages_to_install": [], "install_kfp_package": False}
_slim = dsl.component(base_image=SLIM, **_as_they_are)
_training = dsl.component(base_image=TRAINING, **_as_they_are)


@_training
def configure(
    dataset_url: str,
    max_fpr: float,
    feature_n_mels: int,
    feature_frames: int,
    feature_n_fft: int,
    feature_hop_length: int,
    feature_power: float,
    fit_compile_optimizer: str,
    fit_compile_loss: str,
    fit_epochs: int,
    fit_batch_size: int,
    fit_shuffle: bool,
    fit_validation_split: float,
    fit_verbose: int,
    detector: str,
    seed: int,
    gate: float,
    run: Output[Artifact],
):
    """Check the parameters; write the YAML file of the run."""
    values = {name: value for name, value in locals().items() if name != "run"}
    from pathlib import Path

    from apps.pipeline import steps

    steps.told(steps.configure, values, Path(run.path))


@_slim
def download(dataset_url: str, dataset: Output[Dataset]):
    """Bring the data set, checked and unpacked."""
    from pathlib import Path

    from apps.pipeline import steps

    found = steps.told(steps.download, dataset_url, Path(dataset.path))
    dataset.metadata["machine_types"] = found


@_slim
def machine_types(dataset: Input[Dataset]) -> list[str]:
    """The machine types of the data set."""
    from pathlib import Path

    from apps.pipeline import steps

    return steps.told(steps.machine_types, Path(dataset.path))


@_training
def train(
    run: Input[Artifact],
    dataset: Input[Dataset],
    machine_type: str,
    model: Output[Model],
    features: Output[Artifact],
    loss: Output[HTML],
):
    """Train one machine type; the losses of its epochs as a page."""
    import tempfile
    from pathlib import Path

    from apps.pipeline import pages, steps

    with tempfile.TemporaryDirectory() as nothing:
        folders = steps.Folders(Path(dataset.path), Path(features.path), Path(model.path),
                                Path(nothing))  # fmt: skip
        picture = steps.told(steps.train, Path(run.path), folders, machine_type)
    model.metadata["machine_type"] = machine_type
    pages.of_picture(Path(loss.path), f"{machine_type}: loss by epoch", picture)


@_training
def test(
    run: Input[Artifact],
    dataset: Input[Dataset],
    machine_type: str,
    model: Input[Model],
    scores: Output[Artifact],
    features: Output[Artifact],
    report: Output[HTML],
):
    """Score the test clips of one machine type: CSVs by id, result.csv, pictures, report."""
    import shutil
    from pathlib import Path

    from apps.pipeline import steps

    folders = steps.Folders(Path(dataset.path), Path(features.path), Path(model.path),
                            Path(scores.path))  # fmt: skip
    steps.told(steps.test, Path(run.path), folders, machine_type)
    scores.metadata["machine_type"] = machine_type
    shutil.copyfile(Path(scores.path, "report.html"), report.path)


@_slim
def metrics(machine_type: str, scores: Input[Artifact], metrics: Output[Metrics]):
    """AUC and pAUC by id, in per cent."""
    from pathlib import Path

    from apps.pipeline import steps

    found = steps.told(steps.metrics, Path(scores.path), machine_type)
    for name, value in found.items():
        metrics.log_metric(name, value)


@_slim
def roc_curve(scores: Input[Artifact], roc: Output[ClassificationMetrics]):
    """The ROC curve of a machine type, all its ids pooled."""
    from pathlib import Path

    from apps.pipeline import steps

    if curve := steps.told(steps.roc_curve, Path(scores.path)):
        roc.log_roc_curve(curve.fpr, curve.tpr, curve.thresholds)


@_slim
def passes(scores: Input[Artifact], gate: float) -> bool:
    """Whether the machine type is found well enough to be converted."""
    from pathlib import Path

    from apps.pipeline import steps

    return steps.told(steps.passes, Path(scores.path), gate)


@_training
def convert(
    run: Input[Artifact],
    dataset: Input[Dataset],
    machine_type: str,
    model: Input[Model],
    features: Input[Artifact],
    converted: Output[Model],
):
    """Make TFLite files and C source of the model, beside a copy of it."""
    import shutil
    from pathlib import Path

    from apps.pipeline import steps

    shutil.copytree(model.path, converted.path)
    folders = steps.Folders(Path(dataset.path), Path(features.path), Path(converted.path),
                            Path(converted.path))  # fmt: skip
    steps.told(steps.convert, Path(run.path), folders, machine_type)
    converted.metadata["machine_type"] = machine_type


@_training
def parity(
    run: Input[Artifact],
    dataset: Input[Dataset],
    machine_type: str,
    converted: Input[Model],
    scores: Input[Artifact],
    features: Input[Artifact],
    checked: Output[Artifact],
    report: Output[HTML],
) -> bool:
    """Whether the int8 model and its C are still the model that was trained."""
    import shutil
    from pathlib import Path

    from apps.pipeline import steps

    shutil.copytree(scores.path, checked.path)
    folders = steps.Folders(Path(dataset.path), Path(features.path), Path(converted.path),
                            Path(checked.path))  # fmt: skip
    kept = steps.told(steps.parity, Path(run.path), folders, machine_type)
    shutil.copyfile(Path(checked.path, "report.html"), report.path)
    return kept


@_slim
def release(
    run: Input[Artifact], machine_type: str, converted: Input[Model], released: Output[Model]
):
    """What a device needs of a machine type that passed: int8 TFLite and C source."""
    from pathlib import Path

    from apps.pipeline import steps

    folders = steps.Folders(*[Path(converted.path)] * 4)
    sha256 = steps.told(steps.release, Path(run.path), folders, Path(released.path))
    released.metadata.update(sha256, machine_type=machine_type)


@_slim
def summarise(scores: Input[list[Artifact]], results: Output[Dataset], report: Output[HTML]):
    """The AUCs of all machine types in one table, results.csv, and on one page."""
    from pathlib import Path

    from apps.pipeline import steps

    folders = [Path(one.path) for one in scores]
    steps.told(steps.summarise, folders, Path(results.path), Path(report.path))


@_training
def run_cell(cell: str, dataset: Input[Dataset], models: Output[Model], results: Output[Artifact]):
    """One cell of a grid, whatever becomes of it; a log and a record say what did."""
    from pathlib import Path

    from apps.pipeline import grid_steps, steps

    places = [Path(one.path) for one in (dataset, models, results)]
    results.metadata["cell"] = steps.told(grid_steps.run_cell, cell, *places)


@_slim
def tabulate(
    cells: list[str],
    results: Input[list[Artifact]],
    table: Output[Dataset],
    shown: Output[Markdown],
):
    """The table of a grid: means and standard deviations over seeds."""
    from pathlib import Path

    from apps.pipeline import grid_steps, steps

    folders = [Path(one.path) for one in results]
    steps.told(grid_steps.tabulate, cells, folders, Path(table.path), Path(shown.path))
