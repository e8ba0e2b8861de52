"""Random numbers that are functions of (seed, epoch, utterance), so that nothing else can change them.

A generator has a position: its numbers depend on who drew before, on the worker, on the order of the batch.
Here a number is a hash of a key and a salt, so augmentation is the same for any number of workers, any batch
size and after any resume, and a whole batch is drawn at once.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as a signed 64-bit integer
_MIX = (-4658895280553007687, -7723592293110705685)


def _scramble(state: Tensor) -> Tensor:
    """The splitmix64 finaliser on int64 tensors.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    for shift, factor in zip((30, 27), _MIX, strict=True):
        state = (state ^ _shift_right(state, shift)) * factor
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, bits: int) -> Tensor:
    """A logical shift: torch's own carries the sign along."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def utterance_keys(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """[B] int64 keys, one for each utterance index [B] in this epoch of the run with this seed."""
    base = _scramble(torch.tensor(seed * 1_000_003 + epoch, dtype=torch.int64) + _GOLDEN)
    return _scramble(base + (indices.long() + 1) * _GOLDEN)


def uniform(keys: Tensor, salt: str, count: int = 1) -> Tensor:
    """[B, count] float32 numbers in 0..1 for keys [B]; another salt gives independent numbers."""
    offset = int.from_bytes(salt.encode()[:7].ljust(7, b"\0"), "little")
    counters = torch.arange(1, count + 1, device=keys.device) * _GOLDEN + offset
    bits = _scramble(_scramble(keys[:, None] + counters) + _GOLDEN)
    return _shift_right(bits, 40).float() / (1 << 24)


def seed_dropout(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Let torch's generators begin anew from (seed, step, rank), so that a resumed run draws what it would have.

    Not by torch.manual_seed: it seeds every kind of device, and takes 0.3 ms of a step.
    """
    digest = hashlib.blake2b(b"%d %d %d" % (seed, step, rank), digest_size=8).digest()
    key = int.from_bytes(digest, "little")
    torch.default_generator.manual_seed(key)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(key)
