"""BYOL: losses, target network and spread equal small references in numpy, also over two processes."""

import copy
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from ser.pretrained.networks import build_network
from ser.pretraining.byol import BYOL, distance
from ser.pretraining.probe import predict_classes
from ser.pretraining.processes import share_batch_norms, standardize
from ser.pretraining.spread import Spread
from tests.conftest import REPOSITORY
from tests.training.test_ddp import ended, start


def small(decay: float = 0.9) -> BYOL:
    encoder = build_network({"model_type": "audio_ntt", "width": 8, "dropout": 0.0})
    return BYOL(encoder, projection_dim=6, hidden_dim=10, decay=decay).train()


def test_losses_equal_a_numpy_reference() -> None:
    predictions, targets = torch.randn(5, 7), torch.randn(5, 7)
    p, t = (x.numpy().astype(np.float64) for x in (predictions, targets))
    cosine = (p * t).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(t, axis=1)
    np.testing.assert_allclose(distance(predictions, targets).numpy(), 2 - 2 * cosine, atol=1e-6)


def test_the_loss_compares_each_view_with_the_target_of_the_other() -> None:
    model = small()
    first, second = torch.randn(2, 4, 16, 64)
    other = copy.deepcopy(model)  # batch norms change with every pass
    found = model(first, second).losses
    predicted = [other.predictor(other.projector(other.encoder.embed_crops(x))) for x in (first, second)]
    targets = [other.target_projector(other.target_encoder.embed_crops(x)) for x in (first, second)]  # type: ignore[operator]
    expected = distance(predicted[0], targets[1]) + distance(predicted[1], targets[0])
    torch.testing.assert_close(found, expected)
    assert 2 < float(found.mean().detach()) < 6


def test_a_step_of_the_target_equals_a_numpy_reference() -> None:
    model = small(decay=0.75)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.encoder.features[1].running_mean.fill_(3.0)  # type: ignore[operator, index, union-attr]
    before = {name: value.numpy().copy() for name, value in model.target_encoder.named_parameters()}
    online = {name: value.detach().numpy().copy() for name, value in model.encoder.named_parameters()}
    model.move_target()
    for name, value in model.target_encoder.named_parameters():
        expected = 0.75 * before[name] + 0.25 * online[name]
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-6, rtol=1e-6)
    target_mean = model.target_encoder.features[1].running_mean  # type: ignore[operator, index, union-attr]
    assert not target_mean.any(), "buffers are the target's own"


def test_the_target_gets_no_gradients_and_all_else_does() -> None:
    model = small()
    model(*torch.randn(2, 4, 16, 64)).losses.mean().backward()
    without = {name.partition(".")[0] for name, each in model.named_parameters() if each.grad is None}
    assert without == {"target_encoder", "target_projector"}


def test_spread_equals_a_numpy_reference() -> None:
    spread = Spread()
    batches = [torch.randn(20, 5) * torch.tensor([3.0, 1, 1, 0.1, 0]) + 1 for _ in range(3)]
    scatter = np.zeros((5, 5))
    for batch in batches:
        spread.add(batch)
        unit = batch.numpy() / np.linalg.norm(batch.numpy(), axis=1, keepdims=True)
        scatter += np.cov(unit.T, bias=True) * len(unit)
    values = np.linalg.eigvalsh(scatter / 60)
    shares = values[values > 1e-12] / values.sum()
    deviation, rank = spread.take()
    assert deviation == pytest.approx(np.sqrt(values.sum()), rel=1e-4)
    assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)


def test_equal_vectors_have_no_spread() -> None:
    spread = Spread()
    spread.add(torch.ones(8, 4))
    deviation, _ = spread.take()
    assert deviation < 1e-3


def test_a_probe_finds_what_can_be_separated() -> None:
    classes = torch.arange(60) % 3
    points = functional.one_hot(classes, 3).float() @ torch.randn(3, 10) * 3 + torch.randn(60, 10)
    answers = predict_classes(points[:45], classes[:45], points[45:])
    assert (answers == classes[45:]).float().mean() > 0.8


def losses_and_gradients(model: BYOL, views: Tensor) -> list[Tensor]:
    first, second = standardize(torch.cat([*views])).chunk(2)
    model(first, second).losses.mean().backward()
    found = [each.grad for each in model.parameters() if each.grad is not None]
    return [*found, *(buffer.float() for buffer in model.buffers())]


def in_two_processes(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    content = torch.load(f"{folder}/start.pt", weights_only=True)
    model = small()
    model.load_state_dict(content["weights"])
    share_batch_norms(model)
    found = losses_and_gradients(model, content["views"][:, rank::2])
    mean = []
    for tensor in found:
        distributed.all_reduce(tensor)
        mean.append(tensor / 2)
    if rank == 0:
        torch.save(mean, f"{folder}/found.pt")
    distributed.destroy_process_group()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    model, views = small(), torch.randn(2, 8, 16, 64) * 2 + 1
    torch.save({"weights": model.state_dict(), "views": views}, tmp_path / "start.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = tmp_path / "train.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from tests.pretraining.test_byol import in_two_processes\n"
        f"in_two_processes(int(sys.argv[1]), {port}, {str(tmp_path)!r})\n"
    )
    started = [start([str(script), str(rank)], tmp_path / str(rank)) for rank in (0, 1)]
    for child in started:
        ended(child)
    expected = losses_and_gradients(model, views)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-3)


def test_shared_batch_norms_keep_names_and_values() -> None:
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    share_batch_norms(model)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(each.requires_grad for each in model.target_encoder.parameters())
