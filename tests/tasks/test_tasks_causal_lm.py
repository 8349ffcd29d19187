"""What a row of text means, and how the answers of two versions are told apart."""

import numpy as np
import pytest
import torch

from dripstone.core.examples import Reply
from dripstone.tasks.causal_lm import CausalLM
from dripstone.tasks.kinds import task_of
from text_samples import tiny


def test_what_was_learned_is_remembered_in_the_order_in_which_it_came():
    task = CausalLM().grow([Reply("a")])
    assert task.labels == ("reply",)
    assert task.grow([None, Reply("b")]).labels == ("reply", "text")
    assert task.grow([]).labels == ("reply",)


def test_before_anything_was_learned_nothing_is_known():
    assert CausalLM().encode([None, Reply("a")]).tolist() == [-1, -1]
    marked = CausalLM().mark(torch.tensor([[3.0, 1.0, 1.0]]), np.array([-1]))
    assert (marked.answers.tolist(), marked.probability.tolist(), marked.right.tolist()) == ([-1], [0.0], [False])


def test_marks_are_made_again_of_what_is_kept():
    task = CausalLM(("text",))
    marked = task.mark(torch.tensor([[4.0, 0.7, 0.0], [1.0, 0.1, 1.0], [0.0, 0.0, 0.0]]), np.zeros(3, dtype=np.int64))
    right, probability = task.marks(marked.kept)
    assert right.tolist() == marked.right.tolist() == [False, True, False]
    np.testing.assert_array_equal(probability, marked.probability)
    assert marked.answers.tolist() == [0, 0, -1]


def test_a_loss_that_is_no_number_has_no_answer():
    outputs = torch.tensor([[2.0, float("nan"), 0.0], [2.0, float("inf"), 0.0], [2.0, 1e6, 0.0]])
    marked = CausalLM(("text",)).mark(outputs, np.zeros(3, dtype=np.int64))
    assert marked.answers.tolist() == [-1, -1, 0]
    assert marked.probability.tolist() == [0, 0, 0]


def test_where_nothing_may_be_answered_nothing_is():
    marked = CausalLM(("text",)).mark(torch.tensor([[2.0, 0.5, 1.0]]), np.zeros(1, dtype=np.int64), classes=0)
    assert marked.answers.tolist() == [-1]


def test_no_rows_have_no_marks():
    assert len(CausalLM(("text",)).mark(torch.empty(0, 3), np.empty(0, dtype=np.int64)).right) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"), [(10.0, 10.1, True), (10.0, 10.3, False), (None, None, True), (None, 3.0, False)]
)
def test_perplexities_within_two_percent_are_one(one, other, same):
    assert CausalLM().same(one, other) is same


def test_the_lower_perplexity_is_better():
    task = CausalLM()
    assert task.better(3.0, 4.0, None)
    assert task.better(3.0, None, None)
    assert not task.better(None, 3.0, None)
    assert task.answers(torch.tensor([[2.0, 0.0, 0.0], [2.0, 500.0, 0.0]])) == [1.0, None]


def test_texts_go_on_and_prompts_are_replied_to():
    model = tiny()
    text = task_of("causal_lm", ["text"], model).predict(model, ["the cat"])[0]
    assert set(text["scores"]) == {"log_probability", "tokens", "ended"}
    asked = model.generate(["the cat"], reply=True)[0]
    reply = task_of("causal_lm", ["text", "reply"], model).predict(model, ["the cat"])[0]
    assert reply["prediction"] == model.preprocess.decode(asked.tokens)
