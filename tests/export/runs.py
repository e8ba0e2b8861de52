"""Folders of runs with random weights, to be exported."""

import json
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from ser.batch import Padded
from ser.checkpoints.checkpoint import assemble, describe, load
from ser.config.instantiate import build
from ser.export.bundle import PREDICT
from ser.export.compare import Input, answers_in_torch, example_recordings
from tests.models.test_padding import composed, unsettled

SMALL = ("model=cnn", "model.channels=[4,6]", "model.time_strides=[2,1]", "frontend.delta_scale=0")
UTTERANCES = "split,id,speaker,digest\ntrain,a1,a,{first}\ntest,b1,b,{second}\n"


def save_run(folder: Path, *overrides: str, feature_dim: int | None = None) -> Path:
    """A folder with the checkpoint of these settings, and what the run tells about itself; the checkpoint's path."""
    config = composed(*overrides)
    width = feature_dim or build(config["features"], slot="features").feature_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        description = describe(config, feature_dim=width)
        model = unsettled(assemble(description)[0])
        description["model"] = dict(model.encoder.portable(description["model"]))
        model.frontend.fit([torch.randn(60, width) * 3 - 5])
        with torch.no_grad():
            model.head.output.weight.mul_(20)  # so that answers depend on the recording
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    path = folder / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save({"ser": description, "state_dict": weights}, path)
    write_facts(folder, config["data"])
    return path


def spread_answers(path: Path, takes: Input) -> None:
    """Scale the last layer, so that logits of the recordings that an export compares differ by about 0.3 around 0.

    Random weights give logits of any size: answers that are all equal, or all 0 and 1, agree without a reason.
    """
    trained, found = load(path), []
    output = trained.model.head.output
    handle = output.register_forward_hook(lambda *of_layer: found.append(of_layer[2].flatten(0, -2)))
    answers_in_torch(trained, example_recordings(trained, takes), takes)
    handle.remove()
    layer = next(name for name, module in trained.model.named_modules() if module is output)
    content = torch.load(path, weights_only=True)
    logits, weights = torch.cat(found), content["state_dict"]
    weights[f"model.{layer}.bias"] -= logits.mean(0)
    for name in ("weight", "bias"):
        weights[f"model.{layer}.{name}"] *= 0.3 / logits.std(0).mean()
    torch.save(content, path)


def write_facts(folder: Path, data: dict) -> None:
    """What a run writes beside its checkpoint, of one training and four test utterances."""
    (folder / "config.yaml").write_text(yaml.safe_dump({"experiment_name": "small", "data": data}))
    scores = {"test/accuracy": 0.75, "test/uar": 0.7, "test/recall_anger": 0.5, "test/majority_floor": 0.5}
    (folder / "metrics.json").write_text(json.dumps(scores))
    split = {"name": "test", "utterances": 4, "speakers": 2, "minutes": 0.2, "majority_floor": 0.5}
    (folder / "splits.json").write_text(json.dumps({"splits": [split]}))
    environment = {
        "data": {"test": "ab" * 32},
        "command": "python train.py",
        "commit": "c0ffee",
        "packages": {},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    rows = [("a", "x", "x"), ("a", "y", "x"), ("b", "x", "x"), ("b", "y", "y")]
    lines = [f"{place},{who},{label},{said},0.5,0.5" for place, (who, label, said) in enumerate(rows)]
    (folder / "predictions_test.csv").write_text(
        "\n".join(["id,speaker,label,prediction,p_x,p_y", *lines]) + "\n"
    )
    (folder / "report.md").write_text("# r\n\n## What these scores do not show\n\nMuch.\n\n## Classes\n")
    (folder / "calibration.json").write_text('{"temperature": 2.0}')
    (folder / "utterances.csv").write_text(UTTERANCES.format(first="01" * 16, second="02" * 16))


def noise(*lengths: int) -> list[torch.Tensor]:
    """Noise [N] that grows by 60 dB."""
    return [0.3 * torch.randn(size) * torch.logspace(-3, 0, size) for size in lengths]


def with_garbage(recordings: list[torch.Tensor]) -> Padded:
    """A batch [B, N, 1] with garbage as padding."""
    values = torch.nn.utils.rnn.pad_sequence(recordings, batch_first=True, padding_value=77.0)
    return Padded(values.unsqueeze(-1), torch.tensor([len(each) for each in recordings]))


def predict(folder: Path, *files: Path) -> subprocess.CompletedProcess:
    """Run predict.py of an exported folder, as one who has it alone would."""
    return subprocess.run(
        [sys.executable, str(folder / PREDICT), *map(str, files)], capture_output=True, text=True, timeout=60
    )
