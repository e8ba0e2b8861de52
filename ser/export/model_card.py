"""Write README.md of a bundle: a model card, with the block of metadata that the Hugging Face hub reads."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from ser.export.run_facts import RunFacts
from ser.report.score_table import METRICS, NUMBERS
from ser.runs.tables import format_markdown

_UNKNOWN = "The checkpoint is not in the folder of its run, so that this is not known."
_NOT_SCORED = "The run was not scored: its folder holds no scores of a test or validation split."
_FLOORS = {"accuracy": "majority_floor", "mse": "mse_floor", "mae": "mae_floor"}
_SHARES = {*METRICS} - {*NUMBERS}
_NO_SPLITS = "The folder of the run does not say what its splits hold."


def model_card(config: Mapping[str, Any], facts: RunFacts, sizes: Mapping[str, int]) -> str:
    """Return the text of the card.

    Args:
        config: Content of config.json.
        facts: What the run tells.
        sizes: Size of each file in bytes.
    """
    parts = [
        f"# {config['name']}",
        f"A model of speech that answers {_answers(config)}. It takes {config['onnx']['takes']}. Trained with "
        "ser, exported as ONNX.",
        _use(config),
        *_data(facts),
        *_scores(facts),
        "## Intended use",
        "Research on emotion and other properties of speech, on recordings like those of the training data. It is not "
        "made for decisions about people, such as on employment, education, credit, health or law enforcement; in the "
        "European Union, emotion recognition at work and in education is prohibited.",
        *_limits(config, facts),
        *_files(config, facts, sizes),
    ]
    return f"---\n{_metadata(config, facts)}---\n\n" + "\n\n".join(parts) + "\n"


def _answers(config: Mapping[str, Any]) -> str:
    """Return what is answered: probabilities of classes, of several tasks by their names, and values."""
    parts = []
    rest = [*config["answers"]]
    for label, classes in config["labels"].items():
        of_task = "" if label == "label" else f"`{label}`: "
        parts.append(f"the probabilities of {of_task}{_list(classes.values())}")
        rest = [name for name in rest if name not in classes]
    if rest:
        parts.append(f"the values {_list(rest)}")
    return "with " + "; ".join(parts)


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _metadata(config: Mapping[str, Any], facts: RunFacts) -> str:
    """Return the block of YAML that the hub reads."""
    results = [
        {"type": name, "value": round(value, 4), "name": name} for name, value in _headline(facts).items()
    ]
    content: dict[str, Any] = {
        "license": "other",
        "license_name": "see-the-data",
        "library_name": "onnx",
        "pipeline_tag": "audio-classification",
        "tags": ["speech-emotion-recognition", "speech", "onnx", "ser-lightning"],
    }
    if languages := sorted({corpus.language for corpus in facts.corpora}):
        content["language"] = languages
    if results:
        dataset = {"name": _name_of_data(facts), "type": _name_of_data(facts), "split": facts.split}
        task = {"type": "audio-classification", "name": "Speech emotion recognition"}
        entry = {"task": task, "dataset": dataset, "metrics": results}
        content["model-index"] = [{"name": str(config["name"]), "results": [entry]}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _name_of_data(facts: RunFacts) -> str:
    return ", ".join(corpus.title for corpus in facts.corpora) or str(
        facts.config.get("experiment_name") or "own data"
    )


def _headline(facts: RunFacts) -> dict[str, float]:
    """Return the finite metrics of the scored split, without those of each class and without floors.

    Those of a run of several tasks have the name of the task before them, as in `emotion/uar`.
    """
    prefix = f"{facts.split}/"
    own = {
        name.removeprefix(prefix): value for name, value in facts.metrics.items() if name.startswith(prefix)
    }
    return {
        name: value
        for name, value in own.items()
        if not re.search(rf"(^|/)(recall_|({'|'.join(_FLOORS.values())})(_|$))", name)
        and math.isfinite(value)
    }


def _use(config: Mapping[str, Any]) -> str:
    files = "speech.wav" if config["sample_rate"] and config["onnx"]["reads_recordings"] else "frames.json"
    lines = [
        "## Use",
        "```sh",
        "pip install onnxruntime numpy soundfile",
        f"python predict.py {files}",
        "```",
        "",
        "or, with ser installed, in Python:",
        "",
        "```python",
        "import ser",
        "",
        'model = ser.load("FOLDER")',
        "```",
    ]
    return "\n".join(lines)


def _data(facts: RunFacts) -> Iterator[str]:
    yield "## Data"
    if not facts.splits:
        yield _NO_SPLITS if facts.config else _UNKNOWN
        return
    head = ["split", "utterances", "speakers", "minutes", "majority", "SHA-256"]
    rows = [
        [
            split.get("name"),
            split.get("utterances"),
            _or_unknown(split.get("speakers")),
            _or_unknown(split.get("minutes")),
            _share(split.get("majority_floor")),
            f"`{str(facts.fingerprints.get(str(split.get('name')), 'unknown'))[:16]}`",
        ]
        for split in facts.splits
    ]
    yield format_markdown(head, [[str(cell) for cell in row] for row in rows])
    for corpus in facts.corpora:
        yield (
            f"[{corpus.title}]({corpus.url}), {corpus.speakers} speakers; its licence: {corpus.licence}. The licence "
            "of a corpus may restrict what models of it may be used for."
        )
    if not facts.corpora:
        yield "The catalogue of ser does not know these data, so that their licence is not known here."


def _scores(facts: RunFacts) -> Iterator[str]:
    yield "## Scores"
    if facts.unscored:
        yield (
            f"This model is {facts.unscored}, which the run did not score: the scores of the run are those of "
            "best.ckpt, another state of the training."
        )
        return
    headline = _headline(facts)
    if not headline:
        yield _NOT_SCORED if facts.config else _UNKNOWN
        return
    rows = []
    for name, value in headline.items():
        interval, floor = facts.interval(name), _floor(name, facts)
        is_known = interval is not None and not math.isnan(interval.low)
        ends = [_show(end, name) for end in interval or () if is_known]
        rows.append(
            [name, _show(value, name), " to ".join(ends), "" if floor is None else _show(floor, name)]
        )
    yield format_markdown([facts.split, "score", "95% interval", "floor"], rows)
    if facts.scores_frames:
        of_files = "; file_accuracy and file_uar are those of whole utterances" * (
            "file_accuracy" in headline
        )
        yield f"Scores are those of frames{of_files}."
    if any(row[-1] for row in rows):
        yield "A floor is the score of always answering the most frequent class, or the mean of the training data."
    if any(row[2] for row in rows):
        yield "Intervals are about new speakers, or about new utterances where speakers are unknown."


def _floor(name: str, facts: RunFacts) -> float | None:
    """Return the floor of a metric, such as `test/vad/mse_floor_valence` of `vad/mse_valence`; None if it has none."""
    task, slash, metric = name.rpartition("/")
    measure, line, field = metric.partition("_")
    floor = f"{_FLOORS.get(measure)}{line}{field}"
    return facts.metrics.get(f"{facts.split}/{task}{slash}{floor}")


def _show(value: float, name: str) -> str:
    return _share(value) if name.rpartition("/")[2] in _SHARES else f"{value:.3f}"


def _limits(config: Mapping[str, Any], facts: RunFacts) -> Iterator[str]:
    yield "## Limits"
    if facts.caveats:
        yield facts.caveats
    yield (
        "Labels are those of actors or raters, not what somebody felt. Other languages, accents, ages, rooms, "
        "microphones and codecs than those of the data were not tried."
    )
    yield from config["remarks"]


def _files(config: Mapping[str, Any], facts: RunFacts, sizes: Mapping[str, int]) -> Iterator[str]:
    yield "## Files"
    yield format_markdown(["file", "bytes"], [[f"`{name}`", f"{size:,}"] for name, size in sizes.items()])
    yield (
        f"onnxruntime differs from torch by {config['onnx']['largest_difference']:.1e} at most, at four lengths, alone "
        "and in a padded batch."
    )
    if "int8_difference" in config["onnx"]:
        yield f"With weights of 8 bits, answers differ by up to {config['onnx']['int8_difference']:.3f}."
    if facts.command:
        yield f"Trained by `{facts.command}`, commit {facts.commit or 'unknown'}."


def _or_unknown(value: object) -> object:
    return "unknown" if value is None else value


def _share(value: Any) -> str:
    return "" if value is None else f"{value:.1%}"
