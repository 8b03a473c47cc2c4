"""Growable struct-of-arrays: rows with an id, a free list, and columns that double when they are full.

Rows are given out lowest-freed-last-in first, so a table's row numbers depend on its history; a checkpoint therefore
keeps them, and the free list in its order (``dump``/``load`` in ``codec``).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

Id = TypeVar("Id", bound=str)

_FIRST = 16


def narrow(codes: Ints, below: int) -> NDArray[Any]:
    """Codes from 0 up to ``below`` in the fewest bits: numpy sorts 16 of them by radix, ten times as fast as 64."""
    return codes.astype(np.uint16) if below <= 1 << 16 else codes


def add_to(column: NDArray[Any], rows: Iterable[int], more: tuple[float, ...]) -> None:
    """Add three numbers to each of some rows of a column (N, 3). Plain Python is done before numpy has begun."""
    first, second, third = more
    for row in rows:
        a, b, c = column[row].tolist()
        column[row] = a + first, b + second, c + third


class Table(Generic[Id]):
    """Base of every table. A subclass names its array columns in ``COLUMNS`` (name, dtype, width; width 0 is a vector)
    and annotates each; columns that are lists it keeps itself."""

    COLUMNS: tuple[tuple[str, Any, int], ...] = ()

    def __init__(self) -> None:
        self.row_of: dict[Id, int] = {}
        self.ids: list[Id | None] = []
        self.free_rows: list[int] = []
        self._capacity = 0
        self._blocks: list[NDArray[Any]] = []
        self._wide: list[NDArray[Any]] = []
        self._grow(_FIRST)

    def __len__(self) -> int:
        return len(self.row_of)

    def __contains__(self, key: Id) -> bool:
        return key in self.row_of

    @property
    def height(self) -> int:
        """Rows in use or free: the part of every column that means something."""
        return len(self.ids)

    def rows(self) -> Iterator[int]:
        """Rows in use, ascending."""
        return (row for row, key in enumerate(self.ids) if key is not None)

    def id_of(self, row: int) -> Id:
        """The id in a row that is in use."""
        key = self.ids[row]
        if key is None:
            raise KeyError(f"row {row} is free")
        return key

    def add(self, key: Id) -> int:
        """A zeroed row for a new id."""
        if self.free_rows:
            row = self.free_rows.pop()
            self.ids[row] = key
        else:
            row = len(self.ids)
            if row == self._capacity:
                self._grow(2 * row)
            self.ids.append(key)
        self.row_of[key] = row
        return row

    def remove(self, key: Id) -> int:
        """Give a row back, zeroed; returns its number."""
        row = self.row_of.pop(key)
        self.ids[row] = None
        self.free_rows.append(row)
        for block in self._blocks:
            block[:, row] = 0
        for column in self._wide:
            column[row] = 0
        return row

    def place_rows(self, ids: list[Id | None], free_rows: list[int]) -> None:
        """Lay out an empty table exactly as another one was: same ids in the same rows, same free list."""
        if len(ids) > self._capacity:
            self._grow(max(len(ids), _FIRST))
        self.ids = list(ids)
        self.free_rows = list(free_rows)
        self.row_of = {key: row for row, key in enumerate(ids) if key is not None}

    def _grow(self, capacity: int) -> None:
        """Columns of one type without a width are the lines of one block, so that a row is given back in one step."""
        before, self._blocks, self._wide = self._capacity, [], []
        for dtype in dict.fromkeys(dtype for _, dtype, width in self.COLUMNS if not width):
            names = [name for name, other, width in self.COLUMNS if other is dtype and not width]
            block = np.zeros((len(names), capacity), dtype)
            for name, column in zip(names, block, strict=True):
                self._take_over(name, column, before)
            self._blocks.append(block)
        for name, dtype, width in self.COLUMNS:
            if width:
                column = np.zeros((capacity, width), dtype)
                self._take_over(name, column, before)
                self._wide.append(column)
        self._capacity = capacity

    def _take_over(self, name: str, column: NDArray[Any], height: int) -> None:
        if height:
            column[:height] = getattr(self, name)
        setattr(self, name, column)
