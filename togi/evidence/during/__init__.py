"""While a stage trains: signals over its metrics and rollouts, alarms with attempts that show them, when to stop."""

from togi.evidence.during.alarms import Alarm, Watching, readings, watched
from togi.evidence.during.signal_level import Reading
from togi.evidence.during.signals import SIGNALS
from togi.evidence.during.step_measures import watch_metrics

__all__ = ["SIGNALS", "Alarm", "Reading", "Watching", "readings", "watch_metrics", "watched"]
