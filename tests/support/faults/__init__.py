"""Faults for tests: bad networks, processes that freeze or die, servers that fail.

| fault | here |
|---|---|
| delay, jitter, drop, reset, black hole, trickle | `proxy.Proxy` |
| a process that stands still, goes on, dies | `processes` |
| slow and failing calls | `flaky.Flaky` |
| slow first token, stall, overload, broken and cut streams | `tests.support.provider` |
"""
