"""What a run can afford: tables made from learned latencies, read in microseconds.

From the end to the start, each step of a run gets a table over the time that is left:
the least loss that can be expected from there on, what to do for it, and the chance that
the first text comes in time (dynamic programming; Bellman, 1957). A plan is a walk
through the tables, and is revised at each step by looking again.
"""
