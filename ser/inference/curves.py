"""Predict values over time: one row of a table for each step of a recording, and a picture of them.

An hour of audio with 9,000 words and 180 turns takes 1.3 GB, 0.9 GB without turns, and 13 s of a CPU, with
features=step_log_mel and model=fusion.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import nn

from ser.audio.find import recording_name
from ser.batch import UtteranceId
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import EvaluationSampler
from ser.checkpoints.checkpoint import Trained
from ser.corpora.conversation_corpus import words_of_steps
from ser.data.store import Store
from ser.errors import ConfigError, DataError, counted, setting
from ser.features.on_the_fly import OnTheFlyFeatures
from ser.features.steps import STEP_S, Span, is_subject_turn
from ser.files import write_atomic
from ser.inference.predict import check_fit, extractor_of, frames_per_batch
from ser.inference.writers import check_output
from ser.report import figures, stream_plot
from ser.runs.tables import format_csv
from ser.targets.base import Target
from ser.text.words import Word

_MOST_UTTERANCES = 256  # in a batch
_MOST_NAMED = 10  # recordings that are described one by one

_log = logging.getLogger(__name__)


def predicts_curves(models: Sequence[Trained]) -> bool:
    """Return whether models predict values over time.

    Raises:
        ConfigError: Some do, and others do not.
    """
    found = [trained.target.labelled_at == "frame" for trained in models]
    if any(found) and not all(found):
        curve, other = (models[found.index(kind)].path for kind in (True, False))
        raise ConfigError(
            f"ckpt: {curve} predicts values over time, and {other} does not. Average models of one target only."
        )
    return found[0]


@torch.inference_mode()
def predict_curves(
    models: Sequence[Trained],
    store: Store,
    words: Sequence[Sequence[Word]],
    *,
    device: torch.device,
    max_frames: int | None = None,
) -> list[np.ndarray]:
    """Compute the values [T, K] of each recording at all of its steps, averaged over models.

    Args:
        models: One model, or several with the same target; each looks words up in its own table.
        store: Features of the audio of N recordings.
        words: Words of each recording.
        device: Device of the computation.
        max_frames: Maximum number of padded steps in a batch; None for the fastest.

    Raises:
        CheckpointError: The outputs of a model are not finite.
        DataError: The features have another width than those of a model.
        ConfigError: The models predict different things.
    """
    target = models[0].target
    sums = [np.zeros((length, target.out_dim), np.float32) for length in store.lengths.tolist()]
    limit = max_frames or frames_per_batch(device, are_waveforms=False)
    limit = max(limit, int(store.lengths.max()))  # an hour is no reason for advice to cut it
    for trained in models:
        own = with_word_vectors(store, words, trained)
        check_fit(trained, models[0], own, OnTheFlyFeatures())
        trained.model.to(device)
        dataset = UtteranceDataset(own, None)
        for draw in EvaluationSampler(dataset.lengths, max_frames=limit, max_utterances=_MOST_UTTERANCES):
            batch = dataset[draw].to(device)
            with _suitable_threads(trained.model):
                outputs = trained.check(trained.model(batch.audio).float()).cpu()
            curves = trained.target.curves(outputs, batch.audio.lengths.cpu())
            for index, curve in zip(draw.indices, curves, strict=True):
                sums[index] += curve.numpy() / len(models)
    return sums


@contextmanager
def _suitable_threads(model: nn.Module) -> Iterator[None]:
    """Compute recurrent layers without convolutions in one thread.

    The steps of one recording follow each other, so that threads wait for each other: an hour takes 14 s of a CPU in
    one thread, 35 s in two, and minutes where other processes keep one of them waiting.
    """
    parts = [*model.modules()]
    is_recurrent = any(isinstance(part, nn.RNNBase) for part in parts)
    threads = torch.get_num_threads()
    if is_recurrent and not any(isinstance(part, nn.Conv1d) for part in parts):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def with_word_vectors(store: Store, words: Sequence[Sequence[Word]], trained: Trained) -> Store:
    """Add the words of all recordings, with vectors of the model's own table, if it has one."""
    if trained.words is None:
        return store
    trained.words.prepare([word for own in words for word in own])
    return store.with_words(words_of_steps(words, store, trained.words))


def check_roles(models: Sequence[Trained], turns: Iterable[Sequence[Span] | None]) -> None:
    """Refuse turns of a subject that the features of the models do not tell from others.

    Args:
        models: Models of the same features.
        turns: Turns in each recording.

    Raises:
        ConfigError: There are turns, and the features have one role.
    """
    if any(own is not None for own in turns) and extractor_of(models).num_roles < 2:
        raise ConfigError(
            f"turns: {models[0].path} was trained on features of all that is said together. Leave turns out."
        )


def check_words(models: Sequence[Trained], key: str | None) -> None:
    """Refuse words for models that take none, and warn if there are none for models that take them.

    Args:
        models: Models that predict values over time.
        key: Setting that names words; None if none are given.

    Raises:
        ConfigError: No model takes words.
    """
    takes = any(trained.words is not None for trained in models)
    if key is not None and not takes:
        raise ConfigError(f"{key}: {models[0].path} was trained on audio alone. Leave {key} out.")
    if key is None and takes:
        _log.warning(
            "no words are given, so zeros stand for them, as if nothing was said: set words=FILE or transcript=FILE"
        )


def describe_words(models: Sequence[Trained], words: Sequence[Sequence[Word]]) -> Iterator[str]:
    """Describe how many words have a vector, in each of the tables."""
    spoken = [word for own in words for word in own]
    tables = [trained.words for trained in models if trained.words is not None]
    if spoken:
        yield from dict.fromkeys(f"Words: {table.coverage(spoken)}." for table in tables)


def name_outputs(ids: Sequence[UtteranceId], output: Path, *, is_file: bool) -> list[Path]:
    """Return the table of each recording: the output, or files in it that are named by ids.

    Args:
        ids: Ids of the recordings, N.
        output: A .csv file, or a folder.
        is_file: Whether one recording was given by its name.

    Raises:
        DataError: The name of the output does not fit, or two recordings would have the same table.
    """
    is_table = output.suffix.lower() in (".csv", ".json")
    if is_file:
        if output.suffix.lower() != ".csv":
            raise DataError(
                f"{output}: values over time are written as .csv, with a plot .png beside it. "
                f"Give {setting('output', output.with_suffix('.csv'))}"
            )
        return [output]
    if is_table:
        raise DataError(
            f"{output}: is for one recording, but each of several has a table of its own. "
            f"Give a folder, {setting('output', output.with_suffix(''))}"
        )
    named: dict[Path, UtteranceId] = {}
    for name in ids:
        parts = PurePosixPath(recording_name(Path(str(name)))).parts
        place = output.joinpath(*(part for part in parts if part not in ("/", "..")))
        path = place.with_name(f"{place.name}.csv")
        if path in named:
            raise DataError(
                f"{path}: {named[path]!r} and {name!r} would both be written there. Rename one of them."
            )
        named[path] = name
    return [*named]


def picture_of(table: Path) -> Path:
    """Return the path of the plot beside a table."""
    return table.with_name(f"{table.stem}.png")


def check_outputs(tables: Sequence[Path], output: Path, *, overwrite: bool) -> None:
    """Refuse outputs that exist already or cannot be written, before a long computation.

    Args:
        tables: Table of each recording.
        output: The only table, or the folder of all.
        overwrite: Whether to replace existing files.

    Raises:
        DataError: See `check_output`; or the folder is a file.
    """
    if tables != [output]:
        check_output(output, overwrite=True)  # its own folder can be written to
        if output.exists() and not output.is_dir():
            raise DataError(
                f"{output}: is a file, but each of several recordings has a table. Give another output=FOLDER."
            )
    for path in tables:
        for file in (path, picture_of(path)):
            if file.exists() or tables == [output]:
                check_output(file, overwrite=overwrite)


def write_curves(
    table: Path,
    values: np.ndarray,
    fields: Sequence[str],
    *,
    words: Sequence[Word],
    turns: Sequence[Span] | None,
    title: str,
) -> None:
    """Write a row for each step, `time` in s and a column for each field, and a plot beside it.

    Args:
        table: Path of the .csv file; its folder is created.
        values: Values [T, K].
        fields: Names of the K fields.
        words: Words that are shown under the curves.
        turns: Turns of the subject; what is between them is grey.
        title: Title of the plot.

    Raises:
        DataError: A file cannot be written.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        [f"{step * STEP_S:.1f}", *(f"{value:.6f}" for value in row)]
        for step, row in enumerate(values.tolist())
    ]
    write_atomic(table, format_csv(["time", *fields], rows))
    figure = stream_plot.values_over_time(
        values,
        fields,
        step_s=STEP_S,
        words=[(word.start, word.end, word.text) for word in words],
        others=~is_subject_turn(turns, len(values)).numpy(),
        title=title,
    )
    figures.save(figure, picture_of(table))


def describe_curves(
    ids: Sequence[UtteranceId], curves: Sequence[np.ndarray], target: Target, output: Path
) -> Iterator[str]:
    """Describe the values: the mean of each of a few recordings; and the paths of the output.

    Args:
        ids: Ids of the recordings, N.
        curves: Values [T, K] of each.
        target: Target that names the values.
        output: The only table, or the folder of all.
    """
    for name, values in zip(ids, curves, strict=True) if len(ids) <= _MOST_NAMED else ():
        yield f"{name}, {STEP_S * len(values):.1f} s: mean {target.describe(values.mean(0).tolist())}"
    if output.is_dir():
        yield f"{counted(len(ids), 'recording')}: {output}, a .csv and a .png of each"
    else:
        yield f"Values over time: {output}, {picture_of(output)}"
