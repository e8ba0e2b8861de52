"""Predict with a checkpoint: a file of the challenge in its own layout, recordings and arrays of clips as a table.

ser predict ckpt=RUN/checkpoints/best.ckpt input=FILE output=pred.json
ser predict ckpt=RUN/checkpoints/best.ckpt input=clip.wav output=pred.csv
ser predict ckpt=RUN/checkpoints/best.ckpt input=clip.wav stream=true
ser predict ckpt=RUN/checkpoints/best.ckpt input=clip.wav words=clip.csv output=curves.csv
"""

import sys
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from ser.config.main import main
from ser.config.settings import Predict
from ser.errors import ConfigError


def predict() -> None:
    """Predict the input, or score the model on the corpus that `data=` names, as `ser evaluate` does."""
    if any(word.startswith("data=") for word in sys.argv[1:]):
        from ser.scripts.evaluate import evaluate

        evaluate()
    else:
        predict_input()


@main("predict", existing_paths=["ckpt", "input", "words", "transcript", "turns"])
def predict_input(settings: Predict) -> None:
    """Predict every utterance of the input, and print the scores if it is labelled."""
    from ser.inference import curves, inputs  # torch takes 1.4 s: first the config must be right
    from ser.inference.mixture import load_mixtures, require_plain

    for key in ("window_s", "hop_s", "push_ms", "sample_rate", "max_frames", "min_probability"):
        value = getattr(settings, key)
        if value is not None and value <= 0:
            raise ConfigError(f"{key}={value}: expected more than 0. Give another number.")
    if isinstance(settings.input, list) and settings.stream:
        raise ConfigError(
            "input: is a list, but stream=true reads one recording. Give one file, or leave stream out."
        )
    if settings.input == "-" and not settings.stream:
        raise ConfigError("input=-: standard input is read as a stream. Set stream=true, or give a file.")
    kind = inputs.kind_of(settings.input, stream=settings.stream)
    inputs.refuse_unread(settings, kind)
    paths = settings.ckpt if isinstance(settings.ckpt, list) else [settings.ckpt]
    mixtures = load_mixtures(paths, calibrate=settings.calibrate)
    models = [model for each in mixtures for model in each.models]
    with inputs.predict_remedies(root="root" if settings.corpus is None else "input"):
        over_time = curves.predicts_curves(models)
        inputs.refuse_unfit(settings, kind, models[0].path, over_time=over_time)
        if kind == "stream":
            require_plain(mixtures)
            predict_stream(settings, models)
        elif over_time:
            predict_over_time(settings, models)
        elif kind == "frames":
            predict_challenge(settings, mixtures)
        else:
            predict_recordings(settings, mixtures)


def predict_challenge(settings: Predict, mixtures: list[Any]) -> None:
    """Predict a file of features in its layout, with ids in its order and type."""
    from ser.corpora.challenge_reader import read_challenge
    from ser.inference import predict as inference
    from ser.inference import writers
    from ser.inference.mixture import mixture_scores
    from ser.inference.model_inputs import ModelInput

    assert isinstance(settings.input, str)
    output = Path(settings.output or f"predictions_{Path(settings.input).stem}.json")
    probabilities = output.parent / f"{output.stem}_scores.json"
    replacing = {"overwrite": settings.overwrite}
    for path in (output, probabilities) if settings.scores else (output,):
        writers.check_output(path, **replacing)

    store = read_challenge(settings.input, cache_dir=settings.cache_dir, labels="optional")
    models = [model for each in mixtures for model in each.models]
    store = inference.normalize_file(store, models)
    device = inference.choose_device(settings.device)
    scores = mixture_scores(
        mixtures, [ModelInput(models, store)], device=device, max_frames=settings.max_frames
    )

    inference.require_decisions(store.ids, scores, settings.input)
    target = mixtures[0].models[0].target
    answers = zip(store.ids, target.labels_of(scores), strict=True)
    writers.write_predictions(output, store.ids, store.layout, answers, **replacing)
    print(*inference.describe_answers(store.ids, scores, target, output), sep="\n")
    if settings.scores:
        inference.require_classes(mixtures[0].models, "scores=true")
        rows = [dict(zip(target.class_names, row, strict=True)) for row in scores.tolist()]
        named = zip(store.ids, rows, strict=True)
        writers.write_scores(probabilities, store.ids, store.layout, named, **replacing)
        print(f"Class probabilities: {probabilities}")
    inference.print_scores(scores, store, target)


def predict_recordings(settings: Predict, mixtures: list[Any]) -> None:
    """Predict recordings, whole or in windows, or an array of clips: one row of a table each."""
    import torch

    from ser.inference import inputs, model_inputs, writers
    from ser.inference import predict as inference
    from ser.inference.mixture import mixture_scores

    models = [model for each in mixtures for model in each.models]
    if settings.min_probability is not None:
        inference.require_classes(models, f"min_probability={settings.min_probability:g}")
    names = settings.input if isinstance(settings.input, list) else [settings.input]
    paths = [Path(str(name)) for name in names]
    output = Path(settings.output or f"predictions{f'_{paths[0].stem}' if len(paths) == 1 else ''}.csv")
    writers.check_table_name(output)
    writers.check_output(output, overwrite=settings.overwrite)

    if len(paths) == 1 and inputs.is_array(paths[0]):
        given = model_inputs.clip_inputs(paths[0], models)
        store = given[0].store
        places: list[dict[str, Any]] = [{}] * len(store)
    else:
        manifest = inputs.with_ends(inputs.find_recordings(paths, settings.root, settings.corpus))
        if models[0].target.class_names and len(fields := models[0].target.label_names) == 1:
            folders = [path for path in paths if path.is_dir()]
            manifest = inputs.with_folder_labels(manifest, folders, fields[0], models[0].target.class_names)
        manifest = inputs.cut_windows(manifest, settings.window_s, settings.hop_s)
        manifest, given, _ = model_inputs.read_inputs(
            manifest, models, cache_dir=settings.cache_dir, on_error=settings.on_error
        )
        store = inference.label_store(manifest, given[0].store, models)
        places = inference.places(manifest)

    device = inference.choose_device(settings.device)
    scores = mixture_scores(mixtures, given, device=device, max_frames=settings.max_frames)
    inference.warn_about_silence(store.ids, scores)
    target, unsure = models[0].target, inference.find_unsure(scores, settings.min_probability)
    rows = inference.rows(store.ids, scores, target, places, unsure)
    writers.write_table(output, rows, overwrite=settings.overwrite)
    print(*inference.describe_answers(store.ids, scores, target, output, unsure), sep="\n")
    if unsure.any():
        print(
            f"{int(unsure.sum())} of {len(unsure)} utterances have no label, as the probability of each class is "
            f"below {settings.min_probability:g}."
        )
    inference.print_scores(scores.masked_fill(unsure[:, None], torch.nan), store, target)


def predict_over_time(settings: Predict, models: list[Any]) -> None:
    """Predict values at every step of recordings: a table and a plot for each."""
    from rich.console import Console
    from rich.progress import track

    from ser.inference import curves, inputs
    from ser.inference import predict as inference
    from ser.inference.conversation_files import ConversationFiles

    names = settings.input if isinstance(settings.input, list) else [settings.input]
    paths = [Path(str(name)) for name in names]
    is_file = not isinstance(settings.input, list) and inputs.is_single(paths[0])
    stem = f"predictions{f'_{paths[0].stem}' if len(paths) == 1 else ''}"
    output = Path(settings.output or f"{stem}{'.csv' if is_file else ''}")
    manifest = inputs.with_ends(inputs.find_recordings(paths, settings.root, settings.corpus))
    tables = curves.name_outputs([u.id for u in manifest], output, is_file=is_file)
    curves.check_outputs(tables, output, overwrite=settings.overwrite)
    table_of = dict(zip([u.id for u in manifest], tables, strict=True))

    given = (key for key in ("words", "transcript") if getattr(settings, key) is not None)
    curves.check_words(models, next(given, None))
    files = ConversationFiles.of(settings)
    manifest, words = files.read(manifest, on_error=settings.on_error)
    curves.check_roles(models, [utterance.turns for utterance in manifest])
    manifest, store, _ = inference.read_for_models(
        manifest, models, cache_dir=settings.cache_dir, on_error=settings.on_error
    )
    if inference.label_store(manifest, store, models).labels is not None:
        print("The labels are not scored: they are of whole recordings, and values over time are predicted.")
    spoken = [words[utterance.id] for utterance in manifest]
    device = inference.choose_device(settings.device)
    found = curves.predict_curves(models, store, spoken, device=device, max_frames=settings.max_frames)

    target = models[0].target
    pairs = list(zip(manifest, found, spoken, strict=True))
    is_shown = len(pairs) > 1 and sys.stderr.isatty()
    for utterance, values, own in track(pairs, "Writing", console=Console(stderr=True), disable=not is_shown):
        curves.write_curves(
            table_of[utterance.id],
            values,
            target.label_names,
            words=own,
            turns=utterance.turns,
            title=utterance.id,
        )
    told = curves.describe_curves([u.id for u in manifest], found, target, output)
    print(*files.remarks(), *curves.describe_words(models, spoken), *told, sep="\n")


def predict_stream(settings: Predict, models: list[Any]) -> None:
    """Predict a recording or standard input as a stream: a row for every decision, and a plot."""
    import signal

    from ser.audio.reader import read_audio
    from ser.inference import console
    from ser.inference.stream import Stream, chunks_of

    assert isinstance(settings.input, str)
    stream = Stream(models)
    console.check_inputs(settings.input, sample_rate=settings.sample_rate, stream=stream)
    if settings.input == "-":
        name, source = "standard input", console.raw_samples(cast(BufferedIOBase, sys.stdin.buffer))
    else:
        name = Path(settings.input).name
        waveform = read_audio(Path(settings.input), stream.sample_rate)
        source = chunks_of(waveform, max(1, round(settings.push_ms * stream.sample_rate / 1000)))
    output = Path(settings.output or f"predictions_{Path(name).stem.replace(' ', '_')}.csv")
    followed = console.follow(stream, source, output, title=name, overwrite=settings.overwrite)
    print(console.summarize_stream(followed, stream, name, output))
    if followed.signal is not None and followed.signal != signal.SIGINT:
        sys.exit(128 + followed.signal)
