"""Memory is given back when the process has grown, and not otherwise."""

from __future__ import annotations

import pytest

from togi.models import allocator
from togi.models.allocator import Growth


def test_memory_is_given_back_only_after_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    held, released = iter([100, 150, 151, 200, 160, 161, 200]), []
    monkeypatch.setattr(allocator, "_resident_bytes", lambda: next(held))
    monkeypatch.setattr(allocator, "release_freed_memory", lambda: not released.append(None))
    growth = Growth()
    # What a step takes is known one step after memory was given back: 150 first, then 160.
    assert [growth.release_if_grown() for _ in range(7)] == [True, False, False, True, False, False, True]
    assert len(released) == 3


def test_a_system_that_does_not_say_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_resident_bytes", lambda: 0)
    assert not Growth().release_if_grown()


def test_resident_memory_is_a_process_s_own() -> None:
    assert allocator._resident_bytes() > 1e7
