"""The loop: what it weighs, what it draws, what it leaves behind."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.config import Step, Stop, TrainConfig
from dripstone.core.errors import DivergedError
from dripstone.core.fork import fork, named_tensors
from dripstone.core.records import Spec
from dripstone.curate.augment import Change
from dripstone.curate.prune import Prune
from dripstone.models import mlp
from dripstone.models.classifier import Classifier
from dripstone.models.wrap import wrap
from dripstone.train import loop
from dripstone.train.features import features_of
from dripstone.train.loop import run_loop
from dripstone.train.rows import Rows

FAST = TrainConfig(stop=Stop(epochs=3), learning_rate=0.01, batch_size=8)


def make(dropout: float = 0.5) -> Classifier:
    model = mlp(inputs=4, hidden=[8, 8], random_features=32, dropout=dropout)
    model.fit(data(30).inputs)
    model.head.fit(features_of(model, data(30).inputs))
    model.head.grow(3)
    return model


def data(rows: int, weights: list[float] | None = None) -> Rows:
    rng = np.random.default_rng(0)
    targets = np.arange(rows) % 3
    inputs = (rng.normal(size=(rows, 4)) + targets[:, None]).astype("f4")
    given = torch.ones(rows) if weights is None else torch.tensor(weights)
    return Rows(list(inputs), torch.from_numpy(targets), given)


def moving(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def train(model: Classifier, rows: Rows, config: TrainConfig = FAST, names: list[str] | None = None) -> Classifier:
    names = moving(model) if names is None else names
    trained = fork(model, names)
    for _ in run_loop(trained, names, rows, config, "full@adamw"):
        pass
    return trained


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_an_event_an_epoch_with_a_falling_loss():
    model = make(dropout=0.0)
    config = TrainConfig(stop=Stop(epochs=15), learning_rate=0.02, batch_size=8)
    events = list(run_loop(model, moving(model), data(30), config, "full@adamw"))
    assert [event.epoch for event in events] == list(range(1, 16))
    assert {(event.selection, event.epochs) for event in events} == {("full@adamw", 15)}
    assert events[-1].loss < 0.5 * events[0].loss


def test_the_loss_is_the_weighted_mean_over_the_pass():
    model, rows = make(dropout=0.0), data(30, [0.5, 1.0, 3.0] * 10)
    logits = model(model.collate(rows.inputs))
    losses = nn.functional.cross_entropy(logits, rows.targets, reduction="none").detach()
    expected = float((losses * rows.weights).sum() / rows.weights.sum())
    still = TrainConfig(stop=Stop(epochs=1), learning_rate=1e-12, step=Step(weight_decay=0.0), batch_size=7)
    event = next(iter(run_loop(model, moving(model), rows, still, "full@adamw")))
    assert event.loss == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_bits():
    assert same_bits(train(make(), data(30)), train(make(), data(30)))
    other = TrainConfig(stop=Stop(epochs=3), learning_rate=0.01, batch_size=8, seed=1)
    assert not same_bits(train(make(), data(30)), train(make(), data(30), other))


def test_nobody_elses_random_numbers_matter_or_are_moved():
    torch.manual_seed(123)
    expected = torch.rand(4)
    torch.manual_seed(123)
    disturbed = make()
    drawn = []
    for _ in run_loop(disturbed, moving(disturbed), data(30), FAST, "full@adamw"):
        drawn.append(torch.rand(()))
    drawn.append(torch.rand(()))
    assert torch.equal(torch.stack(drawn), expected)
    assert same_bits(disturbed, train(make(), data(30)))


def test_epochs_drop_different_activations():
    model, masks = make(), []
    model.backbone[0][2].register_forward_hook(lambda module, _, output: masks.append(output == 0))
    one_batch = TrainConfig(stop=Stop(epochs=2), learning_rate=1e-9, batch_size=30)
    for _ in run_loop(model, moving(model), data(30), one_batch, "full@adamw"):
        pass
    assert masks[0].sum(dim=0).tolist() != masks[1].sum(dim=0).tolist()


def test_a_row_of_weight_zero_is_absent():
    with_zero = data(33, [1.0] * 30 + [0.0] * 3)
    assert same_bits(train(make(), with_zero), train(make(), data(30)))


def test_rows_of_weight_zero_alone_move_nothing():
    model = make()
    for rows in (data(5, [0.0] * 5), data(0)):
        assert same_bits(train(model, rows), model)


def test_only_relative_weights_count():
    assert same_bits(train(make(), data(30, [8.0] * 30)), train(make(), data(30)))
    light = train(make(), data(30, [1e-20] * 30))
    for a, b in zip(light.parameters(), train(make(), data(30)).parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 30])
def test_the_heavier_of_two_contradicting_rows_wins_in_batches_of_any_size(batch_size):
    inputs = [np.ones(4, dtype="f4")] * 2
    rows = Rows(inputs * 10, torch.tensor([0, 1] * 10), torch.tensor([1.0, 50.0] * 10))
    config = TrainConfig(stop=Stop(epochs=40), learning_rate=0.01, batch_size=batch_size)
    model = train(make(dropout=0.0), rows, config)
    scores = model(model.collate(inputs[:1])).softmax(dim=1)[0]
    assert scores[1] > 0.9
    swapped = Rows(rows.inputs, 1 - rows.targets, rows.weights)
    model = train(make(dropout=0.0), swapped, config)
    assert model(model.collate(inputs[:1])).softmax(dim=1)[0, 0] > 0.9


def test_divergence_is_said_and_leaves_no_gradients():
    model = make(dropout=0.0)
    wild = TrainConfig(stop=Stop(epochs=3), learning_rate=1e30, batch_size=8)
    with pytest.raises(DivergedError, match=r"epoch 1: .* not finite; lower train\.learning_rate"):
        list(run_loop(model, moving(model), data(30), wild, "full@adamw"))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_a_loss_that_is_not_finite_is_a_divergence():
    model = make(dropout=0.0)
    rows = data(30)
    broken = Rows(rows.inputs, rows.targets, rows.weights, torch.full((30, 8), torch.inf))
    with pytest.raises(DivergedError):
        list(run_loop(model, ["head.weight", "head.bias"], broken, FAST, "head@adamw"))


@pytest.mark.parametrize("stop", [False, True])
def test_the_model_is_left_as_it_was_found_but_for_its_weights(stop):
    model = make()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    running = run_loop(model, ["head.weight"], data(30), FAST, "head@adamw")
    if stop:
        next(iter(running))
        running.close()  # type: ignore[attr-defined]
    else:
        list(running)
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_known_features_spare_the_forward_pass_and_change_nothing():
    model, rows = make(), data(30)
    head = ["head.weight", "head.bias"]
    known = Rows([], rows.targets, rows.weights, features_of(model, rows.inputs))
    short, long = train(model, known, names=head), train(model, rows, names=head)
    assert torch.allclose(short.head.weight, long.head.weight, atol=1e-5)
    assert torch.allclose(short.head.bias, long.head.bias, atol=1e-5)


def test_an_old_gradient_moves_nothing():
    model = make()
    trained = fork(model, ["head.bias"])
    for parameter in trained.parameters():
        parameter.grad = torch.ones_like(parameter)
    list(run_loop(trained, ["head.bias"], data(30), FAST, "head@adamw"))
    old = named_tensors(model)
    moved = [name for name, tensor in named_tensors(trained).items() if not torch.equal(tensor, old[name])]
    assert moved == ["head.bias"]


def normalised() -> Classifier:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    model = wrap(net, Spec("tests:net"), random_features=16)
    model.head.grow(3)
    return model


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 8), (9, 8), (17, 8), (5, 1)])
def test_batch_normalisation_is_never_asked_for_the_variance_of_one_row(rows, batch_size):
    config = TrainConfig(stop=Stop(epochs=2), learning_rate=0.01, batch_size=batch_size)
    model = normalised()
    trained = train(model, data(rows), config)
    statistics_move = rows > 1 and batch_size > 1
    assert (
        torch.equal(trained.backbone.module[1].running_mean, model.backbone.module[1].running_mean) != statistics_move
    )
    assert not torch.equal(trained.backbone.module[0].weight, model.backbone.module[0].weight)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 23])
def test_batches_are_even_and_no_larger_than_asked(rows):
    model, sizes = make(), []
    model.head.register_forward_hook(lambda module, _, output: sizes.append(len(output)))
    list(run_loop(model, moving(model), data(rows), TrainConfig(stop=Stop(epochs=1), batch_size=8), "full@adamw"))
    assert sum(sizes) == rows
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1


def modes(net: nn.Sequential, names: list[str]) -> list[bool]:
    """In which mode each layer runs while the named ones are trained."""
    model = wrap(net, Spec("tests:net"), random_features=16)
    model.head.grow(3)
    layers, seen = list(model.backbone.module), {}
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda module, *_, index=index: seen.__setitem__(index, module.training))
    list(run_loop(model, names, data(6), TrainConfig(stop=Stop(epochs=1)), "test"))
    return [seen[index] for index in range(len(layers) - 1)]


def test_what_has_no_parameters_goes_with_the_layer_before_it():
    def net() -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm1d(4, affine=False),
            nn.Linear(4, 6),
            nn.Dropout(0.5),
            nn.Linear(6, 6),
            nn.Dropout(0.5),
            nn.Linear(6, 3),
        )

    assert modes(net(), ["head.weight"]) == [False] * 5
    assert modes(net(), ["backbone.module.3.weight", "head.weight"]) == [False, False, False, True, True]
    assert modes(net(), ["backbone.module.1.bias"]) == [True, True, True, False, False]


def test_dropout_around_a_nested_block_goes_with_it():
    def net() -> nn.Sequential:
        block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        return nn.Sequential(nn.Linear(4, 4), block, nn.Dropout(0.5), nn.Linear(4, 3))

    assert modes(net(), ["backbone.module.1.0.weight"]) == [False, True, True]
    assert modes(net(), ["backbone.module.0.weight"]) == [True, False, False]


def test_a_name_that_does_not_exist_is_a_programming_error():
    with pytest.raises(KeyError):
        list(run_loop(make(), ["head.wait"], data(3), FAST, "head@adamw"))


def test_in_bfloat16_the_backbone_alone_is_less_precise(monkeypatch):
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: True)  # torch has it for the CPU as well
    model, rows, seen = make(dropout=0.0), data(240), {}
    model.backbone[-1][0].register_forward_hook(lambda module, args, output: seen.update(backbone=output.dtype))
    model.head.register_forward_hook(lambda module, args, output: seen.update(head=(args[0].dtype, output.dtype)))
    names = [name for name in moving(model) if "expansion" not in name]
    losses = [event.loss for event in run_loop(model, names, rows, FAST, "full@adamw")]
    assert seen == {"backbone": torch.bfloat16, "head": (torch.float32, torch.float32)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert losses[-1] < 0.8 * losses[0]


class Chosen:
    """Prunes to given rows, with given factors, and remembers the losses that it was shown."""

    def __init__(self, rows, factors):
        self.rows, self.factors, self.losses = rows, factors, []

    def choose(self, rows, losses, epoch, epochs, seed):
        self.losses.append(losses.clone())
        return self.rows, self.factors


def looped(model, rows, config=FAST, **given):
    names = moving(model)
    trained = fork(model, names)
    events = list(run_loop(trained, names, rows, config, "full@sgd", **given))
    return trained, events


def test_a_pruned_epoch_learns_the_chosen_rows_alone():
    model, chosen = make(dropout=0.0), torch.arange(0, 30, 3)
    ones = torch.ones(len(chosen), dtype=torch.float64)
    prune = Chosen(chosen, ones)
    pruned, _ = looped(model, data(30), prune=prune)
    others = [0.0 if row % 3 else 1.0 for row in range(30)]
    assert same_bits(pruned, train(model, data(30, others)))
    assert prune.losses[0].isnan().all()
    assert (~prune.losses[1].isnan()).nonzero().flatten().tolist() == chosen.tolist()


def test_factors_weigh_the_chosen_rows():
    model, rows = make(dropout=0.0), torch.arange(30)
    config = TrainConfig(stop=Stop(epochs=1), learning_rate=0.01, batch_size=30, optimizer="sgd")
    one, _ = looped(model, data(30), config, prune=Chosen(rows, torch.full((30,), 1.0, dtype=torch.float64)))
    two, _ = looped(model, data(30), config, prune=Chosen(rows, torch.full((30,), 2.0, dtype=torch.float64)))
    slow = TrainConfig(
        stop=Stop(epochs=1), learning_rate=0.02, batch_size=30, optimizer="sgd", step=Step(weight_decay=0)
    )
    plain = TrainConfig(
        stop=Stop(epochs=1), learning_rate=0.01, batch_size=30, optimizer="sgd", step=Step(weight_decay=0)
    )
    twice, _ = looped(model, data(30), plain, prune=Chosen(rows, torch.full((30,), 2.0, dtype=torch.float64)))
    faster, _ = looped(model, data(30), slow)
    assert not same_bits(one, two)
    for a, b in zip(twice.parameters(), faster.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_half_the_rows_make_half_the_steps_and_the_rate_still_falls_to_its_end(monkeypatch):
    rates = []
    monkeypatch.setattr(loop, "set_learning_rate", lambda optimizers, factor: rates.append(factor))
    config = TrainConfig(stop=Stop(epochs=4), learning_rate=0.01, batch_size=5, step=Step(schedule="linear"))
    looped(make(dropout=0.0), data(40), config)
    whole = list(rates)
    rates.clear()
    half = torch.arange(0, 40, 2)
    looped(make(dropout=0.0), data(40), config, prune=Chosen(half, torch.ones(20, dtype=torch.float64)))
    assert (len(whole), len(rates)) == (32, 16)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1 / 16)


def test_the_loop_learns_changed_rows_and_measures_those_it_watches_as_they_are():
    seen = []

    def change(inputs, draw):
        seen.extend(inputs)
        return [np.full_like(row, draw.random()) for row in inputs]

    rows, model = data(40), make(dropout=0.0)
    collated = []
    plain = model.collate
    model.collate = lambda inputs: collated.extend(inputs) or plain(inputs)
    config = TrainConfig(stop=Stop(epochs=2, patience=5), learning_rate=0.01, batch_size=8)
    changed, _ = looped(model, rows, config, change=change)
    assert len(seen) == 2 * 36  # four rows are watched
    again, _ = looped(model, rows, config, change=change)
    assert same_bits(changed, again)
    assert not same_bits(changed, train(model, rows, config))


STILL = TrainConfig(stop=Stop(epochs=4), learning_rate=0.01, batch_size=5, optimizer="sgd", step=Step(weight_decay=0.0))


def steps_of(monkeypatch, rows, config, **given):
    """The learning rate's factor at each step."""
    factors = []
    monkeypatch.setattr(loop, "set_learning_rate", lambda optimizers, factor: factors.append(factor))
    looped(make(dropout=0.0), rows, config, **given)
    return factors


@pytest.mark.parametrize(("share", "steps"), [(0.5, 16), (0.25, 8)])
def test_rs2_makes_its_share_of_the_steps(monkeypatch, share, steps):
    assert len(steps_of(monkeypatch, data(40), STILL)) == 32
    assert len(steps_of(monkeypatch, data(40), STILL, prune=Prune("rs2", share))) == steps


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prune", [Prune("rs2", 0.5), Prune("rs2", 0.7), Prune("infobatch", 0.5)])
def test_the_schedule_reaches_its_end_whatever_an_epoch_leaves_out(monkeypatch, prune, schedule):
    config = TrainConfig(stop=Stop(epochs=8), learning_rate=0.05, batch_size=5, step=Step(schedule=schedule))
    factors = steps_of(monkeypatch, data(40), config, prune=prune)
    steps = len(factors)
    assert steps < 64
    assert factors[0] > 0.9
    assert factors[-1] == loop.learning_rate_factor(steps - 1, steps, config.step)
    assert min(factors) > 0


def test_rs2_learns_every_row_once_a_round_and_only_rows_that_count():
    seen = []
    rows = data(30, [1.0] * 24 + [0.0] * 6)
    config = TrainConfig(stop=Stop(epochs=4), learning_rate=0.01, batch_size=5)
    looped(make(), rows, config, prune=Prune("rs2", 0.25), change=lambda inputs, draw: seen.extend(inputs) or inputs)
    assert len(seen) == 24
    assert {row.tobytes() for row in seen} == {row.tobytes() for row in rows.inputs[:24]}


def test_infobatch_moves_the_weights_as_all_rows_do_in_the_mean():
    rows = data(30)
    config = TrainConfig(
        stop=Stop(epochs=1), learning_rate=1.0, batch_size=30, optimizer="sgd", step=Step(weight_decay=0.0)
    )
    model = make(dropout=0.0)
    logits = model(model.collate(rows.inputs))
    losses = nn.functional.cross_entropy(logits, rows.targets, reduction="none").detach().double()
    losses = losses + torch.linspace(0, 1, 30, dtype=torch.float64)  # some are learned better than others

    class Known(Chosen):
        def choose(self, rows, _, epoch, epochs, seed):
            chosen, factors = Prune("infobatch", 0.5).choose(rows, losses, 2, 20, self.seed)
            return chosen, factors * len(chosen) / len(rows)  # of a mean over those chosen, which the one step takes

    prune = Known(None, None)
    whole = looped(model, rows, config)[0].head.weight.detach() - model.head.weight.detach()
    moved = torch.zeros_like(whole)
    for prune.seed in range(300):
        moved += looped(model, rows, config, prune=prune)[0].head.weight.detach() - model.head.weight.detach()
    assert float((moved / 300 - whole).norm() / whole.norm()) < 0.1
    prune.seed = 0
    once = looped(model, rows, config, prune=prune)[0].head.weight.detach() - model.head.weight.detach()
    assert float((once - whole).norm() / whole.norm()) > 0.1


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("prune", [Prune("rs2", 0.5), Prune("rs2", 0.7), Prune("infobatch", 0.999)])
@pytest.mark.parametrize("batch_size", [2, 8])
def test_a_pruned_epoch_never_asks_for_the_variance_of_one_row(prune, rows, batch_size):
    for seed in range(3):
        config = TrainConfig(stop=Stop(epochs=8), learning_rate=0.01, batch_size=batch_size, seed=seed)
        model = normalised()
        list(run_loop(model, moving(model), data(rows), config, "full@adamw", prune=prune))


@pytest.mark.parametrize(
    "given", [{"prune": Prune("rs2", 0.5)}, {"prune": Prune("infobatch")}, {"change": Change(("jitter",))}]
)
def test_the_same_seed_prunes_and_changes_alike(given):
    one, two = (looped(make(), data(40), STILL, **given)[0] for _ in range(2))
    other = looped(make(), data(40), msgspec.structs.replace(STILL, seed=1), **given)[0]
    assert same_bits(one, two)
    assert not same_bits(one, other)


def test_rows_that_are_watched_are_neither_pruned_nor_weighed_nor_changed():
    rows, model, measured = data(40), make(dropout=0.0), []
    config = TrainConfig(
        stop=Stop(epochs=3, patience=5), learning_rate=1e-12, batch_size=8, step=Step(weight_decay=0.0)
    )
    real = loop._Loop.measure

    def measure(self, watched):
        measured.append((watched.tolist(), real(self, watched)))
        return measured[-1][1]

    class Heavy(Chosen):
        def choose(self, rows, losses, epoch, epochs, seed):
            self.losses.append(rows.tolist())
            return rows, torch.full((len(rows),), 7.0, dtype=torch.float64)

    prune = Heavy(None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "measure", measure)
        looped(model, rows, config, prune=prune, change=lambda inputs, draw: [np.zeros_like(row) for row in inputs])
    watched = measured[0][0]
    logits = model(model.collate([rows.inputs[row] for row in watched]))
    truth = float(nn.functional.cross_entropy(logits, rows.targets[watched]).detach())
    assert [loss for _, loss in measured] == pytest.approx([truth] * 3, rel=1e-5)
    assert all(sorted(learned + watched) == list(range(40)) for learned in prune.losses)
