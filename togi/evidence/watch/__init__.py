"""Watching a run: signals over a stage's metrics and rollouts, and alarms with the attempts that show them."""

from togi.evidence.watch.alarms import Alarm, Watching, readings, watched
from togi.evidence.watch.measures import watch_metrics
from togi.evidence.watch.reading import Reading
from togi.evidence.watch.signals import SIGNALS

__all__ = ["SIGNALS", "Alarm", "Reading", "Watching", "readings", "watch_metrics", "watched"]
