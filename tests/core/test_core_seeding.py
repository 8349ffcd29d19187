import pytest
import torch

from dripstone.core.seeding import seeded


def test_the_global_generator_goes_on_as_if_nothing_was_drawn():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(5):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)


def test_also_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(5):
        torch.rand(1) / (1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
