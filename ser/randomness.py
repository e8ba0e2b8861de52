"""Random numbers as pure functions of (seed, epoch, utterance).

A generator has a state: its numbers depend on earlier draws, on the worker, and on the order of the batch. Here a
number is a hash of a key and a salt, so that augmentation is the same for any number of workers, any batch size and
after a resume, and the numbers of a whole batch are computed at once.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as a signed 64-bit integer
_MIX = (-4658895280553007687, -7723592293110705685)


def _scramble(state: Tensor) -> Tensor:
    """Apply the splitmix64 finaliser to int64 tensors.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    for shift, factor in zip((30, 27), _MIX, strict=True):
        state = (state ^ _shift_right(state, shift)) * factor
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, bits: int) -> Tensor:
    """Shift right logically; torch's own shift is arithmetic."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def utterance_keys(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Compute a key for each utterance index [B], epoch and seed: [B] int64."""
    base = _scramble(torch.tensor(seed * 1_000_003 + epoch, dtype=torch.int64) + _GOLDEN)
    return _scramble(base + (indices.long() + 1) * _GOLDEN)


def uniform(keys: Tensor, salt: str, count: int = 1) -> Tensor:
    """Draw float32 numbers [B, count] in 0..1 for keys [B]; another salt gives independent numbers."""
    offset = int.from_bytes(salt.encode()[:7].ljust(7, b"\0"), "little")
    counters = torch.arange(1, count + 1, device=keys.device) * _GOLDEN + offset
    bits = _scramble(_scramble(keys[:, None] + counters) + _GOLDEN)
    return _shift_right(bits, 40).float() / (1 << 24)


def seed_dropout(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed torch's generators from (seed, step, rank), so that a resumed run draws the same numbers.

    torch.manual_seed is not used, because it seeds every kind of device and takes 0.3 ms per step.
    """
    digest = hashlib.blake2b(b"%d %d %d" % (seed, step, rank), digest_size=8).digest()
    key = int.from_bytes(digest, "little")
    torch.default_generator.manual_seed(key)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(key)
