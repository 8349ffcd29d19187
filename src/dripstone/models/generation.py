"""Writing on: the tokens that follow a prompt, the likeliest ones or drawn ones, from anything that can take a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dripstone.core.errors import DataError, ModelError, UsageError
from dripstone.models.transformer import Cache, Decoder


class Stepper(Protocol):
    """Something that reads tokens and says what may come next. It remembers what it has read, row by row."""

    def room(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """How many tokens may follow each prompt; reads and forgets nothing."""
        ...

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Forget all and read these; [rows, vocabulary] logits of the token that follows each."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each row, [rows] int64; [rows, vocabulary] logits of the one that follows."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these rows, [new rows] int64, in this order; a row may come more than once."""
        ...


class DecoderStepper:
    """Steps of a `Decoder`: what it has read is not computed again.

    Parameters
    ----------
    decoder : Decoder
        It is only read.
    output : callable
        [rows, width] float32 features to [rows, vocabulary] logits. It sees the last token of each row only.

    Examples
    --------
    >>> decoder = Decoder(vocabulary=10, width=8, depth=1, heads=2, hidden=16, context=6)
    >>> stepper = DecoderStepper(decoder, lambda features: features @ decoder.embedding.weight.T)
    >>> stepper.start([[1, 2, 3], [4]]).shape
    torch.Size([2, 10])
    >>> stepper.room([[1, 2, 3], [4]])
    [3, 5]
    """

    def __init__(self, decoder: Decoder, output: Callable[[Tensor], Tensor]) -> None:
        self._decoder = decoder
        self._output = output
        self._cache: Cache = decoder.start(0)

    def room(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """What the context leaves to each prompt."""
        return [self._decoder.context - len(prompt) for prompt in prompts]

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read the prompts, padded on the left so that they go on together; [rows, vocabulary] logits."""
        self._cache = self._decoder.start(len(prompts))
        longest = max(map(len, prompts), default=0)
        tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
        segments = torch.full_like(tokens, -1)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt, dtype=torch.int64)
            segments[row, longest - len(prompt) :] = 0
        return self._read(tokens, segments)

    def step(self, tokens: Tensor) -> Tensor:
        """Read [rows] int64 tokens; [rows, vocabulary] logits."""
        return self._read(tokens[:, None], torch.zeros_like(tokens[:, None]))

    def select(self, rows: Tensor) -> None:
        """Keep these rows, [new rows] int64."""
        self._cache.select(rows)

    def _read(self, tokens: Tensor, segments: Tensor) -> Tensor:
        device = self._cache.segments.device
        batch = {"tokens": tokens.to(device), "segments": segments.to(device)}
        return self._output(self._decoder(batch, self._cache)[:, -1])


@dataclass(frozen=True, slots=True)
class Generated:
    """What follows a prompt.

    Attributes
    ----------
    tokens : list of int
        Without the end token.
    log_probability : float
        Of these tokens, and of the end token where it came, together, as the model sees it: neither ``temperature``
        nor ``top_p`` counts.
    ended : bool
        Whether the end token came, rather than the most tokens or the context's end.
    """

    tokens: list[int]
    log_probability: float
    ended: bool

    def followed_by(self, token: int, log_probability: float, end: int) -> Generated:
        """The same with one more token."""
        ended = token == end
        tokens = self.tokens if ended else [*self.tokens, token]
        return Generated(tokens, self.log_probability + log_probability, ended)

    @property
    def length(self) -> int:
        """Tokens, and the end token where it came."""
        return len(self.tokens) + self.ended


_NOTHING = Generated([], 0.0, False)


def greedy(stepper: Stepper, prompts: Sequence[Sequence[int]], *, end: int, max_tokens: int) -> list[Generated]:
    """The likeliest token, again and again.

    Parameters
    ----------
    stepper : Stepper
        It is started anew.
    prompts : sequence of sequences of int
        At least one token each. All are written on together, each as it would be alone.
    end : int
        The token after which nothing follows.
    max_tokens : int
        Most tokens that follow a prompt, the end token among them. The context may allow fewer.

    Returns
    -------
    list of Generated
        One a prompt.

    Raises
    ------
    DataError
        If a prompt has no tokens or leaves no room in the context.
    ModelError
        If a logit is not finite.
    UsageError
        If ``max_tokens`` is below 1.

    Examples
    --------
    >>> class Countdown:  # after a token comes most likely the one below
    ...     def room(self, prompts):
    ...         return [100] * len(prompts)
    ...     def start(self, prompts):
    ...         return self.step(torch.tensor([prompt[-1] for prompt in prompts]))
    ...     def step(self, tokens):
    ...         return torch.eye(5)[tokens - 1]
    ...     def select(self, rows):
    ...         pass
    >>> [found.tokens for found in greedy(Countdown(), [[4], [2]], end=0, max_tokens=8)]
    [[3, 2, 1], [1]]
    """
    return _write(stepper, prompts, end, max_tokens, lambda log_probabilities: log_probabilities.argmax(dim=1))


def sample(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    *,
    end: int,
    max_tokens: int,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> list[Generated]:
    """Tokens drawn from what the model holds for likely.

    Parameters
    ----------
    stepper, prompts, end, max_tokens
        As in `greedy`.
    temperature : float
        What logits are divided by before the draw: 1 draws as the model says, less keeps closer to the likeliest.
    top_p : float
        Only the fewest likeliest tokens that together have at least this probability are drawn; 1 leaves all.
    generator : torch.Generator
        The draws are made on its device.

    Returns
    -------
    list of Generated
        One a prompt. They depend on the generator and on all prompts of the call.

    Raises
    ------
    DataError, ModelError
        As in `greedy`.
    UsageError
        If ``temperature`` is not above 0, ``top_p`` not above 0 and at most 1, or ``max_tokens`` below 1.

    References
    ----------
    Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751 (``top_p``).

    Examples
    --------
    >>> decoder = Decoder(vocabulary=10, width=8, depth=1, heads=2, hidden=16, context=6)
    >>> stepper = DecoderStepper(decoder, lambda features: features @ decoder.embedding.weight.T)
    >>> drawn = torch.Generator().manual_seed(0)
    >>> options = {"temperature": 0.7, "top_p": 0.9, "generator": drawn}
    >>> len(sample(stepper, [[1, 2], [3]], end=0, max_tokens=2, **options))
    2
    """
    if not (0 < temperature < float("inf") and 0 < top_p <= 1):
        raise UsageError(
            f"nothing can be drawn with temperature {temperature} and top_p {top_p}",
            remedy="set temperature above 0, and top_p above 0 and at most 1",
        )

    def draw(log_probabilities: Tensor) -> Tensor:
        # In float64 and relative to the best: the smallest temperature leaves the best then, not 0/0.
        relative = log_probabilities.double() - log_probabilities.double().amax(dim=1, keepdim=True)
        probabilities = _without_tail(torch.softmax(relative / temperature, dim=1), top_p)
        drawn = torch.multinomial(probabilities.to(generator.device), 1, generator=generator)
        return drawn[:, 0].to(log_probabilities.device)

    return _write(stepper, prompts, end, max_tokens, draw)


@torch.no_grad()
def beam(
    stepper: Stepper, prompts: Sequence[Sequence[int]], *, end: int, max_tokens: int, beams: int
) -> list[Generated]:
    """The best of several candidates that are written side by side.

    After each token the ``beams`` likeliest continuations of a prompt stay. One that has ended keeps its place among
    them, so that ``beams=1`` is `greedy`. The best has the highest log-probability a token, the end token counted;
    candidates that ended and those that were cut compete alike.

    Parameters
    ----------
    stepper, prompts, end, max_tokens
        As in `greedy`.
    beams : int
        Candidates a prompt.

    Returns
    -------
    list of Generated
        The best of each prompt.

    Raises
    ------
    DataError, ModelError
        As in `greedy`.
    UsageError
        If ``beams`` or ``max_tokens`` is below 1.

    Examples
    --------
    >>> decoder = Decoder(vocabulary=10, width=8, depth=1, heads=2, hidden=16, context=6)
    >>> stepper = DecoderStepper(decoder, lambda features: features @ decoder.embedding.weight.T)
    >>> one = {"end": 0, "max_tokens": 3}
    >>> beam(stepper, [[1, 2], [3]], beams=1, **one) == greedy(stepper, [[1, 2], [3]], **one)
    True
    """
    _check_positive("beams", beams)
    if beams == 1:  # the search below would choose otherwise among tokens that are exactly alike
        return greedy(stepper, prompts, end=end, max_tokens=max_tokens)
    searches = [_Search(beams, budget, end) for budget in _budgets(stepper, prompts, max_tokens)]
    if not searches:
        return []
    logits = stepper.start(prompts)
    while parents := _advance(searches, _best(_log_probabilities(logits), beams)):
        stepper.select(torch.tensor(parents, device=logits.device))
        last = [candidate.tokens[-1] for search in searches for candidate in search.going]
        logits = stepper.step(torch.tensor(last, device=logits.device))
    return [max(search.over, key=lambda one: one.log_probability / one.length) for search in searches]


class _Search:
    """The candidates of one prompt: those that go on, each a row of the stepper, and those that are over."""

    def __init__(self, beams: int, budget: int, end: int) -> None:
        self._beams = beams
        self._budget = budget
        self._end = end
        self.going = [_NOTHING]
        self.over: list[Generated] = []

    def advance(self, best: Sequence[Sequence[tuple[float, int]]]) -> list[int]:
        """Extend the candidates by their best next tokens; returns from which ones those that go on come."""
        extensions = [
            (candidate.log_probability + log_probability, parent, token, log_probability)
            for parent, (candidate, row) in enumerate(zip(self.going, best, strict=True))
            for log_probability, token in row
        ]
        extensions.sort(key=lambda extension: extension[0], reverse=True)
        going, parents = [], []
        for _, parent, token, log_probability in extensions[: self._beams - len(self.over)]:
            candidate = self.going[parent].followed_by(token, log_probability, self._end)
            if candidate.ended or candidate.length == self._budget:
                self.over.append(candidate)
            else:
                going.append(candidate)
                parents.append(parent)
        self.going = going
        return parents


def _advance(searches: Sequence[_Search], best: Sequence[Sequence[tuple[float, int]]]) -> list[int]:
    """Advance all searches; returns from which of the stepper's rows the next ones come."""
    parents: list[int] = []
    first = 0
    for search in searches:
        after = first + len(search.going)
        parents += [first + parent for parent in search.advance(best[first:after])]
        first = after
    return parents


def _best(log_probabilities: Tensor, count: int) -> list[list[tuple[float, int]]]:
    """The likeliest tokens of each row with their log-probabilities, best first."""
    values, tokens = log_probabilities.topk(min(count, log_probabilities.shape[1]), dim=1)
    return [list(zip(*pair, strict=True)) for pair in zip(values.tolist(), tokens.tolist(), strict=True)]


@torch.no_grad()
def _write(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    end: int,
    max_tokens: int,
    choose: Callable[[Tensor], Tensor],
) -> list[Generated]:
    """One token after another, each chosen from [rows, vocabulary] log-probabilities."""
    budgets = _budgets(stepper, prompts, max_tokens)
    written = [_NOTHING] * len(prompts)
    if not written:
        return []
    going = list(range(len(prompts)))  # the prompts that the stepper's rows stand for
    logits = stepper.start(prompts)
    while True:
        log_probabilities = _log_probabilities(logits)
        tokens = choose(log_probabilities)
        gained = log_probabilities.gather(1, tokens[:, None])[:, 0]
        for place, token, more in zip(going, tokens.tolist(), gained.tolist(), strict=True):
            written[place] = written[place].followed_by(token, more, end)
        kept = [
            row
            for row, place in enumerate(going)
            if not written[place].ended and written[place].length < budgets[place]
        ]
        if not kept:
            return written
        if len(kept) < len(going):  # a row that is over costs no more steps
            rows = torch.tensor(kept, device=tokens.device)
            stepper.select(rows)
            tokens, going = tokens[rows], [going[row] for row in kept]
        logits = stepper.step(tokens)


def _without_tail(probabilities: Tensor, top_p: float) -> Tensor:
    """Zeros for all but the fewest likeliest that have ``top_p`` together; the rest as they were."""
    if top_p == 1:
        return probabilities
    ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
    before = ordered.cumsum(dim=1) - ordered
    return torch.zeros_like(probabilities).scatter(1, order, ordered.where(before < top_p, 0.0))


def _log_probabilities(logits: Tensor) -> Tensor:
    """[rows, vocabulary] logits as float32 log-probabilities."""
    if not torch.isfinite(logits).all():
        raise ModelError(
            "the output layer gives logits that are not finite",
            remedy="mend the decoder's weights or the output layer's",
            kind="model.not_finite",
        )
    return torch.log_softmax(logits.float(), dim=1)


def _budgets(stepper: Stepper, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
    """How many tokens may follow each prompt."""
    _check_positive("max_tokens", max_tokens)
    if empty := [place for place, prompt in enumerate(prompts) if not len(prompt)]:
        raise DataError(f"prompt {empty[0]} has no tokens", remedy="begin every prompt with a token", kind="data.empty")
    rooms = stepper.room(prompts)
    for place, (prompt, room) in enumerate(zip(prompts, rooms, strict=True)):
        if room < 1:
            raise DataError(
                f"prompt {place} fills the context with its {len(prompt)} tokens",
                remedy=f"shorten it to at most {len(prompt) + room - 1} tokens",
                kind="data.too_large",
            )
    return [min(room, max_tokens) for room in rooms]


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}", remedy=f"set {name} to at least 1")
