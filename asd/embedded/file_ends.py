"""What generated C says and does of a TFLite file's ends, which are not in it.

The C takes and gives int8 whatever the file's types are: a byte of uint8 is 128 more, which costs
nothing on the way to a table or a float, and the kernels multiply int8 alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asd.tflite.ends import End
from asd.tflite.reader import Network

UINT8 = {
    "input": "#define {name}_INPUT_FROM_UINT8(byte) ((int8_t)((int)(byte) - 128))\n",
    "output": "#define {name}_OUTPUT_TO_UINT8(q) ((uint8_t)((q) + 128))\n",
}
SOFTMAX = """
 * The file ends in SOFTMAX, which is not in here: the output is what goes into it. The largest
 * output is the most probable; with d_i = output_i - the largest output, the probabilities are
 * exp({name}_SOFTMAX_SCALE * d_i) / their sum over i."""


def values(network: Network, rounding: str, upper: str) -> dict[str, Any]:
    """What the templates of the model's files have to know of the ends.

    Parameters
    ----------
    upper : prefix of macros
    """
    from_floats = network.source.type == "float32"
    how = f"value / {upper}_INPUT_SCALE"
    quotient = f"values[i], {upper}_INPUT_SCALE"
    if from_floats and rounding == "single":
        # As XNNPACK's QUANTIZE.
        inverse = f"{np.float32(1) / np.float32(network.source.scale.scale):.9e}F"
        how, quotient = f"value * {inverse}", f"values[i] * {inverse}, 1.0F"
    elif from_floats:
        quotient = f"asd_away(values[i] / {upper}_INPUT_SCALE), 1.0F"
    return {
        "ends": "".join(f" *{line}\n" for line in _lines(network, upper)),
        "file_ends": _macros(network, upper),
        "quantised": how,
        "ties": "away from zero" if from_floats and rounding == "double" else "to even",
        "quotient": quotient,
        "scored": f"{upper}_INPUTS == {upper}_OUTPUTS"
        if network.softmax is None
        else "0 /* a classifier reconstructs nothing */",
    }


def _lines(network: Network, upper: str) -> list[str]:
    ends: dict[str, End] = {"start": network.source, "end": network.target}
    if not any(one.taken_off or one.type != "int8" for one in ends.values()):
        return []
    lines = [""]
    for name, one in ends.items():
        if one.taken_off:
            lines.append(f" Taken off the file's {name}, in its order:")
            lines += [f"   {what}" for what in one.taken_off]
    if network.source.type == "float32":
        lines.append(f" {upper.lower()}_quantise gives the bytes of the file's QUANTIZE.")
    for name, one in (("input", network.source), ("output", network.target)):
        if one.type == "uint8" and (name == "input" or network.softmax is None):
            lines.append(f" The file's {name} is uint8: its bytes are 128 more than these.")
    if network.target.type == "float32" and network.softmax is None:
        lines.append(f" The file's output is {upper}_OUTPUT_SCALE * (q - "
                     f"{upper}_OUTPUT_ZERO_POINT).")  # fmt: skip
    if network.softmax is not None:
        lines += [line.removeprefix(" *") for line in SOFTMAX.format(name=upper).splitlines()[1:]]
    return lines


def _macros(network: Network, upper: str) -> str:
    text = ""
    if network.source.type == "uint8":
        text += UINT8["input"].format(name=upper)
    if network.softmax is not None:
        factor = np.float32(network.softmax) * np.float32(network.target.scale.scale)
        text += f"#define {upper}_SOFTMAX_SCALE {factor:.9e}F\n"
    elif network.target.type == "uint8":
        text += UINT8["output"].format(name=upper)
    return text
