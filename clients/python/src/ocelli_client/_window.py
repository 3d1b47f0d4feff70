"""How many requests of one call are with the server at a time."""

from __future__ import annotations

import threading


class Window:
    """At most `most` requests at a time, and fewer if the server refuses more.

    After a refusal there is room for the requests that are with the server already. Each answer
    adds a part of a place, until there are `most` again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)
        self._running = 0
        self._change = threading.Condition()

    def enter(self) -> None:
        """Waits for a place."""
        with self._change:
            self._wait()

    def leave(self, answered: bool) -> None:
        """Gives the place back."""
        with self._change:
            self._running -= 1
            if answered:
                self._size = min(float(self._most), self._size + 1 / self._size)
            self._change.notify_all()

    def step_back(self) -> bool:
        """After a refusal: waits until one of the others is answered. False if there are none."""
        with self._change:
            if self._running <= 1:
                return False
            self._running -= 1
            self._size = float(self._running)
            self._wait()
            return True

    def _wait(self) -> None:
        self._change.wait_for(lambda: self._running < int(self._size))
        self._running += 1
