"""How many fragments may be in flight: doubled each round trip until the first loss, then one more a window, halved by a loss."""

from __future__ import annotations

from edged.exchange.blobs import MAX_CREDIT, MIN_CREDIT


class Window:
    """`credit` is the number of fragments that may be in flight. Fragments are told apart by the order in which they were asked for."""

    def __init__(self) -> None:
        self.credit = MIN_CREDIT
        self._is_probing = True
        self._clean = 0
        self._cut_before = 0  # what was asked for before this is of a window that was halved already

    def arrived(self) -> None:
        """Count a fragment that came, the first time it was asked for."""
        self._clean += 1
        if self._is_probing or self._clean >= self.credit:
            self._clean = 0
            self.credit = min(MAX_CREDIT, self.credit + 1)

    def lost(self, order: int, next_order: int) -> None:
        """Halve it for a fragment that did not come; once for all that were in flight together."""
        if order >= self._cut_before:
            self.credit = max(MIN_CREDIT, self.credit // 2)
            self._is_probing, self._clean, self._cut_before = False, 0, next_order

    def restart(self) -> None:
        """Begin anew, on a connection of which nothing is known yet."""
        self.credit, self._is_probing, self._clean = MIN_CREDIT, True, 0
