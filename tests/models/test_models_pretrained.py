"""Pretrained language models: packed as alone, written on as transformers does it, and the whole life of one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.core.examples import Exchange
from dripstone.core.fork import fork, named_tensors
from dripstone.learner import Learner
from dripstone.models import causal_lm, pretrained
from dripstone.models.generation import DecoderStepper, greedy
from dripstone.models.hub import quiet_transformers
from dripstone.models.pretrained import PretrainedTokens
from dripstone.select.suffix import suffix
from dripstone.train.activation_cache import ActivationCache
from text_samples import exchanges, stories
from tiny_language_model import END, KINDS, SIZES, folder_of

pytest.importorskip("transformers")

TEXTS = ["the cat sees the dog.", "hello", "", "the bird likes the horse. the fish hears the cat."]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A folder; read only."""
    return folder_of(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def model(llama):
    return causal_lm(llama, context=48)


@pytest.fixture
def copied(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "copy")


def edited(folder, file, **changed):
    tree = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**tree, **changed}))


def its_own(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_packed_is_as_alone_and_as_the_network_itself_and_padding_changes_nothing(tmp_path, kind):
    built = causal_lm(folder_of(tmp_path, kind), context=48)
    windows = built.preprocess.pack(TEXTS).widened(60, built.preprocess.end)
    assert len(windows.tokens) < len(TEXTS)  # some stand side by side
    network = its_own(tmp_path)
    with torch.no_grad():
        packed = built({"tokens": windows.tokens, "segments": windows.segments})
        for row, text in enumerate(TEXTS):
            tokens = torch.tensor([built.preprocess.prompt(text, reply=False)])
            found = packed[windows.segments == row]
            assert torch.allclose(found, network(tokens).logits[0], atol=1e-4)
            assert torch.allclose(found, built({"tokens": tokens, "segments": torch.zeros_like(tokens)})[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layers_are_the_blocks_and_the_output_layer_is_the_models_own(tmp_path, kind):
    built = causal_lm(folder_of(tmp_path, kind), context=48)
    place = {"gpt2": "h"}.get(kind, "layers")
    assert find_blocks(built.backbone) == [f"network.{place}.0", f"network.{place}.1"]
    assert suffix_parameters(built.backbone, 1)[0].startswith(f"network.{place}.1.")
    tied = kind in ("gpt2", "qwen2")
    assert (built.head.weight is built.backbone.network.get_input_embeddings().weight) == tied
    assert ("head.weight" in named_tensors(built)) != tied
    assert {tensor.dtype for tensor in named_tensors(built).values()} == {torch.float32}
    assert not any(module.training for module in built.modules())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_greedy_writes_what_transformers_does(tmp_path, kind):
    built, network = causal_lm(folder_of(tmp_path, kind), context=48), its_own(tmp_path)
    prompts = ["the cat", "the dog hears the fish. the", "a"]
    found = built.generate(prompts, max_tokens=12)
    tokens = [built.preprocess.prompt(prompt, reply=False) for prompt in prompts]
    longest = max(map(len, tokens))
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in tokens])
    seen = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in tokens])
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": 0, "pad_token_id": 0}
    written = network.generate(padded, attention_mask=seen, **options)[:, longest:].tolist()
    assert [row.tokens for row in found] == [row[: row.index(0)] if 0 in row else row for row in written]
    assert len({tuple(row.tokens) for row in found}) == 3


def test_beams_and_draws_go_on_as_if_nothing_were_remembered(model):
    class Slow(DecoderStepper):
        """Reads everything again at every step."""

        def start(self, prompts):
            self.read = [list(prompt) for prompt in prompts]
            return self.all()

        def step(self, tokens):
            self.read = [[*row, token] for row, token in zip(self.read, tokens.tolist(), strict=True)]
            return self.all()

        def select(self, rows):
            self.read = [self.read[row] for row in rows.tolist()]

        def all(self):
            rows = [torch.tensor([row]) for row in self.read]
            return torch.cat([model({"tokens": row, "segments": torch.zeros_like(row)})[:, -1] for row in rows])

    prompts = ["the cat", "the dog hears the fish. the"]
    found = [model.generate(prompts, max_tokens=6, **how) for how in ({"beams": 3}, {"temperature": 2.0, "seed": 3})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dripstone.models.language_model.DecoderStepper", Slow)
        slow = [model.generate(prompts, max_tokens=6, **how) for how in ({"beams": 3}, {"temperature": 2.0, "seed": 3})]
    for one, other in zip([*found[0], *found[1]], [*slow[0], *slow[1]], strict=True):
        assert one.tokens == other.tokens
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)


def test_it_writes_to_the_end_of_the_context_beside_longer_prompts(model):
    stepper = DecoderStepper(model.backbone, model.head)
    rows = greedy(stepper, [[0, 40], [0, *range(40, 80)]], end=-1, max_tokens=100)
    assert [len(row.tokens) for row in rows] == [46, 7]
    alone = greedy(stepper, [[0, 40]], end=-1, max_tokens=100)
    assert alone[0].tokens == rows[0].tokens


@pytest.mark.parametrize("text", [END, "<s>", f"a{END}b", "Ünïcode 猫\n\t ", "", "\ud800"])
def test_no_text_has_a_mark_in_it(model, text):
    (tokens,) = model.preprocess.encode([text])
    assert not {0, 1} & set(tokens)
    assert model.preprocess.decode(tokens) == text.encode("utf-8", "replace").decode()
    assert model.preprocess.decode([0, 1, *tokens, 0, 310]) == model.preprocess.decode(tokens)


def test_a_prompt_is_asked_as_it_was_learned(model):
    tokens = model.preprocess
    asked = tokens.prompt("what?", reply=True)
    reply = tokens.encode(["yes"])[0]
    windows = tokens.pack([Exchange("what?", "yes")])
    assert windows.tokens[0].tolist() == [*asked, *reply]
    assert windows.targets[0].tolist() == [-100] * (len(asked) - 1) + [*reply, tokens.end]
    assert tokens.between == tokens.encode(["\n"])[0] != []
    assert tokens.decode(asked) == "what?\n"


def test_what_the_tokenizer_puts_before_a_text_stands_there(tmp_path):
    built = causal_lm(folder_of(tmp_path, begins=True), context=48)
    assert (built.preprocess.begin, built.preprocess.end) == (1, 0)
    assert built.preprocess.prompt("a", reply=False)[0] == 1
    windows = built.preprocess.pack(["a"])
    assert (int(windows.tokens[0, 0]), int(windows.targets[0, -1])) == (1, 0)
    rebuilt = causal_lm("x", context=48, assets=built.assets)
    assert rebuilt.preprocess.prompt("a", reply=True) == built.preprocess.prompt("a", reply=True)


def test_a_model_without_an_end_token_ends_with_its_first(copied):
    edited(copied, "tokenizer_config.json", eos_token=None)
    assert causal_lm(copied, context=48).preprocess.end == 1
    edited(copied, "tokenizer_config.json", bos_token=None)
    with pytest.raises(ModelError, match="no token that ends a text"):
        causal_lm(copied, context=48)


def test_an_end_token_that_a_text_may_hold_is_refused(model):
    tree = json.loads(model.assets["tokenizer.json"])
    plain = [{**token, "special": False} for token in tree["added_tokens"]]
    data = json.dumps({**tree, "added_tokens": plain}).encode()
    with pytest.raises(ModelError, match=r"a text that holds '<\|endoftext\|>' would end there"):
        PretrainedTokens(data, end=0, vocabulary=320, context=8)


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"{}", "cannot be read"), (b"\xff", "cannot be read"), (b" " * (64 * 2**20 + 1), "bytes, more than")],
)
def test_an_asset_that_is_no_tokenizer(model, data, match):
    with pytest.raises(ModelError, match=match) as caught:
        causal_lm("x", context=48, assets={**model.assets, "tokenizer.json": data})
    assert caught.value.kind == "model.tokens"


def test_a_tokenizer_of_another_model(copied, model):
    with pytest.raises(ModelError, match="more tokens than the 290 rows of the embedding"):
        PretrainedTokens(model.assets["tokenizer.json"], end=0, vocabulary=290, context=8)
    small = json.loads(model.assets["config.json"]) | {"vocab_size": 290}
    with pytest.raises(ModelError, match="more tokens than the 290 rows"):
        causal_lm("x", context=48, assets={**model.assets, "config.json": json.dumps(small).encode()})
    larger = folder_of(copied, vocab_size=290)
    with pytest.raises(ModelError, match="more tokens than its embedding has rows"):
        causal_lm(larger, context=48)


def test_rows_that_are_no_text(model):
    with pytest.raises(DataError, match="the model takes text"):
        model.read([np.zeros(3)])


@pytest.mark.parametrize(
    ("kind", "chosen", "match"),
    [
        ("gemma2", {"head_dim": 8}, "scaled, capped or masked"),
        ("granite", {"logits_scaling": 2.0}, "scaled, capped or masked"),
        ("cohere", {"logit_scale": 0.5}, "scaled, capped or masked"),
        ("gptj", {"rotary_dim": 4}, "its output layer has a bias"),
        ("mamba", {}, "does not read packed texts"),
        ("bloom", {}, "does not read packed texts"),
        ("t5", {"d_kv": 8, "d_ff": 8, "pad_token_id": 0}, "is no plain language model"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(tmp_path, kind, chosen, match):
    if kind == "t5":
        folder_of(tmp_path)
        edited(tmp_path, "config.json", model_type="t5")
    else:
        folder_of(tmp_path, kind, **chosen)
    with pytest.raises(ModelError, match=match) as caught:
        causal_lm(tmp_path, context=48)
    assert caught.value.kind == "model.pretrained"
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda positions, mask: (torch.arange(positions.shape[1])[None].expand_as(positions), mask), "packed"),
        (lambda positions, mask: (positions, torch.full_like(mask, -1e9).triu(1)), "packed"),
        (lambda positions, mask: (positions, torch.zeros_like(mask)), "scaled, capped or masked"),
        (lambda positions, mask: (positions * (positions.shape[1] > 1), mask), "what it has read before"),
    ],
)
def test_a_network_that_goes_by_other_masks_or_positions_is_refused(tmp_path, monkeypatch, wrong, match):
    right = pretrained._layout
    monkeypatch.setattr(pretrained, "_layout", lambda known, tokens: wrong(*right(known, tokens)))
    with pytest.raises(ModelError, match=match):
        causal_lm(folder_of(tmp_path, "gpt2"), context=48)


def test_a_layer_that_does_not_look_back_so_far_is_refused(tmp_path, monkeypatch):
    folder_of(tmp_path, "mistral", sliding_window=16)
    assert causal_lm(tmp_path, context=16).preprocess.context == 16
    with pytest.raises(ModelError, match="set context to 2 to 16"):
        causal_lm(tmp_path, context=17)
    monkeypatch.setattr(pretrained, "_most_tokens", lambda config: 64)  # as if its window had another name
    with pytest.raises(ModelError, match="layers do not see 32 tokens at once"):
        causal_lm(tmp_path, context=32)


def test_positions_that_are_stretched_in_long_rows_bound_the_context():
    from transformers import AutoConfig

    factors = {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4}
    rope = {"original_max_position_embeddings": 32, "rope_scaling": {"type": "longrope", **factors}}
    with quiet_transformers():
        assert pretrained._most_tokens(AutoConfig.for_model("phi3", **SIZES, **rope)) == 32
    assert pretrained._most_tokens(AutoConfig.for_model("llama", **SIZES)) == 64
    assert pretrained._most_tokens(AutoConfig.for_model("gpt2", **SIZES)) == 64


@pytest.mark.parametrize("context", [1, 65, 512])
def test_a_context_that_does_not_fit(llama, context):
    with pytest.raises(ModelError, match="set context to 2 to 64") as caught:
        causal_lm(llama, context=context)
    assert caught.value.kind == "model.context"


def test_the_smallest_context_works(llama):
    built = causal_lm(llama, context=2)
    assert built.read(["the cat"])[0, 0] > 2


def test_with_assets_nothing_is_read_from_the_folder(model, llama):
    rebuilt = causal_lm("/no/such/folder", context=48, assets=model.assets)
    assert list(named_tensors(rebuilt)) == list(named_tensors(model))
    assert rebuilt.spec.assets == model.spec.assets
    assert model.spec.kwargs == {"model": llama.name, "context": 48, "seed": 0}
    assert not [data for data in model.assets.values() if str(llama).encode() in data]
    other = causal_lm("x", context=48, assets=model.assets, seed=1)
    assert not torch.equal(other.head.weight, rebuilt.head.weight)


def test_half_precision_weights_become_float32(copied, model):
    from safetensors.torch import load_file, save_file

    stored = load_file(copied / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in stored.items()}, copied / "model.safetensors", {"format": "pt"})
    edited(copied, "config.json", dtype="bfloat16")
    half = causal_lm(copied, context=48)
    for one in (half, causal_lm("x", context=48, assets=half.assets)):
        assert {tensor.dtype for tensor in named_tensors(one).values()} == {torch.float32}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelError, match=r"the language model .* cannot be loaded"):
        causal_lm(copied, context=48)


def test_a_folder_without_a_tokenizer(copied):
    for path in copied.glob("*tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        causal_lm(copied, context=48)


def test_pickled_weights_are_not_read(copied):
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        causal_lm(copied, context=48)


def test_code_beside_the_model_is_not_run(copied, tmp_path):
    mark = tmp_path / "ran"
    (copied / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    edited(copied, "config.json", auto_map=code, model_type="evil")
    with pytest.raises(ModelError, match="cannot be loaded"):
        causal_lm(copied, context=48)
    assert not mark.exists()


@pytest.mark.parametrize("config", [b"", b"[]", b'{"model_type": "evil"}', b" " * 2**21])
def test_an_asset_that_is_no_configuration(model, config):
    with pytest.raises(ModelError, match=r"cannot be loaded|no token that ends"):
        causal_lm("x", context=48, assets={**model.assets, "config.json": config})


def test_loading_is_silent_and_moves_no_generator(llama, capfd, recwarn):
    state = torch.get_rng_state()
    causal_lm("x", context=48, assets=causal_lm(llama, context=48).assets)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_a_missing_extra_names_its_install(monkeypatch, model):
    monkeypatch.setitem(__import__("sys").modules, "transformers.utils", None)
    with pytest.raises(UsageError, match=r"package 'transformers'; pip install 'dripstone\[text\]'"):
        causal_lm("x", context=48, assets=model.assets)


def test_forks_share_what_does_not_move_and_keep_ties(tmp_path):
    built = causal_lm(folder_of(tmp_path, "gpt2"), context=48)
    names = suffix(built, 1)
    twin = fork(built, [name for name in names if name != "head.weight"])
    assert twin.head.weight is twin.backbone.network.wte.weight
    assert twin.head.weight.data_ptr() == built.head.weight.data_ptr()
    with torch.no_grad():
        assert torch.equal(twin.read(TEXTS), built.read(TEXTS))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gpt_neox"])
def test_frozen_blocks_are_computed_once_and_gradients_stay(tmp_path, kind):
    built = causal_lm(folder_of(tmp_path, kind), context=48)
    names = [name for name in suffix(built, 1) if name != "head.weight"]
    twin = fork(built, names)
    ((inputs, targets),) = twin.windows([TEXTS])
    cache = ActivationCache(twin, names)
    for _ in cache.fill(inputs):
        pass
    assert (cache.reason, cache.cut) == (None, 1)
    batch, chosen = twin.collate(inputs), [twin.get_parameter(name) for name in names]

    def gradients():
        loss = torch.nn.functional.cross_entropy(twin(batch).flatten(0, 1), targets.flatten())
        return torch.autograd.grad(loss, chosen)

    expected = gradients()
    with cache.replaying(inputs, batch):
        found = gradients()
    assert cache.reason is None
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, expected, strict=True))


def test_half_precision_on_the_way_gives_finite_features(model):
    batch = model.collate(model.windows([TEXTS])[0][0])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model.features(batch)
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, model.features(batch), atol=0.3)


def learner_of(folder, model, **chosen):
    settings = {"train.learning_rate": 0.01, "train.batch_size": 4, "train.stop.epochs": 2, "gate.minimum": 20}
    return Learner.create(folder, model=model, task="causal_lm", settings=settings, **chosen)


def test_a_life_from_a_folder_that_goes_away(copied, tmp_path):
    model = causal_lm(copied, context=48)
    learner = learner_of(tmp_path / "project", model, select="suffix:1")
    first = learner.update(stories(120, seed=1))
    assert (first.verdict, first.selection) == ("promoted", "suffix:1@adamw")
    shutil.rmtree(copied)
    moved = {
        name
        for name, tensor in named_tensors(learner.champion().model).items()
        if not torch.equal(tensor, named_tensors(model)[name])
    }
    assert moved
    assert all(name.startswith(("backbone.network.layers.1.", "backbone.network.norm", "head.")) for name in moved)
    metrics = learner.evaluate(stories(20, seed=9))["metrics"]
    assert metrics["perplexity"] < 30
    said = learner.predict(["the cat"])
    assert isinstance(said[0], str)

    again = Learner.open(tmp_path / "project")
    assert again.predict(["the cat"]) == said
    assert again.evaluate(stories(20, seed=9))["metrics"] == metrics
    assert list(again.repository.verify()) == []
    again.revert()
    back = named_tensors(Learner.open(tmp_path / "project").champion().model)
    assert all(torch.equal(tensor, back[name]) for name, tensor in named_tensors(model).items())


def test_replies_are_learned_with_a_tied_output_layer(tmp_path):
    model = causal_lm(folder_of(tmp_path / "folder", tie_word_embeddings=True), context=48)
    assert model.head.weight is model.backbone.network.embed_tokens.weight
    learner = learner_of(tmp_path / "project", model, target="reply")
    assert learner.update(exchanges(300, seed=1), select="full").verdict == "promoted"
    assert learner.evaluate(exchanges(20, seed=2))["metrics"]["exact_match"] > 0.8
    live = Learner.open(tmp_path / "project").champion().model
    assert live.head.weight is live.backbone.network.embed_tokens.weight
    assert live.preprocess.decode(live.generate(["7: what does the cat say?"], reply=True)[0].tokens) == "meow"


def test_a_pretrained_model_writes_before_its_first_update_which_moves_the_last_half(tmp_path):
    model = causal_lm(folder_of(tmp_path / "folder"), context=48)
    learner = learner_of(tmp_path / "project", model)
    assert len(learner.predict(["the cat"])) == 1
    before = learner.evaluate(stories(20, seed=9))["metrics"]["perplexity"]
    update = learner.update(stories(150, seed=1))
    assert update.selection == "suffix:1@adamw"
    assert update.metrics.champion.perplexity is not None
    assert learner.evaluate(stories(20, seed=9))["metrics"]["perplexity"] < before
