"""Which kind a piece of a recorded text is of, where its row says so: the column ``kinds``, from names to pieces.

It knows rows and characters; it does not know what the kinds are for.
"""

from __future__ import annotations

from collections.abc import Mapping

from togi.types import Task

KINDS = "kinds"

Spans = tuple[tuple[int, int], ...]


def kinds_of(task: Task) -> Mapping[str, Spans]:
    """The pieces of each kind, as first and next character of the task's recorded text; none where nobody said.

    Raises ValueError for what names no pieces of the text.
    """
    said = task.info.get(KINDS)
    if said is None:
        return {}
    length = len(task.recorded[0][-1].content) if task.recorded else 0
    if not isinstance(said, Mapping):
        raise ValueError(_wanted(task, said))
    found: dict[str, Spans] = {}
    for name, pieces in said.items():
        if not isinstance(pieces, list | tuple) or not all(_is_piece(piece, length) for piece in pieces):
            raise ValueError(_wanted(task, {name: pieces}))
        found[str(name)] = tuple((int(first), int(following)) for first, following in pieces)
    return found


def _is_piece(piece: object, length: int) -> bool:
    if not isinstance(piece, list | tuple) or len(piece) != 2 or any(type(end) is not int for end in piece):
        return False
    first, following = piece
    return bool(0 <= first < following <= length)


def _wanted(task: Task, got: object) -> str:
    return (
        f'task {task.id}: "{KINDS}" names pieces of the text by their first character and the one after their last, '
        f'such as {{"hard": [[6, 8]]}}; got {str(got)[:200]}'
    )
