"""Who is who at the least total cost: small assignment problems, without the time that SciPy takes to be imported.

Shortest augmenting paths: R. Jonker and A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
assignment problems", Computing 1987, in the form of D. F. Crouse, "On implementing 2D rectangular assignment
algorithms", IEEE Transactions on Aerospace and Electronic Systems 2016.
"""

import numpy as np
from jaxtyping import Float


def assign(costs: Float[np.ndarray, "rows columns"]) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, in order of the rows: each row or each column once, the fewer of them.

    Args:
        costs: finite numbers.
    """
    rows, columns = costs.shape
    if rows > columns:
        return sorted((row, column) for column, row in assign(costs.T))
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    column_of, row_of = np.full(rows, -1), np.full(columns, -1)
    for row in range(rows):
        end, distance, before, is_reached = cheapest_path(row, costs - row_price[:, None] - column_price, row_of)
        others = row_of[is_reached & (row_of >= 0)]
        row_price[others] += distance[end] - distance[column_of[others]]
        row_price[row] += distance[end]
        column_price[is_reached] -= distance[end] - distance[is_reached]
        while end >= 0:
            end = take(end, int(before[end]), column_of, row_of)
    return list(enumerate(column_of.tolist()))


def cheapest_path(
    row: int, costs: Float[np.ndarray, "rows columns"], row_of: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The way from `row` to the nearest free column over those that are taken (Dijkstra).

    Returns:
        The free column; of each column the distance, the row it is reached from, and whether the search took it up.
    """
    distance, before = np.full(costs.shape[1], np.inf), np.full(costs.shape[1], -1)
    is_reached = np.zeros(costs.shape[1], bool)
    so_far = 0.0
    while True:
        reach = so_far + costs[row]
        is_nearer = ~is_reached & (reach < distance)
        distance[is_nearer], before[is_nearer] = reach[is_nearer], row
        column = int(np.argmin(np.where(is_reached, np.inf, distance)))
        is_reached[column] = True
        if row_of[column] < 0:
            return column, distance, before, is_reached
        row, so_far = int(row_of[column]), float(distance[column])


def take(column: int, row: int, column_of: np.ndarray, row_of: np.ndarray) -> int:
    """Give `column` to `row`; the column that the row had until now, -1 if none."""
    former = int(column_of[row])
    column_of[row], row_of[column] = column, row
    return former
