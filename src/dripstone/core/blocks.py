"""Where a network can be cut: its blocks, found in the module tree."""

from __future__ import annotations

from torch import nn


def find_blocks(module: nn.Module) -> list[str]:
    """Paths of the modules that run one after another: the children of the largest list or sequence.

    The largest is the one with the most parameters in children that have any; ties go to the longer, then the first.
    Children without parameters (activations, pooling) are no blocks. An empty list means that nothing was found.

    Examples
    --------
    >>> find_blocks(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))
    ['0', '2']
    >>> find_blocks(nn.Linear(2, 2))
    []
    """
    best: tuple[int, int] = (0, 0)
    found: list[str] = []
    for path, candidate in module.named_modules():
        if not isinstance(candidate, nn.Sequential | nn.ModuleList):
            continue
        children = {
            name: sum(p.numel() for p in child.parameters())
            for name, child in candidate.named_children()
            if any(True for _ in child.parameters())
        }
        if children and (sum(children.values()), len(children)) > best:
            best = (sum(children.values()), len(children))
            found = [f"{path}.{name}" if path else name for name in children]
    return found


def suffix_parameters(module: nn.Module, k: int) -> list[str]:
    """Names of the parameters from the k-th last block on, to the end of the module, in registration order.

    Examples
    --------
    >>> suffix_parameters(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), 1)
    ['2.weight', '2.bias']
    """
    names = [name for name, _ in module.named_parameters()]
    blocks = find_blocks(module)
    first = blocks[len(blocks) - k]
    start = next(index for index, name in enumerate(names) if name.startswith(first + "."))
    return names[start:]
