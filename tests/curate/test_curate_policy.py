"""The text form of a curation policy."""

from __future__ import annotations

import pytest

from dripstone.core.config import CurateConfig
from dripstone.core.errors import UsageError
from dripstone.curate.policy import Policy, parse_policy


@pytest.mark.parametrize(
    ("text", "replay"),
    [
        ("screen", 0),
        ("screen+replay:0", 0),
        ("screen+replay:1", 1),
        (" screen + replay:500 ", 500),
        ("screen+replay:007", 7),
        ("screen+replay:999999999", 999_999_999),
        (CurateConfig().policy, 2000),
    ],
)
def test_policies(text, replay):
    assert parse_policy(text) == Policy(replay)


@pytest.mark.parametrize("text", ["", "replay:5", "replay:5+screen", "Screen", "screening", "+screen"])
def test_screening_comes_first(text):
    with pytest.raises(UsageError, match=r"does not start with screen; write screen\+replay:2000"):
        parse_policy(text)


@pytest.mark.parametrize(
    "name",
    ["", "screen", "replay", "replay:", "replay:-1", "replay:2.5", "replay:x", "replay:٣", "replay:²", "replay:1e3",
     "replay: 5", "replay:5:5", "replay:" + "9" * 5000, "dedup"],
)  # fmt: skip
def test_policies_that_do_not_exist(name):
    with pytest.raises(UsageError, match="there is no curation policy"):
        parse_policy(f"screen+{name}")


def test_a_policy_is_named_once():
    with pytest.raises(UsageError, match="names too many policies"):
        parse_policy("screen+replay:5+replay:6")
