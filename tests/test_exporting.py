"""What updates of low rank added, as an adapter that PEFT loads."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoModelForCausalLM

from dripstone.core.errors import StoreError, UsageError
from dripstone.exporting import CONFIG, WEIGHTS, _network, export_adapter
from dripstone.models import ModelSpec, causal_lm, image_classifier, mlp, text_classifier
from learner_samples import blobs, make, own_net
from text_samples import stories, tiny
from tiny_language_model import folder_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT, of transformers
OFF = {"gate.mode": "off", "train.learning_rate": 0.05, "train.stop.epochs": 2}


def noisy(count, seed, labels="ab"):
    return blobs(count, seed, labels, spread=1.0)


def words(count, seed):
    """Texts of two intents that the tiny encoder's words can say."""
    draw = np.random.default_rng(seed)
    said = {"card": ["where is my card", "block my card", "new card please"], "time": ["what time is it", "the time"]}
    ends = ["hello", "now", "please", "you"]
    return [
        {"text": f"{draw.choice(said[label])} {draw.choice(ends)} {i % 7}", "label": label}
        for i in range(count)
        for label in said
    ]


def updated(learner, *batches, select="low_rank:2"):
    return [learner.update(rows, select=select) for rows in batches]


def outputs_of(model, batch):
    with torch.no_grad():
        return model(batch)


def loaded(learner, base, folder):
    """The backbone of a version with the adapter on it, through PEFT."""
    backbone = copy.deepcopy(learner.champion(base).model.backbone)
    return PeftModel.from_pretrained(backbone, str(folder))


@pytest.mark.parametrize("count", [1, 3])
def test_peft_loads_what_the_updates_have_added(tmp_path, count):
    learner = make(tmp_path, OFF, model=mlp(inputs=2, hidden=[16, 16], random_features=32))
    learner.update(noisy(60, 0))
    updates = updated(learner, *(noisy(60, seed) for seed in range(1, count + 1)))
    adapter = export_adapter(learner.repository, updates[-1].version, tmp_path / "adapter")
    # The head alone had moved before, so that the first version has the network that the adapter goes on.
    first = learner.repository.manifest(updates[0].parent).parent
    assert (adapter.updates, adapter.layers, adapter.base) == (count, 2, first)
    model = loaded(learner, adapter.base, tmp_path / "adapter")
    batch = learner.champion().model.collate([np.array(row["inputs"], "f4") for row in noisy(20, 9)])
    live = outputs_of(learner.champion().model.backbone, batch)
    assert torch.allclose(outputs_of(model, batch), live, atol=1e-5)
    assert not torch.allclose(outputs_of(learner.champion(adapter.base).model.backbone, batch), live, atol=1e-3)
    ranks = json.loads((tmp_path / "adapter" / CONFIG).read_text())["rank_pattern"]
    assert set(ranks.values()) == {2 * count}


def test_what_moved_otherwise_before_is_the_base(tmp_path):
    learner = make(tmp_path, OFF, model=mlp(inputs=2, hidden=[16, 16], random_features=32))
    learner.update(noisy(60, 0))
    updated(learner, noisy(60, 1))
    (full,) = updated(learner, noisy(60, 2), select="full")
    updated(learner, noisy(60, 3))
    (head,) = updated(learner, noisy(60, 4), select="head@adamw")  # leaves the network as it is
    adapter = export_adapter(learner.repository, head.version, tmp_path / "adapter")
    assert (adapter.base, adapter.updates) == (full.version, 1)
    assert json.loads((tmp_path / "adapter" / CONFIG).read_text())["r"] == 2
    with pytest.raises(UsageError, match=r"no product of low rank to export: it was made by full@adamw; update with"):
        export_adapter(learner.repository, full.version, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_network_of_transformers_is_the_adapters_base(tmp_path, encoder_folder):
    learner = make(tmp_path, OFF, model=text_classifier(str(encoder_folder), random_features=32))
    learner.update(words(30, 0))
    (update,) = updated(learner, words(30, 1))
    adapter = export_adapter(learner.repository, update.version, tmp_path / "adapter")
    assert adapter.layers == 12
    found = PeftModel.from_pretrained(AutoModel.from_pretrained(encoder_folder), str(tmp_path / "adapter"))
    model = learner.champion().model
    batch = model.collate(["where is my card", "what time"])
    with torch.no_grad():
        ours = model.backbone.encoder(**batch).last_hidden_state
        assert torch.allclose(found(**batch).last_hidden_state, ours, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_language_model_takes_it_under_its_output_layer(tmp_path, kind):
    folder = folder_of(tmp_path / kind, kind)
    learner = make(
        tmp_path, {**OFF, "train.stop.epochs": 1}, model=causal_lm(str(folder), context=48), task="causal_lm"
    )
    (update,) = updated(learner, stories(20, 0))
    export_adapter(learner.repository, update.version, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folder)
    found = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    tokens = torch.tensor([[5, 6, 7, 8]])
    model = learner.champion().model
    with torch.no_grad():
        ours = model.backbone.network(input_ids=tokens).last_hidden_state
        plain = AutoModelForCausalLM.from_pretrained(folder)(tokens, output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(found(tokens, output_hidden_states=True).hidden_states[-1], ours, atol=1e-4)
        assert not torch.allclose(plain, ours, atol=1e-3)


def test_convolutions(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"inputs": (rng.normal(size=(8, 8)) + i % 2).tolist(), "label": "ab"[i % 2]} for i in range(80)]
    learner = make(tmp_path, OFF, model=image_classifier((8, 8), channels=(4, 8), random_features=32))
    learner.update(rows[:40])
    (update,) = updated(learner, rows[40:])
    adapter = export_adapter(learner.repository, update.version, tmp_path / "adapter")
    model = loaded(learner, adapter.base, tmp_path / "adapter")
    batch = learner.champion().model.collate([np.array(row["inputs"], "f4") for row in rows[:5]])
    assert torch.allclose(outputs_of(model, batch), outputs_of(learner.champion().model.backbone, batch), atol=1e-5)


def test_a_decoder_of_ours(tmp_path):
    learner = make(tmp_path, {**OFF, "train.stop.epochs": 1}, model=tiny(), task="causal_lm")
    learner.update(stories(12, 0))
    (update,) = updated(learner, stories(12, 1))
    adapter = export_adapter(learner.repository, update.version, tmp_path / "adapter")
    model = loaded(learner, adapter.base, tmp_path / "adapter")
    windows = learner.champion().model.windows([[row["text"] for row in stories(3, 5)]])[0][0]
    batch = learner.champion().model.collate(windows)
    assert torch.allclose(outputs_of(model, batch), outputs_of(learner.champion().model.backbone, batch), atol=1e-4)


def test_files_that_are_there_stay(tmp_path):
    learner = make(tmp_path, OFF, model=mlp(inputs=2, hidden=[16], random_features=32))
    learner.update(noisy(60, 0))
    (update,) = updated(learner, noisy(60, 1))
    for name in (WEIGHTS, CONFIG):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(UsageError, match="is there already; name another folder"):
            export_adapter(learner.repository, update.version, folder)
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"


def test_what_an_export_left_that_was_cut_short_is_completed(tmp_path):
    learner = make(tmp_path, OFF, model=mlp(inputs=2, hidden=[16], random_features=32))
    learner.update(noisy(60, 0))
    (update,) = updated(learner, noisy(60, 1))
    folder = tmp_path / "adapter"
    export_adapter(learner.repository, update.version, folder)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / CONFIG).unlink()
    export_adapter(learner.repository, update.version, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_a_module_of_the_users_own(tmp_path):
    learner = make(tmp_path, OFF, model=own_net(), spec=ModelSpec("learner_samples:own_net"))
    learner.update(noisy(60, 0))
    (update,) = updated(learner, noisy(60, 1))
    export_adapter(learner.repository, update.version, tmp_path / "adapter")
    model = PeftModel.from_pretrained(own_net(), str(tmp_path / "adapter"))
    assert any("lora_A" in name for name, _ in model.named_parameters())


def test_products_beside_a_network_of_transformers_go_with_it():
    backbone = torch.nn.Module()
    backbone.encoder = torch.nn.Linear(2, 2)
    backbone.encoder.base_model_prefix = "bert"
    model = torch.nn.Module()
    model.backbone = backbone
    assert _network(model, "", ["backbone.encoder.weight"])[:2] == ("backbone.encoder.", backbone.encoder)
    assert _network(model, "", ["backbone.encoder.weight", "backbone.outer.weight"])[:2] == ("backbone.", backbone)


def test_the_first_version_has_nothing_to_export(tmp_path):
    learner = make(tmp_path, OFF, model=mlp(inputs=2, hidden=[16], random_features=32))
    with pytest.raises(UsageError, match="no product of low rank"):
        export_adapter(learner.repository, learner.repository.log.head().version, tmp_path / "adapter")


def test_a_version_that_was_collected_is_said_to_be_so(tmp_path):
    learner = make(tmp_path, {**OFF, "task.id": "id"}, model=mlp(inputs=2, hidden=[16], random_features=32))
    rows = [{**row, "id": str(number)} for number, row in enumerate(noisy(120, 0))]
    learner.update(rows[:60])
    (update,) = updated(learner, rows[60:])
    trained = {row["id"] for row in rows[60:]}
    page = learner.repository.read_page(learner.repository.page_of(update.version))
    learner.unlearn([next(row.id for row in page.rows if row.role == "train" and row.id in trained)])
    with pytest.raises(StoreError, match="was collected by log entry"):
        export_adapter(learner.repository, update.version, tmp_path / "adapter")
