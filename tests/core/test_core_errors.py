"""The tree of errors: message, remedy, kind, exit code."""

from __future__ import annotations

import pytest

from dripstone.core import errors

CLASSES = [
    (errors.UsageError, "usage", 2),
    (errors.DataError, "data", 2),
    (errors.ModelError, "model", 2),
    (errors.StoreError, "store", 2),
    (errors.RaceLostError, "store.race", 3),
    (errors.ProcessError, "process.lost", 3),
    (errors.DivergedError, "train.diverged", 1),
]


@pytest.mark.parametrize(("cls", "kind", "code"), CLASSES)
def test_each_class_has_its_kind_and_exit_code(cls, kind, code):
    error = cls("it broke", remedy="mend it")
    assert (error.kind, error.exit_code) == (kind, code)
    assert str(error) == "it broke; mend it"
    assert (error.message, error.remedy) == ("it broke", "mend it")
    assert isinstance(error, errors.DripstoneError)


def test_every_class_is_covered_here():
    defined = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.DripstoneError)}
    assert defined == {errors.DripstoneError, *(cls for cls, _, _ in CLASSES)}


def test_a_kind_can_be_given():
    assert errors.DataError("x", remedy="y", kind="data.empty").kind == "data.empty"


def test_without_a_remedy_the_message_stands_alone():
    assert str(errors.DataError("x", remedy="")) == "x"


def test_a_remedy_has_to_be_thought_of():
    with pytest.raises(TypeError):
        errors.DataError("x")
