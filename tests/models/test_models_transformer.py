"""The decoder: the arithmetic of a known one, documents that do not see one another, steps that read nothing twice."""

import copy

import pytest
import torch
from torch import nn

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.core.fork import fork, named_tensors
from dripstone.core.seeding import seeded
from dripstone.models.transformer import Decoder

SIZES = {"vocabulary": 40, "width": 24, "depth": 3, "heads": 3, "hidden": 40, "context": 16}


def lively(**sizes: int) -> Decoder:
    """A decoder with weights so large that every part of it shows, the norms' among them."""
    with seeded(3):
        decoder = Decoder(**{**SIZES, **sizes})
        for parameter in decoder.parameters():
            nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.3)
    return decoder.eval()


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return lively()


def batch_of(tokens: list[list[int]], segments: list[list[int]] | None = None) -> dict[str, torch.Tensor]:
    rows = torch.tensor(tokens)
    return {"tokens": rows, "segments": torch.zeros_like(rows) if segments is None else torch.tensor(segments)}


def drawn(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 40, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def alone(decoder: Decoder, document: list[int]) -> torch.Tensor:
    """[tokens, width] features of a document that has the row for itself."""
    with torch.no_grad():
        return decoder(batch_of([document]))[0]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_it_computes_what_llama_does(decoder, attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=3, max_position_embeddings=16, rms_norm_eps=1e-5, attn_implementation=attention,
    )  # fmt: skip
    llama = transformers.LlamaModel(config).eval()
    names = {
        "embed_tokens.": "embedding.", "layers.": "blocks.", "self_attn.": "attention.", "mlp.": "feed.",
        "input_layernorm.": "attention_norm.", "post_attention_layernorm.": "feed_norm.", "q_proj.": "query.",
        "k_proj.": "key.", "v_proj.": "value.", "o_proj.": "output.", "gate_proj.": "gate.", "up_proj.": "up.",
        "down_proj.": "down.",
    }  # fmt: skip
    weights = {}
    for name in llama.state_dict():
        ours = name
        for theirs, other in names.items():
            ours = ours.replace(theirs, other)
        weights[name] = decoder.state_dict()[ours]
    assert len(weights) == len(decoder.state_dict())
    llama.load_state_dict(weights)
    tokens = torch.tensor([drawn(16), drawn(16, 1)])
    with torch.no_grad():
        expected = llama(input_ids=tokens).last_hidden_state
        found = decoder({"tokens": tokens, "segments": torch.zeros_like(tokens)})
    assert found.dtype == torch.float32
    assert expected.abs().max() > 1
    close(found, expected)


def test_a_document_answers_the_same_wherever_it_is_packed(decoder):
    first, second, third = drawn(5), drawn(3, 1), drawn(6, 2)
    tokens = [[*first, *second, *third], [*third, 0, 0, *first, 0]]
    packed = batch_of(tokens, [[4] * 5 + [2] * 3 + [9] * 6, [0] * 6 + [-1] * 2 + [1] * 5 + [-1]])
    with torch.no_grad():
        features = decoder(packed)
    close(features[0], torch.cat([alone(decoder, one) for one in (first, second, third)]))
    close(features[1, :6], alone(decoder, third))
    close(features[1, 8:13], alone(decoder, first))


@pytest.mark.parametrize("left", [0, 4])
def test_padding_on_either_side_changes_nothing(decoder, left):
    short, long = drawn(3), drawn(7, 1)
    row, segments = ([0] * 4 + short, [-1] * 4 + [0] * 3) if left else (short + [0] * 4, [0] * 3 + [-1] * 4)
    with torch.no_grad():
        features = decoder(batch_of([row, long, [0] * 7], [segments, [0] * 7, [-1] * 7]))
    close(features[0, left : left + 3], alone(decoder, short))
    close(features[1], alone(decoder, long))
    assert torch.isfinite(features).all()


def test_a_document_whose_tokens_stand_apart_is_one_document(decoder):
    document, other = drawn(5), drawn(3, 1)
    row = [*document[:2], *other, 0, *document[2:]]
    with torch.no_grad():
        features = decoder(batch_of([row], [[0, 0, 1, 1, 1, -1, 0, 0, 0]]))[0]
    close(features[[0, 1, 6, 7, 8]], alone(decoder, document))
    close(features[2:5], alone(decoder, other))


@pytest.mark.parametrize("segments", [[0, 0, 0, 1, 1, 1, -1], [0, 0, 0, 0, 0, 0, -1], [-1, 0, 0, 0, 2, 2, 2]])
def test_no_gradient_comes_from_another_document_nor_from_what_comes_later(segments):
    decoder = lively()
    embedded = []
    decoder.embedding.register_forward_hook(lambda module, inputs, output: embedded.append(output) or output)
    features = decoder(batch_of([drawn(7)], [segments]))[0]
    for place, segment in enumerate(segments):
        (gradient,) = torch.autograd.grad(features[place].sum(), embedded, retain_graph=True)
        assert torch.isfinite(gradient).all()
        if segment >= 0:
            seen = [other <= place and segments[other] == segment for other in range(7)]
            assert (gradient[0].abs().sum(dim=1) > 0).tolist() == seen


@pytest.mark.parametrize("step", [1, 2])
def test_with_a_cache_it_computes_what_it_does_without(decoder, step):
    documents = [drawn(10), drawn(7, 1), drawn(12, 2)]
    prompts = [4, 1, 6]  # all have six tokens to go
    padded = [[0] * (6 - length) + document[:length] for length, document in zip(prompts, documents, strict=True)]
    segments = [[-1] * (6 - length) + [0] * length for length in prompts]
    cache = decoder.start(3)
    with torch.no_grad():
        parts = [decoder(batch_of(padded, segments), cache)]
        for place in range(0, 6, step):
            further = [doc[size + place : size + place + step] for doc, size in zip(documents, prompts, strict=True)]
            parts.append(decoder(batch_of(further), cache))
    features = torch.cat(parts, dim=1)
    for row, (document, length) in enumerate(zip(documents, prompts, strict=True)):
        close(features[row, 6 - length :], alone(decoder, document))


def test_a_cache_gives_up_rows_and_doubles_them(decoder):
    documents = [drawn(5), drawn(5, 1), drawn(5, 2)]
    cache = decoder.start(3)
    cache.select(torch.tensor([0, 1, 2]))  # before the first tokens as well
    with torch.no_grad():
        decoder(batch_of(documents), cache)
        cache.select(torch.tensor([2, 0, 2, 2]))
        features = decoder(batch_of([[7], [7], [8], [7]]), cache)[:, 0]
    chosen = [[*documents[2], 7], [*documents[0], 7], [*documents[2], 8], [*documents[2], 7]]
    close(features, torch.stack([alone(decoder, document)[-1] for document in chosen]))


def test_blocks_run_one_after_another(decoder):
    assert find_blocks(decoder) == ["blocks.0", "blocks.1", "blocks.2"]
    assert next(iter(decoder.named_parameters()))[0] == "embedding.weight"
    assert suffix_parameters(decoder, 1)[-1] == "norm.weight"
    twin, batch = copy.deepcopy(decoder), batch_of([drawn(6)], [[0, 0, 1, 1, 1, -1]])
    outputs = []
    for block in twin.blocks:
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        expected = twin(batch)
        for block in twin.blocks[:2]:
            block.forward = lambda *args: outputs[1]
        assert [tuple(output.shape) for output in outputs] == [(1, 6, 24)] * 3
        assert torch.equal(twin(batch), expected)


def test_a_version_holds_weights_only(decoder):
    assert list(decoder.state_dict()) == [name for name, _ in decoder.named_parameters()]
    assert not list(decoder.buffers())
    tensors = len(named_tensors(decoder))
    assert tensors == 1 + 9 * 3 + 1


def test_copies_compute_the_same(decoder):
    batch = batch_of([drawn(6)], [[0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        expected = decoder(batch)
        assert torch.equal(copy.deepcopy(decoder)(batch), expected)
        assert torch.equal(fork(decoder, ["norm.weight"])(batch), expected)
        moved = copy.deepcopy(decoder).double()
        close(moved(batch), expected)
        assert moved(batch).dtype == torch.float32


@pytest.mark.parametrize(
    ("segments", "plain"),
    [
        ([[0, 0, 0], [0, 0, 0]], True),
        ([[1, 1, 1], [0, 0, -1]], True),
        ([[0, 0, 0], [0, 0, 1]], False),
        ([[0, 0, 0], [-1, 0, 0]], False),
        ([[0, 0, 0], [0, -1, 0]], False),
    ],
)
def test_a_mask_is_made_only_where_one_is_needed(decoder, monkeypatch, segments, plain):
    calls = []
    attention = nn.functional.scaled_dot_product_attention

    def watched(*args, **kwargs):
        calls.append((kwargs["attn_mask"] is None, kwargs["is_causal"]))
        return attention(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    decoder(batch_of([drawn(3), drawn(3, 1)], segments))
    assert calls == [(plain, plain)] * 3


def test_lower_precision(decoder):
    batch = batch_of([drawn(6), drawn(6, 1)], [[0, 0, 1, 1, 1, -1], [-1, 0, 0, 0, 0, 0]])
    cache = decoder.start(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = decoder(batch, cache)
        assert decoder(batch_of([[1], [2]]), cache).dtype == torch.float32
    with torch.no_grad():
        exact = decoder(batch)
        low = copy.deepcopy(decoder).bfloat16()(batch)
    assert rough.dtype == low.dtype == torch.float32
    assert nn.functional.cosine_similarity(low, exact, dim=2).min() > 0.99
    assert not torch.equal(rough, exact)
    assert nn.functional.cosine_similarity(rough, exact, dim=2).min() > 0.99


def test_initial_weights():
    with seeded(0):
        decoder = Decoder(vocabulary=300, width=96, depth=2, heads=4, hidden=200, context=8)
    for name, parameter in decoder.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.ones(96))
        else:
            share = 0.5 if name.endswith(("output.weight", "down.weight")) else 1.0
            assert parameter.std().item() == pytest.approx(0.02 * share, rel=0.05)
    with torch.no_grad():
        assert decoder(batch_of([[1, 2, 3]])).square().mean().item() == pytest.approx(1, rel=0.1)


def test_no_rows_give_no_features(decoder):
    empty = torch.zeros(0, 5, dtype=torch.int64)
    assert decoder({"tokens": empty, "segments": empty}).shape == (0, 5, 24)


def test_what_does_not_fit_the_context(decoder):
    with pytest.raises(ModelError, match="17 tokens is longer than the context of 16") as caught:
        decoder(batch_of([drawn(17)]))
    assert caught.value.kind == "model.context"
    with pytest.raises(ModelError, match="17 tokens"):
        decoder(batch_of([drawn(18)], [[-1] + [0] * 17]))
    cache = decoder.start(1)
    decoder(batch_of([drawn(16)]), cache)
    with pytest.raises(ModelError, match="17 tokens"):
        decoder(batch_of([[1]]), cache)
    assert cache.segments.shape == (1, 16)  # nothing was added


def test_the_context_is_that_of_a_document_not_of_a_row(decoder):
    first, second = drawn(16), drawn(9, 1)
    with torch.no_grad():
        features = decoder(batch_of([[0, *first, *second]], [[-1] + [0] * 16 + [1] * 9]))[0]
        close(decoder(batch_of([[*first, 0]], [[0] * 16 + [-1]]))[0, :16], features[1:17])
    close(features[17:], alone(decoder, second))


@pytest.mark.parametrize("token", [-1, 40])
def test_a_token_that_there_is_not(decoder, token):
    with pytest.raises(DataError, match=f"token {token} is not in the vocabulary of 40"):
        decoder(batch_of([[1, 2], [3, token]]))


def test_a_batch_of_other_shapes(decoder):
    with pytest.raises(DataError, match="segments"):
        decoder({"tokens": torch.zeros(2, 3, dtype=torch.int64), "segments": torch.zeros(2, 2, dtype=torch.int64)})
    with pytest.raises(DataError, match="segments"):
        decoder({"tokens": torch.zeros(3, dtype=torch.int64), "segments": torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(UsageError, match="2 rows and the batch has 1"):
        decoder(batch_of([[1]]), decoder.start(2))


@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_below_one(name):
    with pytest.raises(ModelError, match=name):
        Decoder(**{**SIZES, name: 0})


@pytest.mark.parametrize(("width", "heads"), [(24, 5), (24, 8), (6, 12)])
def test_heads_that_do_not_fit_the_width(width, heads):
    with pytest.raises(ModelError, match=f"multiple of {2 * heads}"):
        Decoder(**{**SIZES, "width": width, "heads": heads})
