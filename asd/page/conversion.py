"""What became of the model: the parity ladder of TFLite files, and C code on boards."""

from __future__ import annotations

from collections import Counter

from asd.embedded.costs import PUBLISHED, borrowed_in_words, cycles_in_words
from asd.evaluation.parity import CHANCE, FAIL
from asd.page import html
from asd.page.detection import MOST_ROWS, digits
from asd.page.html import Html, Section
from asd.page.run import Row, Run
from asd.tflite.convert import VARIANTS

TITLES = {variant.suffix: variant.title for variant in VARIANTS}


def sections(run: Run) -> list[Section]:
    """Both, or how to come by them."""
    if not run.parity:
        return [Section("On the way to the microcontroller", [html.paragraph(
            "Nothing is told here yet of this model converted to TFLite files and C. "
            "./convert_to_tflite.sh with the same options converts it, compares every file with "
            "the model that was trained, and makes this page again. Not every detector can be "
            "converted.")])]  # fmt: skip
    found = [Section("The parity ladder: is a converted model still the model?", _parity(run))]
    return [*found, Section("On boards", _boards(run))] if run.boards else found


def _verdict(text: str) -> Html:
    return html.tag("span", text, class_={"pass": "good", FAIL: "bad", "FAIL": "bad"}.get(text))


def _parity(run: Run) -> list[Html]:
    header = ("model file", "machine type", "id", "median score error", "largest score error",
              "AUC, trained", "AUC, file", "p", "verdict")  # fmt: skip
    rows = [(TITLES.get(row["variant"], row["variant"]), html.name(row["machine_type"]),
             html.name(row["id"]), _percent(row["score_median"]), _percent(row["score_max"]),
             digits(row["auc_keras"]), digits(row["auc"]), digits(row["p_value"], 2),
             _verdict(row["verdict"]))
            for row in run.parity]  # fmt: skip
    counts = Counter(row["verdict"] for row in run.parity)
    kept = html.paragraph(f"Parity kept in all {len(rows)} comparisons.", class_="good")
    if counts[FAIL]:
        kept = html.paragraph(f"Parity lost in {counts[FAIL]} of {len(rows)} comparisons: do not "
                              "use these files.", class_="bad")  # fmt: skip
    body = [html.paragraph(
        "For a microcontroller the model is converted step by step: floating-point TFLite, 8-bit "
        "numbers inside (int8), 8-bit numbers at its input and output, too. Each step rounds a "
        "little. So each file scores the same clips again, and its scores are compared with those "
        "of the model that was trained. Score error is the difference as a share of the score; p "
        "is the chance that luck alone makes the AUCs of equally good files so different."),
        kept]  # fmt: skip
    if counts[CHANCE]:
        body.append(html.paragraph(
            f"'{CHANCE}': the AUC is lower, but so few clips cannot tell that from luck.",
            class_="note"))  # fmt: skip
    table = html.table(header, rows, "Comparisons (parity.csv)")
    if len(rows) > MOST_ROWS:
        table = html.joined([html.table(("model file", "comparisons", "worst median score error",
                                         "passed"), _by_file(run.parity), "By model file"),
                             html.folded(f"All {len(rows)} comparisons", table)])  # fmt: skip
    return [*body, table]


def _by_file(rows: list[Row]) -> list[tuple[str, ...]]:
    found = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        worst = max(float(row["score_median"]) for row in own)
        passed = sum(row["verdict"] != FAIL for row in own)
        found.append((TITLES.get(variant, variant), str(len(own)), html.percent(worst, 3),
                      f"{passed} of {len(own)}"))  # fmt: skip
    return found


def _percent(cell: str) -> str:
    return html.percent(float(cell), 3) if cell else "–"


def _boards(run: Run) -> list[Html]:
    header = ("processor", "machine type", "kernel", "instructions an inference", "flash, bytes",
              "RAM, bytes", "differing bytes", "median score error", "verdict")  # fmt: skip
    rows = [(row["core"], html.name(row["machine_type"]), row["kernel"],
             _thousands(row["instructions"]),
             _thousands(row["code_bytes"], row["constant_bytes"]),
             _thousands(row["scratch_bytes"], row["stack_bytes"]), row["differing_bytes"],
             _percent(row["score_median"]), _verdict(row["verdict"]))
            for row in run.boards]  # fmt: skip
    peers = ", ".join(f"{count:,} on {core}" for core, count in PUBLISHED.items()
                      if any(row["core"] == core for row in run.boards))  # fmt: skip
    body = [html.paragraph(
        "The C code of the model, compiled and run for these processors; boards are emulated. "
        "Every byte that it gives is compared with the TFLite file's: 0 differing bytes is the "
        "same. Instructions are counted in emulation; they are not cycles on a board. Flash is the "
        "room for code and numbers, RAM what it needs while it runs; both are of the model alone."),
        html.table(header, rows, "C code (mcu.csv)")]  # fmt: skip
    if peers:
        body.append(html.paragraph(
            "For comparison, TFLite Micro with CMSIS-NN takes for one inference of MLPerf Tiny's "
            f"ad01 model (264,192 multiplications): {peers}.", class_="note"))  # fmt: skip
    if borrowed := borrowed_in_words(row["core"] for row in run.boards):
        body.append(html.paragraph(f"{borrowed}.", class_="note"))
    return [*body, *_cycles(run), *_streams(run)]


def _streams(run: Run) -> list[Html]:
    """What the way from samples to alarms costs, where there is one."""
    rows = [(row["core"], html.name(row["machine_type"]), _thousands(row["stream_instructions"]),
             _thousands(row["stream_ram"]), _percent(row["stream_error"]),
             row["stream_differs"] or "–")
            for row in run.boards if row.get("stream_error")]  # fmt: skip
    if not rows:
        return []
    header = ("processor", "machine type", "instructions a hop", "RAM, bytes",
              "score error", "differing hops")  # fmt: skip
    return [html.paragraph(
        "From a microphone's samples to an alarm: the start of the first clip, sample by sample. A "
        "hop is the time from one frame to the next; RAM is all that it takes. Its score is "
        "compared with Python's, and every hop with what this machine gives."),
        html.table(header, rows, "Stream (mcu.csv)")]  # fmt: skip


def _cycles(run: Run) -> list[Html]:
    """What cycles to expect on the cores of which that is known."""
    most: dict[str, int] = {}
    for row in run.boards:
        if row["instructions"]:
            most[row["core"]] = max(most.get(row["core"], 0), int(row["instructions"]))
    words = [f"{found} on {core}" for core, count in most.items()
             if (found := cycles_in_words(core, count))]  # fmt: skip
    return [html.paragraph(
        f"A board needs more cycles than instructions: expect {', '.join(words)}, flash waits "
        "included, by what two public entries with CMSIS-NN need on one board. None was measured "
        "here.", class_="note")] if words else []  # fmt: skip


def _thousands(*cells: str) -> str:
    return f"{sum(int(cell) for cell in cells):,}" if all(cells) else "–"
