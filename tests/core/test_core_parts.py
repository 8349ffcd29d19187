"""Parts of tensors."""

import pytest
import torch

from dripstone.core.parts import Part


def part(*index, dimension=None):
    return Part(torch.tensor(index), dimension)


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (part(0, 5), [0, 5]),
        (part(1, dimension=0), [[3, 4, 5]]),
        (part(0, 2, dimension=1), [[0, 2], [3, 5]]),
    ],
)
def test_a_part_is_read_and_written_and_nothing_else(some, expected):
    values = torch.arange(6).reshape(2, 3)
    assert some.of(values).tolist() == expected
    before = values.clone()
    some.put(values, some.of(values) + 10)
    assert some.of(values).tolist() == (torch.tensor(expected) + 10).tolist()
    assert int((values != before).sum()) == torch.tensor(expected).numel()


@pytest.mark.parametrize("some", [part(1, 4), part(1, dimension=0), part(2, dimension=1)])
def test_tensors_of_any_layout(some):
    values = torch.arange(6.0).reshape(3, 2).T
    some.put(values, torch.full_like(some.of(values), -1))
    plain = torch.arange(6.0).reshape(3, 2).T.contiguous()
    some.put(plain, torch.full_like(some.of(plain), -1))
    assert torch.equal(values, plain)


def test_bits_that_are_no_numbers_survive():
    values = torch.tensor([float("nan"), -0.0, 1.0])
    part(2).put(values, torch.tensor([5.0]))
    assert values[0].isnan()
    assert torch.signbit(values[1])
    assert values[2] == 5


def test_what_belongs_to_the_first_rows_comes_first():
    shape = (4, 3)
    assert part(0, 5, 6, 11).before(2, shape) == 2
    assert part(1, 2, 3, dimension=0).before(2, shape) == 1
    assert part(0, 1).before(0, shape) == 0
    assert part(1, 3).before(2, (4,)) == 1


def test_keys_tell_parts_apart():
    some = [part(0, 1), part(0, 2), part(0, 1, dimension=0), part(0, 1, dimension=1)]
    assert len({one.key() for one in some}) == 4
    assert part(0, 1).key() == part(0, 1).key()
