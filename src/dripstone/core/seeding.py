"""Random numbers of our own, without moving torch's global generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dripstone.core.devices import CPU


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Draw from ``seed`` inside the block, on the CPU and on a device, and go on outside as if nothing had been drawn.

    Examples
    --------
    >>> with seeded(0):
    ...     first = torch.rand(3)
    >>> with seeded(0):
    ...     bool(torch.equal(first, torch.rand(3)))
    True
    """
    with drawn_apart(device):
        # torch.manual_seed would move the generators of other accelerators as well.
        torch.default_generator.manual_seed(seed)
        if device != CPU:
            module = torch.get_device_module(device)
            with module.device(device):
                module.manual_seed(seed)
        yield


@contextmanager
def drawn_apart(device: torch.device = CPU) -> Iterator[None]:
    """Whatever is drawn inside the block, the CPU's generator and the device's go on afterwards as if nothing had been.

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with drawn_apart():
    ...     drawn = torch.rand(3)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    with torch.random.fork_rng([] if device == CPU else [device], device_type=device.type):
        yield
