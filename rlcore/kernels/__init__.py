"""Is there a faster way to the same answer? Twins of equations: the same name, the same arguments, the same answer.

`rlcore/kernels/<module>.py` holds the twins of `rlcore/<module>.py`. Speed is a function you pass:
`gae = kernels.best(returns.gae, like=rewards)`. Left out: twins that are no faster than what they copy.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from torch import Tensor

from rlcore.shapes import need


def best(reference: Callable, like: Tensor) -> Callable:
    """The fast twin of an equation where it can run, else the equation itself.

    Args:
        reference: a function of rlcore.
        like:      a tensor as it will be given: on its device, in its dtype.
    Returns: a function with the same name, arguments and answer; its `__module__` says which one it is.
    Raises:  ValueError when like is no tensor.

    >>> import torch
    >>> from rlcore import masked, returns
    >>> best(returns.gae, like=torch.zeros(2, 3)).__module__
    'rlcore.kernels.returns'
    >>> best(masked.mean_over_tokens, like=torch.zeros(2, 3)).__module__        # there is no faster one
    'rlcore.masked'
    """
    need(like=(like, "..."))
    package, _, module = reference.__module__.partition(".")
    if package != "rlcore" or "." in module or not find_spec(f"rlcore.kernels.{module}"):
        return reference
    twins = import_module(f"rlcore.kernels.{module}")
    return getattr(twins, reference.__name__, reference) if twins.can_run(like) else reference
