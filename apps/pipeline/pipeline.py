"""The pipeline: which component follows which, on what machine, and what is given away."""

# kfp reads annotations, which therefore are real types here: no postponed ones.

import functools
import inspect
from typing import Any, NamedTuple

import msgspec
from kfp import dsl
from kfp.dsl import Dataset

from apps.pipeline import components
from apps.pipeline.parameters import Parameters

NAME = "anomalous-sound-detection"
PARAMETERS = msgspec.structs.asdict(Parameters())  # by name the defaults


class Limits(NamedTuple):
    """What a component may use, as Kubernetes writes it."""

    cpu: str
    memory: str


# Training holds the windows of a batch and TensorFlow; features of a machine type are on disk.
TRAINS = Limits("4", "8Gi")
SCORES = Limits("2", "4Gi")
READS = Limits("1", "1Gi")
FIRST_PAUSE = "60s"  # before a step is tried again; the pause doubles


class Cluster(NamedTuple):
    """How a pipeline is compiled.

    Attributes
    ----------
    tag : of both images: the commit. Results are kept by the image's name, so a name stands for
        one content.
    registry : before their names, "host/folder/"; "" for images that each machine has
    accelerator : of the training, as Kubernetes names it: nvidia.com/gpu; "": none
    parallel : machine types at once; 0: as many as there are
    retries : of a step whose pod was lost or whose server failed
    """

    tag: str
    registry: str = ""
    accelerator: str = ""
    parallel: int = 0
    retries: int = 3


def task_on(cluster: Cluster, component: Any, limits: Limits, **inputs: Any) -> dsl.PipelineTask:
    """A component with its inputs, its image and what it may use."""
    made = component(**inputs)
    made.set_container_image(f"{cluster.registry}{made.container_spec.image}:{cluster.tag}")
    return made.set_cpu_limit(limits.cpu).set_memory_limit(limits.memory)


def trained(cluster: Cluster, task: dsl.PipelineTask) -> dsl.PipelineTask:
    """A task that trains, with the accelerator if there is one."""
    if cluster.accelerator:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(1)
    return task


def brought(cluster: Cluster, dataset_url: Any) -> dsl.PipelineTask:
    """The download, tried again where a pod fails."""
    return retried(cluster, task_on(cluster, components.download, SCORES, dataset_url=dataset_url))


def retried(cluster: Cluster, task: dsl.PipelineTask) -> dsl.PipelineTask:
    """A task that is tried again where its pod fails."""
    if cluster.retries:
        task.set_retry(cluster.retries, FIRST_PAUSE, backoff_factor=2.0)
    return task


def one_machine(cluster: Cluster, run: Any, dataset: Any, machine_type: Any, gate: Any) -> Any:
    """Train, test, and where it is found well enough, convert, verify, release; the scores."""
    task = functools.partial(task_on, cluster)
    of_type = {"run": run, "dataset": dataset, "machine_type": machine_type}
    train = trained(cluster, task(components.train, TRAINS, **of_type))
    model = train.outputs["model"]
    test = task(components.test, SCORES, **of_type, model=model)
    scores = test.outputs["scores"]
    task(components.metrics, READS, machine_type=machine_type, scores=scores)
    task(components.roc_curve, READS, scores=scores)
    good = task(components.passes, READS, scores=scores, gate=gate)
    with dsl.If(good.output == True, "good-enough"):  # noqa: E712 - kfp's way
        convert = task(components.convert, SCORES, **of_type, model=model,
                       features=train.outputs["features"])  # fmt: skip
        converted = convert.outputs["converted"]
        parity = task(components.parity, SCORES, **of_type, converted=converted,
                      scores=scores, features=test.outputs["features"])  # fmt: skip
        with dsl.If(parity.outputs["Output"] == True, "still-the-same"):  # noqa: E712
            task(components.release, READS, run=run, machine_type=machine_type,
                 converted=converted)  # fmt: skip
    return scores


def build(cluster: Cluster) -> Any:
    """The pipeline, as `kfp.compiler` takes it and as a local run calls it."""
    task = functools.partial(task_on, cluster)

    def pipeline(*channels: Any) -> Any:
        values = dict(zip(PARAMETERS, channels, strict=True))
        configure = task(components.configure, READS, **values)
        run = configure.outputs["run"]
        download = brought(cluster, values["dataset_url"])
        dataset = download.after(configure).outputs["dataset"]  # rather a wrong value first
        types = task(components.machine_types, READS, dataset=dataset)
        with dsl.ParallelFor(types.output, parallelism=cluster.parallel) as machine_type:
            scores = one_machine(cluster, run, dataset, machine_type, values["gate"])
        summary = task(components.summarise, READS, scores=dsl.Collected(scores))
        return summary.outputs["results"]

    # kfp reads names, types and defaults from the signature; they stand in Parameters.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    takes = [
        inspect.Parameter(name, kind, default=value, annotation=type(value))
        for name, value in PARAMETERS.items()
    ]
    signature = inspect.Signature(takes, return_annotation=Dataset)
    pipeline.__signature__ = signature  # type: ignore[attr-defined]
    about = "Recordings of machines in; scores, AUC by id and checked int8 models out."
    return dsl.pipeline(name=NAME, description=about)(pipeline)


def build_grid(cluster: Cluster, cells: list[str]) -> Any:
    """The pipeline of a grid: its cells side by side on one data set, and their table.

    Parameters
    ----------
    cells : see `grid_steps.plain`
    """

    @dsl.pipeline(name=f"{NAME}-grid", description="Recipes, machine types and seeds.")
    def pipeline(dataset_url: str, cells: list[str] = cells) -> Dataset:
        dataset = brought(cluster, dataset_url).outputs["dataset"]
        with dsl.ParallelFor(cells, parallelism=cluster.parallel) as cell:
            done = task_on(cluster, components.run_cell, TRAINS, cell=cell, dataset=dataset)
            retried(cluster, trained(cluster, done))
        table = task_on(cluster, components.tabulate, READS, cells=cells,
                        results=dsl.Collected(done.outputs["results"]))  # fmt: skip
        return table.outputs["table"]

    return pipeline
