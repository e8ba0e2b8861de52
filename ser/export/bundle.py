"""Write a whole model as a folder that needs neither this project nor torch."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from ser.calibration.run import FILE as TEMPERATURE
from ser.checkpoints import checkpoint
from ser.checkpoints.bundle import CONFIG, FORMAT, SUMS, WEIGHTS, is_bundle, without_tensors, write_sums
from ser.checkpoints.checkpoint import Trained
from ser.config.instantiate import build
from ser.errors import ConfigError, SerError, first_line, setting
from ser.export.compare import (
    answers_in_onnx,
    example_recordings,
    features_difference,
    padded_batch,
    rounding_difference,
    whole_difference,
)
from ser.export.model_card import model_card
from ser.export.onnx_export import save_int8, save_whole
from ser.export.run_facts import RunFacts, is_best, read_facts, run_of
from ser.export.step import Step
from ser.export.whole import SEES_ONE, Features, Input, Whole, answer_names, class_answers
from ser.export.write import (
    MARKS,
    META,
    STEP,
    TOLERANCE,
    check_folder,
    check_packages,
    write_step,
    written_whole,
)
from ser.features.steps import StepExtractor
from ser.files import write_atomic
from ser.inference.head_statistics import refuse_groups
from ser.runs.environment import version
from ser.splits.utterances_file import FILE as UTTERANCES

MODEL, INT8, FEATURES, PREDICT, CARD = (
    *("model.onnx", "model_int8.onnx", "features.onnx"),
    *("predict.py", "README.md"),
)
FILES = (CONFIG, WEIGHTS, MODEL, INT8, FEATURES, STEP, META, PREDICT, CARD, UTTERANCES, TEMPERATURE, SUMS)


@dataclass(frozen=True)
class Bundle:
    """What was written.

    Args:
        sizes: Size of each file in bytes.
        onnx: Facts about the graphs, as in config.json.
        remarks: Sentences about what is not in the folder.
    """

    sizes: Mapping[str, int]
    onnx: Mapping[str, Any]
    remarks: Sequence[str]


def write_bundle(
    source: Path,
    output: Path,
    *,
    takes: Literal["auto", "waveform", "frames"] = "auto",
    quantize: Literal["none", "int8"] = "none",
    overwrite: bool = False,
) -> Bundle:
    """Write a model as model.onnx and model.safetensors, with what describes them, completely or not at all.

    Args:
        source: Checkpoint, in the folder of its run, which the model card describes.
        output: The folder.
        takes: What model.onnx takes: waveforms, or frames of features; auto = waveforms where the model was trained on
            recordings and ONNX can hold its features.
        quantize: `int8` also writes model_int8.onnx, with weights of 8 bits, which predict.py then uses.
        overwrite: Whether an existing bundle may be replaced.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ConfigError: The model cannot be exported, or its answers differ from those of torch.
        DataError: The folder exists, or cannot be written.
    """
    if is_bundle(source):
        raise ConfigError(
            f"{setting('ckpt', source)}: is an exported model already. Give the folder of its run."
        )
    check_packages()
    check_folder(output, overwrite=overwrite, files=FILES, marks={CONFIG: "ser_bundle", **MARKS})
    content = checkpoint.read(source)
    trained = checkpoint.rebuild(content, source)
    refuse_groups(trained, SEES_ONE)
    facts = read_facts(source)
    chosen = choose_input(trained, facts) if takes == "auto" else takes
    _check_input(trained, chosen)
    with written_whole(output) as folder:
        onnx, remarks = _write_graphs(folder, trained, chosen, with_int8=quantize == "int8")
        remarks += _write_step(folder, trained)
        config = _describe(content, trained, facts, onnx, remarks)
        _write_weights(folder, content, config)
        for name in (UTTERANCES, *[TEMPERATURE] * is_best(source)):
            if (path := run_of(source).path / name).is_file():
                shutil.copy(path, folder / name)
        shutil.copy(Path(__file__).with_name("standalone.py"), folder / PREDICT)
        write_atomic(folder / CONFIG, json.dumps(config, indent=1, allow_nan=False) + "\n")
        write_sums(folder)  # before the card, which may be edited
        write_atomic(folder / CARD, model_card(config, facts, _sizes(folder)))
        return Bundle(_sizes(folder), onnx, remarks)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def choose_input(trained: Trained, facts: RunFacts) -> Input:
    """Return what a graph of the model takes."""
    extractor = build(trained.features, slot="features")
    is_other = trained.words is not None or extractor.feature_dim != trained.feature_dim
    return "frames" if is_other or facts.holds_frames or isinstance(extractor, StepExtractor) else "waveform"


def _check_input(trained: Trained, takes: Input) -> None:
    """Refuse waveforms for a model whose frames cannot be computed from them alone.

    Raises:
        ConfigError: It reads words, or was trained on frames of another width than its features have.
    """
    if takes == "waveform" and not _reads_recordings(trained):
        reason = (
            "reads words beside the audio" if trained.words else "was trained on frames that were given to it"
        )
        raise ConfigError(f"takes=waveform: {trained.path} {reason}. Set takes=frames.")


def _reads_recordings(trained: Trained) -> bool:
    extractor = build(trained.features, slot="features")
    return trained.words is None and bool(extractor.feature_dim == trained.feature_dim)


def _write_graphs(
    folder: Path, trained: Trained, takes: Input, *, with_int8: bool
) -> tuple[dict[str, Any], list[str]]:
    """Write model.onnx, features.onnx for a model of frames, model_int8.onnx; return facts, and remarks on what lacks.

    Raises:
        ConfigError: An operation cannot be exported, or answers differ from torch.
    """
    recordings = example_recordings(trained, takes)
    batch = padded_batch([each.repeat(3, *[1] * (each.ndim - 1)) for each in recordings[1:]])
    save_whole(Whole(trained, takes), batch, folder / MODEL)
    try:
        found = whole_difference(trained, folder / MODEL, recordings, takes)
    except SerError:
        raise
    except Exception as error:  # onnxruntime has errors of its own
        raise ConfigError(
            f"{setting('ckpt', trained.path)}: onnxruntime cannot run {type(trained.model.encoder).__name__} "
            f"({first_line(error)}); nothing was written. Use the run itself, with `ser predict`."
        ) from error
    if not found <= TOLERANCE:  # also refuses NaN
        raise ConfigError(
            f"{setting('ckpt', trained.path)}: {type(trained.model.encoder).__name__} has other outputs in {MODEL} "
            f"than in torch, by {found:.1e}, where {TOLERANCE:.0e} is allowed; nothing was written. Use the run "
            "itself, with `ser predict`."
        )
    extractor = build(trained.features, slot="features")
    reason = _save_features(folder, trained) if takes == "frames" else None
    has_features = takes == "frames" and reason is None
    remarks = [f"There is no {FEATURES}, so the folder does not take recordings: {reason}."] * bool(reason)
    shape = [] if takes == "waveform" else [trained.feature_dim]
    samples = f"samples [N] of one channel at {extractor.sample_rate} Hz, {extractor.min_samples} or more"
    frames = f"frames [T, {trained.feature_dim}] of features"
    taken = {"waveform": samples, "frames": f"{frames}, or {samples}" if has_features else frames}
    facts: dict[str, Any] = {
        "model": MODEL,
        **({"features": FEATURES} if has_features else {}),
        "inputs": {"model": takes, **({"features": "waveform"} if has_features else {})},
        "shape": shape,
        "takes": taken[takes],
        "min_samples": extractor.min_samples,
        "reads_recordings": takes == "waveform" or has_features,
        "largest_difference": found,
    }
    return facts | (_write_int8(folder, trained, recordings) if with_int8 else {}), remarks


def _write_int8(folder: Path, trained: Trained, recordings: Sequence[Tensor]) -> dict[str, Any]:
    """Write model_int8.onnx; return facts about it.

    Raises:
        ConfigError: It is not smaller than model.onnx.
    """
    save_int8(folder / MODEL, folder / INT8)
    exact, rounded = ((folder / name).stat().st_size / 1e6 for name in (MODEL, INT8))
    if rounded >= exact:
        raise ConfigError(
            f"quantize=int8: saves nothing, as {INT8} would have {rounded:.2f} MB and {MODEL} has {exact:.2f} MB: most "
            f"weights of {type(trained.model.encoder).__name__} stay at 32 bits. Set quantize=none"
        )
    answers = [answers_in_onnx(folder / name, recordings, together=False) for name in (MODEL, INT8)]
    return {"model": INT8, "int8_difference": rounding_difference(*answers)}


def _save_features(folder: Path, trained: Trained) -> str | None:
    """Write features.onnx; return why there is none otherwise.

    Raises:
        ConfigError: Its frames differ from those of torch.
    """
    extractor = build(trained.features, slot="features")
    if not _reads_recordings(trained):
        return "the model takes other frames than its features have"
    if extractor.silence is not None and trained.model.pooling.resolution == "frame":
        return "its answers are those of frames of speech, and frames do not say which ones these are"
    try:
        graph = Features(trained)
    except ConfigError:
        return f"{type(extractor).__name__} has no form as ONNX"
    recordings = example_recordings(trained, "waveform")
    save_whole(graph, padded_batch(recordings[1:]), folder / FEATURES)
    found = features_difference(trained, folder / FEATURES, recordings)
    if not found <= TOLERANCE:  # also refuses NaN
        raise ConfigError(
            f"{setting('ckpt', trained.path)}: its features are others in {FEATURES} than in torch, by {found:.1e}, "
            f"where {TOLERANCE:.0e} is allowed; nothing was written. Use the run itself, with `ser predict`."
        )
    return None


def _write_step(folder: Path, trained: Trained) -> list[str]:
    """Write step.onnx of a model that can stream; return why there is none otherwise."""
    try:
        step = Step(trained)
    except SerError as error:
        return [f"There is no step.onnx for streams: {str(error).split('. ')[0]}."]
    write_step(folder, trained, step)
    return []


def _write_weights(folder: Path, content: Mapping[str, Any], config: dict[str, Any]) -> None:
    """Write model.safetensors, and put the description of the checkpoint into config."""
    tensors: dict[str, Tensor] = {}
    config["description"] = without_tensors(content["ser"], "ser", tensors)
    tensors |= {name: own for name, own in content["state_dict"].items() if name.startswith("model.")}
    plain = {name: own.detach().cpu().clone().contiguous() for name, own in tensors.items()}
    # Not save_file, whose files nobody but the owner may read.
    (folder / WEIGHTS).write_bytes(save(plain, {"format": "pt"}))


def _describe(
    content: Mapping[str, Any],
    trained: Trained,
    facts: RunFacts,
    onnx: Mapping[str, Any],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Return config.json without the description and the files."""
    extractor = build(trained.features, slot="features")
    packages = ("ser-lightning", "torch", "onnx", "onnxruntime")
    return {
        "ser_bundle": FORMAT,
        "name": str(facts.config.get("experiment_name") or "speech") + "-" + _option(content["ser"]["model"]),
        "labels": class_answers(trained.target),
        "answers": answer_names(trained.target),
        "sample_rate": extractor.sample_rate,
        "onnx": dict(onnx),
        "features": dict(trained.features),
        "frontend": dict(trained.frontend),
        "versions": {name: version(name) for name in packages},
        "data": dict(facts.data),
        "remarks": list(remarks),
    }


def _option(model: Mapping[str, Any]) -> str:
    return str(model["_target_"]).rpartition(".")[2].removesuffix("Encoder").lower()
