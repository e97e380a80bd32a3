"""The tables that squeue and sinfo print."""

import re
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from notebooks_over_ssh.sandbox.toy_slurm.queue import RefusedError

# %[.][size]letter, as squeue(1) and sinfo(1) describe --format: the dot aligns to the right.
_SHORT = re.compile(r"%(\.?)(\d{0,4})([A-Za-z])")
# name[:[.][size][suffix]], as sinfo(1) describes --Format.
_LONG = re.compile(r"([A-Za-z]+)(?::(\.?)(\d{0,4})([^,]*))?")
_LONG_WIDTH = 20


class Column(NamedTuple):
    """A column of a table, and the text after it."""

    name: str
    """The letter that --format has for it, or the name in --Format."""
    width: int
    """The number of characters to which it is padded or cut; 0 for neither."""
    align_right: bool
    suffix: str = ""

    def text(self, value: object) -> str:
        """The value as it is printed."""
        text = str(value)
        if self.width:
            text = (text.rjust(self.width) if self.align_right else text.ljust(self.width))[: self.width]
        return text + self.suffix


def short_columns(line_format: str) -> tuple[str, list[Column]]:
    """The text before the first column of --format, and the columns."""
    matches = list(_SHORT.finditer(line_format))
    ends = [match.start() for match in matches[1:]] + [len(line_format)]
    columns = [
        Column(match[3], int(match[2] or 0), bool(match[1]), line_format[match.end() : end])
        for match, end in zip(matches, ends, strict=True)
    ]
    return line_format[: matches[0].start()] if matches else line_format, columns


def long_columns(line_format: str, names: Mapping[str, str]) -> list[Column]:
    """The columns of --Format; `names` has the names that it knows. Raises RefusedError."""
    columns = []
    for part in line_format.split(","):
        match = _LONG.fullmatch(part)
        if not match or match[1] not in names:
            raise RefusedError(f"Invalid field requested: {part!r}: the toy queue knows {', '.join(names)}")
        columns.append(Column(names[match[1]], int(match[3] or _LONG_WIDTH), bool(match[2]), match[4] or ""))
    return columns


def lines(prefix: str, columns: list[Column], rows: Iterable[Mapping[str, object]]) -> str:
    """A line for each row, which has a value for each column; an unknown column is empty."""
    return "".join(
        prefix + "".join(column.text(row.get(column.name, "")) for column in columns) + "\n" for row in rows
    )


def duration(seconds: float) -> str:
    """A time as squeue prints it: M:SS, H:MM:SS or D-HH:MM:SS."""
    padded = padded_duration(seconds)
    return padded if "-" in padded else re.sub(r"^0(?:0:0?)?", "", padded)


def padded_duration(seconds: float) -> str:
    """A time as scontrol prints it: HH:MM:SS or D-HH:MM:SS."""
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{rest_s:02}"


def moment(seconds: float | None, time_format: str = "") -> str:
    """A time since 1970; `time_format` is SLURM_TIME_FORMAT, "" for the usual one."""
    if not seconds:
        return "N/A"
    return time.strftime(time_format or "%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
