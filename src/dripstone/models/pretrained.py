"""Pretrained language models: a decoder of transformers' between our windows of tokens and our output layer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dripstone.core.errors import DripstoneError, ModelError
from dripstone.core.seeding import seeded
from dripstone.models.factory import ModelSpec, with_assets
from dripstone.models.generation import DecoderStepper
from dripstone.models.hub import CONFIG, TOKENIZER, Pretrained, plain_config, quiet_transformers
from dripstone.models.language_model import LanguageModel, TokenHead
from dripstone.models.packing import PADDING, seen_by
from dripstone.models.tokenizer_json import parse_tokenizer
from dripstone.models.tokens import TextWindows

BETWEEN = "\n"
"""What stands between a prompt and its reply: pretrained tokenizers have no mark for that."""

_AUTO = "AutoModelForCausalLM"
_LIMITS = ("max_position_embeddings", "sliding_window", "attention_chunk_size")
_STRETCHED = "original_max_position_embeddings"
_OTHER_KIND = "use a model of another kind, such as Llama, Qwen or GPT-2"
_LOUD = 1000.0
_TOLERANCE = 1e-3


def causal_lm(
    model: str | os.PathLike[str],
    context: int = 512,
    assets: Mapping[str, bytes] | None = None,
    seed: int = 0,
) -> LanguageModel:
    """A pretrained causal language model of Hugging Face's, in float32.

    A prompt and its reply are joined by a line break, for these tokenizers have no mark for that. A text begins with
    the token that the tokenizer puts there, where it puts one, else with the token that ends texts.

    Parameters
    ----------
    model : str or path
        A folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``, or the id of a model on the hub.
        Code that comes with a model is never run.
    context : int
        Tokens that see one another at most; longer texts are read in pieces.
    assets : mapping of str to bytes, optional
        ``config.json`` and ``tokenizer.json`` of an earlier model. With them nothing is read from ``model``, and the
        weights are random until `dripstone.core.fork.fill` puts the stored ones in.
    seed : int
        Of those random weights.

    Returns
    -------
    LanguageModel
        Its output layer is the embedding where the model's own is.

    Raises
    ------
    UsageError
        If the extra ``text`` is not installed.
    ModelError
        If the model cannot be loaded, knows fewer positions than ``context``, or is of a kind that cannot be used: its
        scores are more than its features times a matrix, or texts that are packed into one row see one another.

    Examples
    --------
    >>> import json
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "[UNK]": 1, "hello": 2}, unk_token="[UNK]"))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> sizes = {"vocab_size": 3, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> config = json.dumps({"model_type": "llama", "intermediate_size": 16, "eos_token_id": 0, **sizes})
    >>> files = {"config.json": config.encode(), "tokenizer.json": tokenizer.to_str().encode()}
    >>> model = causal_lm("any", context=16, assets=files)
    >>> model.preprocess.prompt("hello you", reply=False)
    [0, 2, 1]
    >>> model.read(["hello", "hello you"]).shape
    torch.Size([2, 3])
    """
    source = Pretrained(os.fspath(model), "language model", "model.pretrained")
    with quiet_transformers(), seeded(seed):
        files = dict(assets) if assets else _read_files(source)
        config = source.config(files)
        _check_context(config, context)
        network: Any = (source.empty if assets else source.load)(_AUTO, config).eval()
        layer = _output_layer(network, source)
        # The store carries what the model needs; the folder it came from is nobody's business.
        name = Path(source.name).name if source.is_folder and not assets else source.name
        built = LanguageModel(
            preprocess=PretrainedTokens(files[TOKENIZER], config.eos_token_id, len(layer.weight), context),
            backbone=PretrainedDecoder(getattr(network, network.base_model_prefix), context),
            head=TokenHead(layer.weight),
            spec=with_assets(
                ModelSpec("dripstone.models:causal_lm", {"model": name, "context": context, "seed": seed}), files
            ),
            assets=files,
            taught=True,
        )
        _check_answers(built, network, layer, source)
        if not assets:
            _check_long(built, source)
    return built


class PretrainedTokens(TextWindows):
    """Texts as the token numbers of a pretrained tokenizer; no text has a special token in it, whatever it says.

    Parameters
    ----------
    tokenizer_json : bytes
        A ``tokenizer.json`` as the ``tokenizers`` library writes it.
    end : int
        The token after which nothing follows.
    vocabulary : int
        Rows of the embedding.
    context : int
        Tokens of a window, at least 2.

    Attributes
    ----------
    begin : int
        What the tokenizer itself puts before a text, or else ``end``.
    between : list of int
        The tokens of a line break.

    Raises
    ------
    ModelError
        If the bytes are no tokenizer, a token has no row in the embedding, or ``end`` is no token, or one that a text
        may hold.
    UsageError
        If the extra ``text`` is not installed.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> tokenizer = Tokenizer(models.BPE({"</s>": 0, "a": 1, "b": 2, "\\n": 3}, []))
    >>> _ = tokenizer.add_special_tokens(["</s>"])
    >>> tokens = PretrainedTokens(tokenizer.to_str().encode(), end=0, vocabulary=4, context=8)
    >>> tokens.encode(["ab", "a</s>"]), tokens.prompt("ab", reply=True)
    ([[1, 2], [1]], [0, 1, 2, 3])
    """

    def __init__(self, tokenizer_json: bytes, end: int | None, vocabulary: int, context: int) -> None:
        super().__init__()
        # Bytes are shared by forks, and what they describe is parsed once.
        self._json = tokenizer_json
        tokenizer = _parse(tokenizer_json)
        if max(tokenizer.get_vocab().values(), default=-1) >= vocabulary:
            raise _unfit_tokens(f"the tokenizer has more tokens than the {vocabulary} rows of the embedding")
        mark = tokenizer.id_to_token(end) if type(end) is int and end >= 0 else None
        if mark is None:
            raise _unfit_tokens("the tokenizer has no token that ends a text")
        self.vocabulary, self.context, self.end = vocabulary, context, int(end)  # type: ignore[arg-type]
        self.begin = next(iter(tokenizer.encode("").ids), self.end)
        self.between = self.encode([BETWEEN])[0]
        if self.end in self.encode([mark])[0]:
            raise _unfit_tokens(f"a text that holds {mark!r} would end there")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without marks. Half a character, which is no text, becomes a question mark."""
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        return [one.ids for one in _parse(self._json).encode_batch_fast(plain, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; marks and other special tokens are left out."""
        kept = [token for token in tokens if token not in (self.begin, self.end)]
        return str(_parse(self._json).decode(kept, skip_special_tokens=True))


class PretrainedDecoder(nn.Module):
    """A decoder of transformers', without its output layer, that reads texts packed into rows.

    It is told what each token may see and where in its text it stands, so that texts of one row do not see each other.

    Parameters
    ----------
    network : torch.nn.Module
        Called as ``network(input_ids=..., attention_mask=..., position_ids=..., past_key_values=..., use_cache=...)``;
        its result has ``last_hidden_state``.
    context : int
        Most tokens of a text.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Embeddings(nn.Embedding):
    ...     def forward(self, input_ids, attention_mask, position_ids, use_cache):
    ...         return SimpleNamespace(last_hidden_state=super().forward(input_ids + position_ids))
    >>> packed = {"tokens": torch.tensor([[5, 6, 5]]), "segments": torch.tensor([[0, 0, 1]])}
    >>> features = PretrainedDecoder(Embeddings(10, 4), context=8)(packed)
    >>> bool((features[0, 0] == features[0, 2]).all())
    True
    """

    def __init__(self, network: nn.Module, context: int) -> None:
        super().__init__()
        self.network = network
        self.context = context

    def start(self, rows: int) -> PretrainedCache:
        """An empty cache for batches of so many rows."""
        return PretrainedCache(rows, next(self.network.parameters()).device)

    def forward(self, batch: dict[str, Tensor], cache: PretrainedCache | None = None) -> Tensor:
        """The features of each token, which depend on it and on the tokens of its text before it.

        Parameters
        ----------
        batch : dict of str to torch.Tensor
            ``tokens`` and ``segments``, both [rows, tokens] int64. Tokens of a row with the same segment are one text.
            A negative segment is padding: no text sees it, and its own features mean nothing.
        cache : PretrainedCache, optional
            What stands before these tokens in each row. These are added to it. Rows of different lengths are padded on
            the left, so that they go on together.

        Returns
        -------
        torch.Tensor
            [rows, tokens, width] float32.
        """
        tokens, known = batch["tokens"], batch["segments"]
        past: dict[str, Any] = {"use_cache": cache is not None}
        if cache is not None:
            known = cache.segments = torch.cat([cache.segments, known], dim=1)
            past["past_key_values"] = cache.past
        positions, mask = _layout(known, tokens.shape[1])
        found = self.network(input_ids=tokens, attention_mask=mask, position_ids=positions, **past)
        return found.last_hidden_state.float()


class PretrainedCache:
    """Keys and values of the tokens that a `PretrainedDecoder` has read; made by its ``start``.

    Parameters
    ----------
    rows : int
        Rows of every batch to come.
    device : torch.device
        Where the decoder is.

    Attributes
    ----------
    segments : torch.Tensor
        [rows, tokens] int64 of the tokens read so far; negative is padding.
    past : transformers.DynamicCache
        Every layer keeps all tokens. One that is made for a configuration forgets those that have left a layer's
        window, and would not fit the mask; no text of ours is longer than such a window.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        from transformers import DynamicCache

        self.segments = torch.zeros(rows, 0, dtype=torch.int64, device=device)
        self.past = DynamicCache()

    def select(self, rows: Tensor) -> None:
        """Keep these rows, [new rows] int64, in this order; a row may come more than once."""
        rows = rows.to(self.segments.device)
        self.segments = self.segments[rows]
        self.past.batch_select_indices(rows)


def _layout(known: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Positions and mask of the last ``tokens`` of the known ones.

    Positions are [rows, tokens] int64: how many tokens of its text stand before each. The mask is what is added to
    attention's scores, [rows, 1, tokens, known] float32: every kind of attention in transformers takes it as it is.
    """
    sees = seen_by(known, tokens)
    mask = torch.zeros(sees.shape, device=known.device).masked_fill(~sees, torch.finfo(torch.float32).min)
    return sees.sum(dim=2) - 1, mask[:, None]


def _read_files(source: Pretrained) -> dict[str, bytes]:
    """The configuration and the tokenizer as the files that a store keeps.

    Which token ends a text stands in neither for certain: the tokenizer's own word goes into the configuration.
    """
    config, tokenizer = source.read()
    backend = source.backend(tokenizer, config)
    backend.no_padding()
    backend.no_truncation()
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    return {CONFIG: plain_config(config, eos_token_id=end), TOKENIZER: backend.to_str().encode()}


@lru_cache(maxsize=8)
def _parse(tokenizer_json: bytes) -> Any:
    """The tokenizer, for which the special tokens that a text spells out are characters like any other."""
    tokenizer = parse_tokenizer(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _unfit_tokens(reason: str) -> ModelError:
    return ModelError(reason, remedy="use the model's own tokenizer, with an end token", kind="model.tokens")


def _check_context(config: Any, context: int) -> None:
    most = _most_tokens(config)
    if not 2 <= context <= most:
        raise ModelError(
            f"a context of {context} tokens does not fit the model, whose layers see {most} at once",
            remedy=f"set context to 2 to {most}",
            kind="model.context",
        )


def _most_tokens(config: Any) -> int:
    """How many tokens see one another in every layer, and from how few on positions are stretched.

    Our mask says what a token sees, in place of a layer's own window: so texts have to fit into that.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    rope = rope if isinstance(rope, dict) else {}
    found = [getattr(config, name, None) for name in _LIMITS]
    if rope.get("rope_type", rope.get("type")) == "longrope":  # long rows turn positions otherwise than short ones
        found += [getattr(config, _STRETCHED, None), rope.get(_STRETCHED)]
    return min((size for size in found if type(size) is int), default=sys.maxsize)


def _output_layer(network: Any, source: Pretrained) -> Any:
    """The layer that gives scores, a plain matrix with a row for each token that the embedding has."""
    layer = network.get_output_embeddings()
    embedding = network.get_input_embeddings()
    if layer is None or embedding is None or getattr(network, network.base_model_prefix, network) is network:
        raise _unfit(source, "it has no backbone and output layer that could be told apart")
    if getattr(layer, "bias", None) is not None:
        raise _unfit(source, "its output layer has a bias")
    if layer.weight.shape[0] != embedding.weight.shape[0]:
        raise _unfit(source, "its output layer has another number of tokens than its embedding")
    return layer


@torch.no_grad()
def _check_answers(model: LanguageModel, network: Any, layer: nn.Module, source: Pretrained) -> None:
    """Compare what we make of two short texts with what the network itself makes of each."""
    lengths = [min(size, model.preprocess.context) for size in (5, 3)]
    texts = list(_some_text(model, sum(lengths)).split(lengths))
    try:
        expected = [_own_scores(network, layer, text) for text in texts]
        alone, packed, stepped = _alone(model, texts), _packed(model, texts), _stepped(model, texts)
    except DripstoneError:
        raise
    except Exception as error:  # whatever a network raises that takes no such mask, positions or cache
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise _unfit(source, f"it does not read packed texts: {reason}") from error
    if not _alike(alone, expected):
        raise _unfit(source, "its scores are not its features times its output layer, but scaled, capped or masked")
    if not _alike(packed, expected):
        raise _unfit(source, "texts that are packed into one row change one another")
    if not _alike(stepped, [scores[-1] for scores in expected]):
        raise _unfit(source, "what it has read before changes when it goes on")


@torch.no_grad()
def _check_long(model: LanguageModel, source: Pretrained) -> None:
    """The same of the longest text: only there it shows that a layer would not look back to its beginning.

    It takes as long as to read so many tokens, so that it is done once: the weights do not matter to the outcome.
    """
    text = _some_text(model, model.preprocess.context)[None]
    own = model.backbone.network(input_ids=text, use_cache=False).last_hidden_state.float()
    if not _alike([model.features({"tokens": text, "segments": torch.zeros_like(text)})], [own]):
        reason = f"its layers do not see {model.preprocess.context} tokens at once"
        raise _unfit(source, reason, "set a smaller context")


def _some_text(model: LanguageModel, length: int) -> Tensor:
    """[tokens]: any do, as long as they differ where there are enough."""
    return torch.arange(1, length + 1) * 7919 % model.preprocess.vocabulary


def _own_scores(network: nn.Module, layer: nn.Module, text: Tensor) -> Tensor:
    """[tokens, vocabulary]: the network's own, made loud in between, so that a cap on them shows."""
    handle = layer.register_forward_hook(lambda module, inputs, scores: scores * _LOUD)
    try:
        return network(input_ids=text[None], use_cache=False).logits[0].float() / _LOUD
    finally:
        handle.remove()


def _alone(model: LanguageModel, texts: Sequence[Tensor]) -> list[Tensor]:
    return [model({"tokens": text[None], "segments": torch.zeros_like(text[None])})[0] for text in texts]


def _packed(model: LanguageModel, texts: Sequence[Tensor]) -> list[Tensor]:
    """Side by side in one row, with padding around them; nothing between, where a layer that looks back might stop."""
    gap = torch.full((2,), model.preprocess.end)
    parts = [(gap, PADDING), (texts[0], 0), (texts[1], 1), (gap, PADDING)]
    segments = torch.cat([torch.full_like(tokens, segment) for tokens, segment in parts])
    scores = model({"tokens": torch.cat([tokens for tokens, _ in parts])[None], "segments": segments[None]})[0]
    return [scores[segments == segment] for segment in range(len(texts))]


def _stepped(model: LanguageModel, texts: Sequence[Tensor]) -> list[Tensor]:
    """Of each text's last token, read in a step of its own; the two have changed places before that."""
    stepper = DecoderStepper(model.backbone, model.head)
    stepper.start([text[:-1].tolist() for text in texts])
    stepper.select(torch.tensor([1, 0]))
    return list(stepper.step(torch.stack([texts[1][-1], texts[0][-1]])).flip(0))


def _alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Up to what other sums and kernels make of float32; a leak, or a wrong position, is far more."""
    return all(
        bool((one - other).abs().max() <= _TOLERANCE * other.abs().max())
        for one, other in zip(found, expected, strict=True)
    )


def _unfit(source: Pretrained, reason: str, remedy: str = _OTHER_KIND) -> ModelError:
    return ModelError(f"the {source.what} {source.name!r} cannot be used: {reason}", remedy=remedy, kind=source.kind)
