"""Fixtures of the command line's tests; a plugin, since two folders' conftest.py cannot be named in one call."""

import shutil
from pathlib import Path

import pytest
from view_samples import INIT, Dripstone, Result, blobs, quietly, write_csv


@pytest.fixture
def dripstone(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Dripstone:
    """The command line in this process, 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = quietly(*arguments)
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was made from rows of a and b, and has learned c. Read only."""
    folder = tmp_path_factory.mktemp("template")
    first, second = write_csv(folder / "0.csv", blobs(150, "ab", 0)), write_csv(folder / "1.csv", blobs(150, "c", 1))
    columns = ["--input", "x", "--input", "y", "--target", "kind"]
    assert quietly("init", folder / "p", *INIT, *columns, "--data", first, "--format", "quiet") == 0
    assert quietly("-C", folder / "p", "update", second, "--format", "quiet") == 0
    return folder / "p"


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, called ``p`` in the working directory."""
    shutil.copytree(template, tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    return Path("p")
