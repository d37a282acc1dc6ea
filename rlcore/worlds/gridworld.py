"""What happens when I step there? Gridworlds with walls, goals, cliffs, jumps and a slippery floor, as exact MDPs.

A cell is (row, column), row 0 on top. Every cell is a state, with index row · width + column. Walls and cliffs are
states that nobody ever enters, so moving a wall does not change the number of states. Left out: drawing, and learning.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlcore.mdp import MDP
from rlcore.shapes import need, within

Cell = tuple[int, int]
ACTIONS = ("up", "right", "down", "left")
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (row, column) of each action; a neighbour in this list is perpendicular


@dataclass(frozen=True)
class Gridworld:
    """A grid to walk on. One rule for rewards: a step pays `step_reward`, plus what the cell that is hit pays.

    The floor slips: a step goes where it was meant to with probability 1 − slip, else to a perpendicular side.

    Args:
        height, width: cells, at least 1.
        walls:       cells that cannot be entered; who walks into one, or off the grid, stays where they are.
        terminals:   {cell: reward added for entering}; the episode ends there.
        cliffs:      {cell: reward added for falling}; the fall ends at `start`, the episode goes on.
        jumps:       {cell: (target, reward added)}; every action in the cell leads to the target, without slipping.
        step_reward: reward of every step.
        bump_reward: reward added to a step that ends where it began, at a wall or an edge.
        slip:        probability of slipping, in [0, 1].
        start:       the cell where episodes begin, or None. Cliffs need one.
    Raises: ValueError when a number is out of range, a cell lies outside the grid, or two things stand on one cell.
    Source: Sutton & Barto 2018, sections 3.5, 4.1 and 6.5; Russell & Norvig 2020, section 17.1 for the slipping.

    >>> room = Gridworld(1, 3, terminals={(0, 2): 1.0}, slip=0.2)
    >>> mdp = room.to_mdp(gamma=0.9)
    >>> mdp.transitions[room.index((0, 1)), ACTIONS.index("right")]       # left, here (slipped against a wall), goal
    tensor([0.0000, 0.2000, 0.8000], dtype=torch.float64)
    """

    height: int
    width: int
    walls: Iterable[Cell] = ()
    terminals: Mapping[Cell, float] = field(default_factory=dict)
    cliffs: Mapping[Cell, float] = field(default_factory=dict)
    jumps: Mapping[Cell, tuple[Cell, float]] = field(default_factory=dict)
    step_reward: float = 0.0
    bump_reward: float = 0.0
    slip: float = 0.0
    start: Cell | None = None

    def __post_init__(self):
        for name in ("height", "width"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} is {size!r}, expected a whole number of cells, at least 1")
        within(0, 1, slip=self.slip)
        object.__setattr__(self, "walls", frozenset(self.walls))
        for name in ("terminals", "cliffs", "jumps"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        _check_cells(self)
        _check_rewards(self)

    @property
    def states(self) -> int:
        """Number of states, walls and cliffs included: height · width."""
        return self.height * self.width

    def index(self, cell: Cell) -> int:
        """State index of a cell.

        Raises: ValueError when the cell lies outside the grid.

        >>> corners_4x4().index((1, 2))
        6
        """
        _inside(self, "cell", cell)
        return cell[0] * self.width + cell[1]

    def cell(self, state: int) -> Cell:
        """The cell of a state index: the inverse of `index`.

        >>> corners_4x4().cell(6)
        (1, 2)
        """
        within(0, self.states - 1, state=state)
        return divmod(int(state), self.width)

    def picture(self, values: Tensor) -> Tensor:
        """Lay values [..., S] out as pictures [..., height, width], NaN where nobody ever stands: walls and cliffs.

        Raises: ValueError when the last axis is not the number of states.

        >>> from_text("S#G").picture(torch.tensor([1.0, 2.0, 3.0]))
        tensor([[1., nan, 3.]])
        """
        need(values=(values, f"... {self.states}"))
        never = self._at([*self.walls, *self.cliffs]).to(values.device)
        return torch.where(never, float("nan"), values).unflatten(-1, (self.height, self.width))

    def path(self, actions: Tensor, start: Cell | None = None) -> list[Cell]:
        """The cells visited when every step goes where it was meant to: from start to a terminal, or to a standstill.

        Args:
            actions: [S] the action of each state, 0 to 3 in the order of ACTIONS.
            start:   where to begin; the world's own start if None.
        Returns: cells; the walk stops where it would come to a cell a second time.
        Raises:  ValueError when actions has another shape, or there is no start.

        >>> from_text("S..G").path(torch.full((4,), ACTIONS.index("right")))
        [(0, 0), (0, 1), (0, 2), (0, 3)]
        """
        need(actions=(actions, f"{self.states}"))
        if start is None and self.start is None:
            raise ValueError("start is None and the world has none of its own, expected a cell")
        landing, _, _ = self._steps()
        state, seen = self.index(self.start if start is None else start), {}
        while state not in seen:
            seen[state] = None
            state = int(landing[state, int(actions[state])])
        return [self.cell(state) for state in seen]

    def to_mdp(self, gamma: float, dtype=torch.float64, sparse: bool = False, device="cpu") -> MDP:
        """The same world as transition probabilities and expected rewards.

        Args:
            gamma:  discount, in [0, 1].
            dtype:  float32 or float64.
            sparse: transitions as one CSR matrix [S·A, S], row s·A + a. Dense ones take 3 GB on a 100 × 100 grid.
        Returns: MDP with transitions [S, A, S] and rewards [S, A], the expected reward of the step.

        >>> room = from_text("S.G", step_reward=-1.0, goal=0.0)
        >>> room.to_mdp(gamma=1.0).rewards[:, ACTIONS.index("right")]
        tensor([-1., -1., 0.], dtype=torch.float64)
        """
        landing, reward, ends = self._steps()
        aimed = torch.eye(4, dtype=torch.float64)
        move = (1 - self.slip) * aimed + self.slip / 2 * (aimed.roll(1, 1) + aimed.roll(-1, 1))  # [A, direction]
        rewards = torch.where(ends[:, None], 0.0, reward @ move.T)  # [S, A]
        action, direction = move.nonzero(as_tuple=True)
        rows = (torch.arange(self.states)[:, None] * 4 + action).flatten()  # [S · nonzero moves]
        columns, chance = landing[:, direction].flatten(), move[action, direction].repeat(self.states)
        size = (self.states * 4, self.states)
        if sparse:
            transitions = _csr(rows, columns, chance.to(dtype), size)
        else:
            transitions = torch.zeros(size, dtype=dtype).index_put_((rows, columns), chance.to(dtype), accumulate=True)
            transitions = transitions.view(self.states, 4, self.states)
        return MDP(transitions.to(device), rewards.to(device, dtype), gamma)

    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where a step lands [S, direction], what it pays [S, direction], and the states [S] where nothing moves."""
        here = torch.arange(self.states)[:, None]
        down, right = torch.tensor(MOVES).T  # [direction]
        row, column = here // self.width + down, here % self.width + right  # [S, direction]
        inside = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        hit = torch.where(inside, row * self.width + column, here)
        bump = ~inside | self._at(self.walls)[hit]
        landing = torch.where(bump, here, hit)
        pays = torch.zeros(self.states, dtype=torch.float64)
        for cell, amount in (self.terminals | self.cliffs).items():
            pays[self.index(cell)] = amount
        reward = pays[landing] + self.step_reward + self.bump_reward * bump.double()
        if self.cliffs:
            landing = torch.where(self._at(self.cliffs)[landing], self.index(self.start), landing)
        for cell, (target, amount) in self.jumps.items():
            landing[self.index(cell)], reward[self.index(cell)] = self.index(target), self.step_reward + amount
        ends = self._at([*self.walls, *self.terminals, *self.cliffs])
        return torch.where(ends[:, None], here, landing), reward, ends

    def _at(self, cells: Iterable[Cell]) -> Tensor:
        marks = torch.zeros(self.states, dtype=torch.bool)  # [S]
        marks[[self.index(cell) for cell in cells]] = True
        return marks


def from_text(text: str, goal: float = 1.0, pit: float = -1.0, fall: float = -1.0, **options: Any) -> Gridworld:
    """A world drawn in letters: S start, . floor, # wall, G goal, P pit (both end the episode), C cliff (back to S).

    Args:
        text:    rows apart by new lines; spaces around a row do not count.
        goal, pit, fall: reward added for entering G, P, C.
        options: the other arguments of Gridworld: step_reward, bump_reward, slip, jumps.
    Raises: ValueError when rows differ in length, a letter is unknown, or there are several starts.

    >>> world = from_text('''S..#
    ...                      ...G''', step_reward=-0.1)
    >>> world.height, world.width, world.start, sorted(world.walls), world.terminals
    (2, 4, (0, 0), [(0, 3)], {(1, 3): 1.0})
    """
    rows = [line.strip() for line in text.strip().splitlines()]
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"text has rows of lengths {[len(row) for row in rows]}, expected one length")
    where: dict[str, list[Cell]] = {letter: [] for letter in "S.#GPC"}
    for row, line in enumerate(rows):
        for column, letter in enumerate(line):
            if letter not in where:
                raise ValueError(f"text has {letter!r} at {(row, column)}, expected one of S . # G P C")
            where[letter].append((row, column))
    if len(where["S"]) > 1:
        raise ValueError(f"text has an S at {where['S']}, expected one at most")
    start = where["S"][0] if where["S"] else None
    terminals = dict.fromkeys(where["G"], goal) | dict.fromkeys(where["P"], pit)
    cliffs = dict.fromkeys(where["C"], fall)
    return Gridworld(len(rows), len(rows[0]), where["#"], terminals, cliffs, start=start, **options)


def corners_4x4() -> Gridworld:
    """Two corners end the episode, every step costs 1 (Sutton & Barto 2018, Example 4.1; use with gamma 1).

    >>> int(corners_4x4().to_mdp(gamma=1.0).rewards.sum())         # 14 cells, 4 actions, −1 each
    -56
    """
    return Gridworld(4, 4, terminals={(0, 0): 0.0, (3, 3): 0.0}, step_reward=-1.0)


def jumps_5x5() -> Gridworld:
    """Two cells throw you far for +10 and +5, bumping costs 1, no end (Sutton & Barto 2018, Example 3.5; gamma 0.9)."""
    return Gridworld(5, 5, jumps={(0, 1): ((4, 1), 10.0), (0, 3): ((2, 3), 5.0)}, bump_reward=-1.0)


def cliff() -> Gridworld:
    """Walk along a cliff: −1 per step, −100 and back to the start for falling (Sutton & Barto 2018, Example 6.6)."""
    floor = "............\n" * 3
    return from_text(floor + "SCCCCCCCCCCG", goal=0.0, fall=-99.0, step_reward=-1.0)  # a fall is a step too: −100


def slip_room(size: int, slip: float, step_reward: float) -> Gridworld:
    """An empty slippery square, size × size, with one goal worth +1 in the corner opposite to the start."""
    goal = {(size - 1, size - 1): 1.0}
    return Gridworld(size, size, terminals=goal, step_reward=step_reward, slip=slip, start=(0, 0))


def playground(slip: float, step_cost: float, walls: Iterable[Cell] | None = None) -> Gridworld:
    """A goal worth +1 whose short way (9 steps) brushes a pit worth −1, and a long way round (13 steps) that does not.

    The more the floor slips, the more the long way pays; the more a step costs and the smaller gamma is, the less.

    Args:
        slip:      probability of slipping, in [0, 1].
        step_cost: what a step costs: step_reward is its negative.
        walls:     other walls than those drawn here.
    """
    text = """.......
              ...##..
              ....#.G
              .....P.
              .......
              S.#...."""
    world = from_text(text, step_reward=-step_cost, slip=slip)
    if walls is None:
        return world
    return Gridworld(6, 7, walls, world.terminals, step_reward=-step_cost, slip=slip, start=world.start)


def _csr(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # PyTorch announces on first use that CSR is young and its invariants unchecked
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, size).coalesce().to_sparse_csr()


def _inside(world: Gridworld, name: str, cell: Cell) -> None:
    if not (isinstance(cell, tuple) and len(cell) == 2 and all(isinstance(n, int) for n in cell)):
        raise ValueError(f"{name} is {cell!r}, expected a cell (row, column)")
    if not (0 <= cell[0] < world.height and 0 <= cell[1] < world.width):
        raise ValueError(f"{name} is {cell}, outside the grid: expected row < {world.height}, column < {world.width}")


def _check_cells(world: Gridworld) -> None:
    owner: dict[Cell, str] = {}
    for name in ("walls", "terminals", "cliffs", "jumps"):
        for cell in getattr(world, name):
            _inside(world, f"a cell of {name}", cell)
            if cell in owner:
                raise ValueError(f"cell {cell} is in {owner[cell]} and in {name}, expected one of them")
            owner[cell] = name
    standing = {f"the target of jump {cell}": target for cell, (target, _) in world.jumps.items()}
    if world.start is not None or world.cliffs:  # who falls off a cliff goes back to the start
        standing["start"] = world.start
    for name, cell in standing.items():
        _inside(world, name, cell)
        if owner.get(cell, "jumps") != "jumps":
            raise ValueError(f"{name} is {cell}, a cell of {owner[cell]}, expected a cell to stand on")


def _check_rewards(world: Gridworld) -> None:
    leaps = {cell: amount for cell, (_, amount) in world.jumps.items()}
    rewards = {f"the reward of {cell}": amount for cell, amount in (world.terminals | world.cliffs | leaps).items()}
    rewards |= {"step_reward": world.step_reward, "bump_reward": world.bump_reward}
    for name, amount in rewards.items():
        if not isinstance(amount, int | float) or not math.isfinite(amount):
            raise ValueError(f"{name} is {amount!r}, expected a finite number")
