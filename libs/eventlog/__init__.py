"""Numbered events of a run or a job, kept for a while, followed from any point by anyone."""

from libs.eventlog.eventlog import EventLog, Whole, Writer

__all__ = ["EventLog", "Whole", "Writer"]
