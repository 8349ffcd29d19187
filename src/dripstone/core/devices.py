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
    """Whether training is done in bfloat16 there: on GPUs that have units for it, not on a CPU.

    Examples
    --------
    >>> has_bfloat16(CPU)
    False
    """
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def place(module: M, device: torch.device) -> M:
    """Move a module to a device, in place; tensors that are one, or share storage, are and do there as well.

    Examples
    --------
    >>> place(nn.Linear(2, 1), CPU).weight.device
    device(type='cpu')
    """
    storages: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
    tensors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device == device or not tensor.numel():
            return tensor.to(device)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            there = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage).to(device)
            # The old one is kept as well, so that nothing else comes to lie at its address meanwhile.
            storages[storage.data_ptr()] = storage, there.untyped_storage()
        layout = tensor.storage_offset(), tensor.shape, tensor.stride()
        return torch.empty(0, dtype=tensor.dtype, device=device).set_(storages[storage.data_ptr()][1], *layout)

    def move_once(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in tensors:
            tensors[id(tensor)] = tensor, move(tensor)
        return tensors[id(tensor)][1]

    return module._apply(move_once)
