"""A device that is not the CPU: a GPU, or where there is none a pretended one, which is compiled on its first use."""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SOURCE = Path(__file__).with_name("pretend_device.cpp")


@pytest.fixture(scope="session")
def some_device(request: pytest.FixtureRequest) -> torch.device:
    """Where models can live besides the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if not (shutil.which("c++") and Path(sysconfig.get_path("include"), "Python.h").exists()):
        pytest.skip("needs a GPU, or a C++ compiler and Python's headers to pretend one")
    return pretend_device(request.config.cache.mkdir("pretend_device"))


def pretend_device(folder: Path) -> torch.device:
    """Compile the pretended device, or take what was compiled before, and tell torch of it."""
    import ninja
    from torch.utils.cpp_extension import load

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", ninja.BIN_DIR, prepend=os.pathsep)
        load("pretend_device", [str(SOURCE)], extra_cflags=["-O0"], build_directory=str(folder)).register_hooks()
    torch.utils.rename_privateuse1_backend("pretend")
    module = types.ModuleType("torch.pretend")
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.device = contextlib.nullcontext
    module._is_in_bad_fork = lambda: False
    # It draws from the CPU's generator and has none of its own.
    module.manual_seed = module.manual_seed_all = lambda seed: None
    module.get_rng_state = lambda device: torch.empty(0, dtype=torch.uint8)
    module.set_rng_state = lambda state, device: None
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    torch._register_device_module("pretend", module)
    return torch.device("pretend", 0)


@pytest.fixture
def device(some_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """That device, and every model that is loaded lives there."""
    monkeypatch.setattr("dripstone.checkout.chosen_device", lambda: some_device)
    return some_device
