"""A language model: tokens, a backbone that yields features of each, and an output layer over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dripstone.core.devices import device_of
from dripstone.core.examples import Content, Exchange
from dripstone.core.losses import IGNORED
from dripstone.core.records import Spec
from dripstone.models.generation import DecoderStepper, Generated, Stepper, beam, greedy, sample
from dripstone.models.tokens import TextWindows, texts_of

LOGITS = 2**23
"""Numbers of a chunk of logits when texts are measured: 32 MB, whatever the vocabulary."""


class TokenHead(nn.Module):
    """The output layer: a score for every token of the vocabulary.

    Parameters
    ----------
    weight : torch.nn.Parameter
        [vocabulary, width] float32; may be the embedding's own, so that the two are tied.

    References
    ----------
    Press and Wolf, "Using the Output Embedding to Improve Language Models", arXiv 1608.05859.

    Examples
    --------
    >>> TokenHead(nn.Parameter(torch.ones(5, 2)))(torch.ones(1, 3, 2)).shape
    torch.Size([1, 3, 5])
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    @classmethod
    def over(cls, embedding: nn.Embedding, *, tied: bool) -> TokenHead:
        """The output layer of an embedding: that itself, or a new one of the same size and spread."""
        if tied:
            return cls(embedding.weight)  # type: ignore[arg-type]
        spread = float(embedding.weight.detach().std())
        return cls(nn.Parameter(torch.randn_like(embedding.weight) * spread))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[..., width] -> [..., vocabulary] logits."""
        return nn.functional.linear(features, self.weight)


class LanguageModel(nn.Module):
    """A language model in three parts, and what rebuilds it. It starts in evaluation mode.

    The loop trains on windows into which many texts are packed. A text is judged by what the model makes of it as a
    whole: how many tokens were asked for, their mean loss, and whether each was the model's first choice.

    Parameters
    ----------
    preprocess : TextWindows
        Turns texts into windows of tokens.
    backbone : torch.nn.Module
        Turns a batch of windows, ``tokens`` and ``segments``, into features, [windows, tokens, width].
    head : TokenHead
        Turns features into scores, [..., vocabulary].
    spec : Spec
        The factory and arguments that rebuild this module without its weights.
    assets : mapping of str to bytes
        Files, by name, that the factory reads.
    taught : bool
        Whether it can write before Dripstone has taught it anything.
    stepper : callable
        Makes of ``backbone`` and ``head`` what takes the steps of writing.

    Examples
    --------
    >>> from dripstone.models import decoder
    >>> model = decoder(tokenizer="bytes", width=16, depth=1, heads=2, context=32)
    >>> model.read(["hello", Exchange("1 + 1", "2")]).shape
    torch.Size([2, 3])
    """

    growing = frozenset({"preprocess.learned"})
    preprocess: TextWindows
    backbone: Any
    head: TokenHead

    def __init__(
        self,
        preprocess: TextWindows,
        backbone: nn.Module,
        head: TokenHead,
        spec: Spec,
        assets: Mapping[str, bytes],
        *,
        taught: bool = False,
        stepper: Callable[[Any, TokenHead], Stepper] = DecoderStepper,
    ) -> None:
        super().__init__()
        self._stepper = stepper
        self.taught = taught
        self.preprocess = preprocess
        self.backbone = backbone
        self.head = head
        self.spec = spec
        self.assets = dict(assets)
        self.eval()

    def fit(self, inputs: Sequence[Content]) -> None:
        """Learn the tokens from the first stage's texts; later calls do nothing."""
        self.preprocess.fit(inputs)

    @property
    def reads(self) -> int:
        """How many numbers ``read`` makes of a row."""
        return 3

    def grow(self, labels: int) -> None:
        """Nothing: every token has its place from the beginning."""

    def windows(self, groups: Sequence[Sequence[Content]]) -> list[tuple[list[Any], torch.Tensor]]:
        """Groups of texts as the loop learns them, each packed apart from the others.

        Returns
        -------
        list of (list of numpy.ndarray, torch.Tensor)
            Of each group its windows, [2, tokens] int64, as ``collate`` takes them: tokens above segments; and the
            token that should follow each that may be asked about, the last ones of a window or all, [windows, places]
            int64, `dripstone.core.losses.IGNORED` where nothing is asked. All windows are as long as each other.
        """
        packed = [self.preprocess.pack(group) for group in groups]
        longest = max((part.tokens.shape[1] for part in packed), default=0)
        wide = [part.widened(longest, self.preprocess.end) for part in packed]
        return [(list(torch.stack([part.tokens, part.segments], dim=1).numpy()), part.targets) for part in wide]

    def collate(self, inputs: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Windows to a batch for ``backbone``, on the model's device."""
        both = torch.stack([torch.from_numpy(window) for window in inputs]).to(device_of(self.head))
        return {"tokens": both[:, 0], "segments": both[:, 1]}

    def features(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[windows, places, width]."""
        return self.backbone(batch)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[windows, places, vocabulary] logits."""
        return self.head(self.features(batch))

    @torch.no_grad()
    def read(self, contents: Sequence[Content]) -> torch.Tensor:
        """What texts are judged by; no gradients.

        Returns
        -------
        torch.Tensor
            [rows, 3] float32: how many tokens were asked for; their mean loss in nats; and 1 where the row is an
            exchange each of whose reply's tokens is the model's first choice, so that it would give that reply.
        """
        packed = self.preprocess.pack(contents)
        sums = torch.zeros(3, len(contents), dtype=torch.float64)
        windows = max(1, LOGITS // (self.head.weight.shape[0] * max(packed.targets.shape[1], 1)))
        for part in torch.arange(len(packed.tokens)).split(windows):
            asked = packed.targets[part] != IGNORED
            rows, targets = packed.segments[part, -asked.shape[1] :][asked], packed.targets[part][asked]
            losses, wrong = self._ask(packed.tokens[part], packed.segments[part], asked, targets)
            for total, values in zip(sums, (torch.ones(len(rows)), losses, wrong), strict=True):
                total.index_add_(0, rows, values.double())
        count, loss, wrong = sums
        replies = torch.tensor([isinstance(content, Exchange) for content in contents])
        exact = replies & (count > 0) & (wrong == 0)
        return torch.stack([count, loss / count.clamp_min(1), exact.double()], dim=1).float()

    def _ask(
        self, tokens: torch.Tensor, segments: torch.Tensor, asked: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each token that is asked for, and whether another would have been chosen, on the CPU."""
        device = device_of(self.head)
        features = self.features({"tokens": tokens.to(device), "segments": segments.to(device)})
        logits = self.head(features[asked.to(device)]).float()
        losses = nn.functional.cross_entropy(logits, targets.to(device), reduction="none")
        return losses.cpu(), (logits.argmax(dim=1).cpu() != targets).float()

    def outputs(self, read: torch.Tensor) -> torch.Tensor:
        """What a task marks: what was read, as it is."""
        return read if len(read) else read.new_zeros(0, self.reads)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        reply: bool = False,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        beams: int = 1,
        seed: int = 0,
    ) -> list[Generated]:
        """Go on from prompts, each to its end or for so many tokens.

        Parameters
        ----------
        prompts : sequence of str
            Where they are so long that less than a quarter of the context is left, their last tokens are read.
        reply : bool
            Whether a reply is asked for, as exchanges have taught, or what goes on from the text.
        max_tokens : int, optional
            Tokens that are generated at most; ``preprocess.usual`` if left out.
        temperature : float
            0 takes the most probable token each time; above that, tokens are drawn.
        top_p : float
            Tokens are drawn from the most probable ones that have this share together.
        beams : int
            With temperature 0, how many continuations are followed side by side.
        seed : int
            Of what is drawn.

        Returns
        -------
        list of Generated
            ``preprocess.decode(row.tokens)`` is the text.
        """
        for row, prompt in enumerate(prompts):
            texts_of(prompt, row)
        preprocess = self.preprocess
        max_tokens = preprocess.usual if max_tokens is None else max_tokens
        tokens = [preprocess.fitting(preprocess.prompt(prompt, reply=reply), max_tokens) for prompt in prompts]
        stepper = self._stepper(self.backbone, self.head)
        end = preprocess.end
        if temperature:
            generator = torch.Generator().manual_seed(seed)
            drawn = {"temperature": temperature, "top_p": top_p, "generator": generator}
            return sample(stepper, tokens, end=end, max_tokens=max_tokens, **drawn)  # type: ignore[arg-type]
        if beams > 1:
            return beam(stepper, tokens, end=end, max_tokens=max_tokens, beams=beams)
        return greedy(stepper, tokens, end=end, max_tokens=max_tokens)

    def write(self, count: int, *, seed: int = 0) -> list[str]:
        """So many texts, each drawn token by token as the model takes it to be likely, up to the context's end."""
        most = self.preprocess.context - 1
        drawn = self.generate([""] * count, max_tokens=most, temperature=1.0, seed=seed)
        return [self.preprocess.decode(row.tokens) for row in drawn]
