"""dripstone.toml: what is refused, and that a dump loads as what was dumped."""

from __future__ import annotations

import tomllib
from functools import reduce

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.core.config import FILE_NAME, Config, ModelConfig, dump_config, load_config
from dripstone.core.errors import UsageError

SECTIONS = ("store", "model", "task", "curate", "select", "train", "gate", "serve")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)
ZERO = POSITIVE | st.just(0.0)
SHARE = st.floats(0, 1, exclude_min=True, exclude_max=True)
COUNT = st.integers(1, 2**40)
ARGS = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
VALUES = {
    "store": {"path": TEXT, "keep_states": COUNT, "pending": COUNT},
    "model": {"factory": TEXT, "args": st.dictionaries(TEXT, ARGS, max_size=3)},
    "task": {
        "input": TEXT | st.lists(TEXT, min_size=1, max_size=3),
        "target": TEXT, "metric": st.sampled_from(["accuracy", "log_loss"]),
        **dict.fromkeys(("id", "slice", "weight", "time"), st.none() | TEXT),
    },
    "curate": {"policy": TEXT},
    "select": {"selection": TEXT},
    "train": {
        "optimizer": TEXT, "learning_rate": POSITIVE, "batch_size": COUNT, "ridge": st.none() | POSITIVE,
        "seed": COUNT | st.just(0),
        "step": st.fixed_dictionaries(
            {},
            optional={
                "weight_decay": ZERO, "momentum": SHARE | st.just(0.0), "warmup": SHARE, "clip": POSITIVE,
                "schedule": st.sampled_from(["constant", "linear", "cosine"]), "accumulate": COUNT,
                "carry": st.booleans(),
            },
        ),
        "stop": st.fixed_dictionaries(
            {},
            optional={
                "epochs": COUNT, "steps": COUNT, "cpu_seconds": POSITIVE, "wall_seconds": POSITIVE, "patience": COUNT,
            },
        ),
        "retain": st.fixed_dictionaries({}, optional=dict.fromkeys(("distill", "derpp", "ewc", "l2"), ZERO)),
    },
    "gate": {
        "mode": st.sampled_from(["steady", "better", "off"]), "alpha": SHARE, "margin": SHARE, "holdout": SHARE,
        "trusted": COUNT, "minimum": COUNT, "sense": SHARE,
        "limits": st.fixed_dictionaries(
            {}, optional={"negative_flips": SHARE, "calibration_error": SHARE, "latency_ratio": POSITIVE}
        ),
    },
    "serve": {
        "host": TEXT, "port": st.integers(0, 65535), "max_batch": COUNT, "max_wait_ms": POSITIVE | st.just(0.0),
        "poll_ms": POSITIVE, "keep": COUNT, "max_rows": COUNT, "max_bytes": COUNT,
    },
}  # fmt: skip


def load(tmp_path, text):
    path = tmp_path / FILE_NAME
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(tmp_path)


def reread(config):
    return msgspec.convert(tomllib.loads(dump_config(config)), Config)


def test_an_empty_file_has_the_defaults(tmp_path):
    assert load(tmp_path, "") == Config()


def test_every_section_has_at_most_eight_keys_and_documents_each():
    assert Config.__struct_fields__ == SECTIONS
    sections = [getattr(Config(), section) for section in SECTIONS]
    tables = [getattr(section, key) for section in sections for key in section.__struct_fields__]
    for struct in map(type, [*sections, *(table for table in tables if isinstance(table, msgspec.Struct))]):
        assert len(struct.__struct_fields__) <= 8
        assert all(f"{key}" in struct.__doc__ for key in struct.__struct_fields__)


@pytest.mark.parametrize("section", SECTIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_dump_loads_as_what_was_dumped(section, data):
    values = data.draw(st.fixed_dictionaries({}, optional=VALUES[section]))
    config = Config().override({f"{section}.{key}": value for key, value in values.items()})
    assert reread(config) == config


@pytest.mark.parametrize(
    "hostile",
    [
        "\x7f",
        "\x00",
        "\x1f",
        '"',
        "\\",
        "'''",
        "a\nb",
        "a\r\nb",
        "]\n[gate]\nmode = 'off'",
        "\u2028",
        "😀",
        "#",
        "\ufeff",
    ],
)
def test_hostile_strings_stay_strings(hostile):
    config = Config().override({"store.path": hostile, "task.input": [hostile], "model.args": {hostile: hostile}})
    assert reread(config) == config


def test_a_dump_is_short_and_leaves_defaults_out():
    text = dump_config(Config())
    assert tomllib.loads(text) == {
        "store": {"path": "store"},
        "model": {"factory": "", "args": {}},
        "task": {"kind": "classification", "input": "inputs", "target": "label"},
        "select": {"selection": "ladder"},
        "gate": {"mode": "steady"},
    }
    assert "alpha" in dump_config(Config().override({"gate.alpha": 0.01}))


def test_what_toml_has_no_word_for_is_left_out():
    args = {"a": None, "b": [1, None], "c": {"d": None, "e": 1}, "inf": float("inf"), "big": 2**70}
    config = msgspec.structs.replace(Config(), model=ModelConfig("f", args))
    assert reread(config).model.args == {"b": [1], "c": {"e": 1}, "inf": float("inf"), "big": 2**70}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nepoch = 3", "unknown field `epoch` - at `$.train`"),
        ("[trian]\nepochs = 3", "unknown field `trian`"),
        ("epochs = 3", "unknown field `epochs`"),
        ("[train.stop]\nepochs = '3'", r"Expected `int`, got `str` - at `$.train.stop.epochs`"),
        ("[train.stop]\nepochs = true", "Expected `int`, got `bool`"),
        ("[train.stop]\nepochs = 0", "Expected `int` >= 1"),
        ("[train.stop]\nepochs = 2.5", "got `float`"),
        ("[train]\nlearning_rate = 0.0", "Expected `float` > 0.0"),
        ("[train]\nlearning_rate = nan", "learning_rate"),
        ("[train]\nlearning_rate = inf", "learning_rate"),
        ("[train]\nweight_decay = inf", "weight_decay"),
        ("[train]\nweight_decay = -1", "weight_decay"),
        ("[train]\nseed = -1", "seed"),
        ("[train.step]\nschedule = 'steps'", "Invalid enum value 'steps'"),
        ("[gate]\nalpha = 1.0", "Expected `float` < 1.0"),
        ("[gate]\nalpha = nan", "alpha"),
        ("[gate]\nmode = 'Steady'", "Invalid enum value"),
        ("[serve]\nport = 65536", "port"),
        ("[serve]\nmax_wait_ms = nan", "max_wait_ms"),
        ("[task]\ninput = []", "length >= 1"),
        ("[task]\ninput = [1]", "task.input"),
        ("[task]\ntarget = ['a', 'b']", "task.target"),
        ("[[train]]\nepochs = 3", "Expected `object`, got `array`"),
        ("model = 'text'", "Expected `object`, got `str`"),
        ("[model]\nargs = []", "model.args"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path, text, words):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / FILE_NAME) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train\n", "is not TOML: "),
        ("[train.stop]\nepochs = 1\nepochs = 2\n", "line 3"),
        ("a = " + "[" * 20_000, "is not TOML"),
        ("[train.stop]\nepochs = " + "9" * 5000, "is not TOML"),
        (b"[store]\npath = '\xff'\n", "is not UTF-8"),
        ("[store]\npath = 'x'\n".encode("utf-16"), "is not UTF-8"),
    ],
)
def test_what_is_no_toml(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        load(tmp_path, text)


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert load(tmp_path, b"\xef\xbb\xbf[train.stop]\nepochs = 7\n").train.stop.epochs == 7


def test_a_whole_number_is_a_fine_float(tmp_path):
    assert load(tmp_path, "[train]\nlearning_rate = 1\n").train.learning_rate == 1.0


@pytest.mark.parametrize("name", ["missing", FILE_NAME])
def test_a_folder_that_is_no_project(tmp_path, name):
    (tmp_path / FILE_NAME).write_text("")
    with pytest.raises(UsageError, match="is not a dripstone project") as caught:
        load_config(tmp_path / name)
    assert caught.value.kind == "usage.project"


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("train.stop.epochs", "3", 3),
        ("train.learning_rate", "1e-4", 1e-4),
        ("train.step.weight_decay", "0", 0.0),
        ("gate.mode", "off", "off"),
        ("serve.port", "0", 0),
        ("store.path", "3", "3"),
        ("task.input", "text", "text"),
        ("task.input", ["a", "b"], ["a", "b"]),
        ("task.id", "null", "null"),
        ("task.id", None, None),
        ("model.args", {"hidden": [8]}, {"hidden": [8]}),
    ],
)
def test_override_converts_strings(name, text, value):
    config = Config().override({name: text})
    found = reduce(getattr, name.split("."), config)
    assert found == value
    assert type(found) is type(value)
    assert Config() == Config().override({}), "the original is untouched"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.stop.epochs", "three"),
        ("train.stop.epochs", ""),
        ("train.stop.epochs", "2.5"),
        ("train.stop.epochs", True),
        ("train.stop.epochs", None),
        ("train.learning_rate", "inf"),
        ("train.learning_rate", "nan"),
        ("gate.alpha", "0"),
        ("gate.mode", "on"),
        ("task.id", 5),
        ("task.input", []),
        ("store.path", "caf\udce9"),
    ],
)
def test_override_refuses(name, value):
    with pytest.raises(UsageError, match="the given settings"):
        Config().override({name: value})


@pytest.mark.parametrize(
    "name", ["train.stop.epoch", "trian.stop.epochs", "train", "", ".", "train.", ".epochs", "train.stop.epochs.x"]
)
def test_override_names_the_settings_that_exist(name):
    with pytest.raises(UsageError, match=r"there is no setting .* use one of .*train\.stop\.epochs") as caught:
        Config().override({name: 1})
    assert repr(name) in str(caught.value)


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().train.stop.epochs = 3
    assert ModelConfig().args is not ModelConfig().args


def test_a_limit_can_be_set_by_its_full_name(tmp_path):
    config = load(tmp_path, "[gate]\nlimits = { negative_flips = 0.02 }\n")
    assert config.gate.limits.negative_flips == 0.02
    both = config.override({"gate.limits.latency_ratio": "1.5"})
    assert (both.gate.limits.negative_flips, both.gate.limits.latency_ratio) == (0.02, 1.5)
    for wrong in ("gate.limits.speed", "gate.limits.negative_flips.x", "limits", "gate"):
        with pytest.raises(UsageError, match="there is no setting"):
            config.override({wrong: "1"})
    with pytest.raises(UsageError, match="negative_flips"):
        config.override({"gate.limits.negative_flips": 2})
