"""One seed, one run: the plan that a seed stands for, its steps, the calm after them, and the verdict."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final

from crypto.suites import X25519_AES128, CipherSuite
from simulation import aimed, contact, faults, intruder, meeting, oracle
from simulation.contact import ContactWorld
from simulation.faults import Act
from simulation.process import Dead
from simulation.watch import AeadWatch, comparing, watching
from simulation.world import Violation, World

PROFILES: Final = (
    *("honest", "honest", "honest", "store", "store", "lying", "lying"),
    *("vaults", "malice", "removal", "session", "all"),
)
LATER_PROFILES: Final = ("clone", "equivocation", "split", "contact")
"""Drawn by a generator of their own, so that seeds of before keep their meaning."""
LATEST_PROFILES: Final = ("meeting",)
"""Again by a generator of their own, after those."""
INTRUDER: Final = "intruder"
"""Drawn by one more generator, last."""
ALL_PROFILES: Final = tuple(sorted({*PROFILES, *LATER_PROFILES, *LATEST_PROFILES, INTRUDER}))
_OF_DEVICES: Final = {"meeting", *(name for name, aim in aimed.AIMS.items() if aim.meeting)}
"""Profiles played among all devices of two people."""
WORLDS: Final[dict[str, type[World]]] = {
    "contact": ContactWorld,
    **dict.fromkeys(_OF_DEVICES, meeting.MeetingWorld),
    INTRUDER: intruder.IntruderWorld,
}
UNFIT: Final = {"session": {"absent", "clock"}, "meeting": {"absent", "end"}}
"""Faults that keep the profile from what it is for."""
JUDGES: Final[dict[str, ModuleType]] = {
    "contact": contact,
    **dict.fromkeys(_OF_DEVICES, meeting),
    INTRUDER: contact,
}
"""Whose invariants are not those of lines alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a seed stands for, before anything has happened."""

    seed: int
    leaves: int
    steps: int
    pace: float
    profile: str
    kinds: tuple[tuple[str, int, Act], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        kind: Of the violation; empty if there was none.
        digests: Of the events, and of all bytes on all wires.
        happened: Faults that were committed, by kind.
    """

    plan: Plan
    kind: str
    what: str
    trace: tuple[str, ...] = field(repr=False)
    digests: tuple[str, str]
    happened: dict[str, int]
    days: float
    events: int
    seals: int


def plan_of(seed: int, *, leaves: int = 0, steps: int = 0, profile: str = "") -> Plan:
    """What a seed stands for; what is given explicitly wins."""
    dice = random.Random(f"{seed}/plan")
    drawn_leaves = dice.choice([2, 2, 3, 3, 4])
    drawn_steps = dice.choice([8, 15, 15, 30, 30, 60, 120])
    drawn_profile = dice.choice(PROFILES)
    pace = dice.choice([1.0, 20.0, 600.0, 20_000.0])
    later = random.Random(f"{seed}/later")
    if later.random() < 0.4:
        drawn_profile = later.choice(LATER_PROFILES)
    latest = random.Random(f"{seed}/latest")
    if latest.random() < 0.08:
        drawn_profile = latest.choice(LATEST_PROFILES)
    newest = random.Random(f"{seed}/newest")
    if newest.random() < 0.2:
        drawn_profile = newest.choice(sorted(aimed.FIRST_AIMS))
    if random.Random(f"{seed}/intruder").random() < 0.02:
        drawn_profile = INTRUDER
    last = random.Random(f"{seed}/later-aims")
    if last.random() < 0.06:
        drawn_profile = last.choice(sorted(aimed.LATER_AIMS))
    profile = profile or drawn_profile
    aim = aimed.AIMS.get(profile)
    pace = min(pace, 4.0) if profile in {"session", "meeting"} else pace
    kinds = [(name, weight, act) for name, (weight, act) in faults.USUAL.items()]
    optional = dict(faults.SWITCHED)
    for name, (weight, act) in optional.items():
        if dice.random() < 0.5 and name not in UNFIT.get(profile, ()):
            kinds.append((name, weight * dice.choice([1, 1, 3]), act))
    for group, profiles in (
        (faults.STORE, {"store", "all"}),
        (faults.LYING, {"lying", "all"}),
        (faults.VAULTS, {"vaults", "all"}),
        (faults.MALICE, {"malice", "all"}),
        (faults.GHOSTS, {"removal", "all"}),
        (faults.SESSIONS, {"session", "all"}),
        (faults.CLONE, {"clone"}),
        (faults.EQUIVOCATION, {"equivocation"}),
        (faults.SPLIT, {"split"}),
    ):
        if profile in profiles:
            kinds += [(name, weight, act) for name, (weight, act) in group.items()]
    if profile == "meeting":
        kinds += meeting.kinds_of(seed)
    if profile == "contact":
        kinds = list(contact.kinds_of(seed))
    if profile == INTRUDER:
        kinds = list(intruder.kinds_of(seed))
    if aim is not None:
        kinds = [(name, weight, act) for name, (weight, act) in (*faults.USUAL.items(), *aim.acts.items())]
        drawn_leaves, drawn_steps = aim.leaves or drawn_leaves, aimed.STEPS
        pace = min(pace, 600.0)
    return Plan(
        seed=seed,
        leaves=leaves or drawn_leaves,
        steps=steps or drawn_steps,
        pace=pace,
        profile=profile,
        kinds=tuple(kinds),
    )


def simulate(
    plan: Plan,
    *,
    skip: Iterable[int] = (),
    suite: CipherSuite = X25519_AES128,
    store: Path | None = None,
    on_world: Callable[[World], None] = lambda world: None,
) -> Outcome:
    """Run a plan; steps in ``skip`` are left out.

    Returns:
        The outcome; a violation is one, and so is any exception out of the product.
    """
    left_out = frozenset(skip)
    kind = what = ""
    world: World | None = None
    watch = AeadWatch(_complain)
    with watching(watch), comparing(watch, _complain), contact.simulated_network():
        try:
            make = WORLDS.get(plan.profile, World)
            aim = aimed.AIMS.get(plan.profile, aimed.Aim(acts={}))
            world = make(plan.seed, suite=suite, store=store, watch=watch, settings=aim.settings)
            aim.prepare(world)
            on_world(world)
            world.found(plan.leaves)
            for number in range(plan.steps):
                if number in left_out:
                    continue
                _step(world, plan, number)
            judge = _judge_of(plan)
            judge.check_step(world, thorough=True)
            judge.calm_down(world)
            judge.judge(world)
        except Violation as violation:
            kind, what = violation.kind, violation.what
        except (Exception, Dead) as error:  # noqa: BLE001 (whatever comes out of the product is a finding)
            kind, what = f"raised {type(error).__name__}", _place(error)
        finally:
            if world is not None:
                try:
                    world.close()
                except (Exception, Dead) as error:  # noqa: BLE001 (as above)
                    kind, what = kind or f"raised {type(error).__name__}", what or _place(error)
    if world is None:
        raise RuntimeError("no world")
    return Outcome(
        plan=plan,
        kind=kind,
        what=what,
        trace=tuple(world.trace),
        digests=world.digests(),
        happened=dict(world.happened),
        days=(world.now - world.began) / 86_400,
        events=world.events,
        seals=watch.seals,
    )


def _complain(kind: str, what: str) -> None:
    raise Violation(kind, what)


def _step(world: World, plan: Plan, number: int) -> None:
    dice = random.Random(f"{plan.seed}/step/{number}")
    world.run_until(world.now + dice.expovariate(1 / plan.pace))
    kinds = plan.kinds
    chosen = dice.choices(kinds, weights=[weight for _, weight, _ in kinds])[0]
    chosen[2](world, dice)
    world.run_until(world.now + 0.1)
    _judge_of(plan).check_step(world, thorough=number % 8 == 7)


def _judge_of(plan: Plan) -> ModuleType:
    """The invariants of a run: those of lines, of sessions, or of first contacts."""
    return JUDGES.get(plan.profile, oracle)


def _place(error: BaseException) -> str:
    """Where in the product an exception arose."""
    trace = error.__traceback__
    place = "?"
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} at {place}"


def minimise(plan: Plan, kind: str, *, budget: int = 60) -> tuple[int, ...]:
    """The steps that can be left out while the same kind of violation still comes."""
    skip: set[int] = set()
    size = max(1, plan.steps // 2)
    while size >= 1 and budget > 0:
        changed = False
        for first in range(0, plan.steps, size):
            more = set(range(first, min(first + size, plan.steps))) - skip
            if not more or budget <= 0:
                continue
            budget -= 1
            if simulate(plan, skip=skip | more).kind == kind:
                skip |= more
                changed = True
        if size == 1 and not changed:
            break
        size = max(1, size // 2) if size > 1 else (1 if changed else 0)
    return tuple(sorted(skip))
