"""What an update may move, and whether the settings suit it: asked before a row is looked at."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.config import Config
from dripstone.core.errors import UsageError
from dripstone.core.protocols import Model, Task
from dripstone.curate.policy import Policy, parse_policy
from dripstone.select.ladder import choose_rung
from dripstone.select.selection import LADDER, RIDGE, SHARES, Selection, parse_selection
from dripstone.train.optimizers import check_optimizer
from dripstone.update.champion import Champion


def choose_selection(config: Config, champion: Champion) -> Selection:
    """The configured selection; ``head`` is solved in closed form wherever every label has statistics.

    Raises
    ------
    UsageError
        If a word is not known, or asks for what this model or the configuration cannot give.
    """
    optimizer = config.train.optimizer
    selection = parse_selection(config.select.selection, RIDGE if champion.solvable else optimizer, optimizer)
    _check_rungs(selection, champion)
    if selection.name == LADDER and champion.task.texts:
        selection = _ladder_of_texts(champion, optimizer)
    elif selection.name == LADDER and not champion.solvable:
        selection = Selection("head", None, optimizer)  # without statistics there is no first rung to climb from
    if selection.method == RIDGE and champion.task.texts:
        raise UsageError(
            "the closed form solves an output layer for rows, and a language model's has one for every token",
            remedy=f"use suffix:1@{optimizer}, vectors, full or ladder",
            kind="usage.selection",
        )
    if selection.method == RIDGE and not champion.solvable:
        raise UsageError(
            "the closed form needs rows of every label, and this model's output layer came with labels of its own",
            remedy=f"use head@{optimizer}",
            kind="usage.selection",
        )
    if selection.method != RIDGE:
        check_optimizer(selection.method or optimizer)
    policy = parse_policy(config.curate.policy)
    _check_task(config, policy, champion.task)
    _check_loop_policies(policy, selection, champion.model)
    retain = config.train.retain
    if (retain.ewc or retain.derpp) and not policy.replay.capacity:
        raise UsageError(
            "train.retain.ewc and train.retain.derpp hold what replayed rows say, and no rows are remembered",
            remedy="set curate.policy to screen+replay:2000, or use train.retain.distill or l2",
            kind="usage.retain",
        )
    _check_fresh(config, selection)
    _check_model(selection, champion)
    return selection


def _check_rungs(selection: Selection, champion: Champion) -> None:
    """Refuse rungs of the user's own where the ladder has none to climb."""
    if not selection.rungs or (champion.solvable and not champion.task.texts and not champion.task.numbers):
        return
    raise UsageError(
        f"{selection} tunes features by labels that the closed form knows, and this project has none",
        remedy=f"use ladder, or {selection.rungs[-1]}",
        kind="usage.selection",
    )


def _check_fresh(config: Config, selection: Selection) -> None:
    """Refuse what goes by where parameters, or their optimiser's state, were before, where they begin in the update."""
    if selection.every is not None:
        why = "takes turns"
    elif any(rung.name == "low_rank" for rung in _rungs_or_itself(selection)):
        why = "adds a product, which begins as 0"
    else:
        return
    if config.train.retain.ewc or config.train.retain.l2:
        raise UsageError(
            f"train.retain.ewc and train.retain.l2 hold parameters where they started, and {selection} {why}",
            remedy="use train.retain.distill or derpp, or replay alone",
            kind="usage.retain",
        )
    if config.train.step.carry and selection.name != LADDER:
        raise UsageError(
            f"train.step.carry goes on with the optimiser's state of the update before, and {selection} {why}",
            remedy="set train.step.carry to false",
            kind="usage.carry",
        )


def _rungs_or_itself(selection: Selection) -> list[Selection]:
    """The rungs of the user's own, or the selection itself."""
    return [parse_selection(rung) for rung in selection.rungs] if selection.name == LADDER else [selection]


def _check_model(selection: Selection, champion: Champion) -> None:
    """Refuse what the model does not have: so many blocks, or layers for a product of low rank."""
    module: nn.Module = champion.model  # type: ignore[assignment]
    for rung in _rungs_or_itself(selection):
        # Whether there is something to choose from does not depend on how it is chosen.
        rung = replace(rung, by="random") if rung.name in SHARES else rung
        if selection.name == LADDER:
            choose_rung(rung, module)
        else:
            rung.choose(module)


def _ladder_of_texts(champion: Champion, optimizer: str) -> Selection:
    """Everything, where the model began from nothing; of a pretrained one the last half of the blocks.

    What is frozen of a small model has seen little, and its tokens less: it stands in the way of another domain
    (``bench/RESULTS.md``). A pretrained one is general, and large.
    """
    module: nn.Module = champion.model  # type: ignore[assignment]
    blocks = len(find_blocks(module.get_submodule("backbone")))
    if not champion.model.taught or blocks < 2:  # type: ignore[attr-defined]
        return Selection("full", None, optimizer)
    return Selection("suffix", blocks // 2, optimizer)


def _check_task(config: Config, policy: Policy, task: Task) -> None:
    """Refuse what asks for labels where there are numbers, and the other way round, instead of passing it over."""
    if config.task.metric not in task.metrics:
        raise UsageError(
            f"the metric {config.task.metric!r} does not measure {task.kind}",
            remedy=f"set task.metric to {' or '.join(task.metrics)}",
            kind="usage.metric",
        )
    if policy.replay.law == "generated" and not task.texts:
        raise UsageError(
            f"{policy.replay} replays what the live version writes, and only language models write",
            remedy=f"use replay:{policy.replay.capacity}",
            kind="usage.curate",
        )
    if not (task.numbers or task.texts):
        return
    what = "the targets are numbers" if task.numbers else "the rows are texts"
    known, kept = policy.screen.known and policy.screen, policy.replay.law in ("balanced", "herding") and policy.replay
    by_features = (policy.drift, policy.forget, policy.augment) if task.texts else ()
    for named in (known, policy.noise, policy.weight, kept, *by_features):
        if named:
            goes_by = "the features of rows" if named in by_features else "labels"
            raise UsageError(
                f"{named} goes by {goes_by}, and {what}", remedy="leave it out of curate.policy", kind="usage.curate"
            )
    retain = config.train.retain
    if task.numbers and (retain.distill or retain.derpp):
        raise UsageError(
            "train.retain.distill and train.retain.derpp hold the scores of labels, and the targets are numbers",
            remedy="use train.retain.ewc or l2, or replay alone",
            kind="usage.retain",
        )


def _check_loop_policies(policy: Policy, selection: Selection, model: Model) -> None:
    """Refuse policies of the loop where there is none, instead of passing them over."""
    for named in (policy.prune, policy.augment):
        if named and (selection.method == RIDGE or selection.name == LADDER):
            raise UsageError(
                f"{named} acts in the epochs of the loop, and {selection} learns in closed form",
                remedy="use a selection that trains in the loop, as suffix:1, or leave the policy out",
                kind="usage.curate",
            )
    if policy.forget and not (selection.method == RIDGE or selection.name == LADDER):
        raise UsageError(
            f"{policy.forget} acts in the closed form, and {selection} learns in the loop",
            remedy="use head or ladder, or leave the policy out",
            kind="usage.curate",
        )
    if policy.augment:
        policy.augment.fit(model.preprocess)
