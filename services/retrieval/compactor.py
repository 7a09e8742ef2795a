"""Compacts vectors while nobody waits for it."""

from __future__ import annotations

import threading

from services.retrieval.shelf import Shelf


class Compactor:
    """A thread of its own, so that a graph that takes minutes never holds up the end."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._wanted = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="compact", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look soon whether there is something to compact."""
        self._wanted.set()

    def close(self) -> None:
        """Begin no further compaction."""
        self._ended = True
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended:
                return
            self._shelf.compact()
