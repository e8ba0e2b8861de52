"""A device that computes as the CPU does, and refuses what a GPU refuses: tensors of two devices in one operation.

Its tensors hold one of the CPU each. So a place where data of a GPU would meet data of the host is found without a GPU.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

NAME = "elsewhere"
IS_SUPPORTED = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
_RECURRENT = ("lstm", "gru", "lstm_cell", "gru_cell")
"""What runs on the CPU as a whole: other devices take other kernels than it has."""
_COPIES = ("aten::_to_copy", "aten::copy_")
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""What takes indices of the host."""
_JOINED = ("aten::cat", "aten::stack")
"""What takes not even a single number of the host."""


class Module:
    """What torch asks of a device: its number, its seed, its types under autocast."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    @staticmethod
    def manual_seed(seed: int) -> None:
        pass

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass


@functools.cache
def device() -> torch.device:
    """Register the device once in this process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    return torch.device(NAME, 0)


class Elsewhere(Tensor):
    """A tensor of the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device(),
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"elsewhere({self.held})"

    def __format__(self, spec: str) -> str:
        return format(self.held.item() if self.ndim == 0 else self.held, spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor of this device to numpy. Use Tensor.cpu() first.")

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if getattr(function, "__name__", "") not in _RECURRENT:
                return function(*args, **kwargs)
            leaves = pytree.tree_leaves((args, kwargs))
            _check(function, [part for part in leaves if isinstance(part, Tensor)])
            args, kwargs = pytree.tree_map_only(Tensor, lambda part: part.to("cpu"), (args, kwargs))
            return pytree.tree_map_only(Tensor, lambda part: part.to(device()), function(*args, **kwargs))

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})


def compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU, after checking that no tensor of the host is among those of the device."""
    name, target = function._schema.name, kwargs.get("device")
    tensors = [part for part in pytree.tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
    own = [part for part in tensors if isinstance(part, Elsewhere)]
    takes_host = name in _COPIES or (name in _INDEXED and isinstance(args[0], Elsewhere))
    if not takes_host:
        _check(function, tensors, numbers=name not in _JOINED)
    stays = bool(own)
    if target is not None:
        stays = torch.device(target).type == NAME
        kwargs = kwargs | {"device": torch.device("cpu")}
    elif name == "aten::copy_":
        stays = isinstance(args[0], Elsewhere)
    args, kwargs = pytree.tree_map_only(Elsewhere, lambda part: part.held, (args, kwargs))
    found = function(*args, **kwargs)
    if not stays:
        return found
    changed = {id(part.held): part for part in own}  # operations in place return what they were given
    return pytree.tree_map_only(Tensor, lambda part: changed.get(id(part), Elsewhere(part)), found)


def _check(function: Any, tensors: list[Tensor], *, numbers: bool = True) -> None:
    """Refuse tensors of the host beside those of the device, but, as a GPU, take single numbers if `numbers`."""
    others = [part for part in tensors if not isinstance(part, Elsewhere)]
    if len(others) < len(tensors) and any(part.ndim or not numbers for part in others):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {function} got those of two")


class Factories(TorchDispatchMode):
    """Make the tensors that are created on the device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = kwargs.get("device")
        if target is not None and torch.device(target).type == NAME:
            return compute(function, args, kwargs)
        return function(*args, **kwargs)


class FromNumbers(TorchFunctionMode):
    """Make tensors from numbers on the CPU first, as torch.tensor asks no dispatch mode."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            place = torch.device(kwargs.pop("device"))
            return function(*args, **kwargs).to(place)
        if function is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(args[0].device)
        return function(*args, **kwargs)


@contextmanager
def available() -> Iterator[torch.device]:
    """Let tensors be made on the device."""
    place = device()
    with Factories(), FromNumbers():
        yield place


def use(trainer: Any) -> None:
    """Let a trainer of the CPU compute on the device; torch refuses tensors of our kind in its inference mode."""
    trainer.strategy._root_device = device()
    trainer.strategy.accelerator.setup_device = lambda _: None
    validation = trainer.fit_loop.epoch_loop.val_loop
    for loop in (validation, trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
        loop.inference_mode = False
