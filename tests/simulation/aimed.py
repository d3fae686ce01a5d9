"""Aims: profiles made for one rule each, so that its fault comes in nearly every step and not by luck.

A rule of CHANNELS.md closes one disaster. An aim plays that disaster (`scenes`, `crimes`, `endings`) and,
where the usual invariants do not see it, names the promise that is then checked. The steps of aims are drawn
like all others; which seed stands for which aim is drawn by a generator of its own (`run.plan_of`), so that
older seeds keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from chatserver.store.protocol import StoreSettings
from simulation import crimes, endings, live_scenes, losses, scenes
from simulation.faults import Act
from simulation.world import World

STEPS: Final = 8
"""Of an aim's run: each of its steps is a scene of its own."""


def _nothing(world: World) -> None:
    """No promise of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One profile.

    Attributes:
        acts: The scenes, with weights beside those of what people do anyway.
        meeting: Played in the world of `meeting`, among all devices of two people.
        leaves: How many, if it matters.
        quota: Cells that may wait in one channel, if it matters.
        certificate_day: The last day of the founders' certificates (days since 1970), if it matters.
        at_each_step: A promise, checked after every step.
        at_the_end: A promise, checked when everything has settled.
    """

    acts: Mapping[str, tuple[int, Act]]
    meeting: bool = False
    leaves: int = 0
    quota: int = 0
    certificate_day: int = 0
    at_each_step: Callable[[World], None] = _nothing
    at_the_end: Callable[[World], None] = _nothing

    def prepare(self, world: World) -> None:
        """Before anything happens."""
        world.certificate_day = self.certificate_day or world.certificate_day
        world.at_each_step = self.at_each_step
        world.at_the_end = self.at_the_end

    @property
    def settings(self) -> StoreSettings:
        """Of the relay's store."""
        return StoreSettings(max_cells_per_channel=self.quota) if self.quota else StoreSettings()


def _crime(leaves: int, **acts: crimes.Crime) -> Aim:
    return Aim(
        acts={name: (40, crimes.scene_of(crime)) for name, crime in acts.items()},
        leaves=leaves,
        at_each_step=crimes.nothing_forbidden,
    )


FIRST_AIMS: Final[dict[str, Aim]] = {
    "other-sizes": Aim(acts={"other-sizes": (40, scenes.other_sizes), "odd-cell": (20, scenes.odd_cell)}),
    "hanging": Aim(acts={"hangs": (60, scenes.hangs)}),
    "lost-while-away": Aim(
        acts={"lost-while-away": (60, scenes.lost_while_away)}, at_each_step=scenes.nothing_skipped
    ),
    "busy-return": Aim(acts={"busy-return": (60, scenes.busy_return)}),
    "storing": Aim(
        acts={"dies": (60, scenes.dies_while_storing), "leaves": (30, scenes.leaves_while_storing)}
    ),
    "full": Aim(acts={"full": (60, endings.full_channel)}, leaves=3, quota=8),
    "races": Aim(acts={"races": (80, endings.races)}),
    "squat": Aim(acts={"squat": (40, endings.squat)}),
    "gone": Aim(acts={"gone": (40, endings.gone)}),
    "two-logs": Aim(acts={"two-logs": (60, endings.two_logs)}),
    "after-hole": Aim(acts={"after-hole": (60, endings.after_hole)}),
    "refused-p1": _crime(3, parent_hash=crimes.parent_hash),
    "refused-p2": _crime(
        2,
        uncertified=crimes.uncertified,
        other_capabilities=crimes.other_capabilities,
        others_device=crimes.others_device,
        stranger=crimes.stranger,
    ),
    "refused-p3": _crime(4, throws_out=crimes.throws_out),
    "refused-p4": _crime(4, dethrones=crimes.dethrones),
    "refused-p5": _crime(2, crowd=crimes.crowd, another_name=crimes.another_name),
    "deserted": Aim(acts={"deserts": (60, crimes.deserts)}, leaves=4, at_each_step=crimes.nothing_forbidden),
    "four-times": Aim(acts={"four-times": (60, crimes.four_times)}),
    "quiet-turn": Aim(acts={"quiet-turn": (60, crimes.quiet_turn)}),
    "flag": Aim(acts={"flag": (30, scenes.flag)}),
    "withheld": Aim(acts={"withheld": (60, scenes.withheld)}),
    "two-ends": Aim(acts={"two-ends": (60, endings.two_ends)}),
    "alone": Aim(acts={"alone": (60, endings.alone)}),
    "expired": Aim(acts={"expired": (60, endings.expired)}, certificate_day=20_010),
    "leaving": Aim(acts={"leaving": (80, endings.leaving)}, at_the_end=endings.old_channels_go),
    "adding": Aim(acts={"adding": (60, endings.adds_and_dies)}, leaves=2, at_the_end=endings.all_welcomed),
}
"""By name; a name stands for the same for ever, so that recorded seeds keep their meaning."""
LATER_AIMS: Final[dict[str, Aim]] = {
    "twin-speaks": Aim(acts={"twin-speaks": (40, losses.twin_speaks)}),
    "put-back": Aim(acts={"put-back": (40, losses.put_back)}),
    "deleted-unread": Aim(acts={"deleted-unread": (40, losses.deleted_unread)}),
    "alone-in-turn": Aim(acts={"alone-in-turn": (40, losses.alone_in_turn)}),
    "falls-silent": Aim(acts={"falls-silent": (40, losses.falls_silent)}, leaves=3),
    "blocks": Aim(acts={"blocks": (10, losses.blocks)}),
    "read-and-gone": Aim(acts={"read-and-gone": (40, losses.read_and_gone)}),
    "unflagged": Aim(acts={"unflagged": (40, losses.unflagged)}),
    "live-away": Aim(acts={"live-away": (40, live_scenes.away)}),
    "live-sleeps": Aim(acts={"live-sleeps": (40, live_scenes.sleeps)}),
    "live-withheld": Aim(acts={"live-withheld": (40, live_scenes.withheld)}),
    "live-shifted": Aim(acts={"live-shifted": (40, live_scenes.shifted)}),
    "wishes": Aim(acts={"wishes": (40, live_scenes.wishes)}),
    "crooked": Aim(acts={"crooked": (40, live_scenes.crooked)}, leaves=3, meeting=True),
    "two-join": Aim(acts={"two-join": (40, live_scenes.two_join)}, leaves=4, meeting=True),
}
"""Drawn by a generator of their own, so that older seeds keep their meaning."""
AIMS: Final = FIRST_AIMS | LATER_AIMS
