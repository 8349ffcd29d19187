"""Where models live: on the GPU where torch has one, else on the CPU.

What is kept of rows (features, activations, statistics) and whatever is solved or judged from it stays on the CPU: it
outlives the batch, and float64 is slow on most GPUs. To keep a GPU out of it, hide it: ``CUDA_VISIBLE_DEVICES=``.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)

CPU = torch.device("cpu")


def chosen_device() -> torch.device:
    """The current CUDA device, else the CPU.

    Examples
    --------
    >>> chosen_device().type in ("cpu", "cuda")
    True
    """
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else CPU


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are.

    Examples
    --------
    >>> device_of(nn.Linear(2, 1))
    device(type='cpu')
    """
    return next(module.parameters()).device


def has_bfloat16(device: torch.device) -> bool:
    """Whether training in bfloat16 is faster there: on GPUs with units for it. A CPU is not asked.

    Examples
    --------
    >>> has_bfloat16(CPU)
    False
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def place(module: M, device: torch.device) -> M:
    """Move a module to a device, in place; tensors that share storage share it there as well.

    Examples
    --------
    >>> place(nn.Linear(2, 1), CPU).weight.device
    device(type='cpu')
    """
    moved: dict[tuple[int, torch.device], torch.UntypedStorage] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device == device or not tensor.numel():
            return tensor.to(device)
        storage = tensor.untyped_storage()
        key = storage.data_ptr(), tensor.device
        if key not in moved:
            flat = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            moved[key] = flat.to(device).untyped_storage()
        values = torch.empty(0, dtype=tensor.dtype, device=device)
        return values.set_(moved[key], tensor.storage_offset(), tensor.shape, tensor.stride())

    return module._apply(move)
