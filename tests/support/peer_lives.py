"""What groups of ours and another implementation live through, whichever the other one is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from support.peer import Peer, PeerRefused
from support.peer_circle import Circle

Make = Callable[[str], Peer]
"""Makes a member of a kind."""


def life_in_steps(make: Make, creator: str, other: str, *, in_one_commit: bool = True) -> None:
    """Create, add one, add several, update, remove the creator at index 0, re-add, remove from both sides.

    Args:
        make: Makes members.
        creator: Kind of the first member.
        other: Kind of the second.
        in_one_commit: Whether both can add and remove in one commit.
    """
    circle = Circle(make(creator))
    assert circle.change(0, adds=[make(other)]) == [1]
    circle.texts()
    circle.change(1)
    circle.change(0)
    assert circle.change(1, adds=[make(creator), make(other), make(creator)]) == [2, 3, 4]
    circle.texts()
    circle.change(4)
    circle.change(3, removes=[0])
    circle.check_locked_out(circle.removed[-1])
    circle.texts()
    assert circle.change(1, adds=[make(creator)]) == [0]
    circle.texts()
    circle.change(0, removes=[1, 3])
    circle.texts()
    if in_one_commit:
        assert circle.change(2, adds=[make(other), make(other)], removes=[4]) == [1, 3]
    else:
        assert circle.change(2, adds=[make(other), make(other)]) == [1, 3]
        circle.change(3, removes=[4])
    circle.texts()
    circle.change(3, removes=[0, 1, 2])
    assert list(circle.peers) == [3]
    for removed in circle.removed:
        circle.check_locked_out(removed)


def remove_every_index(make: Make, kinds: tuple[str, str], size: int) -> None:
    """Each leaf, 0 and the creator among them, is removed by either side and put back."""
    for first in (0, 1):
        circle = Circle(make(kinds[first]))
        circle.change(0, adds=[make(kinds[(first + n) % 2]) for n in range(1, size)])
        for victim in range(size):
            committer = (victim + 1) % size
            kind = circle.peers[victim].kind
            circle.change(committer, removes=[victim])
            circle.check_locked_out(circle.removed.pop())
            inviter = (victim + 2) % size if size > 2 else committer
            assert circle.admit(inviter, partial(make, kind)) == victim
        circle.texts()


def texts_out_of_order_and_with_losses(circle: Circle) -> None:
    """Each sends nine texts; three are lost, the others come in another order, some come again."""
    for sender in circle.peers:
        sent = [circle.peers[sender].protect(b"text %d" % n, b"data") for n in range(9)]
        for leaf, receiver in circle.peers.items():
            if leaf == sender:
                continue
            for n in (2, 0, 6, 5, 1, 8):  # 3, 4 and 7 are lost
                circle.check_text(receiver.process(sent[n], sender), sender, b"text %d" % n)
            for replayed in (2, 6, 8):
                with pytest.raises(PeerRefused):
                    receiver.process(sent[replayed], sender)
    circle.texts()
    circle.change(1)
    circle.texts()
