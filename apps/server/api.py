"""The answers in OpenAPI's words."""

from __future__ import annotations

from typing import Any

NUMBER, TEXT, FLAG = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
INTEGER = {"type": "integer"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}  # fmt: skip


def _array(items: dict[str, Any], count: int | None = None) -> dict[str, Any]:
    exact = {} if count is None else {"minItems": count, "maxItems": count}
    return {"type": "array", "items": items, **exact}


VERDICT = _object(
    Anomaly=FLAG,
    Details=_object(Message=TEXT, Probabilities=_array(NUMBER), Causes=_array(TEXT)),
    score=NUMBER,
    threshold=NUMBER,
    threshold_how=TEXT,
    false_alarm_rate=_object(nominal=NUMBER, low=NUMBER, high=NUMBER),
    model=_object(machine_type=TEXT, sha256=TEXT),
    worst=_object(band_hz=_array(NUMBER, 2), seconds=_array(NUMBER, 2)),
    seconds=NUMBER,
    rate_hz=INTEGER,
    channels=INTEGER,
    changed=_array(TEXT),
    warnings=_array(TEXT),
)
_STRETCH = {
    "type": "object",
    "properties": {
        "seconds": _object(**{"from": NUMBER, "to": NUMBER}),
        "alarm": FLAG, "verdict": VERDICT, "refused": TEXT,
    },
    "required": ["seconds"],
}  # fmt: skip
STREAMED = _object(
    alarm=FLAG,
    rule=_object(k=INTEGER, n=INTEGER),
    false_alarms_a_day=NUMBER,
    stretch_seconds=NUMBER,
    stretches=_array(_STRETCH),
)
MODELS = _array(
    _object(machine_type=TEXT, sha256=TEXT, threshold=NUMBER, feature={"type": "object"})
)  # fmt: skip
FORM = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "wav, flac or ogg"},
        "machine_type": {"type": "string", "description": "which model, where there are several"},
        "machine_id": {"type": "string", "description": "whose threshold; of all without it"},
    },
    "required": ["file"],
}
REASONS = {
    400: "malformed, or a name that is not known",
    401: "no or another token",
    408: "the body took too long to arrive",
    413: "the body or the sound is too long",
    415: "of another type",
    422: "sound that cannot be judged: too short, silent, not finite",
    429: "the client sends too many requests",
    500: "a fault of the service",
    503: "too many requests at once",
}
ERROR = _object(detail=TEXT)
STATUS, VERSION = _object(status=TEXT), _object(version=TEXT)


def answers(schema: dict[str, Any] | None, *statuses: int, kind: str = "application/json") -> Any:
    """What a route answers: 200 by a schema, and refusals."""
    content = {kind: {"schema": schema or TEXT}}
    found: dict[int, Any] = {200: {"description": "done", "content": content}}
    for status in (*statuses, 400, 401, 429, 500):
        error = {"application/json": {"schema": ERROR}}
        found[status] = {"description": REASONS[status], "content": error}
    return found


def body(kind: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body that a route takes."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}, **more}
