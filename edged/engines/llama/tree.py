"""Texts as branches of one tree of tokens, so that what they begin with in common is computed once.

Each leaf is a sequence of llama.cpp, and a token belongs to the sequences of all leaves behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edged.engines.llama.model import Context

PREFIX = 0  # the sequence that all others begin with


@dataclass(eq=False)
class Node:
    """A token at its place. `number` counts the nodes of the tree; the root has none."""

    number: int
    token: int
    place: int
    parent: Node | None
    after: dict[int, Node] = field(default_factory=dict)
    sequences: list[int] = field(default_factory=list)


class Tree:
    """Tokens from the place `start` on. Without `shares` each text is a branch of its own, as a state that layers keep cannot branch."""

    def __init__(self, start: int, shares: bool = True) -> None:
        self._shares = shares
        self.nodes: list[Node] = []  # each behind its parent
        self.root = Node(-1, -1, start - 1, None)

    def add(self, node: Node, tokens: Sequence[int]) -> list[Node]:
        """Add tokens behind a node; give theirs."""
        path = []
        for token in tokens:
            after = node.after.get(token) if self._shares else None
            if after is None:
                after = node.after[token] = Node(len(self.nodes), token, node.place + 1, node)
                self.nodes.append(after)
            path.append(after)
            node = after
        return path

    def begin(self, context: Context) -> None:
        """Let each leaf be a sequence that begins with the prefix."""
        leaves = [node for node in self.nodes if not node.after]
        for sequence, leaf in enumerate(leaves, PREFIX + 1):
            above: Node | None = leaf
            while above is not None:
                above.sequences.append(sequence)
                above = above.parent
            context.copy(PREFIX, sequence)

    def decode(self, context: Context, part: slice, wanted: Sequence[int]) -> None:
        """Compute a part of the nodes, those before it being computed; `wanted`: 1 for those that get a row. Errors as `Context.decode`."""
        nodes = self.nodes[part]
        context.decode([node.token for node in nodes], [node.place for node in nodes], [node.sequences for node in nodes], wanted)
