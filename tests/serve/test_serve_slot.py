import dataclasses
import threading
import time

import pytest
import torch
from torch import nn

from dripstone.core.fork import fill, fork
from dripstone.serve.slot import Served, Slot
from dripstone.tasks.classification import Classification

WIDTH = 16
ROWS = torch.ones(4, WIDTH)


class Pause:
    """Where a test can hold up a forward pass half way; a fork shares it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def wait(self) -> None:
        self.reached.set()
        assert self.go_on.wait(10)

    def __deepcopy__(self, memo: dict) -> "Pause":
        return self


class Layers(nn.Module):
    """Four layers after one that never changes, so that forks share it; every layer's mean is in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.pause = Pause()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        outputs = []
        for index, layer in enumerate(self.layers):
            if index == 2:
                self.pause.wait()
            outputs.append(layer(self.shared(batch)).mean(dim=1))
        return torch.stack(outputs, dim=1)


def names(net: Layers) -> list[str]:
    return [name for name, _ in net.named_parameters() if name.startswith("layers.")]


def weights(net: Layers, number: int) -> dict[str, torch.Tensor]:
    parameters = dict(net.named_parameters())
    return {name: torch.full_like(parameters[name], float(number)) for name in names(net)}


def next_version(net: Layers, number: int) -> Layers:
    twin = fork(net, names(net))
    fill(twin, weights(twin, number).items())
    return twin.eval()


@torch.inference_mode()
def answer(net: nn.Module) -> torch.Tensor:
    return net(ROWS)


def test_empty_slot_holds_nothing() -> None:
    slot = Slot(keep=2)
    assert slot.current is None
    assert slot.held("a") is None


def test_swap_keeps_the_last_ones() -> None:
    slot = Slot(keep=2)
    for number, version in enumerate("abcd"):
        slot.swap(Served(version, nn.Identity(), Classification(("x",)), number))
    assert slot.current.version == "d"
    assert [slot.held(version) is not None for version in "abcd"] == [False, True, True, True]


def test_reverting_to_a_held_version_keeps_the_one_it_replaces() -> None:
    slot = Slot(keep=1)
    a, b = Served("a", nn.Identity(), Classification(("x",)), 1), Served("b", nn.Identity(), Classification(("x",)), 2)
    slot.swap(a)
    slot.swap(b)
    slot.swap(dataclasses.replace(a, number=3))
    assert (slot.current.version, slot.current.number, slot.held("b")) == ("a", 3, b)


def test_same_version_under_a_new_number_pushes_nothing_out() -> None:
    slot = Slot(keep=1)
    for number, version in enumerate("abbb"):
        slot.swap(Served(version, nn.Identity(), Classification(("x",)), number))
    assert slot.held("a") is not None
    assert slot.current.number == 3


def test_served_is_frozen() -> None:
    served = Served("a", nn.Identity(), Classification(("x",)), 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        served.version = "b"


def test_remembers_a_small_sample() -> None:
    slot = Slot(keep=1)
    slot.remember([f"row {i}" for i in range(100)])
    assert slot.sample == ("row 0", "row 1", "row 2", "row 3")


def read_replies(slot: Slot, done: threading.Event, replies: list[tuple[int, torch.Tensor]]) -> None:
    while not done.is_set():
        served = slot.current
        replies.append((served.number, answer(served.model)))


def test_no_reply_is_torn_while_versions_are_swapped() -> None:
    net = Layers().eval()
    slot = Slot(keep=2)
    slot.swap(Served("0", next_version(net, 0), Classification(("x",)), 0))
    expected = {0: answer(slot.current.model)}
    done = threading.Event()
    replies: list[list[tuple[int, torch.Tensor]]] = [[], []]
    readers = [threading.Thread(target=read_replies, args=(slot, done, mine)) for mine in replies]
    for reader in readers:
        reader.start()
    number = 0
    try:
        while number < 60 or min(len(mine) for mine in replies) < 500:
            number += 1
            twin = next_version(slot.current.model, number)
            expected[number] = answer(twin)
            slot.swap(Served(str(number), twin, Classification(("x",)), number))
            time.sleep(0.003)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    seen = [reply for mine in replies for reply in mine]
    torn = sum(not torch.equal(output, expected[number]) for number, output in seen)
    assert len(seen) >= 1000
    assert len({number for number, _ in seen}) > 10
    assert torn == 0


def reply_during(net: Layers, change) -> torch.Tensor:
    """What the net answers when something happens while its forward pass is half way through."""
    net.pause.reached.clear()
    net.pause.go_on.clear()
    replies: list[torch.Tensor] = []
    reader = threading.Thread(target=lambda: replies.append(answer(net)))
    reader.start()
    assert net.pause.reached.wait(10)
    change()
    net.pause.go_on.set()
    reader.join()
    return replies[0]


def test_copying_weights_in_place_tears_a_reply() -> None:
    net = next_version(Layers(), 1)
    old, new = answer(net), answer(next_version(net, 2))
    reply = reply_during(net, lambda: fill(net, weights(net, 2).items()))
    assert torch.equal(reply[:, :2], old[:, :2])
    assert torch.equal(reply[:, 2:], new[:, 2:])


def test_swapping_a_fork_in_the_same_moment_does_not() -> None:
    net = next_version(Layers(), 1)
    slot = Slot(keep=1)
    slot.swap(Served("1", net, Classification(("x",)), 1))
    old, new = answer(net), answer(next_version(net, 2))
    reply = reply_during(net, lambda: slot.swap(Served("2", next_version(net, 2), Classification(("x",)), 2)))
    assert torch.equal(reply, old)
    assert torch.equal(answer(slot.current.model), new)
