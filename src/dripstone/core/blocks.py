"""Where a network can be cut: its blocks, found in the module tree."""

from __future__ import annotations

from torch import nn

from dripstone.core.errors import ModelError


def find_blocks(module: nn.Module) -> list[str]:
    """Paths of the modules that run one after another: the children of the largest list or sequence.

    The largest is the one with the most parameters in children that have any; ties go to the longer, then the first.
    Children without parameters of their own (activations, pooling, a layer whose weights are all tied to an earlier
    one's) are no blocks. An empty list means that nothing was found.

    Examples
    --------
    >>> find_blocks(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))
    ['0', '2']
    >>> find_blocks(nn.Linear(2, 2))
    []
    """
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    best: tuple[int, int] = (0, 0)
    found: list[str] = []
    for path, candidate in module.named_modules():
        if not isinstance(candidate, nn.Sequential | nn.ModuleList):
            continue
        children = [f"{path}.{name}" if path else name for name, _ in candidate.named_children()]
        owned = {child: [size for name, size in sizes.items() if name.startswith(child + ".")] for child in children}
        blocks = [child for child in children if owned[child]]
        rank = (sum(sum(owned[block]) for block in blocks), len(blocks))
        if rank > best:
            best, found = rank, blocks
    return found


def suffix_parameters(module: nn.Module, k: int) -> list[str]:
    """Names of the parameters from the k-th last block on, to the end of the module, in registration order.

    Raises
    ------
    ModelError
        If the module does not have ``k`` blocks, or ``k`` is below 1.

    Examples
    --------
    >>> suffix_parameters(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), 1)
    ['2.weight', '2.bias']
    """
    names = [name for name, _ in module.named_parameters()]
    blocks = find_blocks(module)
    if not 1 <= k <= len(blocks):
        raise ModelError(
            f"there is no {k}-th last block, the module has {len(blocks)}",
            remedy=f"ask for 1 to {len(blocks)}" if blocks else "choose parameters by name",
            kind="model.blocks",
        )
    first = blocks[len(blocks) - k]
    start = next(index for index, name in enumerate(names) if name.startswith(first + "."))
    return names[start:]
