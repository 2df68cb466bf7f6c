"""The parameters of a run: fourteen with the names of the published pipeline, and three of ours.

The fourteen are those of the SAME project's `example-kubeflow-dcase`, whose pump run has the
defaults: whole clips, the dense auto-encoder of DCASE 2020 Task 2.

    python -m apps.pipeline.parameters RUN.yaml     are the names there known to Keras?
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from asd import cli, config, files
from asd.config import Seed
from asd.messages import shown
from asd.paths import Paths
from asd.sections import Name, Section, Share, as_section, merge
from common import HERE, Positive, UserError

SOURCE = Path("parameters")  # where the values come from, in messages
# Feature and fit values go to these keys of the YAML; the others have places of their own.
SECTIONS = {"fit_compile_": ("fit", "compile"), "fit_": ("fit",), "feature_": ("feature",)}


class Parameters(Section):
    """What a run is asked for; a wrong value is named by its key, before anything is done.

    Attributes
    ----------
    dataset_url : of a zip of <machine>/{train,test}/*.wav, with names of DCASE 2020; also a file.
        `#md5=` and 32 hex digits behind it are checked. "": demo sound is made.
    max_fpr : pAUC is the area up to this false positive rate
    feature_n_mels, feature_frames, feature_n_fft, feature_hop_length, feature_power : of the
        log-mel windows; n_fft and hop_length in samples
    fit_* : of the training
    detector : a recipe's name, "dcase2020" for recipes/dcase2020.yaml; "baseline": baseline.yaml
    seed : of weights, order and samples
    gate : the mean AUC over its ids that a machine type needs to be converted, 0 to 1
    """

    dataset_url: str = ""
    max_fpr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    feature_n_mels: Positive = 128
    feature_frames: Positive = 5
    feature_n_fft: Positive = 1024
    feature_hop_length: Positive = 512
    feature_power: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    fit_compile_optimizer: Name = "adam"
    fit_compile_loss: Name = "mean_squared_error"
    fit_epochs: Positive = 100
    fit_batch_size: Positive = 512
    fit_shuffle: bool = True
    fit_validation_split: Share = 0.1
    fit_verbose: Literal[0, 1, 2] = 1
    detector: Name = "dcase2020"
    seed: Seed = 0
    gate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


def checked(values: Mapping[str, Any]) -> Parameters:
    """Parameters from values by name; those that are not there have their defaults.

    Raises
    ------
    UserError : a name or a value is wrong, on its own or beside others; the key is named.
    """
    parameters = as_section(Parameters, SOURCE, dict(values))
    configuration(parameters)
    return parameters


def configuration(parameters: Parameters) -> dict[str, Any]:
    """The recipe with the parameters over it: every key of a YAML file of the scripts.

    Raises
    ------
    UserError : there is no such recipe, or its detector has no model of its own for each machine
        type; or values do not go together.
    """
    values = msgspec.structs.asdict(parameters)
    over: dict[str, Any] = {"experiment": "", "seed": values["seed"], "max_fpr": values["max_fpr"]}
    for name, value in values.items():
        prefix = next((prefix for prefix in SECTIONS if name.startswith(prefix)), None)
        if prefix:
            for key in (name.removeprefix(prefix), *reversed(SECTIONS[prefix])):
                value = {key: value}
            over = merge(over, value)
    merged = merge(config.load_values(_recipe(parameters.detector)), over)
    _check(merged, parameters.detector)
    return merged


def _recipe(name: str) -> Path:
    """The YAML file of a recipe."""
    known = {path.stem: path for path in sorted((HERE / "recipes").glob("*.yaml"))}
    known["baseline"] = config.BASELINE
    if name not in known:
        raise UserError(f"{SOURCE}: key detector: no recipe {shown(name)}; "
                        f"known: {', '.join(sorted(known))}")  # fmt: skip
    return known[name]


def _check(values: dict[str, Any], recipe: str) -> None:
    """See that values go together, and that there is a model for each machine type."""
    from asd.detectors import kinds

    with _own_keys():
        cfg = config.of_values(SOURCE, values)
        detector = kinds.of(cfg, Paths(cfg, "dev"))
    if detector.scope != "machine":
        raise UserError(
            f"{SOURCE}: key detector: {recipe} trains on several machine types at once, and here "
            "each has a run of its own; take another recipe, or ./train.sh or the grid"
        )


def check_names(run: Path) -> None:
    """See that Keras knows the optimiser and the loss of a run's YAML file; needs TensorFlow.

    Raises
    ------
    UserError : it does not; the key is named.
    """
    from asd import training

    with _own_keys():
        training.named(config.load_config(run).fit.compile)


@contextlib.contextmanager
def _own_keys() -> Iterator[None]:
    """Call keys of the YAML by the names of the parameters: fit.epochs is fit_epochs."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for prefix, keys in SECTIONS.items():
            message = message.replace(f"key {'.'.join(keys)}.", f"key {prefix}")
        raise UserError(message) from error


def write(parameters: Parameters, path: Path) -> None:
    """Write the YAML file of a run, every key of it; folders are the steps' to say."""
    import yaml

    with files.whole_file(path) as temporary:
        text = yaml.safe_dump(configuration(parameters), sort_keys=False)
        temporary.write_text(text, encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An option for each parameter, by its own name."""
    defaults = msgspec.structs.asdict(Parameters())
    for name, value in defaults.items():
        shown_value = value if value != "" else "demo sound"
        parser.add_argument(f"--{name}", metavar="VALUE", help=f"default: {shown_value}")


def from_arguments(args: argparse.Namespace) -> Parameters:
    """The parameters of a command line.

    Raises
    ------
    UserError : see `checked`.
    """
    return checked({
        name: _value(name, text)
        for name, text in vars(args).items()
        if name in Parameters.__struct_fields__ and text is not None
    })  # fmt: skip


def _value(name: str, text: str) -> Any:
    """What stands for a value on a command line: text where text is wanted, else as in YAML."""
    import yaml

    wanted = get_type_hints(Parameters)[name]
    if str in (wanted, *get_args(wanted)):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if wanted is not bool and isinstance(value, str):
        try:
            return float(text)  # YAML takes 1e-3 for text
        except ValueError:
            return text
    return value


if __name__ == "__main__":
    sys.exit(cli.run(lambda: check_names(Path(sys.argv[1]))))
