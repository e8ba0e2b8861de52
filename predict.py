"""Predict a file with a checkpoint, in the file's own layout.

python predict.py ckpt=RUN/checkpoints/best.ckpt input=FILE output=pred.json
"""

from pathlib import Path
from typing import Any

from ser.command import main


@main("predict", existing_paths=["input"])
def predict(config: dict[str, Any]) -> None:
    """Write the answer to every utterance of the input; print the scores, too, where it is labelled."""
    from ser import checkpoint, inference, predictions  # torch takes 1.4 s: first the config must be right
    from ser.data.challenge import read_challenge

    output = Path(config["output"] or f"predictions_{Path(config['input']).stem}.json")
    probabilities = output.with_name(f"{output.stem}_scores.json")
    replacing = {"overwrite": config["overwrite"]}
    for path in (output, probabilities) if config["scores"] else (output,):
        predictions.check_output(path, **replacing)

    paths = config["ckpt"] if isinstance(config["ckpt"], list) else [config["ckpt"]]
    models = [checkpoint.load(path) for path in paths]
    store = read_challenge(config["input"], cache_dir=config["cache_dir"], labels="optional")
    device = inference.choose_device(config["device"])
    scores = inference.class_scores(models, store, device=device, max_frames=config["max_frames"])

    target = models[0].target
    answers = zip(store.ids, target.decode(scores.argmax(-1)), strict=True)
    predictions.write_predictions(output, store.ids, store.layout, answers, **replacing)
    print(f"{len(store)} utterances: {output}")
    if config["scores"]:
        rows = [dict(zip(target.class_names, row, strict=True)) for row in scores.tolist()]
        named = zip(store.ids, rows, strict=True)
        predictions.write_scores(probabilities, store.ids, store.layout, named, **replacing)
        print(f"Class probabilities: {probabilities}")
    if store.labels is not None:
        for name, value in inference.evaluate(scores, target.encode(store.labels), target).items():
            print(f"{name:20} {value:.1%}")


if __name__ == "__main__":
    predict()
