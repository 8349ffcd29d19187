"""Fixtures that several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_encoder import tiny_encoder


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``tests/devices`` runs alone: torch wants to know every device before it first computes a gradient."""
    return True if collection_path.name == "devices" and not any("devices" in arg for arg in config.args) else None


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT; read only."""
    pytest.importorskip("transformers")
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session", autouse=True)
def _same_rows_held_out():
    """A fixed key in place of the random one: the same rows are held out in every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dripstone.store.repository._new_key", lambda: b"k" * 32)
        yield
