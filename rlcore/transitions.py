"""What follows, and what does it pay? The Markov decision process, its transitions dense or as one CSR matrix.

`Dense` is plain PyTorch: batched, differentiable, on any device. `Sparse` is for worlds too large for [S, A, S]; it
solves and sweeps with SciPy on the CPU and hands the answers back on the tensors' device. Both offer the same four
methods: stays, expected, solve, sweeps. Left out: values, policies and optimality (mdp).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from rlcore.shapes import finite, need, probabilities, within
from rlcore.sweeps import DenseSweeps, SparseSweeps


@dataclass(frozen=True, eq=False)
class MDP:
    """States, actions, what follows, what it pays. A terminal state leads to itself whatever one does, and pays 0.

    Args:
        transitions: [..., S, A, S] P(s'|s,a), or for large worlds a CSR matrix [S·A, S] whose row s·A + a is P(·|s,a).
        rewards:     [..., S, A]    expected reward of the step.
        gamma:       discount in [0, 1], a float or a tensor of leading axes [...]; 1 where every solved policy ends.
    Raises: ValueError when shapes, leading axes or dtypes disagree, a row is no distribution, a reward is not finite
            or gamma is outside [0, 1].
    Source: Sutton & Barto 2018, chapter 3.

    >>> transitions = torch.tensor([[[0., 1.], [1., 0.]], [[0., 1.], [0., 1.]]])   # go or stay; then the end
    >>> mdp = MDP(transitions, torch.tensor([[1., 0.], [0., 0.]]), gamma=0.5)
    >>> mdp.terminal
    tensor([False, True])
    """

    transitions: Tensor
    rewards: Tensor
    gamma: float | Tensor

    def __post_init__(self):
        need(rewards=(self.rewards, "... S A"))
        finite(rewards=self.rewards)
        within(0, 1, gamma=self.gamma)
        self.table  # noqa: B018  the transitions are checked where they are read
        _check_together(self)

    @cached_property
    def table(self) -> "Dense | Sparse":
        """The transitions with what can be done with them: stays, expected, solve, sweeps."""
        kind = Sparse if getattr(self.transitions, "layout", None) is torch.sparse_csr else Dense
        return kind(self.transitions, self.states, self.actions)

    @property
    def states(self) -> int:
        """Number of states S."""
        return self.rewards.shape[-2]

    @property
    def actions(self) -> int:
        """Number of actions A."""
        return self.rewards.shape[-1]

    @property
    def discount(self) -> Tensor:
        """Gamma as a tensor [...] of the dtype and on the device of the rewards."""
        return torch.as_tensor(self.gamma, dtype=self.rewards.dtype, device=self.rewards.device)

    @property
    def leading(self) -> torch.Size:
        """The leading (batch) axes of all three together."""
        return torch.broadcast_shapes(self.table.leading, self.rewards.shape[:-2], self.discount.shape)

    @cached_property
    def terminal(self) -> Tensor:
        """[..., S] bool: leads to itself for every action (to rounding) and pays 0."""
        stays = self.table.stays() >= 1 - 8 * torch.finfo(self.rewards.dtype).eps
        return (stays & (self.rewards == 0)).all(-1)


class Dense:
    """P(s'|s,a) as [..., S, A, S].

    Raises: ValueError when the shape is another, or a row is no distribution.

    >>> room = Dense(torch.tensor([[[0.5, 0.5]], [[0.0, 1.0]]]), states=2, actions=1)
    >>> room.expected(torch.tensor([4.0, 2.0]))
    tensor([[3.], [2.]])
    """

    def __init__(self, transitions: Tensor, states: int, actions: int):
        need(transitions=(transitions, f"... {states} {actions} {states}"))
        probabilities(transitions=transitions)
        self.transitions, self.states, self.actions = transitions, states, actions
        self.leading = transitions.shape[:-3]

    def stays(self) -> Tensor:
        """[..., S, A] the chance P(s|s,a) to stay."""
        return self.transitions.diagonal(dim1=-3, dim2=-1).mT

    def expected(self, v: Tensor) -> Tensor:
        """Σ_s' P(s'|s,a) v(s'): [..., S] -> [..., S, A]."""
        return torch.einsum("...sat,...t->...sa", self.transitions, v)

    def sweeps(self, rewards: Tensor, gamma: Tensor, leading: torch.Size) -> DenseSweeps:
        """What the solvers iterate with."""
        return DenseSweeps(self.transitions, rewards, gamma, leading)

    def solve(self, weights: Tensor, right: Tensor, transpose: bool) -> Tensor:
        """x with (I − Σ_a weights P) x = right, or of the transposed system. weights: [..., S, A], right: [..., S]."""
        system = -torch.einsum("...sa,...sat->...st", weights, self.transitions)
        system = system + torch.eye(self.states, dtype=right.dtype, device=right.device)
        return torch.linalg.solve(system.mT if transpose else system, right[..., None])[..., 0]


class Sparse:
    """P(s'|s,a) as one CSR matrix [S·A, S] whose row s·A + a is P(·|s,a). No gradients with respect to it.

    Inside, the rows are sorted by action, then state: the best action is then found by comparing whole columns.

    Raises: ValueError when the shape is another, or a row is no distribution.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):                  # PyTorch calls CSR young
    ...     rows = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).to_sparse_csr()
    >>> Sparse(rows, states=2, actions=1).expected(torch.tensor([4.0, 2.0]))
    tensor([[3.], [2.]])
    """

    leading = torch.Size()

    def __init__(self, transitions: Tensor, states: int, actions: int):
        need(transitions=(transitions, f"{states * actions} {states}"))
        self.transitions, self.states, self.actions = transitions, states, actions
        finite(transitions=transitions)
        parts = (transitions.values(), transitions.col_indices(), transitions.crow_indices())
        matrix = sp.csr_array(tuple(part.detach().cpu().numpy() for part in parts), shape=transitions.shape)
        _check_rows(matrix, actions)
        self.matrix = matrix[np.arange(states * actions).reshape(states, actions).T.ravel()]
        parts = (torch.from_numpy(part) for part in (self.matrix.indptr, self.matrix.indices, self.matrix.data))
        self.rows = torch.sparse_csr_tensor(*parts, transitions.shape, check_invariants=False).to(transitions.device)

    def stays(self) -> Tensor:
        """[S, A] the chance P(s|s,a) to stay."""
        row = np.repeat(np.arange(self.states * self.actions), np.diff(self.matrix.indptr))  # of each entry
        here = np.where(self.matrix.indices == row % self.states, self.matrix.data, 0)
        chance = np.bincount(row, here, self.states * self.actions)
        return torch.from_numpy(chance).to(self.transitions).view(self.actions, self.states).mT

    def expected(self, v: Tensor) -> Tensor:
        """Σ_s' P(s'|s,a) v(s'): [..., S] -> [..., S, A]."""
        flat = self.rows @ v if v.ndim == 1 else (self.rows @ v.reshape(-1, self.states).mT).mT
        return flat.reshape(*v.shape[:-1], self.actions, self.states).mT

    def sweeps(self, rewards: Tensor, gamma: Tensor, leading: torch.Size) -> SparseSweeps:
        """What the solvers iterate with."""
        return SparseSweeps(self.matrix, rewards, gamma, leading)

    def solve(self, weights: Tensor, right: Tensor, transpose: bool) -> Tensor:
        """x with (I − Σ_a weights P) x = right, or of the transposed system. weights: [..., S, A], right: [..., S]."""
        leading = torch.broadcast_shapes(weights.shape[:-2], right.shape[:-1])
        right, weights = right.expand(*leading, -1), weights.expand(*leading, -1, -1).mT.flatten(-2)
        kind = "T" if transpose else "N"
        pairs = zip(_flat(weights), _flat(right), strict=True)
        return _tensor([self._factors(weight).solve(x, kind) for weight, x in pairs], right)

    def _factors(self, weights: np.ndarray) -> SuperLU:
        used = np.flatnonzero(weights)
        mix = sp.coo_array((weights[used], (used % self.states, used)), (self.states, len(weights)))  # [S, S·A]
        system = sp.eye_array(self.states, dtype=weights.dtype) - mix.tocsr() @ self.matrix
        # No row of W P weighs more than its diagonal 1, so diagonal pivots are safe, and they keep the factors small.
        diagonal = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        return splu(system.tocsc(), **diagonal)


def _check_rows(matrix: sp.csr_array, actions: int) -> None:
    tolerance = 1e-8 if matrix.dtype == np.float64 else 1e-4
    total, negative = matrix.sum(1), np.flatnonzero(matrix.data < 0)
    if len(negative):
        row = np.searchsorted(matrix.indptr, negative[0], side="right") - 1
        where = [int(i) for i in divmod(row, actions)]
        raise ValueError(f"transitions is {matrix.data[negative[0]]:.6g} at row {where}, expected 0 or more")
    off = np.flatnonzero(abs(total - 1) > tolerance)
    if len(off):
        where = [int(i) for i in divmod(off[0], actions)]
        raise ValueError(f"transitions sums to {total[off[0]]:.6g} at row {where}, expected 1")


def _check_together(mdp: MDP) -> None:
    tensors = {"transitions": mdp.transitions, "rewards": mdp.rewards, "gamma": mdp.gamma}
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.dtype is not mdp.transitions.dtype:
            raise ValueError(f"{name} has dtype {tensor.dtype}, expected that of transitions, {mdp.transitions.dtype}")
    try:
        mdp.leading  # noqa: B018
    except RuntimeError:
        shapes = ", ".join(f"{name} {list(torch.as_tensor(tensor).shape)}" for name, tensor in tensors.items())
        raise ValueError(f"leading axes do not broadcast: {shapes}") from None


def _flat(x: Tensor) -> np.ndarray:
    """[..., N] as the rows of a NumPy matrix."""
    return x.reshape(-1, x.shape[-1]).cpu().numpy()


def _tensor(rows: list[np.ndarray], like: Tensor) -> Tensor:
    """Rows of the flattened batch, back in the shape and on the device of another tensor."""
    return torch.from_numpy(np.stack(rows)).reshape(like.shape).to(like.device)
