"""A pair is marked as a reply is, and nothing is known before the first one was learned."""

import numpy as np
import torch

from dripstone.core.examples import Reply
from dripstone.tasks.kinds import task_of
from dripstone.tasks.seq2seq import Seq2Seq
from pair_samples import tiny


def test_replies_are_all_that_can_be_learned():
    task = Seq2Seq().grow([Reply("a")])
    assert (task.kind, task.labels) == ("seq2seq", ("reply",))
    assert task.grow([Reply("b")]) == task
    assert isinstance(task, Seq2Seq)
    assert Seq2Seq.known(tiny()) == ()


def test_a_row_is_right_if_its_reply_would_be_written():
    marked = Seq2Seq(("reply",)).mark(torch.tensor([[2.0, 0.1, 1.0], [2.0, 0.5, 0.0]]), np.zeros(2, dtype=np.int64))
    assert marked.right.tolist() == [True, False]
    assert marked.probability[0] > marked.probability[1]


def test_the_gate_may_judge_by_either():
    assert Seq2Seq.metrics == ("token_loss", "accuracy")
    assert (Seq2Seq.texts, Seq2Seq.replies, Seq2Seq.numbers) == (True, True, False)


def test_replies_are_as_long_as_the_model_writes_them():
    model = tiny(reply=90)
    row = task_of("seq2seq", ["reply"], model).predict(model, ["7 cat"])[0]
    assert set(row["scores"]) == {"log_probability", "tokens", "ended"}
    assert row["scores"]["ended"] or row["scores"]["tokens"] == 91
