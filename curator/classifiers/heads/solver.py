"""Linear heads: K weighted logistic regressions over the same features, fitted at once.

Each head minimises the objective of scikit-learn's `LogisticRegression`,

    C * sum_i weight[i, k] * log(1 + exp(-sign[i] * (x_i . w_k + b_k))) + |w_k|^2 / 2,

with its own sample weights, so that cross-fitted heads differ only in the rows that
weigh nothing. The solver is L-BFGS with one history per head. Margins are linear in the
step, so the line search never touches the features again: an iteration costs one product
with the features and one with their transpose, shared by all heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator.errors import LearnError

if TYPE_CHECKING:
    import torch

Float32 = NDArray[np.float32]

_HISTORY = 10
_COLUMNS = 16
_LINE_SEARCH_STEPS = 12
_SAME_STEP = 1e-2


@dataclass(frozen=True, slots=True)
class LinearHeads:
    """K fitted heads: `weights` is (features, K), `bias` is (K,), both float32."""

    weights: Float32
    bias: Float32

    def margins(self, features: Float32) -> Float32:
        """Log-odds of positive, (rows, K), for standardised features (rows, features)."""
        margins: Float32 = features @ self.weights + self.bias
        return margins


def fit_heads(
    features: Float32,
    targets: NDArray[np.bool_],
    weights: Float32,
    *,
    regularization: float | NDArray[np.floating],
    device: str = "cpu",
    tolerance: float = 1e-4,
    max_iterations: int = 300,
    start: LinearHeads | None = None,
) -> LinearHeads:
    """Fit one head per column of `weights`.

    `features` is (rows, features), already standardised; `targets` (rows,) is True for
    positive; `weights` is (rows, K) and not negative; `regularization` is C, one for all or
    (K,). A head stops when the largest component of its gradient is below `tolerance` times
    its total weight times C, as in scikit-learn. The objective is convex, so `start` changes
    what the search costs, and where it ends only within that tolerance.
    Raises LearnError if a head sees only one class, or if features are not finite.
    Liu and Nocedal (1989), Mathematical Programming 45, for L-BFGS.
    """
    import torch

    _check(targets, weights)
    x = torch.as_tensor(features, dtype=torch.float32, device=device)
    signs = torch.as_tensor(np.where(targets, 1.0, -1.0), dtype=torch.float32, device=device)
    strong = np.asarray(weights * np.asarray(regularization), dtype=np.float32)
    w = torch.as_tensor(strong, device=device)
    problem = _Problem(x, signs[:, None], w)
    solution = _minimise(problem, _start_point(problem, start), tolerance, max_iterations)
    result = solution.cpu().numpy()
    return LinearHeads(
        weights=np.ascontiguousarray(result[:-1]), bias=np.ascontiguousarray(result[-1])
    )


def _check(targets: NDArray[np.bool_], weights: Float32) -> None:
    for name, side in (("positive", targets), ("negative", ~targets)):
        if not (weights[side] > 0).any(axis=0).all():
            raise LearnError(
                f"A head would be trained without any {name} example.",
                f"Label more {name} images, or lower classifier.folds.",
            )


def pad_columns(weights: torch.Tensor) -> torch.Tensor:
    """Skinny products are slow one way round; zero columns up to a width of 16 cost nothing."""
    import torch

    missing = -weights.shape[1] % _COLUMNS
    return torch.nn.functional.pad(weights, (0, missing))


class _Problem:
    """The objective of all heads, seen through margins so that a line search is cheap."""

    def __init__(self, x: torch.Tensor, signs: torch.Tensor, weights: torch.Tensor) -> None:
        self.x, self.signs, self.weights = x, signs, weights

    def margins(self, point: torch.Tensor) -> torch.Tensor:
        heads = point.shape[1]
        return (self.x @ pad_columns(point[:-1]))[:, :heads] + point[-1]

    def gradient(self, point: torch.Tensor, margins: torch.Tensor) -> torch.Tensor:
        import torch

        residual = -self.signs * self.weights * torch.sigmoid(-self.signs * margins)
        slope = (pad_columns(residual).T @ self.x)[: point.shape[1]].T + point[:-1]
        return torch.cat([slope, residual.sum(dim=0, keepdim=True)])

    def step_size(
        self,
        point: torch.Tensor,
        margins: torch.Tensor,
        direction: torch.Tensor,
        direction_margins: torch.Tensor,
    ) -> torch.Tensor:
        """The minimiser along the direction, per head, by safeguarded Newton steps."""
        import torch

        quadratic = direction[:-1].square().sum(dim=0)
        linear = (point[:-1] * direction[:-1]).sum(dim=0)
        step = torch.ones_like(quadratic)
        low, high = torch.zeros_like(step), torch.full_like(step, torch.inf)
        settled = torch.zeros_like(step, dtype=torch.bool)
        for _ in range(_LINE_SEARCH_STEPS):
            likelihood = torch.sigmoid(-self.signs * (margins + step * direction_margins))
            pull = self.weights * likelihood
            slope = linear + step * quadratic - (self.signs * pull * direction_margins).sum(dim=0)
            bend = quadratic + (pull * (1 - likelihood) * direction_margins.square()).sum(dim=0)
            low, high = torch.where(slope < 0, step, low), torch.where(slope < 0, high, step)
            newton = step - slope / bend.clamp_min(torch.finfo(bend.dtype).tiny)
            middle = torch.where(high.isinf(), 2 * step, (low + high) / 2)
            tried = torch.where((newton > low) & (newton < high), newton, middle)
            # A head that has its step keeps it, so that no bit of it depends on the other heads.
            before, step = step, torch.where(settled, step, tried)
            settled = settled | ((step - before).abs() <= _SAME_STEP * step)
            if bool(settled.all()):
                break
        return step


def _start_point(problem: _Problem, start: LinearHeads | None) -> torch.Tensor:
    import torch

    point = problem.x.new_zeros((problem.x.shape[1] + 1, problem.weights.shape[1]))
    if start is not None:
        stacked = np.concatenate([start.weights, start.bias[None, :]])
        point[:, : stacked.shape[1]] = torch.as_tensor(stacked, device=point.device)
    return point


def _minimise(
    problem: _Problem, point: torch.Tensor, tolerance: float, max_iterations: int
) -> torch.Tensor:
    import torch

    margins = problem.margins(point)
    gradient = problem.gradient(point, margins)
    if not bool(gradient.isfinite().all()):  # every feature of every row has a part in it
        raise LearnError(
            "Some features are not finite numbers.",
            "Check the features that you imported, or encode again with another encoder.",
        )
    limit = tolerance * problem.weights.sum(dim=0)
    moves: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for _ in range(max_iterations):
        active = gradient.abs().amax(dim=0) > limit
        if not bool(active.any()):
            break
        direction = _direction(gradient, moves) * active
        direction_margins = problem.margins(direction)
        step = problem.step_size(point, margins, direction, direction_margins) * active
        point = point + step * direction
        margins = margins + step * direction_margins
        fresh = problem.gradient(point, margins)
        moved, bent = step * direction, fresh - gradient
        curvature = (moved * bent).sum(dim=0)
        inverse = torch.where(curvature > 0, 1 / curvature, torch.zeros_like(curvature))
        moves = [*moves[-(_HISTORY - 1) :], (moved, bent, inverse)]
        gradient = fresh
    return point


def _direction(
    gradient: torch.Tensor, moves: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """The two-loop recursion, for every head at once; heads that stopped contribute zeros."""
    import torch

    direction = -gradient
    if not moves:
        return direction / gradient.abs().sum(dim=0).clamp_min(1.0)
    pulls = []
    for moved, bent, inverse in reversed(moves):
        pull = inverse * (moved * direction).sum(dim=0)
        direction = direction - pull * bent
        pulls.append(pull)
    moved, bent, inverse = moves[-1]
    energy = bent.square().sum(dim=0)
    scale = torch.where(inverse > 0, 1 / (inverse * energy.clamp_min(1e-30)), 1.0)
    direction = direction * scale
    for (moved, bent, inverse), pull in zip(moves, reversed(pulls), strict=True):
        direction = direction + moved * (pull - inverse * (bent * direction).sum(dim=0))
    return direction
