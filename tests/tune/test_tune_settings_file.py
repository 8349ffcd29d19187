"""The user's file keeps its comments, its order and its blanks, and is replaced in one step."""

import os
import sys

import pytest

from dripstone.core.config import Config, dump_config, load_config
from dripstone.core.errors import StoreError, UsageError
from dripstone.tune import settings_file
from dripstone.tune.settings_file import write_settings

TEXT = """\
# What this project is for.
[gate]   # strict
mode = "better"

[train]
batch_size   =   8   # small on purpose
stop = { epochs = 3 } # not too long
# a note between
seed = 5
[model]
factory = "dripstone.models:mlp"
args = { inputs = 2, hidden = [8, 8] }
"""


def write(folder, text, settings):
    (folder / "dripstone.toml").write_bytes(text.encode())
    changed = write_settings(folder, settings)
    return changed, (folder / "dripstone.toml").read_bytes().decode()


def test_values_change_and_nothing_else(tmp_path):
    changed, text = write(tmp_path, TEXT, {"train.batch_size": 64, "train.seed": 5})
    assert changed == {"train.batch_size": 64}
    assert text == TEXT.replace("batch_size   =   8   #", "batch_size   =   64   #")


def test_new_keys_join_their_section_and_new_sections_the_end(tmp_path):
    values = {"train.learning_rate": 3e-05, "select.selection": "suffix:1", "model.args.activation": "gelu"}
    changed, text = write(tmp_path, TEXT, values)
    assert changed == values
    config = load_config(tmp_path)
    assert (config.train.learning_rate, config.select.selection) == (3e-05, "suffix:1")
    assert config.model.args == {"inputs": 2, "hidden": [8, 8], "activation": "gelu"}
    assert text.index("[gate]") < text.index("[train]") < text.index("[model]") < text.index("[select]")
    assert text.endswith('\n\n[select]\nselection = "suffix:1"\n')
    lost = [line for line in TEXT.splitlines() if line not in text.splitlines()]
    assert lost == ["args = { inputs = 2, hidden = [8, 8] }"]


def test_a_key_is_taken_out(tmp_path):
    changed, text = write(tmp_path, TEXT, {"train.batch_size": None, "train.ridge": None, "serve.port": None})
    assert changed == {"train.batch_size": None}
    assert "batch_size" not in text
    assert "# a note between" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "train.batch_size = 4\ntrain.seed = 1\n",
        "train = { batch_size = 4, seed = 1 }\n",
        "[train]\nbatch_size = 4",
        "[train.stop]\nepochs = 3\n",
        '[gate]\nmode = "off"\n[train]\nseed = 1\n[gate.limits]\nnegative_flips = 0.1\n',
        "\ufeff[train]\r\nseed = 3\r\n",
        TEXT.replace("\n", "\r\n"),
        dump_config(Config().override({"train.stop.epochs": 3})),
    ],
)
def test_every_form_of_the_file_says_afterwards_what_it_should(tmp_path, text):
    (tmp_path / "dripstone.toml").write_bytes(text.encode())
    wanted = load_config(tmp_path).override({"train.batch_size": 128, "select.selection": "full"})
    changed, _ = write(tmp_path, text, {"train.batch_size": 128, "select.selection": "full"})
    assert changed["train.batch_size"] == 128
    assert load_config(tmp_path) == wanted
    assert write_settings(tmp_path, {"train.batch_size": 128, "select.selection": "full"}) == {}


def test_line_ends_and_permissions_stay_and_a_link_goes_on_leading_there(tmp_path):
    real = tmp_path / "elsewhere.toml"
    real.write_bytes(b"[train]\r\nseed = 3\r\n")
    real.chmod(0o600)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "dripstone.toml").symlink_to(real)
    write_settings(tmp_path / "p", {"train.seed": 4})
    assert real.read_bytes() == b"[train]\r\nseed = 4\r\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "p" / "dripstone.toml").is_symlink()


def test_a_number_of_another_kind_is_a_change(tmp_path):
    changed, text = write(tmp_path, "[train]\nridge = 1\n", {"train.ridge": 1.0})
    assert changed == {"train.ridge": 1.0}
    assert text == "[train]\nridge = 1.0\n"


@pytest.mark.parametrize(("text", "words"), [("[train\n", "is not TOML"), ("[train]\nepoch = 3\n", "epoch")])
def test_a_file_that_is_none_is_left_alone(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        write(tmp_path, text, {"train.seed": 1})
    assert (tmp_path / "dripstone.toml").read_text() == text


def test_a_text_that_would_say_something_else_is_not_written(tmp_path, monkeypatch):
    import tomlkit

    monkeypatch.setattr(tomlkit, "dumps", lambda document: "[train]\nseed = 9\n")
    with pytest.raises(StoreError, match="set these keys by hand"):
        write(tmp_path, TEXT, {"train.seed": 1})
    assert (tmp_path / "dripstone.toml").read_text() == TEXT


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    def broken(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, TEXT, {"train.seed": 1})
    assert (tmp_path / "dripstone.toml").read_text() == TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["dripstone.toml"]


def test_without_the_extra_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    with pytest.raises(UsageError, match=r"pip install 'dripstone\[tune\]'"):
        settings_file.import_tomlkit()


def test_a_new_key_comes_before_what_is_said_of_the_next_table(tmp_path):
    text = '[train]\nbatch_size = 8\n\n# about the gate\n[gate]\nmode = "off"\n# the end\n'
    (tmp_path / "dripstone.toml").write_text(text)
    write_settings(tmp_path, {"train.learning_rate": 0.5, "train.stop.epochs": 7, "gate.alpha": 0.1})
    assert (tmp_path / "dripstone.toml").read_text() == (
        "[train]\nbatch_size = 8\nlearning_rate = 0.5\nstop = {epochs = 7}\n\n# about the gate\n"
        '[gate]\nmode = "off"\nalpha = 0.1\n# the end\n'
    )
