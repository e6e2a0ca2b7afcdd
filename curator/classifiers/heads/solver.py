"""Linear heads: K weighted logistic regressions over the same features, fitted at once.

Each head minimises the objective of scikit-learn's `LogisticRegression`,

    C * sum_i weight[i, k] * log(1 + exp(-sign[i] * (x_i . w_k + b_k))) + |w_k|^2 / 2,

with its own sample weights, so that cross-fitted heads differ only in the rows that
weigh nothing. The solver is L-BFGS with one history per head. Margins are linear in the
step, so the line search never touches the features again: an iteration costs one product
with the features and one with their transpose, shared by all heads. NumPy computes it: the
products are as fast as those of torch, whose import takes longer than a round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.errors import LearnError

Float32 = NDArray[np.float32]

_HISTORY = 10
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
    _check(targets, weights)
    problem = _Problem(
        np.asarray(features, dtype=np.float32),
        np.where(targets, np.float32(1), np.float32(-1))[:, None],
        np.asarray(weights * np.asarray(regularization), dtype=np.float32),
    )
    solution = _minimise(problem, _start_point(problem, start), tolerance, max_iterations)
    return LinearHeads(
        weights=np.ascontiguousarray(solution[:-1]), bias=np.ascontiguousarray(solution[-1])
    )


def sigmoid32(x: NDArray[np.floating]) -> Float32:
    """1 / (1 + exp(-x)) in float32, several times faster than `sigmoid` in float64."""
    result: Float32 = np.negative(x, dtype=np.float32)
    with np.errstate(over="ignore"):
        np.exp(result, out=result)
    result += 1
    return np.reciprocal(result, out=result)


def _check(targets: NDArray[np.bool_], weights: Float32) -> None:
    for name, side in (("positive", targets), ("negative", ~targets)):
        if not (weights[side] > 0).any(axis=0).all():
            raise LearnError(
                f"A head would be trained without any {name} example.",
                f"Label more {name} images, or lower classifier.folds.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The objective of all heads, seen through margins so that a line search is cheap.

    `x` is (rows, features), `signs` (rows, 1), `weights` (rows, K); a point is (features + 1, K).
    """

    x: Float32
    signs: Float32
    weights: Float32

    def margins(self, point: Float32) -> Float32:
        margins: Float32 = self.x @ np.ascontiguousarray(point[:-1])
        margins += point[-1]
        return margins

    def gradient(self, point: Float32, margins: Float32) -> Float32:
        residual = sigmoid32(-self.signs * margins)
        residual *= -self.signs
        residual *= self.weights
        slope = (residual.T @ self.x).T + point[:-1]
        return np.concatenate([slope, residual.sum(axis=0, keepdims=True)])

    def step_size(
        self, point: Float32, margins: Float32, direction: Float32, direction_margins: Float32
    ) -> Float32:
        """The minimiser along the direction, (K,), by safeguarded Newton steps."""
        quadratic = np.square(direction[:-1]).sum(axis=0)
        linear = (point[:-1] * direction[:-1]).sum(axis=0)
        away, along = -self.signs * margins, -self.signs * direction_margins
        pulled = self.weights * along
        step: Float32 = np.ones_like(quadratic)
        low, high = np.zeros_like(step), np.full_like(step, np.inf)
        settled = np.zeros(len(step), dtype=np.bool_)
        for _ in range(_LINE_SEARCH_STEPS):
            likelihood = sigmoid32(away + step * along)
            pull = likelihood * pulled
            slope = linear + step * quadratic + pull.sum(axis=0)
            likelihood -= 1
            bend = quadratic - (pull * likelihood * along).sum(axis=0)
            low, high = np.where(slope < 0, step, low), np.where(slope < 0, high, step)
            newton = step - slope / np.maximum(bend, np.finfo(np.float32).tiny)
            middle = np.where(np.isinf(high), 2 * step, (low + high) / 2)
            tried = np.where((newton > low) & (newton < high), newton, middle)
            # A head that has its step keeps it, so that no bit of it depends on the other heads.
            before, step = step, np.where(settled, step, tried)
            settled |= np.abs(step - before) <= _SAME_STEP * step
            if settled.all():
                break
        return step


def _start_point(problem: _Problem, start: LinearHeads | None) -> Float32:
    point = np.zeros((problem.x.shape[1] + 1, problem.weights.shape[1]), dtype=np.float32)
    if start is not None:
        point[:, : len(start.bias)] = np.concatenate([start.weights, start.bias[None, :]])
    return point


def _minimise(problem: _Problem, point: Float32, tolerance: float, max_iterations: int) -> Float32:
    margins = problem.margins(point)
    gradient = problem.gradient(point, margins)
    if not np.isfinite(gradient).all():  # every feature of every row has a part in it
        raise LearnError(
            "Some features are not finite numbers.",
            "Check the features that you imported, or encode again with another encoder.",
        )
    limit = tolerance * problem.weights.sum(axis=0)
    moves: list[tuple[Float32, Float32, Float32]] = []
    for _ in range(max_iterations):
        active = np.abs(gradient).max(axis=0) > limit
        if not active.any():
            break
        direction = _direction(gradient, moves) * active
        direction_margins = problem.margins(direction)
        step = problem.step_size(point, margins, direction, direction_margins) * active
        moved = step * direction
        point = point + moved
        margins += step * direction_margins
        fresh = problem.gradient(point, margins)
        bent = fresh - gradient
        curvature = (moved * bent).sum(axis=0)
        inverse = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 0)
        moves = [*moves[-(_HISTORY - 1) :], (moved, bent, inverse)]
        gradient = fresh
    return point


def _direction(gradient: Float32, moves: list[tuple[Float32, Float32, Float32]]) -> Float32:
    """The two-loop recursion, for every head at once; heads that stopped contribute zeros."""
    direction = -gradient
    if not moves:
        first: Float32 = direction / np.maximum(np.abs(gradient).sum(axis=0), 1)
        return first
    pulls = []
    for moved, bent, inverse in reversed(moves):
        pull = inverse * (moved * direction).sum(axis=0)
        direction -= pull * bent
        pulls.append(pull)
    moved, bent, inverse = moves[-1]
    energy = np.maximum(np.square(bent).sum(axis=0), np.float32(1e-30))
    # A head that has not moved is not scaled.
    has_moved = inverse > 0
    direction *= np.where(has_moved, 1 / np.where(has_moved, inverse * energy, 1), np.float32(1))
    for (moved, bent, inverse), pull in zip(moves, reversed(pulls), strict=True):
        direction += moved * (pull - inverse * (bent * direction).sum(axis=0))
    return direction
