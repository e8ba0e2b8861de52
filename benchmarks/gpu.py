"""Time an epoch of the three models on a GPU in each precision, compiled or not, and whole trainings of 50 epochs.

An epoch is timed in a plain loop, so that the settings are compared and nothing else: data resident on the card
or sent from pinned memory, float32, tf32 or bf16, and for the models without recurrent layers compiled, for any
length or with lengths padded to multiples of 128. The whole trainings are train.py's own, validation included.
CUDA graphs would need one graph for each shape of a batch, and nearly every batch of an epoch has its own.

`--device cpu --quick` runs the same code without a GPU.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import DeviceType
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import generate, recipe
from benchmarks.measure import Goal, Options, Ratio, Result, interleave, main, paired_ratio, spread
from ser.batch import Batch, Padded
from ser.batching.bucketing import Plan
from ser.batching.datamodule import SpeechData
from ser.batching.dataset import UtteranceDataset
from ser.batching.samplers import BatchIndices, BucketLoader, BucketSampler, EvaluationSampler
from ser.config.settings import Batching
from ser.training import setup
from ser.training.task import Task, parameter_groups

PRECISIONS = ("fp32", "tf32", "bf16")
COMPILED = ("cnn", "transformer")  # torch.compile skips recurrent layers
MAX_FRAMES = 60_000  # of a batch: 31 steps per epoch, each long enough to hide the time of Python

_EDGE = 128
_MOST_EDGES = 32  # number of lengths whose compiled code is kept: up to 4,096 frames
_EPOCHS = 50
_VALIDATION_SHARE = 5
_PROFILED_STEPS = 10
_MATRIX = 8_192
_CLIP = 2.0


@dataclass(frozen=True)
class Setting:
    """Settings of a timed epoch.

    Args:
        precision: Precision, of PRECISIONS.
        mode: `eager`, `dynamic` (compiled for any length) or `edges` (compiled, lengths padded to multiples of 128).
        data: `resident` on the device, or sent from `pinned` memory.
    """

    precision: str
    mode: str = "eager"
    data: str = "resident"

    def __str__(self) -> str:
        return f"{self.precision}, {self.mode}, {self.data}"


class ResidentDataset(UtteranceDataset):
    """Split whose frames are all on the device, where a batch is one gather.

    Args:
        source: The split.
        device: Device of the frames.
    """

    def __init__(self, source: UtteranceDataset, device: torch.device) -> None:
        super().__init__(source.store, source.targets)
        self.frames = torch.from_numpy(np.array(self.store.audio)).to(device)
        self.firsts = torch.from_numpy(self.store.firsts).to(device)
        self.lengths_there = torch.from_numpy(self.lengths).to(device)
        assert source.targets is not None
        self.targets_there = source.targets.to(device)

    def __getitem__(self, draw: BatchIndices) -> Batch:
        """Gather the batch of the utterances without synchronising."""
        device = self.frames.device
        longest = int(self.lengths[draw.indices].max())
        indices = torch.tensor(draw.indices).to(device, non_blocking=True)
        lengths = self.lengths_there[indices]
        steps = torch.arange(longest, device=device)
        rows = self.firsts[indices, None] + torch.minimum(steps, lengths[:, None] - 1)
        audio = Padded(self.frames[rows], lengths).zeroed()
        return Batch(draw.indices, audio, self.targets_there[indices], indices)


class ResidentData(SpeechData):
    """Data module whose loaders gather batches on the device.

    Args:
        source: The same data in the host's memory.
        batching: Settings of the batches.
        device: Device of the frames.
    """

    def __init__(self, source: SpeechData, batching: Batching, device: torch.device) -> None:
        stores = {name: dataset.store for name, dataset in source.datasets.items()}
        super().__init__(stores, source.target, batching)
        self.resident = {name: ResidentDataset(dataset, device) for name, dataset in source.datasets.items()}

    def train_dataloader(self) -> BucketLoader:
        """Return shuffled batches of similar length."""
        dataset = self.resident["train"]
        sampler = BucketSampler(
            dataset.lengths,
            max_frames=self.limits["max_frames"],
            max_utterances=self.limits["max_utterances"],
            pool=self.pool,
            seed=self.seed,
        )
        return BucketLoader(dataset, sampler)

    def val_dataloader(self) -> BucketLoader:
        """Return batches, longest first."""
        dataset = self.resident["validation"]
        return BucketLoader(dataset, EvaluationSampler(dataset.lengths, **self.limits))


def gpu(options: Options) -> Result:
    """Time epochs with all settings, and whole trainings with the best of them."""
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return Result("gpu", "seconds of an epoch", None, notes=["skipped: no CUDA device"])
    data = speech(options)
    peaks = {precision: matrix_peak(device, precision, options) for precision in PRECISIONS}
    rows, goals, notes = [], [], [f"device: {name_of(device)}"]
    notes += [f"matrix peak, {precision}: {peak / 1e12:.4g} TFLOP/s" for precision, peak in peaks.items()]
    best = {}
    for model in recipe.MODELS:
        found = epochs(model, data, device, options)
        work = epoch_flops(model, data, device)
        eager = found[Setting("fp32")]
        for setting, seconds in found.items():
            share = work / spread(seconds).median / peaks[setting.precision]
            gain = paired_ratio(eager, seconds)
            rows.append([model, str(setting), f"{spread(seconds).median:.3f}", f"{share:.1%}", str(gain)])
            report(*rows[-1])
        best[model] = min(found, key=lambda setting: spread(found[setting]).median)
        fastest = spread(found[best[model]])
        whole = whole_training(model, best[model], data, device, options)
        report(model, f"{_EPOCHS} epochs: {whole:.1f} s")
        goals += [
            Goal(f"{model}, an epoch ({best[model]}), s", fastest.median, "<=", 1),
            Goal(f"{model}, {_EPOCHS} epochs of train.py with validation, s", whole, "<=", 60),
        ]
        notes.append(f"{model}, where the time goes: {profile(model, best[model], data, device)}")
    return Result(
        name="gpu",
        headline="seconds of the slowest model's epoch",
        ratio=Ratio(*[max(goal.value for goal in goals[::2])] * 3),
        columns=["model", "setting", "epoch, s", "of the matrix peak", "fp32 eager / this"],
        rows=rows,
        goals=goals,
        notes=notes,
    )


def report(*cells: str) -> None:
    """Print a figure when it is known: the whole takes minutes."""
    print(*cells, sep=" | ", file=sys.stderr, flush=True)


def speech(options: Options) -> SpeechData:
    """Generate training data of the course's size, and a fifth as much for validation."""
    utterances = generate.QUICK_UTTERANCES // 4 if options.quick else generate.COURSE_UTTERANCES
    lengths = generate.lengths(utterances)
    data = recipe.speech(lengths, batching(options))
    held_out = generate.lengths(utterances // _VALIDATION_SHARE, seed=1)
    stores = {"train": data.datasets["train"].store, "validation": generate.store(held_out, seed=1)}
    return SpeechData(stores, data.target, batching(options))


def batching(options: Options) -> Batching:
    """Return the settings of the batches."""
    return replace(recipe.BUDGET, max_frames=4_000 if options.quick else MAX_FRAMES)


def epochs(
    model: str, data: SpeechData, device: torch.device, options: Options
) -> dict[Setting, list[float]]:
    """Measure the seconds of an epoch for each setting."""
    settings = [Setting(precision) for precision in PRECISIONS]
    settings.append(Setting("bf16", data="pinned"))
    if model in COMPILED and device.type == "cuda":  # on a CPU compiling takes minutes
        settings += [Setting("bf16", mode) for mode in ("dynamic", "edges")]
    runners = {setting: Epoch(model, setting, data, device) for setting in settings}
    for runner in runners.values():
        runner()  # compiles, and warms up the allocator and cuDNN
    return interleave(runners, options.repetitions)


class Epoch:
    """Epoch of a plain loop; a call trains one and returns its seconds.

    Args:
        model: Option of the group `model`.
        setting: Settings.
        data: Data on the host.
        device: Device of the training.
    """

    def __init__(self, model: str, setting: Setting, data: SpeechData, device: torch.device) -> None:
        config = recipe.settings(model)
        torch._dynamo.reset()
        self.setting = setting
        self.device = device
        self.task: Task = setup.make_task(config, data).to(device).train()
        self.plan: Plan = data.train_dataloader().sampler.plan
        source = data.datasets["train"]
        self.dataset = ResidentDataset(source, device) if setting.data == "resident" else source
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.task.model), lr=config.optimizer["lr"], fused=True
        )
        if setting.mode != "eager":
            torch._dynamo.config.recompile_limit = _MOST_EDGES
            dynamic = True if setting.mode == "dynamic" else None
            self.task.model.compile(dynamic=dynamic, options=setup.COMPILE_OPTIONS)

    def __call__(self) -> float:
        """Train an epoch, and return its seconds until the device has finished."""
        set_precision(self.setting.precision)
        synchronize(self.device)
        started = time.perf_counter()
        for batch in self.batches(self.plan):
            self.step(batch)
        synchronize(self.device)
        return time.perf_counter() - started

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Yield the batches of a plan, on the device."""
        for indices in plan:
            batch = self.dataset[BatchIndices(0, indices)]
            if self.setting.data == "pinned" and self.device.type == "cuda":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            yield to_edge(batch) if self.setting.mode == "edges" else batch

    def step(self, batch: Batch) -> None:
        """Run forward, backward, clipping and update."""
        with autocast(self.device, self.setting.precision):
            loss = self.task.objective(self.task.model(batch.audio), batch).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.task.model.parameters(), _CLIP)
        self.optimizer.step()


def to_edge(batch: Batch) -> Batch:
    """Pad a batch to a multiple of 128 steps, which are static in compiled code; utterances are dynamic."""
    missing = -batch.audio.values.shape[1] % _EDGE
    audio = batch.audio.with_values(functional.pad(batch.audio.values, (0, 0, 0, missing)))
    torch._dynamo.maybe_mark_dynamic(audio.values, 0)
    torch._dynamo.mark_static(audio.values, 1)
    return Batch(batch.ids, audio, batch.targets, batch.keys)


def whole_training(
    model: str, setting: Setting, data: SpeechData, device: torch.device, options: Options
) -> float:
    """Measure the seconds of 50 epochs with train.py's trainer; with --quick, of one epoch times 50."""
    run = 1 if options.quick else _EPOCHS
    precision = "bf16-mixed" if setting.precision == "bf16" else "32-true"
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    overrides = [f"trainer.precision={precision}", f"trainer.accelerator={accelerator}"]
    overrides += [f"trainer.max_epochs={run}", "callbacks.early_stopping=null"]
    overrides += [f"compile={str(setting.mode != 'eager').lower()}"]
    config = recipe.settings(model, *overrides)
    setup.prepare(config)
    set_precision(setting.precision)
    started = time.perf_counter()
    task = setup.make_task(config, data)
    with recipe.trainer(config) as trainer:
        trainer.fit(task, datamodule=ResidentData(data, batching(options), device))
    return (time.perf_counter() - started) * _EPOCHS / run


def epoch_flops(model: str, data: SpeechData, device: torch.device) -> float:
    """Estimate the FLOPs of an epoch's matrix products from every tenth batch by length."""
    epoch = Epoch(model, Setting("fp32"), data, device)
    plan = sorted(epoch.plan, key=lambda indices: int(epoch.dataset.lengths[indices].max()))
    recurrent = RecurrentFlops(epoch.task.model)
    with FlopCounterMode(display=False) as counter:
        for batch in epoch.batches(plan[::10]):
            epoch.step(batch)
    counted: int = counter.get_total_flops()
    return (counted + recurrent.total) * len(plan) / len(plan[::10])


class RecurrentFlops:
    """Count the FLOPs of LSTM layers, which torch's counter ignores, including the backward pass.

    Args:
        model: Model whose layers are counted.
    """

    def __init__(self, model: nn.Module) -> None:
        self.total = 0
        for module in model.modules():
            if isinstance(module, nn.LSTM):
                module.register_forward_hook(self._count)

    def _count(self, layer: nn.LSTM, inputs: tuple[Tensor, ...], _: Any) -> None:
        batch, steps, width = inputs[0].shape
        forward = 2 * batch * steps * 4 * layer.hidden_size * (width + layer.hidden_size)
        self.total += 3 * forward  # the backward pass has one product for the inputs and one for the weights


def matrix_peak(device: torch.device, precision: str, options: Options) -> float:
    """Measure the highest FLOP/s of a product of large matrices."""
    set_precision(precision)
    size = 256 if options.quick else _MATRIX
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, size, size, device=device, dtype=dtype).unbind()
    return 2 * size**3 / min(_matmul_seconds(left, right) for _ in range(5))


def _matmul_seconds(left: Tensor, right: Tensor) -> float:
    synchronize(left.device)
    started = time.perf_counter()
    left @ right
    synchronize(left.device)
    return time.perf_counter() - started


def profile(model: str, setting: Setting, data: SpeechData, device: torch.device) -> str:
    """Profile some steps: the share of time in which the device is busy, and the kernels with the largest shares."""
    epoch = Epoch(model, setting, data, device)
    plan = epoch.plan[:_PROFILED_STEPS]
    for batch in epoch.batches(plan):
        epoch.step(batch)
    synchronize(device)
    started = time.perf_counter()
    with torch.profiler.profile() as profiler:
        for batch in epoch.batches(plan):
            epoch.step(batch)
        synchronize(device)
    wall = 1e6 * (time.perf_counter() - started)
    events = sorted(kernels(profiler, device).items(), key=lambda event: -event[1])
    busy = sum(taken for _, taken in events)
    top = ", ".join(f"{name[:60]} {taken / busy:.0%}" for name, taken in events[:6])
    return f"device busy {busy / wall:.0%} of the profiled time; {top}"


def kernels(profiler: torch.profiler.profile, device: torch.device) -> dict[str, float]:
    """Return the microseconds on the device by kernel on a GPU, or by operator on a CPU."""
    averages = profiler.key_averages()
    if device.type == "cuda":  # without operators and regions, whose time is that of the kernels in them
        of_gpu = (event for event in averages if event.device_type == DeviceType.CUDA)
        return {event.key: event.self_device_time_total for event in of_gpu if not event.is_user_annotation}
    return {event.key: event.self_cpu_time_total for event in averages}


def set_precision(precision: str) -> None:
    """Set the precision of float32 products."""
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def name_of(device: torch.device) -> str:
    """Return the name of the device."""
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


if __name__ == "__main__":
    main(gpu)
