"""Reading tables of text: columns by name, and errors that say the line, the column and the value."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from fairway.model.errors import InvalidField, NotFound
from fairway.model.job import LONGEST

_LONGEST_S = LONGEST / 1000


def text_of(path: Path) -> str:
    """A file's text without its byte-order mark. Raises NotFound or InvalidField."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", "trace") from None
    except IsADirectoryError:
        raise InvalidField("trace", f"{path} is a folder: name the file in it") from None
    except PermissionError:
        raise InvalidField("trace", f"{path} may not be read: check its permissions") from None
    except UnicodeDecodeError as error:
        raise InvalidField("trace", f"{path} is not text in UTF-8 (byte {error.start})") from None


class Table:
    """A CSV file with a header line. Cells of the row that was read last are asked for by column.

    ``required`` columns must be there; any other may be absent or empty, and then has its default.
    """

    def __init__(self, path: Path, required: tuple[str, ...]) -> None:
        self.path = path
        self._rows = csv.reader(io.StringIO(text_of(path), newline=""))
        header = [name.strip() for name in next(self._rows, [])]
        missing = [name for name in required if name not in header]
        if missing:
            have = ", ".join(header) or "nothing"
            raise InvalidField(f"{path.name}:1", f"has no column {missing[0]!r}; its columns are {have}")
        doubled = sorted({name for name in header if name and header.count(name) > 1})
        if doubled:
            raise InvalidField(f"{path.name}:1", f"has the column {doubled[0]!r} twice")
        self._at = {name: index for index, name in enumerate(header)}
        self._width = len(header)
        self._row: list[str] = []

    def __contains__(self, column: str) -> bool:
        return column in self._at

    @property
    def line(self) -> int:
        """The number of the line that was read last, counted from 1."""
        return self._rows.line_num

    def rows(self) -> Iterator[Self]:
        """The table itself, once for every row that is not blank."""
        for row in self._rows:
            if not row:
                continue
            if len(row) != self._width:
                raise InvalidField(
                    f"{self.path.name}:{self.line}", f"has {len(row)} columns, the header names {self._width}"
                )
            self._row = row
            yield self

    def wrong(self, column: str, value: str, wanted: str) -> InvalidField:
        """The error for a cell of the current row."""
        return InvalidField(f"{self.path.name}:{self.line}:{column}", f"{value!r} is not {wanted}")

    def text(self, column: str, default: str = "") -> str:
        """The cell without blanks around it."""
        index = self._at.get(column)
        return (self._row[index].strip() if index is not None else "") or default

    def integer(self, column: str, default: int | None = None, least: int = 0, most: int = 1 << 53) -> int:
        """A whole number between ``least`` and ``most``; ``4.0`` counts as one."""
        value = self.text(column)
        if not value and default is not None:
            return default
        try:
            number = int(value)
        except ValueError:
            number = _whole(value)
        if number is None or not least <= number <= most:
            limit = f"of {least} or more" if number is None or number < least else f"of {most} or less"
            raise self.wrong(column, value, f"a whole number {limit}")
        return number

    def number(self, column: str, default: float | None = None) -> float:
        """A finite number, 0 or more."""
        value = self.text(column)
        if not value and default is not None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (number >= 0 and math.isfinite(number)):
            raise self.wrong(column, value, "a number of 0 or more")
        return number

    def seconds(self, column: str) -> int:
        """A time in seconds, as whole milliseconds."""
        number = self.number(column)
        if number > _LONGEST_S:
            raise self.wrong(column, self.text(column), "a time in seconds: it is longer than ten years")
        return round(number * 1000)


def _whole(value: str) -> int | None:
    """The integer that a decimal stands for, if it stands for one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
