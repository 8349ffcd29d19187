"""Optimiser state from one update to the next: bit for bit where it fits, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from dripstone.core.bits import to_raw
from dripstone.core.config import Step, TrainConfig
from dripstone.core.errors import StoreError, UsageError
from dripstone.core.tensors import RawTensor
from dripstone.store.format import pack_tensors, unpack
from dripstone.train.carry import load_state, save_state
from dripstone.train.optimizers import OPTIMIZERS, make_optimizers

PATHS = [f"torch.optim:{name}" for name in ("ASGD", "Rprop", "Adadelta", "RMSprop", "Adamax")]
SHAPES = {"kernel": (2, 3, 2, 2), "weight": (5, 4), "square": (4, 4), "bias": (4,), "one": (1,), "scale": ()}


class Numbers(torch.optim.Optimizer):
    """Keeps Python's numbers and a None, and draws a random number that it does not use."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        torch.rand(())
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            state["step"] = state.get("step", 0) + 1
            state["norm"] = 0.9 * state.get("norm", 0.0) + float(parameter.grad.norm()) / 3
            state["odd"] = not state.get("odd", False)
            state.setdefault("buffer", None)
            length = self.param_groups[0]["lr"] * (1 + state["odd"]) / state["norm"] / state["step"]
            parameter -= length * parameter.grad


class Words(Numbers):
    """Keeps what no tensor can hold."""

    def step(self, closure=None):
        super().step()
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["history"] = ["a"]


class InGroup(Numbers):
    """Keeps part of its state in the group."""

    def step(self, closure=None):
        super().step()
        self.param_groups[0]["distance"] = self.param_groups[0].get("distance", 0.0) + 1.0


NAMES = [*OPTIMIZERS, *PATHS, f"{__name__}:Numbers"]


def parameters(shapes: dict[str, tuple[int, ...]] = SHAPES, dtype: torch.dtype = torch.float32) -> dict:
    generator = torch.Generator().manual_seed(3)
    return {
        name: nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for name, shape in sorted(shapes.items())
    }


def make(name: str, named: dict[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    return make_optimizers(named, TrainConfig(optimizer=name, learning_rate=0.01, step=Step(weight_decay=0.1)))


def steps(optimizers: list[torch.optim.Optimizer], named: dict[str, nn.Parameter], which: Iterable[int]) -> None:
    for step in which:
        for index, parameter in enumerate(named.values()):
            generator = torch.Generator().manual_seed(100 * step + index)
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
        for optimizer in optimizers:
            optimizer.step()


def after(name: str, named: dict[str, nn.Parameter], count: int = 3) -> dict[str, RawTensor]:
    optimizers = make(name, named)
    steps(optimizers, named, range(count))
    return save_state(optimizers, named)


def copies(named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(parameter.detach().clone()) for name, parameter in named.items()}


def through_a_file(saved: dict[str, RawTensor]) -> dict[str, RawTensor]:
    return unpack(pack_tensors(saved))


def empty(optimizers: list[torch.optim.Optimizer]) -> bool:
    """As it was before any step; Adagrad makes its state, all zeros, at once."""
    return all(not bool(torch.as_tensor(v).any()) for o in optimizers for s in o.state.values() for v in s.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_three_steps_and_four_more_are_seven_bit_for_bit(name, dtype):
    straight, broken = parameters(dtype=dtype), parameters(dtype=dtype)
    optimizers = make(name, straight)
    steps(optimizers, straight, range(7))
    saved = through_a_file(after(name, broken))
    later = copies(broken)
    resumed = make(name, later)
    assert load_state(resumed, later, saved) == len(SHAPES)
    steps(resumed, later, range(3, 7))
    for key in straight:
        assert torch.equal(later[key], straight[key]), key
    assert save_state(resumed, later) == save_state(optimizers, straight)


@pytest.mark.parametrize("name", NAMES)
def test_carried_state_matters(name):
    """Else the test above would say nothing."""
    carried, fresh = parameters(), parameters()
    after(name, carried)
    after(name, fresh)
    first, second = make(name, carried), make(name, fresh)
    load_state(first, carried, after(name, parameters()))
    for optimizers, named in ((first, carried), (second, fresh)):
        steps(optimizers, named, range(3, 5))
    assert not all(torch.equal(carried[key], fresh[key]) for key in carried)


@pytest.mark.parametrize("name", NAMES)
def test_entries_keep_their_types_devices_and_strides(name):
    named = parameters()
    named["kernel"] = nn.Parameter(named["kernel"].detach().clone(memory_format=torch.channels_last))
    optimizers, again = make(name, named), make(name, named)
    steps(optimizers, named, range(2))
    load_state(again, named, save_state(optimizers, named))
    for old, new in zip(optimizers, again, strict=True):
        for parameter, state in old.state.items():
            for entry, value in state.items():
                found = new.state[parameter][entry]
                assert type(found) is type(value)
                if isinstance(value, torch.Tensor):
                    assert (found.dtype, found.device, found.stride()) == (value.dtype, value.device, value.stride())


def test_torch_itself_gives_a_block_the_moments_of_another_and_this_does_not():
    named = {"first": nn.Parameter(torch.ones(3)), "second": nn.Parameter(torch.ones(3))}
    old = make("adamw", {"first": named["first"]})
    steps(old, {"first": named["first"]}, range(3))
    saved = save_state(old, named)
    (by_position,) = make("adamw", {"second": named["second"]})
    by_position.load_state_dict(old[0].state_dict())
    assert torch.equal(by_position.state[named["second"]]["exp_avg"], old[0].state[named["first"]]["exp_avg"])
    by_name = make("adamw", {"second": named["second"]})
    assert load_state(by_name, named, saved) == 0
    assert empty(by_name)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_still_selected_gets_its_state_whatever_the_order(name):
    named = parameters()
    saved = after(name, named)
    chosen = {key: named[key] for key in ("square", "bias")} | {"new": nn.Parameter(torch.ones(4, 4))}
    optimizers = make(name, chosen)
    assert load_state(optimizers, chosen, saved) == 2
    for key in ("square", "bias"):
        mine = {k: raw for k, raw in save_state(optimizers, chosen).items() if f"/{key}/" in k}
        assert mine == {k: raw for k, raw in saved.items() if f"/{key}/" in k}
    assert all(optimizer.state.get(chosen["new"], {}).get("step", 0) == 0 for optimizer in optimizers)


@pytest.mark.parametrize(
    ("old", "new"),
    [((3, 8), (4, 8)), ((1, 8), (4, 8)), ((8, 1), (8, 4)), ((1,), (4,)), ((), (1,)), ((1,), ()), ((4, 4), (16,))],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_of_another_shape_starts_fresh(name, old, new):
    was, now = parameters({"head": old}), parameters({"head": new})
    optimizers = make(name, now)
    assert load_state(optimizers, now, after(name, was)) == 0
    assert empty(optimizers)
    steps(optimizers, now, range(2))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("other", OPTIMIZERS)
def test_the_state_of_another_class_is_not_taken(name, other):
    named = {"weight": nn.Parameter(torch.ones(3, 4))}
    saved = after(name, named)
    assert load_state(make(other, named), named, saved) == (1 if name == other else 0)


class AdamW(Numbers):
    """A user's class of the same name as one of torch's."""


def test_a_class_of_the_users_is_known_by_its_whole_name():
    named = parameters()
    saved = after(f"{__name__}:AdamW", named)
    assert all(key.startswith(f"{__name__}:AdamW/") for key in saved)
    assert {key.partition("/")[0] for key in after("adamw", named)} == {"AdamW"}


def test_a_dtype_that_changed_starts_fresh():
    named = parameters(dtype=torch.bfloat16)
    assert load_state(make("adamw", named), named, after("adamw", parameters())) == 0


def test_sgd_without_momentum_keeps_nothing_and_takes_nothing():
    named = parameters()
    saved = after("sgd", named)
    plain = make_optimizers(named, TrainConfig(optimizer="sgd", step=Step(momentum=0.0)))
    assert load_state(plain, named, saved) == 0
    steps(plain, named, range(2))
    assert save_state(plain, named) == {}


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", [name for name in NAMES if "Numbers" not in name])
def test_what_is_not_finite_is_not_taken(name, value):
    named = {"weight": nn.Parameter(torch.ones(3, 4))}
    saved = after(name, named)
    for key in saved:
        broken = torch.full(saved[key].shape, value)
        assert load_state(make(name, named), named, saved | {key: to_raw(broken)}) == 0


def damaged(saved: dict[str, RawTensor]) -> dict[str, dict[str, RawTensor]]:
    step, moment = "AdamW/weight/step", "AdamW/weight/exp_avg"
    huge = RawTensor("F32", (2**40, 0), b"")
    return {
        "missing": {key: raw for key, raw in saved.items() if key != step},
        "extra": saved | {"AdamW/weight/max_exp_avg_sq": saved[moment]},
        "negative count": saved | {step: to_raw(torch.tensor(-1.0))},
        "count of one dimension": saved | {step: to_raw(torch.tensor([3.0]))},
        "other dtype": saved | {moment: to_raw(torch.ones(3, 4, dtype=torch.float64))},
        "transposed": saved | {moment: to_raw(torch.ones(4, 3))},
        "flat": saved | {moment: to_raw(torch.ones(12))},
        "huge and empty": saved | {moment: huge},
        "negative sizes": saved | {moment: saved[moment]._replace(shape=(-3, -4))},
        "a list for a shape": saved | {moment: saved[moment]._replace(shape=[3, 4])},
        "other name": {key.replace("weight", "Weight"): raw for key, raw in saved.items()},
        "other class": {key.replace("AdamW", "AdamWW"): raw for key, raw in saved.items()},
        "no class": {key.removeprefix("AdamW/"): raw for key, raw in saved.items()},
        "nothing": {},
        "rubbish": {"": saved[step], "/": saved[step], "AdamW/weight": saved[step], "AdamW//step": saved[step]},
    }


def test_what_does_not_fit_is_not_taken():
    named = {"weight": nn.Parameter(torch.ones(3, 4))}
    saved = after("adamw", named)
    for what, broken in damaged(saved).items():
        optimizers = make("adamw", named)
        assert load_state(optimizers, named, broken) == 0, what
        assert empty(optimizers), what
    assert load_state(make("adamw", named), named, saved | {"rubbish": saved["AdamW/weight/step"]}) == 1


def test_bytes_that_are_not_those_of_the_shape_are_damage():
    named = {"weight": nn.Parameter(torch.ones(3, 4))}
    saved = after("adamw", named)
    key = "AdamW/weight/exp_avg"
    with pytest.raises(StoreError, match="40 bytes are no F32 tensor"):
        load_state(make("adamw", named), named, saved | {key: saved[key]._replace(data=saved[key].data[:40])})


def test_names_with_slashes_do_not_meet():
    named = {"a": nn.Parameter(torch.ones(2)), "a/b": nn.Parameter(torch.zeros(2)), "b": nn.Parameter(torch.ones(2))}
    saved = after("adamw", named)
    assert load_state(make("adamw", named), named, saved) == 3
    assert load_state(make("adamw", named), named, {k: v for k, v in saved.items() if "/a/b/" in k}) == 1


def test_of_several_names_the_first_counts():
    parameter = nn.Parameter(torch.ones(2))
    saved = after("adamw", {"first": parameter, "second": parameter})
    assert {key.split("/")[1] for key in saved} == {"first"}
    assert load_state(make("adamw", {"first": parameter}), {"first": parameter}, saved) == 1


def test_loading_draws_no_random_numbers_and_moves_no_parameter():
    for name in NAMES:
        named = parameters()
        saved = after(name, named)
        before, state = copies(named), torch.random.get_rng_state()
        load_state(make(name, named), named, saved)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert all(torch.equal(named[key], before[key]) for key in named)


def test_saved_bytes_are_a_copy():
    named = parameters()
    optimizers = make("adamw", named)
    steps(optimizers, named, range(2))
    saved = save_state(optimizers, named)
    before = dict(saved)
    steps(optimizers, named, range(2, 4))
    assert saved == before
    assert save_state(optimizers, named) != before


def test_what_no_tensor_can_hold_is_named():
    named = parameters()
    optimizers = make(f"{__name__}:Words", named)
    steps(optimizers, named, range(1))
    with pytest.raises(UsageError, match=r"Words/bias/history is list.*set train\.step\.carry to false") as caught:
        save_state(optimizers, named)
    assert caught.value.kind == "usage.optimizer"


def test_a_class_that_keeps_part_of_its_state_in_the_group_starts_fresh():
    named = parameters()
    name = f"{__name__}:InGroup"
    assert load_state(make(name, named), named, after(name, named)) == 0
