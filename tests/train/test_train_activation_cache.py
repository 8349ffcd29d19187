"""A model trained through the cache gets the weights that it gets without; where it could not, the cache is off."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError
from dripstone.core.examples import Inputs
from dripstone.core.fork import fork
from dripstone.core.records import Spec
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.models.classifier import Classifier
from dripstone.models.head import Head, Identity
from dripstone.models.wrap import wrap
from dripstone.select.selection import parse_selection
from dripstone.train.activation_cache import ActivationCache, Vectors, check
from dripstone.train.features import BATCH, features_of
from dripstone.train.prefix import Prefix, Unfit, watching
from tiny_encoder import WORDS

TEXTS = [" ".join(WORDS[4 + (i * 7 + j) % 30] for j in range(1 + (i * 5) % 13)) for i in range(24)]
VECTORS = list(np.random.default_rng(0).normal(size=(24, 4)).astype("f4"))
PICTURES = list(np.random.default_rng(0).random((24, 8, 8)).astype("f4"))


def ready(model: Classifier, rows: Sequence[Inputs]) -> Classifier:
    """With a head that has learned something, so that gradients come through it."""
    model.fit(rows)
    model.head.fit(features_of(model, rows))
    model.head.grow(3)
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(1))
    return model


def chosen(model: nn.Module, selection: str) -> list[str]:
    return parse_selection(selection).parameters(model)


def forked(model: Classifier, selection: str = "suffix:1", **options: int) -> tuple[Classifier, ActivationCache]:
    names = chosen(model, selection)
    twin = fork(model, names)
    return twin, ActivationCache(twin, names, **options)


def set_modes(module: nn.Module) -> None:
    """Train mode for what moves; what has no parameters goes with what stands before it."""
    module.training = mode = any(parameter.requires_grad for parameter in module.parameters())
    for child in module.children():
        set_modes(child)
        child.training = mode = child.training if any(True for _ in child.parameters()) else mode


def train(
    model: Classifier, names: Sequence[str], rows: Sequence[Inputs], cache: ActivationCache | None, size: int = 8
) -> Classifier:
    """Three epochs; dropout acts in what is trained and batches are drawn anew each epoch."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in names)
    model.eval()
    set_modes(model.backbone)
    optimizer = torch.optim.AdamW([parameters[name] for name in names], lr=0.01)
    targets = torch.arange(len(rows)) % 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for _ in range(3):
            for index in torch.randperm(len(rows)).split(size):
                inputs = [rows[i] for i in index.tolist()]
                batch = model.collate(inputs)
                with cache.replaying(inputs, batch) if cache else nullcontext():
                    loss = nn.functional.cross_entropy(model(batch), targets[index])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return model.eval()


def normalised() -> Classifier:
    """A user's flat sequence with batch normalisation and dropout below the cut."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        layers += [nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
        return wrap(nn.Sequential(*layers), Spec("tests:normalised"), random_features=32)


def pictures() -> Classifier:
    return image_classifier((8, 8), channels=(4, 8, 8), random_features=32)


def perceptron() -> Classifier:
    return mlp(inputs=4, hidden=[8, 6, 8], random_features=32, dropout=0.3)


ARRAYS: dict[str, tuple[Callable[[], Classifier], list[np.ndarray]]] = {
    "mlp": (perceptron, VECTORS),
    "images": (pictures, PICTURES),
    "batch normalisation": (normalised, VECTORS),
}


def roberta(folder: Path) -> Classifier:
    """Padding has an id of its own, and positions are counted from it."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    config = {"model_type": "roberta", "vocab_size": len(WORDS), "pad_token_id": 1, "max_position_embeddings": 40}
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer["padding"] = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None}
    tokenizer["padding"] |= {"pad_id": 1, "pad_type_id": 0, "pad_token": "[UNK]"}
    assets = {"config.json": json.dumps(config | sizes).encode(), "tokenizer.json": json.dumps(tokenizer).encode()}
    return text_classifier("roberta", max_length=32, random_features=32, assets=assets)


def weights_apart(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return max(float((x.double() - y.double()).abs().max()) for x, y in pairs if x.numel())


def assert_same_training(model: Classifier, selection: str, rows: Sequence[Inputs], **options: int) -> ActivationCache:
    names = chosen(model, selection)
    twin, cache = forked(model, selection, **options)
    through = train(twin, names, rows, cache)
    without = train(fork(model, names), names, rows, None)
    assert weights_apart(through, without) < 1e-5
    assert weights_apart(through, model) > 1e-3
    return cache


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("selection", ["suffix:1", "suffix:2", "head@adamw"])
def test_three_epochs_through_the_cache_give_the_same_weights(kind, selection):
    make, rows = ARRAYS[kind]
    cache = assert_same_training(ready(make(), rows), selection, rows)
    assert (cache.reason, cache.cut > 0) == (None, True)


def test_texts_in_batches_that_are_padded_anew_give_the_same_weights(encoder_folder: Path):
    model = ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=32), TEXTS)
    cache = assert_same_training(model, "suffix:1", TEXTS)
    assert (cache.reason, cache.cut) == (None, 1)


@pytest.mark.parametrize("selection", ["suffix:1", "suffix:2"])
def test_an_encoder_that_counts_positions_from_its_padding(encoder_folder: Path, selection):
    model = ready(roberta(encoder_folder), TEXTS)
    assert_same_training(model, selection, TEXTS)
    twin, cache = forked(model, selection)
    list(cache.fill(TEXTS))
    batch = twin.collate(TEXTS)
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 1).all()
    with cache.replaying(TEXTS, batch):
        assert torch.allclose(twin(batch), model(batch), atol=1e-5)


@pytest.mark.parametrize("kind", ARRAYS)
def test_bits_are_the_same_where_batches_are(kind):
    make, rows = ARRAYS[kind]
    model = ready(make(), rows)
    names = chosen(model, "suffix:1")
    twin, cache = forked(model)
    through, without = train(twin, names, rows, cache, size=24), train(fork(model, names), names, rows, None, size=24)
    assert weights_apart(through, without) == 0.0


def test_texts_of_one_length_give_the_same_bits(encoder_folder: Path):
    rows = [" ".join(WORDS[4 + (3 * i + j) % 30] for j in range(6)) for i in range(12)]
    model = ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=32), rows)
    names = chosen(model, "suffix:1")
    twin, cache = forked(model)
    through, without = train(twin, names, rows, cache), train(fork(model, names), names, rows, None)
    assert weights_apart(through, without) == 0.0


def test_the_pass_that_makes_the_features_fills_the_cache():
    model = ready(perceptron(), VECTORS)
    twin, cache = forked(model)
    twin.train()
    batch = twin.collate(VECTORS)
    with cache.recording(VECTORS, batch):
        features = twin.features(batch)
    assert torch.equal(features, features_of(model, VECTORS))
    assert not features.requires_grad
    assert all(part.training for part in twin.modules())
    with watching(twin.backbone) as seen:
        assert list(cache.fill(VECTORS)) == []
        with cache.replaying(VECTORS, batch):
            twin(batch)
    assert cache.reason is None
    assert [index for index, _ in seen] == [2]


def test_one_pass_fills_two_caches():
    model = ready(perceptron(), VECTORS)
    names = chosen(model, "suffix:2")
    starter = fork(model, names)
    caches = {selection: ActivationCache(starter, chosen(model, selection)) for selection in ("suffix:1", "suffix:2")}
    batch = starter.collate(VECTORS)
    with caches["suffix:1"].recording(VECTORS, batch), caches["suffix:2"].recording(VECTORS, batch):
        starter.features(batch)
    for selection, cache in caches.items():
        twin = fork(starter, chosen(model, selection))
        cache.attach(twin)
        with watching(twin.backbone) as seen, cache.replaying(VECTORS, batch):
            assert torch.allclose(twin(batch), model(batch), atol=1e-6)
        assert [index for index, _ in seen] == list(range(cache.cut, 3))


def test_a_row_is_kept_once(monkeypatch):
    kept = []
    monkeypatch.setattr(Vectors, "append", lambda self, vectors: kept.append(len(vectors)) or vectors)
    twin, cache = forked(ready(perceptron(), VECTORS))
    rows = [*VECTORS, *VECTORS[:3]]
    for some in (rows, rows[::-1]):
        batch = twin.collate(some)
        with cache.recording(some, batch):
            twin.features(batch)
    assert kept == [1] * len(VECTORS)


def test_a_row_is_computed_once_and_nothing_above_the_cut():
    rows = [VECTORS[i % 20] for i in range(2 * BATCH)]
    twin, cache = forked(ready(perceptron(), VECTORS))
    list(cache.fill(rows[:1]))  # the check comes with the first row
    with watching(twin.backbone) as seen:
        events = [str(event) for event in cache.fill(rows)]
        assert list(cache.fill(rows[::-1])) == []
        with cache.replaying(rows, twin.collate(rows)):
            twin.features(twin.collate(rows))
    assert events == ["features of 19 of 19 rows"]
    assert [(index, len(output)) for index, output in seen] == [(0, 19), (1, 19), (2, len(rows))]


def test_texts_of_like_length_are_filled_together(encoder_folder: Path):
    texts = [f"{WORDS[4 + i % 30]} {WORDS[4 + i // 30]}" + " where is my card" * 3 * (i % 3 == 0) for i in range(100)]
    twin, cache = forked(ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=8), TEXTS))
    list(cache.fill(texts[:2]))
    with watching(twin.backbone.encoder.encoder.layer[:1]) as seen:
        events = list(cache.fill(texts))
    assert [event.done for event in events] == [BATCH, 98]
    assert [output.shape[:2] for _, output in seen] == [(BATCH, 4), (98 - BATCH, 16)]


def test_rows_that_are_missing_are_computed_when_they_are_needed():
    model = ready(perceptron(), VECTORS)
    twin, cache = forked(model)
    list(cache.fill(VECTORS[:5]))
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        assert torch.allclose(twin(batch), model(batch), atol=1e-6)


def test_no_rows():
    twin, cache = forked(ready(perceptron(), VECTORS))
    empty = torch.empty(0, 4)
    assert list(cache.fill([])) == []
    with cache.recording([], empty):
        assert twin.features(empty).shape == (0, 8)
    with cache.replaying([], empty):
        assert twin(empty).shape == (0, 3)
    assert cache.reason is None


@pytest.mark.parametrize("text", ["hello", "", "where is my card now please"])
def test_one_row_alone_and_then_with_others(encoder_folder: Path, text):
    model = ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=32), TEXTS)
    twin, cache = forked(model)
    for rows in ([text], [text, text], [*TEXTS[:5], text]):
        batch = twin.collate(rows)
        with cache.replaying(rows, batch):
            assert torch.allclose(twin(batch), model(batch), atol=1e-5)
    assert cache.reason is None


def test_one_vector_alone():
    model = ready(normalised(), VECTORS)
    twin, cache = forked(model)
    for rows in (VECTORS[:1], VECTORS[:2], VECTORS):
        batch = twin.collate(rows)
        with cache.replaying(rows, batch):
            assert torch.allclose(twin(batch), model(batch), atol=1e-5)
    assert cache.reason is None


def test_what_does_not_fit_in_memory_gives_the_same_numbers(encoder_folder: Path, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=32), TEXTS)
    batch = model.collate(TEXTS)
    found = []
    for budget in (2**30, 5000, 0):
        twin, cache = forked(model, budget=budget)
        list(cache.fill(TEXTS[:7]))
        with cache.replaying(TEXTS, batch):
            found.append(twin(batch))
        assert cache.reason is None
        assert list(tmp_path.iterdir()) == []
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert_same_training(model, "suffix:1", TEXTS, budget=0)


def test_files_are_closed_with_the_cache():
    def files() -> int:
        return len(os.listdir("/dev/fd"))

    before = files()
    vectors = Vectors(budget=0)
    place = vectors.append(torch.ones(3, 2))
    assert torch.equal(vectors.read(place), torch.ones(3, 2))
    assert files() > before
    del vectors
    assert files() == before


def test_a_full_disk_is_a_reason(monkeypatch):
    class Full:
        def write(self, data: memoryview) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    class Short(Full):
        def write(self, data: memoryview) -> int:
            return 1

    model = ready(perceptron(), VECTORS)
    for file in (Full(), Short()):
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda file=file, **_: file)
        twin, cache = forked(model, budget=0)
        batch = twin.collate(VECTORS)
        with cache.replaying(VECTORS, batch):
            assert torch.equal(twin(batch), model(batch))
        assert cache.reason is not None
        assert "do not fit on the disk" in cache.reason


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_vectors_keep_their_bits(dtype):
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    vectors = Vectors(budget=2 * 3 * dtype.itemsize)
    places = [vectors.append(part) for part in values.split([2, 0, 1, 2])]
    assert torch.equal(torch.cat([vectors.read(place) for place in places]), values)


def test_a_model_in_half_precision():
    model = normalised()
    model.backbone.bfloat16()
    model.collate = lambda inputs: torch.from_numpy(np.stack(inputs)).bfloat16()  # type: ignore[method-assign]
    model = ready(model, VECTORS)
    twin, cache = forked(model)
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        assert torch.allclose(twin(batch), model(batch), rtol=0.05, atol=0.05)
    assert cache.reason is None


def test_parameters_that_nothing_uses():
    model = wrap(Plain(), Spec("tests:net"), random_features=8)
    model.backbone.module.blocks.append(nn.Linear(4, 4))
    model = ready(model, VECTORS)
    cache = assert_same_training_of_used(model)
    assert (cache.cut, cache.reason) == (3, None)


def assert_same_training_of_used(model: Classifier) -> ActivationCache:
    twin, cache = forked(model)
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        twin(batch).sum().backward()
    model(batch).sum().backward()
    assert twin.backbone.module.blocks[3].weight.grad is None
    assert torch.allclose(twin.head.weight.grad, model.head.weight.grad, atol=1e-5)
    return cache


def test_the_check_leaves_everything_as_it_was():
    model = ready(normalised(), VECTORS)
    names = chosen(model, "suffix:2")
    twin = fork(model, names)
    twin.train()
    twin.backbone.module[4].eval()
    for number, parameter in enumerate(twin.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    modes = [part.training for part in twin.modules()]
    flags = [parameter.requires_grad for parameter in twin.parameters()]
    check(Prefix(twin, names), VECTORS)
    assert [part.training for part in twin.modules()] == modes
    assert [parameter.requires_grad for parameter in twin.parameters()] == flags
    assert all(parameter.grad is None for parameter in twin.parameters())
    assert weights_apart(twin, model) == 0.0
    assert not any("forward" in part.__dict__ for part in twin.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_check_needs_no_mode_of_its_callers(mode):
    twin, cache = forked(ready(perceptron(), VECTORS))
    _, off = forked(ready(wrap(SharedNorm(), Spec("tests:net"), random_features=8), VECTORS))
    with mode():
        list(cache.fill(VECTORS))
        list(off.fill(VECTORS))
    assert cache.reason is None
    assert off.reason == "backbone.module.norm.weight gets another gradient without the frozen blocks"
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        twin(batch).sum().backward()
    assert twin.backbone[2][0].weight.grad is not None


def test_random_numbers_are_drawn_by_nobody_but_the_caller():
    model = wrap(Augmented(), Spec("tests:net"), random_features=8)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    with pytest.raises(Unfit, match="augmentation"):
        check(Prefix(model, chosen(model, "suffix:1")), VECTORS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2][1])
    assert np.random.get_state()[2] == states[2][2]


def test_a_model_may_work_in_place_and_run_twice():
    model = ready(normalised(), VECTORS)
    twin, cache = forked(model, "suffix:2")
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        assert torch.equal(twin(batch), twin(batch))
    assert cache.reason is None


def test_hooks_that_come_with_the_first_batch():
    _, cache = forked(wrap(HookedLate(), Spec("tests:net"), random_features=8))
    assert cache.reason is None
    list(cache.fill(VECTORS))
    assert cache.reason == "backbone.module.blocks.1 has a forward hook"


def test_statistics_below_the_cut_do_not_move():
    model = ready(normalised(), VECTORS)
    names = chosen(model, "suffix:1")
    twin, cache = forked(model)
    train(twin, names, VECTORS, cache)
    assert cache.reason is None
    assert weights_apart(twin.backbone.module[1], model.backbone.module[1]) == 0.0


def test_forward_is_put_back_when_the_model_fails():
    twin, cache = forked(ready(perceptron(), VECTORS))
    wrong = torch.zeros(2, 3)
    list(cache.fill(VECTORS))
    with pytest.raises(RuntimeError), cache.recording(VECTORS, twin.collate(VECTORS)):
        twin.features(wrong)
    with pytest.raises(ZeroDivisionError), cache.replaying(VECTORS, twin.collate(VECTORS)):
        raise ZeroDivisionError
    assert not any("forward" in part.__dict__ for part in twin.modules())


def test_a_row_that_cannot_be_read_is_the_callers_error():
    _, cache = forked(ready(perceptron(), VECTORS))
    with pytest.raises(DataError):
        list(cache.fill([np.zeros(3, dtype="f4")]))
    assert cache.reason is None


def test_another_fork_goes_on_with_what_is_recorded():
    model = ready(normalised(), VECTORS)
    names = chosen(model, "suffix:1")
    starter, cache = forked(model)
    list(cache.fill(VECTORS))
    candidate = fork(starter, names)
    candidate.head.grow(5)
    cache.attach(candidate)
    batch = candidate.collate(VECTORS)
    with watching([candidate.backbone.module[index] for index in (0, 6)]) as seen, cache.replaying(VECTORS, batch):
        logits = candidate(batch)
    assert [index for index, _ in seen] == [1]
    assert torch.allclose(logits[:, :3], model(batch), atol=1e-5)


def test_another_fork_with_other_weights_below_the_cut_starts_anew():
    model = ready(perceptron(), VECTORS)
    _, cache = forked(model)
    list(cache.fill(VECTORS))
    other = fork(model, chosen(model, "full"))
    with torch.no_grad():
        other.backbone[0][0].weight.mul_(2)
    cache.attach(other)
    batch = other.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        found = other(batch)
    assert torch.allclose(found, other(batch), atol=1e-5)
    assert cache.reason is None


def test_a_frozen_weight_that_is_moved_later_starts_anew():
    twin, cache = forked(ready(perceptron(), VECTORS))
    batch = twin.collate(VECTORS)
    list(cache.fill(VECTORS))
    with torch.no_grad():
        twin.backbone[1][0].bias.add_(1)
    with cache.replaying(VECTORS, batch):
        found = twin(batch)
    assert torch.allclose(found, twin(batch), atol=1e-6)
    assert cache.reason is None


class Plain(nn.Module):
    """Three blocks and an output layer; the tests below run them in ways of their own."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
            self.gate = nn.Parameter(torch.zeros(()))
            self.out = nn.Linear(width, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.out(self.run(batch))

    def run(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[:3]:
            x = torch.tanh(block(x))
        return x


class Backwards(Plain):
    def run(self, x):
        for block in reversed(self.blocks):
            x = torch.tanh(block(x))
        return x


class Twice(Plain):
    def run(self, x):
        return super().run(super().run(x))


class Skip(Plain):
    def run(self, x):
        first = self.blocks[0](x)
        return first + self.blocks[2](torch.tanh(self.blocks[1](first)))


class ClosedGate(Plain):
    """A skip from the first block that is worth nothing, until its gate is trained."""

    def run(self, x):
        first = self.blocks[0](x)
        return self.gate * first + self.blocks[2](torch.tanh(self.blocks[1](first)))


class SkipOfTheInput(Plain):
    def run(self, x):
        return x + super().run(x)


class SharedNorm(Plain):
    """A norm after the blocks that each of them uses."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def run(self, x):
        for block in self.blocks:
            x = self.norm(block(x))
        return x


class LateNorm(SharedNorm):
    """It stands after the blocks and acts before them."""

    def run(self, x):
        return Plain.run(self, self.norm(x))


class Counter(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.blocks[0].register_buffer("seen", torch.zeros(()))

    def run(self, x):
        self.blocks[0].seen += 1
        return super().run(x)


class Clamped(Plain):
    def run(self, x):
        with torch.no_grad():
            self.blocks[0].weight.clamp_(-1, 1)
        return super().run(x)


class Mixed(Plain):
    """A row is shifted by the mean of its batch."""

    def run(self, x):
        return super().run(x - x.mean(dim=0))


class DropsInput(Plain):
    """Dropout that no module does: it acts as soon as anything in here is trained."""

    def run(self, x):
        return super().run(nn.functional.dropout(x, 0.5, self.training))


class Noise(Plain):
    def run(self, x):
        return super().run(x + torch.rand(()))


class Unordered(Plain):
    def run(self, x):
        return self.blocks[1](torch.tanh(self.blocks[0](self.blocks[2](x))))


class RowsSecond(Plain):
    """As a recurrent network wants them: a length of one, then the rows."""

    def run(self, x):
        return super().run(x[None])[0]


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Pairs(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.blocks[0] = Pair(4, 4)

    def run(self, x):
        return self.blocks[2](self.blocks[1](self.blocks[0](x)[0]))


class NeverCalled(Plain):
    def run(self, x):
        for block in self.blocks:
            x = nn.functional.linear(x, block.weight, block.bias)
        return x


class Hooked(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.blocks[1].register_forward_hook(lambda *_: None)


class HookedLate(Plain):
    """Hooks that come with the first batch, as some libraries set theirs."""

    def run(self, x):
        if not self.blocks[1]._forward_hooks:
            self.blocks[1].register_forward_hook(lambda *_: None)
        return super().run(x)


class Drawn(nn.Module):
    """Preprocessing that shifts the rows at random, in the modes that it is told."""

    default_column, kind, accepted = "inputs", "array", ()

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always
        self.register_buffer("shift", torch.zeros(()))

    def fit(self, inputs):
        pass

    def collate(self, inputs):
        rows = torch.from_numpy(np.stack(inputs)) + self.shift
        drawn = random.random() + np.random.rand() + torch.rand(len(rows), 1)
        return rows + drawn.float() if self.always or self.training else rows


class Augmented(Plain):
    def __init__(self, always: bool = True) -> None:
        super().__init__()
        self.preprocess = Drawn(always)


def augmented_in_training() -> nn.Module:
    return Augmented(always=False)


OFF: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "backwards": (Backwards, "one after another"),
    "the last block first": (Unordered, "one after another"),
    "twice": (Twice, "one after another"),
    "never called": (NeverCalled, "one after another"),
    "a skip from the first block": (Skip, "one after another"),
    "a gate that is still closed": (ClosedGate, "one after another"),
    "a norm of all blocks": (SharedNorm, "backbone.module.norm.weight gets another gradient"),
    "a norm before the blocks that stands after them": (LateNorm, "backbone.module.norm.weight gets another gradient"),
    "a counter": (Counter, "a buffer of a frozen block changes while it runs: backbone.module.blocks.0.seen"),
    "a weight that clamps itself": (Clamped, "a frozen weight moves"),
    "rows that depend on one another": (Mixed, "depend on the other rows"),
    "dropout before the blocks": (DropsInput, "while it trains"),
    "noise": (Noise, "depend on the other rows"),
    "rows second": (RowsSecond, "first dimension"),
    "two results": (Pairs, "something else than one tensor"),
    "a hook": (Hooked, "backbone.module.blocks.1 has a forward hook"),
    "augmentation": (Augmented, "augmentation"),
    "augmentation in training alone": (augmented_in_training, "augmentation"),
}


@pytest.mark.parametrize("case", OFF)
def test_what_cannot_be_cached_is_computed_and_the_reason_said(case):
    make, reason = OFF[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = ready(wrap(make(), Spec("tests:net"), random_features=8), VECTORS)
    twin, cache = forked(model)
    buffers = {name: buffer.clone() for name, buffer in twin.named_buffers()}
    batch = twin.collate(VECTORS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        with cache.replaying(VECTORS, batch):
            assert all(torch.equal(buffer, buffers[name]) for name, buffer in twin.named_buffers())
            found = twin(batch)
        torch.manual_seed(4)
        assert torch.equal(found, model(batch))
    assert cache.reason is not None
    assert reason in cache.reason
    cache.attach(fork(twin, []))
    assert reason in cache.reason
    assert list(cache.fill(VECTORS)) == []
    with cache.recording(VECTORS, batch):
        assert not twin.features(batch).requires_grad


def test_a_skip_of_the_input_is_no_reason():
    model = ready(wrap(SkipOfTheInput(), Spec("tests:net"), random_features=8), VECTORS)
    assert assert_same_training(model, "suffix:1", VECTORS).reason is None


@pytest.mark.parametrize(
    ("make", "selection", "reason"),
    [
        (lambda: mlp(inputs=4, random_features=8), "head@adamw", "the backbone has no blocks"),
        (perceptron, "full", "no block lies below what is trained"),
        (perceptron, "suffix:3", "no block lies below what is trained"),
    ],
)
def test_nothing_lies_below(make, selection, reason):
    model = ready(make(), VECTORS)
    twin, cache = forked(model, selection)
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        assert torch.equal(twin(batch), model(batch))
    assert (cache.reason, list(cache.fill(VECTORS))) == (reason, [])
    cache.attach(fork(model, []))
    assert cache.reason == reason


def test_a_frozen_block_that_is_tied_to_a_trained_one():
    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(4)], nn.Linear(4, 2))
    net[3].weight = net[1].weight
    model = ready(wrap(net, Spec("tests:net"), random_features=8), VECTORS)
    tied = ["backbone.module.1.weight", "head.weight"]
    cache = ActivationCache(fork(model, tied), tied)
    assert cache.cut == 1
    twin = fork(model, tied)
    cache.attach(twin)
    through, without = train(twin, tied, VECTORS, cache), train(fork(model, tied), tied, VECTORS, None)
    assert cache.reason is None
    assert weights_apart(through, without) < 1e-5


def test_rows_that_are_collated_otherwise_later_are_not_taken_from_the_cache():
    model = ready(wrap(augmented_in_training(), Spec("tests:net"), random_features=8), VECTORS)
    twin, cache = forked(model)
    twin.preprocess.train = twin.preprocess.eval  # type: ignore[method-assign]
    twin.preprocess.collate = lambda inputs: torch.from_numpy(np.stack(inputs)) + twin.preprocess.shift
    list(cache.fill(VECTORS))
    assert cache.reason is None
    twin.preprocess.shift.fill_(1.0)
    batch = twin.collate(VECTORS)
    with cache.replaying(VECTORS, batch):
        found = twin(batch)
    assert torch.equal(found, twin(batch))
    assert cache.reason == "the input changes from call to call (augmentation)"


class Words(nn.Module):
    """Words to numbers, padded on either side."""

    default_column, kind, accepted = "text", "text", ()

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right = right

    def fit(self, inputs):
        pass

    def collate(self, inputs):
        rows = [[1 + len(word) for word in text.split()] for text in inputs]
        longest = max(map(len, rows))
        padded = [row + [0] * (longest - len(row)) if self.right else [0] * (longest - len(row)) + row for row in rows]
        ids = torch.tensor(padded)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class Pooled(nn.Module):
    """Blocks over the sum of a text's words: their width may happen to be the number of its words."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, width, padding_idx=0)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, batch):
        x = self.embedding(batch["input_ids"]).sum(dim=1)
        for block in self.blocks:
            x = torch.tanh(block(x))
        return x


class Unmasked(Pooled):
    """Every word sees the mean of the words, padding included."""

    def forward(self, batch):
        x = self.embedding(batch["input_ids"]) + 1
        for block in self.blocks:
            x = torch.tanh(block(x + x.mean(dim=1, keepdim=True)))
        return x.mean(dim=1)


class Results(nn.Linear):
    def forward(self, x):
        return torch.tanh(super().forward(x)), None


class InTuples(Pooled):
    """Blocks over words that return a tuple, as those of transformers once did."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.blocks = nn.ModuleList(Results(width, width) for _ in range(3))

    def forward(self, batch):
        x = self.embedding(batch["input_ids"])
        for block in self.blocks:
            x = block(x)[0]
        return (x * batch["attention_mask"][:, :, None]).sum(dim=1)


def of_words(make: type[Pooled], right: bool = True) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = make(4)
    return ready(Classifier(Words(right), backbone, Head(Identity(4)), Spec("tests:words"), {}), TEXTS)


@pytest.mark.parametrize("make", [Pooled, InTuples])
def test_backbones_over_words_give_the_same_weights(make):
    cache = assert_same_training(of_words(make), "suffix:1", TEXTS)
    assert cache.reason is None


def test_a_width_that_is_the_length_of_the_texts():
    model = of_words(Pooled)
    rows = ["a bb ccc dd", "bb ccc dd a", "a bb", "ccc"]
    twin, cache = forked(model)
    for some in (rows[:2], rows, ["a b c d e f", "a"]):
        batch = twin.collate(some)
        with cache.replaying(some, batch):
            assert torch.allclose(twin(batch), model(batch), atol=1e-6)
    assert cache.reason is None


def test_padding_on_the_left_is_a_reason():
    _, cache = forked(of_words(InTuples, right=False))
    list(cache.fill(TEXTS))
    assert cache.reason == "texts are not padded on the right"


def test_words_that_see_the_padding_are_found_with_the_first_row_that_needs_any():
    model = of_words(Unmasked)
    twin, cache = forked(model)
    list(cache.fill(["a bb", "ccc d"]))
    assert cache.reason is None
    rows = ["a bb", "ccc d", "e f g h"]
    batch = twin.collate(rows)
    with cache.replaying(rows, batch):
        assert torch.equal(twin(batch), model(batch))
    assert cache.reason == "the activations of a row depend on the other rows of its batch"


def test_the_check_says_what_it_saw(encoder_folder: Path):
    model = ready(text_classifier(encoder=str(encoder_folder), max_length=32, random_features=8), TEXTS)
    prefix = Prefix(model, chosen(model, "suffix:1"))
    layouts, padded = check(prefix, sorted(TEXTS, key=len))
    assert (len(layouts), layouts[0].per_token, layouts[0].trailing, padded) == (1, True, (32,), True)
    assert check(prefix, ["hello you"])[1] is False
    model.backbone.forward = lambda batch: torch.zeros(len(batch["input_ids"]), 32)  # type: ignore[method-assign]
    with pytest.raises(Unfit, match="one after another"):
        check(prefix, TEXTS)
