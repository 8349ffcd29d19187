"""Writing on: the same tokens as the slow way, the best of all sequences, and draws that follow the probabilities."""

import itertools
import math

import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.core.seeding import seeded
from dripstone.models.generation import DecoderStepper, Generated, beam, greedy, sample
from dripstone.models.transformer import Decoder

END = 0
PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5], [3, 5, 8, 9, 7, 9, 3], [9]]


class Markov:
    """The next token depends on the last one alone; counts the rows that it has to step."""

    def __init__(self, probabilities: list[list[float]], room: int = 100) -> None:
        self.logits = torch.tensor(probabilities).clamp_min(1e-30).log()
        self.capacity = room
        self.last = torch.zeros(0, dtype=torch.int64)
        self.steps: list[int] = []

    def room(self, prompts):
        return [self.capacity - len(prompt) for prompt in prompts]

    def start(self, prompts):
        self.last = torch.tensor([prompt[-1] for prompt in prompts])
        return self.logits[self.last]

    def step(self, tokens):
        assert len(tokens) == len(self.last)
        self.steps.append(len(tokens))
        self.last = tokens
        return self.logits[tokens]

    def select(self, rows):
        self.last = self.last[rows]


@pytest.fixture(scope="module")
def stepper() -> DecoderStepper:
    return DecoderStepper(*network())


def network() -> tuple[Decoder, nn.Linear]:
    with seeded(1):
        decoder = Decoder(vocabulary=12, width=16, depth=2, heads=2, hidden=24, context=14)
        output = nn.Linear(16, 12)
        for parameter in [*decoder.parameters(), *output.parameters()]:
            nn.init.normal_(parameter, std=0.5)
    return decoder, output


def slowly(prompt: list[int], max_tokens: int) -> Generated:
    """The likeliest tokens, with all computed anew for each."""
    decoder, output = network()
    tokens, total = list(prompt), 0.0
    for _ in range(max_tokens):
        row = torch.tensor([tokens])
        with torch.no_grad():
            scores = output(decoder({"tokens": row, "segments": torch.zeros_like(row)}))[0, -1].log_softmax(dim=0)
        token = int(scores.argmax())
        total += float(scores[token])
        if token == END:
            return Generated(tokens[len(prompt) :], total, True)
        tokens.append(token)
    return Generated(tokens[len(prompt) :], total, False)


def same(found: list[Generated], expected: list[Generated]) -> None:
    assert [(one.tokens, one.ended) for one in found] == [(one.tokens, one.ended) for one in expected]
    assert [one.log_probability for one in found] == pytest.approx([one.log_probability for one in expected], abs=1e-4)


def test_greedy_writes_what_the_slow_way_does(stepper):
    found = greedy(stepper, PROMPTS, end=END, max_tokens=6)
    same(found, [slowly(prompt, 6) for prompt in PROMPTS])
    assert len({one.ended for one in found}) == 2  # rows that leave early, and rows that do not


@pytest.mark.parametrize("beams", [1, 3])
def test_prompts_of_different_lengths_together_are_as_one_by_one(stepper, beams):
    together = beam(stepper, PROMPTS, end=END, max_tokens=7, beams=beams)
    same(together, [beam(stepper, [prompt], end=END, max_tokens=7, beams=beams)[0] for prompt in PROMPTS])
    if beams == 1:
        same(together, greedy(stepper, PROMPTS, end=END, max_tokens=7))
    else:
        assert together != greedy(stepper, PROMPTS, end=END, max_tokens=7)


def test_one_beam_is_greedy_where_all_tokens_are_alike():
    alike = Markov([[0.25] * 4] * 4)
    options = {"end": 3, "max_tokens": 3}
    assert beam(alike, [[1], [2]], beams=1, **options) == greedy(alike, [[1], [2]], **options)


def every_sequence(chain: Markov, first: int, max_tokens: int) -> list[Generated]:
    found = []
    others = [token for token in range(len(chain.logits)) if token != END]
    for length in range(max_tokens + 1):
        for tokens in itertools.product(others, repeat=length):
            path = [first, *tokens, *([END] if length < max_tokens else [])]
            total = sum(float(chain.logits[a, b]) for a, b in itertools.pairwise(path))
            found.append(Generated(list(tokens), total, length < max_tokens))
    return found


def test_a_wide_beam_finds_the_best_of_all_sequences():
    # The likeliest first step, to 1, leads where every next one is unlikely.
    traps = [[1, 0, 0, 0], [0.1, 0.3, 0.3, 0.3], [0.8, 0.1, 0.05, 0.05], [0.03, 0.5, 0.4, 0.07]]
    draw = torch.Generator().manual_seed(0)
    others = [torch.rand(4, 4, generator=draw).softmax(dim=1).tolist() for _ in range(4)]
    better = 0
    for probabilities in [traps, *others]:
        chain = Markov(probabilities)
        (found,) = beam(chain, [[3]], end=END, max_tokens=4, beams=300)
        best = max(every_sequence(chain, 3, 4), key=lambda one: one.log_probability / one.length)
        same([found], [best])
        better += found.tokens != greedy(chain, [[3]], end=END, max_tokens=4)[0].tokens
    assert better >= 1
    assert beam(Markov(traps), [[3]], end=END, max_tokens=4, beams=2)[0].tokens == [2]
    assert greedy(Markov(traps), [[3]], end=END, max_tokens=4)[0].tokens[0] == 1


def test_a_candidate_that_ended_is_kept():
    # The end is likely at once; what goes on grows unlikely later.
    chain = Markov([[1, 0, 0], [0.45, 0.55, 0], [0.4, 0.6, 0]])
    (found,) = beam(chain, [[2]], end=END, max_tokens=5, beams=2)
    paths = {1: math.log(0.4), 2: math.log(0.6 * 0.45) / 2, 3: math.log(0.6 * 0.55 * 0.45) / 3}
    cut = (math.log(0.6) + 4 * math.log(0.55)) / 5
    assert found.log_probability / found.length == pytest.approx(max(*paths.values(), cut), abs=1e-5)
    assert beam(Markov([[1, 0], [0.45, 0.55]]), [[1]], end=END, max_tokens=1, beams=2)[0] == Generated(
        [1], pytest.approx(math.log(0.55)), False
    )


def test_length_counts_in_the_choice():
    # Ending at once is the likeliest sequence, yet each of its tokens is less likely than those of the long one.
    chain = Markov([[1, 0, 0], [0.1, 0.9, 0], [0.5, 0.5, 0]])
    (found,) = beam(chain, [[2]], end=END, max_tokens=6, beams=3)
    assert found.tokens == [1] * 6


def draws(chain: Markov, count: int, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    """How often each token came first, as shares."""
    generator = torch.Generator().manual_seed(5)
    options = {"temperature": temperature, "top_p": top_p, "generator": generator}
    found = sample(chain, [[0]] * count, end=-1, max_tokens=1, **options)
    return torch.tensor([one.tokens[0] for one in found]).bincount(minlength=len(chain.logits)) / count


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_probabilities(temperature):
    given = torch.tensor([0.5, 0.25, 0.15, 0.1])
    expected = given ** (1 / temperature) / (given ** (1 / temperature)).sum()
    found = draws(Markov([given.tolist()] * 4), 4000, temperature)
    assert 4000 * ((found - expected) ** 2 / expected).sum() < 16  # chi-square of 3 degrees: one in a thousand


def test_second_tokens_are_drawn_given_the_first():
    rows = [[0.0, 0.5, 0.5], [0.0, 0.9, 0.1], [0.0, 0.2, 0.8]]
    options = {"temperature": 1.0, "top_p": 1.0, "generator": torch.Generator().manual_seed(2)}
    found = sample(Markov(rows), [[0]] * 4000, end=-1, max_tokens=2, **options)
    pairs = torch.tensor([one.tokens for one in found])
    for first in (1, 2):
        share = (pairs[pairs[:, 0] == first, 1] == 1).float().mean().item()
        assert share == pytest.approx(rows[first][1], abs=0.04)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1e-9, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.81, [1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_top_p_cuts_the_tail(top_p, kept):
    given = torch.tensor([0.05, 0.5, 0.15, 0.3])
    found = draws(Markov([given.tolist()] * 4), 3000, top_p=top_p)
    assert found.nonzero()[:, 0].tolist() == kept
    expected = given[kept] / given[kept].sum()
    torch.testing.assert_close(found[kept], expected, atol=0.04, rtol=0)


def test_a_small_temperature_is_greedy(stepper):
    for temperature in (1e-3, 1e-30, 5e-324):
        options = {"temperature": temperature, "top_p": 0.9, "generator": torch.Generator()}
        same(
            sample(stepper, PROMPTS, end=END, max_tokens=6, **options), greedy(stepper, PROMPTS, end=END, max_tokens=6)
        )


def test_draws_are_the_generators_and_their_probability_is_the_models(stepper):
    def written(seed):
        generator = torch.Generator().manual_seed(seed)
        options = {"temperature": 3.0, "top_p": 0.95, "generator": generator}
        return sample(stepper, PROMPTS, end=END, max_tokens=6, **options)

    state = torch.get_rng_state()
    found = written(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert written(0) == found
    assert [one.tokens for one in written(1)] != [one.tokens for one in found]
    decoder, output = network()
    for prompt, one in zip(PROMPTS, found, strict=True):
        row = torch.tensor([[*prompt, *one.tokens, *([END] if one.ended else [])]])
        with torch.no_grad():
            scores = output(decoder({"tokens": row, "segments": torch.zeros_like(row)}))[0].log_softmax(dim=1)
        own = scores[:-1].gather(1, row[0, 1:, None])[len(prompt) - 1 :]
        assert one.log_probability == pytest.approx(own.sum().item(), abs=1e-4)


COUNTDOWN = [[0.97, 0.01, 0.01, 0.01], [0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01]]


def test_the_end_ends_and_is_not_among_the_tokens():
    (three, one, two) = greedy(Markov(COUNTDOWN), [[3], [1], [2]], end=END, max_tokens=5)
    assert [three.tokens, one.tokens, two.tokens] == [[2, 1], [], [1]]
    assert all(found.ended for found in (one, two, three))
    assert [three.length, one.length, two.length] == [3, 1, 2]
    assert three.log_probability == pytest.approx(3 * math.log(0.97), abs=1e-5)


def test_rows_that_are_over_cost_no_more_steps():
    chain = Markov(COUNTDOWN)
    greedy(chain, [[1], [3], [2], [1]], end=END, max_tokens=5)
    assert chain.steps == [2, 1]
    wide = Markov([[1, 0, 0], [0.4, 0.35, 0.25], [0.4, 0.35, 0.25]])
    beam(wide, [[1]] * 3, end=END, max_tokens=4, beams=2)
    assert wide.steps == [3]  # one of two candidates ended at once, the other after a step


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_most_tokens_count_the_end(most):
    (found,) = greedy(Markov(COUNTDOWN), [[3]], end=END, max_tokens=most)
    assert (found.tokens, found.ended) == ([2, 1][:most], most == 3)


@pytest.mark.parametrize("beams", [0, 3])
def test_each_prompt_may_fill_the_context(stepper, beams):
    prompts = [PROMPTS[0], [9], [1] * 13]
    if beams:
        found = beam(stepper, prompts, end=-1, max_tokens=99, beams=beams)
    else:
        found = greedy(stepper, prompts, end=-1, max_tokens=99)
        same(found, [greedy(stepper, [prompt], end=-1, max_tokens=99)[0] for prompt in prompts])
    assert [len(one.tokens) for one in found] == [9, 13, 1]
    assert not any(one.ended for one in found)


def test_only_the_last_tokens_features_reach_the_output_layer():
    decoder, output = network()
    shapes = []

    def watched(features: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(features.shape))
        return output(features)

    logits = DecoderStepper(decoder, watched).start(PROMPTS)
    assert (shapes, logits.shape) == ([(5, 16)], (5, 12))


def test_no_gradients_are_recorded():
    decoder, output = network()
    recorded = []

    def watched(features: torch.Tensor) -> torch.Tensor:
        recorded.append(features.requires_grad)
        return output(features)

    stepper = DecoderStepper(decoder, watched)
    greedy(stepper, [[1]], end=END, max_tokens=2)
    beam(stepper, [[1]], end=END, max_tokens=2, beams=2)
    assert recorded
    assert not any(recorded)


WAYS = {
    "greedy": lambda stepper, prompts, **options: greedy(stepper, prompts, **{"end": END, "max_tokens": 3, **options}),
    "beam": lambda stepper, prompts, **options: beam(
        stepper, prompts, **{"end": END, "max_tokens": 3, "beams": 2, **options}
    ),
    "sample": lambda stepper, prompts, **options: sample(
        stepper, prompts,
        **{"end": END, "max_tokens": 3, "temperature": 1.0, "top_p": 1.0, "generator": torch.Generator(), **options},
    ),
}  # fmt: skip


@pytest.fixture(params=list(WAYS))
def way(request):
    return WAYS[request.param]


def test_no_prompts_give_nothing(stepper, way):
    assert way(stepper, []) == []


def test_a_prompt_without_tokens(stepper, way):
    with pytest.raises(DataError, match="prompt 1 has no tokens"):
        way(stepper, [[1], []])


@pytest.mark.parametrize("length", [14, 20])
def test_a_prompt_that_fills_the_context(stepper, way, length):
    with pytest.raises(DataError, match=f"prompt 1 fills the context with its {length} tokens; .* at most 13"):
        way(stepper, [[1], [1] * length])


def test_a_prompt_with_a_token_that_there_is_not(stepper, way):
    with pytest.raises(DataError, match="token 12"):
        way(stepper, [[1], [2, 12]])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite(way, bad):
    chain = Markov([[0.5, 0.5]] * 2)
    chain.logits[1, 1] = bad
    with pytest.raises(ModelError, match="not finite") as caught:
        way(chain, [[1]])
    assert caught.value.kind == "model.not_finite"


def test_options_that_make_no_sense(stepper, way):
    with pytest.raises(UsageError, match="max_tokens is 0"):
        way(stepper, [[1]], max_tokens=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", 0.0), ("temperature", math.nan), ("temperature", math.inf), ("top_p", 0.0), ("top_p", 1.1)],
)
def test_draws_that_make_no_sense(stepper, option, value):
    with pytest.raises(UsageError, match=f"{option} {value}"):
        WAYS["sample"](stepper, [[1]], **{option: value})


def test_no_beams(stepper):
    with pytest.raises(UsageError, match="beams is 0"):
        beam(stepper, [[1]], end=END, max_tokens=1, beams=0)
