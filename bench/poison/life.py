"""A life: honest stages and refreshes, and every attack once, in a seeded order. It does not depend on who learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.poison.attacks import Kind
from bench.poison.batches import Sending
from bench.poison.stream import Corpus, Scale, make_pools, send_refresh, send_stage, stage_labels


def make_life(corpus: Corpus, scale: Scale, kinds: Sequence[Kind], seed: int) -> list[Sending]:
    """Opening stages first; last come a stage and a refresh, so that whatever waits has a chance to come back."""
    rng = np.random.default_rng(seed)
    pools = make_pools(corpus, scale, rng)
    stages = list(enumerate(stage_labels(corpus, scale, rng)))
    sizes = [int(size) for size in rng.permutation(scale.refreshes)]
    middle = ["stage"] * (len(stages) - scale.opening - 1) + ["refresh"] * (len(sizes) - 1)
    middle += [kind.name for kind in kinds]
    order = ["stage"] * scale.opening + [str(name) for name in rng.permutation(middle)] + ["stage", "refresh"]
    by_name = {kind.name: kind for kind in kinds}
    life = []
    for name in order:
        if name == "stage":
            life.append(send_stage(pools, *stages.pop(0), rng))
        elif name == "refresh":
            life.append(send_refresh(pools, len(sizes), sizes.pop(0), rng))
        else:
            life.append(by_name[name].send(rng, pools))
    return [sending for sending in life if sending.batches]
