"""Optimisers by name: what they hold, what they take from the settings, what they never touch."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from dripstone.core.config import Step, TrainConfig
from dripstone.core.errors import UsageError
from dripstone.train.optimizers import OPTIMIZERS, check_optimizer, make_optimizers

PATHS = ["torch.optim:ASGD", "torch.optim:RMSprop", f"{__name__}:Plain"]
NAMES = [*OPTIMIZERS, *PATHS]
SELECTED = ["2.weight", "2.bias", "3.weight", "3.bias", "6.weight"]


class Plain(torch.optim.Optimizer):
    """A user's class that takes a learning rate only, and rounds at random, as some do in low precision."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad * (1 + 1e-3 * torch.rand(()))


class TwoDimensional(Plain):
    """A user's class that finds out when it steps what it cannot do."""

    def step(self, closure=None):
        if any(parameter.ndim != 2 for group in self.param_groups for parameter in group["params"]):
            raise NotImplementedError


class Decaying(Plain):
    def __init__(self, params, lr, *, weight_decay, momentum):
        super().__init__(params, lr)
        self.given = (weight_decay, momentum)


def net() -> nn.Sequential:
    """Vectors, matrices and kernels, with values of which weight decay would take some away."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(16, 16), nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4)]
        model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1
    return model


def config(name: str, **step: float) -> TrainConfig:
    return TrainConfig(optimizer=name, learning_rate=0.01, step=Step(**{"weight_decay": 0.5} | step))


def chosen(model: nn.Module, names: list[str] = SELECTED) -> dict[str, nn.Parameter]:
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in names}


def train(model: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int = 4) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(12, 16, generator=generator), torch.arange(12) % 3
    losses = []
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_selected_keeps_its_bits_despite_old_gradients_and_weight_decay(name):
    model = net()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = bits(model)
    train(model, make_optimizers(chosen(model), config(name)))
    assert moved(before, model) == set(SELECTED)


@pytest.mark.parametrize("name", NAMES)
def test_making_optimizers_moves_nothing_and_draws_nothing(name):
    model = net()
    before, state = bits(model), torch.random.get_rng_state()
    make_optimizers(chosen(model), config(name))
    assert not moved(before, model)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name):
    twins = [net(), net()]
    for model in twins:
        torch.manual_seed(7)
        train(model, make_optimizers(chosen(model), config(name)), steps=6)
    assert not moved(bits(twins[0]), twins[1])


@pytest.mark.parametrize("name", NAMES)
def test_each_learns(name):
    model = net()
    losses = train(model, make_optimizers(chosen(model), config(name, weight_decay=0.0)), steps=40)
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize("name", NAMES)
def test_the_mapping_is_held_whole_in_its_order_and_each_parameter_once(name):
    model = net()
    named = chosen(model, SELECTED[::-1])
    named["alias"] = named[SELECTED[0]]
    optimizers = make_optimizers(named, config(name))
    held = [[id(p) for group in optimizer.param_groups for p in group["params"]] for optimizer in optimizers]
    order = [id(named[name]) for name in SELECTED[::-1]]
    assert sorted(i for ids in held for i in ids) == sorted(order)
    assert all(ids == [i for i in order if i in ids] for ids in held)
    assert len(optimizers) == (2 if name == "muon" else 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_reach_the_classes_that_take_them(name):
    for optimizer in make_optimizers(chosen(net()), config(name, weight_decay=0.25, momentum=0.75)):
        group = optimizer.param_groups[0]
        assert (group["lr"], group["weight_decay"]) == (0.01, 0.25)
        assert group.get("momentum", 0.75) == 0.75
        assert group.get("foreach", False) is False
        assert not group.get("fused")


def test_only_sgd_and_muon_have_a_momentum():
    with_momentum = {name for name in OPTIMIZERS if "momentum" in optimizer_of(name).param_groups[0]}
    assert with_momentum == {"sgd", "muon"}


def optimizer_of(name: str) -> torch.optim.Optimizer:
    return make_optimizers(chosen(net(), ["6.weight"]), config(name))[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_decoupled_where_it_can_be(name):
    """Without a gradient, decoupled decay takes lr * decay of a weight, L2 a whole step; in plain SGD they are one."""
    parameter = nn.Parameter(torch.full((3, 3), 4.0))
    optimizers = make_optimizers({"weight": parameter}, config(name, momentum=0.0))
    parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    decayed = torch.full((3, 3), 4.0) * (1 - 0.01 * 0.5)
    assert torch.allclose(parameter, decayed) == (name not in ("adam", "adagrad"))


def test_muon_takes_matrices_and_leaves_the_rest_to_adamw():
    model = net()
    muon, adamw = make_optimizers(chosen(model), config("muon"))
    assert (type(muon), type(adamw)) == (torch.optim.Muon, torch.optim.AdamW)
    assert [p.ndim for p in muon.param_groups[0]["params"]] == [2]
    assert [p.ndim for p in adamw.param_groups[0]["params"]] == [4, 1, 1, 1]
    assert [type(o) for o in make_optimizers(chosen(model, ["6.weight"]), config("muon"))] == [torch.optim.Muon]
    assert [type(o) for o in make_optimizers(chosen(model, ["6.bias"]), config("muon"))] == [torch.optim.AdamW]


def test_steps_of_muon_are_about_as_long_as_those_of_adamw():
    lengths = []
    for name in ("muon", "adamw"):
        parameter = nn.Parameter(torch.zeros(64, 32))
        (optimizer,) = make_optimizers({"weight": parameter}, config(name))
        parameter.grad = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        optimizer.step()
        lengths.append(float(parameter.detach().square().mean().sqrt()))
    assert 0.1 < lengths[0] / lengths[1] < 1


def test_no_parameters_need_no_optimizer():
    assert make_optimizers({}, config("adamw")) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamww", "there is no optimizer 'adamww'; did you mean 'adamw'?"),
        ("AdamW", "did you mean 'adamw'?"),
        (" muon ", "did you mean 'muon'?"),
        ("zzz", "use one of sgd, adam, adamw, nadam, adagrad, adafactor, radam, muon, or package.module:Class"),
        ("", "there is no optimizer ''"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(name, message):
    with pytest.raises(UsageError) as caught:
        check_optimizer(name)
    assert message in str(caught.value)
    assert caught.value.kind == "usage.optimizer"


@pytest.mark.parametrize(
    "name", ["a:", ":A", "this:A:B", "this.:A", ".this:A", "this:A()", "this :A", "this:A\n", "thiß:A", "../this:A"]
)
def test_malformed_text_is_never_imported(name, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda path: pytest.fail(f"imported {path}"))
    with pytest.raises(UsageError, match=r"names no class; write it as 'package\.module:Class'"):
        check_optimizer(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.optim:Fast", "no_such_package.optim:Fast cannot be imported: ModuleNotFoundError"),
        ("torch.optim:Fast", "torch.optim:Fast cannot be imported: AttributeError"),
        ("torch.nn:Linear", "torch.nn:Linear is no optimizer; name a subclass of torch.optim.Optimizer"),
        ("torch.optim:Optimizer", "torch.optim:Optimizer is no optimizer"),
        ("os:system", "os:system is no optimizer"),
        ("torch.optim:LBFGS", "torch.optim:LBFGS computes the loss several times a step"),
    ],
)
def test_a_path_that_leads_to_no_usable_class_is_refused(name, message):
    for refuse in (check_optimizer, lambda name: make_optimizers(chosen(net()), config(name))):
        with pytest.raises(UsageError) as caught:
            refuse(name)
        assert message in str(caught.value)
        assert caught.value.kind == "usage.optimizer"


def test_a_module_that_fails_when_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_optimizers.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"broken_optimizers:Fast cannot be imported: RuntimeError: no licence"):
        check_optimizer("broken_optimizers:Fast")
    assert "broken_optimizers" not in sys.modules


@pytest.mark.parametrize("name", NAMES)
def test_a_known_name_is_accepted(name):
    check_optimizer(name)


def test_a_class_of_the_users_gets_what_its_signature_has():
    (optimizer,) = make_optimizers(chosen(net()), config(f"{__name__}:Decaying", momentum=0.3))
    assert isinstance(optimizer, Decaying)
    assert optimizer.given == (0.5, 0.3)
    assert optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch.optim:SparseAdam", "SparseAdam does not support dense gradients"),
        ("torch.optim:Muon", "Muon only supports 2D parameters"),
        (f"{__name__}:TwoDimensional", "TwoDimensional cannot train these parameters: NotImplementedError"),
    ],
)
def test_a_class_that_cannot_train_a_parameter_says_so_before_training(name, message):
    with pytest.raises(UsageError, match=r"cannot train these parameters: .*; use another, such as adamw") as caught:
        make_optimizers(chosen(net()), config(name))
    assert message in str(caught.value)
    assert caught.value.kind == "usage.optimizer"


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match=r"has no Muon; install a newer torch, or use adamw"):
        check_optimizer("muon")
