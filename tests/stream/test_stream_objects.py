"""Python objects as a stream."""

from __future__ import annotations

from collections import ChainMap
from types import MappingProxyType

import numpy as np
import pytest
import torch

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.stream.objects import read_objects


def test_any_mapping_is_a_row():
    record = {"inputs": "hi", "label": "a"}
    rows = list(read_objects([record, MappingProxyType(record), ChainMap({"label": "b"}, record)], TaskConfig()))
    assert [(row.target, row.origin) for row in rows] == [("a", "row 1"), ("a", "row 2"), ("b", "row 3")]


def test_arrays_tensors_and_their_scalars():
    records = [
        {"inputs": np.ones((2, 2)), "label": np.int64(1)},
        {"inputs": torch.ones(2, 2), "label": torch.tensor(1)},
        {"inputs": [[1, 1], [1, 1]], "label": 1},
    ]
    rows = list(read_objects(records, TaskConfig()))
    assert len({row.id for row in rows}) == 1
    assert {type(row.target) for row in rows} == {int}


def test_rows_are_read_one_by_one():
    def records():
        yield {"inputs": "hi", "label": "a"}
        raise RuntimeError("the sensor is gone")

    rows = read_objects(records(), TaskConfig())
    assert next(rows).inputs == "hi"
    with pytest.raises(RuntimeError, match="the sensor is gone"):
        next(rows)


@pytest.mark.parametrize("bad", ["hi", 3, None, ["inputs", "label"], ("hi", "a"), np.ones(2)])
def test_what_is_no_mapping_is_named(bad):
    with pytest.raises(DataError, match=r"row 2 is not a mapping of columns.*send rows as \{'text': ") as caught:
        list(read_objects([{"text": "hi", "label": "a"}, bad], TaskConfig(input="text")))
    assert caught.value.kind == "data.row"


def test_a_missing_column_names_the_row():
    with pytest.raises(DataError, match="row 1 has no column 'label'"):
        list(read_objects([{"inputs": "hi"}], TaskConfig()))
    assert next(read_objects([{"inputs": "hi"}], TaskConfig(), labelled=False)).target is None
