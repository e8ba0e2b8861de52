"""Describe the API in OpenAPI 3.1, with the classes and limits of the model that is served."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ser.server.answers import ServedModel
from ser.server.limits import IDLE_S, MESSAGE_BYTES, Limits

_NUMBER = {"type": ["number", "null"]}
_ERRORS = {
    "400": "No file, several files, or a form that cannot be read.",
    "403": "The request comes from a page of another site, or by an unknown host name.",
    "408": "The body came too slowly.",
    "413": "The body is too large, or the recording too long.",
    "415": "The file is not audio that can be read.",
    "422": "The recording cannot be predicted.",
    "429": "Too many recordings wait. Send it again after the seconds in Retry-After.",
    "503": "The answer takes too long.",
}


def describe_api(model: ServedModel, limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI document."""
    kinds = {
        "frames": "a decision for each frame",
        "windows": f"an answer to each window of {model.window_s:g} s, every {model.hop_s:g} s",
        "curves": "values at each step of a recording",
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"ser: {model.describe()['model']}",
            "version": _version(),
            "description": f"Predicts {', '.join(model.names)}; over time: {kinds[model.mode]}. A recording may have "
            f"{limits.max_mb:g} MB and {limits.max_duration_s:g} s. Nothing is kept.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/model": {"get": _get("Describe the model", {"type": "object"})},
            "/health": {
                "get": _get(
                    "Say that the server runs, and what it is doing",
                    _object(
                        status={"const": "ok"}, requests={"type": "integer"}, streams={"type": "integer"}
                    ),
                )
            },
            "/stream": {"get": _stream(model, limits)},
        },
        "components": {
            "schemas": {
                "Prediction": _prediction(model),
                "Error": _object(error={"type": "string", "description": "What is wrong, and what to do."}),
            }
        },
    }


def _predict() -> dict[str, Any]:
    file = {
        "type": "string",
        "format": "binary",
        "description": "Audio of any format of libsndfile, any rate.",
    }
    errors = {
        status: {"description": text, "content": {"application/json": {"schema": _reference("Error")}}}
        for status, text in _ERRORS.items()
    }
    return {
        "summary": "Predict a recording",
        "description": "The numbers are those of `ser predict`. The body is the file itself, or a form with one file.",
        "parameters": [
            {
                "name": "detail",
                "in": "query",
                "schema": {"type": "boolean", "default": False},
                "description": "true adds the answers over time, and a spectrogram in decibels (int8, base64).",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _object(file=file)},
                "application/octet-stream": {"schema": file},
            },
        },
        "responses": {
            "200": {
                "description": "The prediction.",
                "content": {"application/json": {"schema": _reference("Prediction")}},
            },
            **errors,
        },
    }


def _prediction(model: ServedModel) -> dict[str, Any]:
    source = "not of this model" if model.plane is None else model.plane.source
    probabilities = dict.fromkeys(model.names[: model.num_probabilities], _NUMBER)
    schema = _object(
        label={"type": ["string", "null"], "description": "The most likely class, if classes are predicted."},
        probabilities={"type": "object", "properties": probabilities},
        values={"type": "object", "description": "Other answers: numbers, bits, or lists over time."},
        duration_s={"type": "number"},
    )
    schema["properties"] |= {
        "position": {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "description": f"Valence and activation, -1..1: {source}.",
        },
        "times_s": {"type": "array", "items": _NUMBER},
        "over_time": {"type": "object"},
        "spectrogram": {"type": "object"},
    }
    return schema


def _stream(model: ServedModel, limits: Limits) -> dict[str, Any]:
    if model.mode == "curves":
        text = "This model cannot stream."
    else:
        text = (
            'Send `{"sample_rate": 16000, "format": "int16"}` (or float32), then the samples of one channel '
            f'as binary messages of at most {MESSAGE_BYTES} bytes, then `{{"end": true}}`. Each answer has `samples` '
            "(received so far), `times_s`, `values` (rows in the order of `names`), `label` and `so_far` of everything "
            f"so far. A stream may last {limits.max_stream_s:g} s, and pause for {IDLE_S:g} s; {limits.max_streams} "
            "may be open at once."
        )
    return {
        "summary": "Predict a stream",
        "description": text,
        "responses": {"101": {"description": "Switching protocols."}},
    }


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"summary": summary, "responses": {"200": {"description": "The answer.", "content": content}}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _version() -> str:
    try:
        return version("ser-lightning")
    except PackageNotFoundError:
        return "0"
