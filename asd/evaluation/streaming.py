"""What a stream of samples is judged by: 02_convert.py writes it into an int8 file's record.

The stream itself is asd.monitor in Python and what asd.embedded.stream generates in C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from asd import files, paths
from common import Feature, Positive, UserError

KEY = "stream"  # of the record


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Features, the rule and the thresholds of a stream."""

    feature: Feature
    windows: Positive  # a score is the mean over the last so many
    step: Positive  # hops between decisions
    k: Positive  # an alarm: at least k of the last n decisions are above the threshold
    n: Annotated[int, msgspec.Meta(ge=1, le=32)]
    threshold: float  # dB^2, of scores of the int8 file
    release: float  # dB^2, instead of the threshold while there is an alarm
    level_db: tuple[float, float]  # least and largest level of the training clips
    band_errors: tuple[float, ...]  # (n_mels,) dB^2, above 0: of each band on the training clips
    share: float  # of the decisions on the training clips, below the threshold
    false_alarms: dict[str, float]  # of decisions on held-out clips above it: nominal, low, high


def read(path: Path) -> Stream:
    """What the record of an int8 TFLite file says of a stream.

    Raises
    ------
    UserError : there is no record, it says nothing of a stream, or it is damaged.
    """
    record = paths.record_of(path)
    if not record.is_file():
        raise UserError(f"{record}: no such file; run 02_convert.py")
    told = files.read_mapping(record).get(KEY)
    if told is None:
        raise UserError(f"{record}: says nothing of a stream; run 02_convert.py, with training "
                        "clips and a reconstruction error as score")  # fmt: skip
    try:
        return msgspec.convert(told, Stream)
    except msgspec.ValidationError as error:
        raise UserError(f"{record}: damaged ({error}); run 02_convert.py again") from error
