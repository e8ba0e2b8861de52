"""Predict with a checkpoint: a file of the challenge in its own layout, recordings and arrays of clips as a table.

ser predict ckpt=RUN/checkpoints/best.ckpt input=FILE output=pred.json
ser predict ckpt=RUN/checkpoints/best.ckpt input=clip.wav output=pred.csv
ser predict ckpt=RUN/checkpoints/best.ckpt input=clip.wav stream=true
"""

from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from ser.config.main import main
from ser.errors import ConfigError


@main("predict", existing_paths=["ckpt", "input"])
def predict(config: dict[str, Any]) -> None:
    """Write the answer to every utterance of the input; print the scores, too, where it is labelled."""
    from ser.inference import (
        checkpoint,  # torch takes 1.4 s: first the config must be right
        inputs,
    )

    for key in ("window_s", "hop_s", "push_ms", "sample_rate", "max_frames"):
        if config[key] is not None and config[key] <= 0:
            raise ConfigError(f"{key}={config[key]}: expected more than 0. Give another number.")
    if isinstance(config["input"], list) and config["stream"]:
        raise ConfigError(
            "input: is a list, but stream=true hears one recording. Give one file, or leave stream out."
        )
    if config["input"] == "-" and not config["stream"]:
        raise ConfigError("input=-: standard input is heard as it comes. Set stream=true, or give a file.")
    kind = inputs.kind_of(config["input"], stream=config["stream"])
    inputs.refuse_unread(config, kind)
    paths = config["ckpt"] if isinstance(config["ckpt"], list) else [config["ckpt"]]
    models = [checkpoint.load(found) for path in paths for found in checkpoint.find(path)]
    with inputs.remedies():
        if kind == "stream":
            predict_stream(config, models)
        elif kind == "frames":
            predict_challenge(config, models)
        else:
            predict_recordings(config, models)


def predict_challenge(config: dict[str, Any], models: list[Any]) -> None:
    """Answer a file of features in its layout, with ids in its order and type."""
    from ser.corpora.challenge_reader import read_challenge
    from ser.inference import predict as inference
    from ser.inference import writers

    output = Path(config["output"] or f"predictions_{Path(config['input']).stem}.json")
    probabilities = output.parent / f"{output.stem}_scores.json"
    replacing = {"overwrite": config["overwrite"]}
    for path in (output, probabilities) if config["scores"] else (output,):
        writers.check_output(path, **replacing)

    store = read_challenge(config["input"], cache_dir=config["cache_dir"], labels="optional")
    device = inference.choose_device(config["device"])
    scores = inference.class_scores(models, store, device=device, max_frames=config["max_frames"])

    inference.require_decisions(store.ids, scores, config["input"])
    target = models[0].target
    answers = zip(store.ids, target.labels_of(scores), strict=True)
    writers.write_predictions(output, store.ids, store.layout, answers, **replacing)
    print(*inference.describe_answers(store.ids, scores, target, output), sep="\n")
    if config["scores"]:
        inference.require_classes(models, "scores=true")
        rows = [dict(zip(target.class_names, row, strict=True)) for row in scores.tolist()]
        named = zip(store.ids, rows, strict=True)
        writers.write_scores(probabilities, store.ids, store.layout, named, **replacing)
        print(f"Class probabilities: {probabilities}")
    inference.show_scores(scores, store, target)


def predict_recordings(config: dict[str, Any], models: list[Any]) -> None:
    """Answer recordings, whole or in windows, or an array of clips: label and probabilities in a row of a table."""
    from ser.inference import inputs, writers
    from ser.inference import predict as inference

    names = config["input"] if isinstance(config["input"], list) else [config["input"]]
    paths = [Path(str(name)) for name in names]
    output = Path(config["output"] or f"predictions{f'_{paths[0].stem}' if len(paths) == 1 else ''}.csv")
    writers.check_table_name(output)
    writers.check_output(output, overwrite=config["overwrite"])

    if len(paths) == 1 and inputs.is_array(paths[0]):
        store, to_features = inference.clips_of(paths[0], models)
        places: list[dict[str, Any]] = [{}] * len(store)
    else:
        manifest = inputs.with_ends(inputs.find_recordings(paths, config["root"], config["corpus"]))
        if models[0].target.class_names and len(fields := models[0].target.label_names) == 1:
            folders = [path for path in paths if path.is_dir()]
            manifest = inputs.with_folder_labels(manifest, folders, fields[0], models[0].target.class_names)
        manifest = inputs.windows(manifest, config["window_s"], config["hop_s"])
        manifest, store = inference.features_of(
            manifest, models, cache_dir=config["cache_dir"], on_error=config["on_error"]
        )
        places, to_features = inference.places(manifest), None

    device = inference.choose_device(config["device"])
    settings = {"device": device, "to_features": to_features, "max_frames": config["max_frames"]}
    scores = inference.class_scores(models, store, **settings)
    inference.warn_of_silence(store.ids, scores)
    rows = inference.rows(store.ids, scores, models[0].target, places)
    writers.write_table(output, rows, overwrite=config["overwrite"])
    print(*inference.describe_answers(store.ids, scores, models[0].target, output), sep="\n")
    inference.show_scores(scores, store, models[0].target)


def predict_stream(config: dict[str, Any], models: list[Any]) -> None:
    """Answer a recording, or standard input, as it comes: a row for every decision, and a picture."""
    import signal
    import sys

    from ser.audio.reader import read_audio
    from ser.inference import console
    from ser.inference.stream import Stream, chunks_of

    stream = Stream(models)
    console.check_inputs(config["input"], sample_rate=config["sample_rate"], stream=stream)
    if config["input"] == "-":
        name, source = "standard input", console.raw_samples(cast(BufferedIOBase, sys.stdin.buffer))
    else:
        name = Path(config["input"]).name
        waveform = read_audio(Path(config["input"]), stream.sample_rate)
        source = chunks_of(waveform, max(1, round(config["push_ms"] * stream.sample_rate / 1000)))
    output = Path(config["output"] or f"predictions_{Path(name).stem.replace(' ', '_')}.csv")
    followed = console.follow(stream, source, output, title=name, overwrite=config["overwrite"])
    print(console.conclude(followed, stream, name, output))
    if followed.signal is not None and followed.signal != signal.SIGINT:
        sys.exit(128 + followed.signal)
