"""``dripstone export`` on the command line."""

import json

import pytest
from view_samples import blobs, live, quietly, write_csv

pytest_plugins = ["view_fixtures"]

NETWORK = ["--model", "dripstone.models:mlp", "--model-arg", "inputs=2", "--model-arg", "hidden=[8,8]"]


@pytest.fixture
def adapted(tmp_path, monkeypatch):
    """A project whose live version was made at low rank."""
    monkeypatch.chdir(tmp_path)
    first, second = write_csv(tmp_path / "0.csv", blobs(60, "ab", 0)), write_csv(tmp_path / "1.csv", blobs(60, "ab", 1))
    columns = ["--input", "x", "--input", "y", "--target", "kind"]
    assert quietly("init", "p", *NETWORK, *columns, "--data", first, "--format", "quiet") == 0
    assert quietly("-C", "p", "update", second, "--select", "low_rank:2", "--gate", "off", "--format", "quiet") == 0
    return tmp_path


def test_an_adapter_is_written_and_said(adapted, dripstone):
    found = dripstone("-C", "p", "export", "live", "adapter")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("adapter: 2 layers of 1 update, ")
    assert "to go on top of version" in found.out
    assert sorted(path.name for path in (adapted / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((adapted / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_the_report_for_programs(adapted, dripstone):
    found = dripstone("-C", "p", "export", live(adapted / "p")[:8], "adapter", "--format", "json").json()
    assert found["version"] == live(adapted / "p")
    assert (found["updates"], found["layers"], found["as"], found["folder"]) == (1, 2, "peft", "adapter")
    assert found["bytes"] == sum(path.stat().st_size for path in (adapted / "adapter").iterdir())


def test_what_cannot_be_exported_is_said(adapted, dripstone):
    assert dripstone("-C", "p", "export", "live", "adapter").code == 0
    assert dripstone("-C", "p", "export", "live", "adapter").code == 0  # what is there is the same
    (adapted / "adapter" / "adapter_config.json").write_text("{}")
    again = dripstone("-C", "p", "export", "live", "adapter")
    assert again.code == 2
    assert "is there already; name another folder" in again.err
    (adapted / "file").write_text("mine")
    for folder in ("file", "file/folder", "/proc/folder"):
        found = dripstone("-C", "p", "export", "live", folder)
        assert (found.code, "cannot be written to" in found.err) == (2, True)
    assert dripstone("-C", "p", "update", "0.csv", "--select", "full", "--gate", "off").code == 0
    log = dripstone("-C", "p", "log", "--format", "json").json()
    other = dripstone("-C", "p", "export", log[-1]["version"], "other")
    assert other.code == 2
    assert "no product of low rank to export" in other.err
    assert not (adapted / "other").exists()
    assert dripstone("-C", "p", "export", "ffff0000", "other").code == 2
