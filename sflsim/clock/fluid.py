"""Transfers as fluids: rates that are max-min fair over shared media, at every instant.

A flow has a rate of its own at most, goes through a trunk (one direction of a server's link) and
perhaps, before it, through a leaf (an access point). It gets the smallest of its own rate, the
leaf's level and the trunk's level. Flows that always get the same share one odometer, so a change
moves only what changes sides, and the next end is the first of one ranking: O(log n) per change.
A leaf whose flows go through several trunks is worked out anew whenever one of their levels
changes. Times are given; knows no events.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isclose

from sflsim.clock.indexed_heap import Ranking
from sflsim.clock.max_min_fair import Pool, Share
from sflsim.clock.virtual_time import Odometer

SAME = 1e-12  # relative: levels that differ by less are equal but for rounding


class Member(Odometer):
    """What takes part in the sharing of a trunk: its flows all get the same."""

    __slots__ = ("trunk", "trunk_share")

    def __init__(self, trunk: Trunk, bound_bytes_per_s: float, now_s: float) -> None:
        super().__init__(now_s)
        self.trunk = trunk
        self.trunk_share: Share[Member] = Share(self, bound_bytes_per_s)


class Trunk(Odometer):
    """One direction of a server's link, `inf` where unlimited; as an odometer it runs at the level."""

    __slots__ = ("flows", "forked", "pool")

    def __init__(self, capacity_bytes_per_s: float, now_s: float = 0.0) -> None:
        super().__init__(now_s)
        self.pool: Pool[Member] = Pool(capacity_bytes_per_s)
        self.flows = 0  # those not settled yet included, which the pool does not know
        self.forked: dict[Leaf, None] = {}
        """Leaves whose flows go through this and other trunks."""

    @property
    def busy(self) -> bool:
        """Whether anything flows through it."""
        return self.flows > 0

    @property
    def used_bytes_per_s(self) -> float:
        """What flows through it now."""
        return self.pool.used


class Cohort(Member):
    """Flows with one and the same rate of their own at most, leaf and trunk."""

    __slots__ = ("cap", "flows", "held", "leaf", "share")

    def __init__(self, cap_bytes_per_s: float, leaf: Leaf | None, trunk: Trunk, now_s: float) -> None:
        super().__init__(trunk, cap_bytes_per_s, now_s)
        self.cap = cap_bytes_per_s
        self.leaf = leaf
        self.share: Share[Cohort] = Share(self, cap_bytes_per_s)  # in the leaf
        self.flows = 0
        self.held = 0  # flows counted in the leaf's branch


class Leaf:
    """An access point, or one direction of it: a capacity that the flows of its clients share."""

    __slots__ = ("branches", "changed", "cohorts", "forks", "pool")

    def __init__(self, capacity_bytes_per_s: float) -> None:
        self.pool: Pool[Cohort] = Pool(capacity_bytes_per_s)
        self.branches: dict[Trunk, Member] = {}
        """Per trunk, the flows that the leaf's level holds back."""
        self.cohorts: dict[Cohort, None] = {}
        self.changed: dict[Cohort, None] = {}  # in number, since it was settled last
        self.forks: dict[Trunk, None] = {}
        """The trunks in use, where there are several."""

    @property
    def busy(self) -> bool:
        """Whether anything flows through it."""
        return any(cohort.flows for cohort in self.cohorts)

    @property
    def used_bytes_per_s(self) -> float:
        """What flows through it now."""
        return sum(cohort.flows * cohort.rate_bytes_per_s for cohort in self.cohorts)

    def take_bounds(self) -> None:
        """Where several trunks are in use, what a flow gets there bounds what it takes of this leaf."""
        cohorts = [cohort for cohort in self.cohorts if cohort.flows]
        trunks = dict.fromkeys(cohort.trunk for cohort in cohorts)
        if len(trunks) < 2 and not self.forks:
            return
        for trunk in self.forks:
            del trunk.forked[self]
        self.forks = trunks if len(trunks) > 1 else {}
        for trunk in self.forks:
            trunk.forked[self] = None
        for cohort in cohorts:
            bound = min(cohort.cap, cohort.trunk.pool.level) if self.forks else cohort.cap
            if bound != cohort.share.bound:
                self.pool.rebound(cohort.share, bound)


class Flow:
    """One transfer on its way; `mark_bytes` is its cohort's reading when all of it has passed."""

    __slots__ = ("cohort", "mark_bytes", "on_end")

    def __init__(self, on_end: Callable[[], None] | None = None) -> None:
        self.on_end = on_end
        self.cohort: Cohort | None = None
        self.mark_bytes = 0.0

    @property
    def rate_bytes_per_s(self) -> float:
        """Its rate now; 0 where it is over."""
        return 0.0 if self.cohort is None else self.cohort.rate_bytes_per_s


class Fluid:
    """All flows and media. After changes, `settle` makes the rates right from that instant on.

    A flow whose own rate is unlimited needs a limited medium on its way.
    """

    def __init__(self) -> None:
        self._cohorts: dict[tuple[float, Leaf | None, Trunk], Cohort] = {}
        self._ends: Ranking[Odometer] = Ranking()
        self._leaves: dict[Leaf, None] = {}  # to be settled
        self._trunks: dict[Trunk, None] = {}

    @property
    def next_s(self) -> float:
        """When the next flow ends if nothing changes before; inf if none does."""
        return self._ends.first_key

    @property
    def flows(self) -> list[Flow]:
        """Every flow that is on its way."""
        return [flow for cohort in self._cohorts.values() for flow in cohort.marks]

    def start(
        self, flow: Flow, size_bytes: float, cap: float, leaf: Leaf | None, trunk: Trunk, now_s: float
    ) -> None:
        """Let a flow of `size_bytes` go on its way, at `cap` byte/s at most."""
        cohort = self._cohorts.get((cap, leaf, trunk))
        if cohort is None:
            cohort = self._cohorts[cap, leaf, trunk] = Cohort(cap, leaf, trunk, now_s)
        flow.cohort = cohort
        flow.mark_bytes = cohort.reading(now_s) + size_bytes
        cohort.marks.set(flow, flow.mark_bytes)
        self._count(cohort, cohort.flows + 1, now_s)
        self._foretell(cohort)

    def stop(self, flow: Flow, now_s: float) -> float:
        """Take a flow out; return the bytes that have not passed."""
        cohort = flow.cohort
        assert cohort is not None
        flow.cohort = None
        cohort.marks.drop(flow)
        left_bytes = max(flow.mark_bytes - cohort.reading(now_s), 0.0)
        self._foretell(cohort)
        self._count(cohort, cohort.flows - 1, now_s)
        return left_bytes

    def ended(self, now_s: float) -> list[Flow]:
        """Take out the flows that have ended by now and return them in the order of their ends."""
        over = []
        while self._ends.first_key <= now_s:
            first: Odometer | Flow = self._ends.first
            while isinstance(first, Odometer):
                first = first.marks.first
            self.stop(first, now_s)
            over.append(first)
        return over

    def resize(self, medium: Leaf | Trunk, capacity_bytes_per_s: float) -> None:
        """Change the capacity of a medium."""
        medium.pool.capacity = capacity_bytes_per_s
        if isinstance(medium, Leaf):
            self._leaves[medium] = None
        else:
            self._trunks[medium] = None

    def settle(self, now_s: float) -> None:
        """Make all rates max-min fair from now on.

        Each medium takes its level from the others' present ones, until none changes: the lowest
        level of all is right after the first time, then the second lowest, and so on.
        """
        while self._leaves or self._trunks:
            while self._leaves:
                self._settle_leaf(self._leaves.popitem()[0], now_s)
            if self._trunks:
                self._settle_trunk(self._trunks.popitem()[0], now_s)

    def _settle_leaf(self, leaf: Leaf, now_s: float) -> None:
        leaf.take_bounds()
        moved = leaf.pool.settle()
        level = leaf.pool.level
        if level < inf:
            for branch in leaf.branches.values():
                self._rebound(branch, level, now_s)
        for cohort in {**dict.fromkeys(share.owner for share in moved), **leaf.changed}:
            self._place(cohort, leaf, now_s)
        leaf.changed.clear()

    def _settle_trunk(self, trunk: Trunk, now_s: float) -> None:
        before = trunk.pool.level
        moved = trunk.pool.settle()
        level = trunk.pool.level
        if level < inf:
            trunk.run(max(level, 0.0), now_s)
        for share in moved:
            self._take_side(share, now_s)
        if level == inf:
            trunk.reset(now_s)  # nobody rides on it
        self._foretell(trunk)
        if not isclose(level, before, rel_tol=SAME):
            self._leaves.update(trunk.forked)

    def _count(self, cohort: Cohort, flows: int, now_s: float) -> None:
        """Change the number of flows of a cohort."""
        cohort.trunk.flows += flows - cohort.flows
        leaf, cohort.flows = cohort.leaf, flows
        if leaf is None:
            self._weigh(cohort, flows, now_s)
            if not flows:
                del self._cohorts[cohort.cap, None, cohort.trunk]
            return
        leaf.pool.weigh(cohort.share, flows)
        leaf.cohorts[cohort] = leaf.changed[cohort] = self._leaves[leaf] = None

    def _place(self, cohort: Cohort, leaf: Leaf, now_s: float) -> None:
        """Let a cohort run along with its leaf's branch if that holds it back; else alone in the trunk."""
        branch = leaf.branches.get(cohort.trunk)
        if branch is None:
            branch = leaf.branches[cohort.trunk] = Member(cohort.trunk, inf, now_s)
        if not branch.trunk_share.weight:
            branch.trunk_share.bound = leaf.pool.level
        held = cohort.flows if cohort.share.held else 0
        weight, cohort.held = branch.trunk_share.weight - cohort.held + held, held
        self._weigh(cohort, cohort.flows - held, now_s)
        self._weigh(branch, weight, now_s)
        if held:
            cohort.ride(branch, now_s)
            self._foretell(cohort)
        if weight:
            self._foretell(branch)
        else:
            branch.reset(now_s)
        if not cohort.flows:
            del leaf.cohorts[cohort], self._cohorts[cohort.cap, leaf, cohort.trunk]

    def _weigh(self, member: Member, weight: int, now_s: float) -> None:
        """Change how many flows a member brings to its trunk."""
        share, trunk = member.trunk_share, member.trunk
        if share.weight == weight:
            return
        entered = not share.weight
        trunk.pool.weigh(share, weight)
        self._trunks[trunk] = None
        if entered:
            self._take_side(share, now_s)
        elif not weight:
            self._ends.drop(member)
            trunk.marks.drop(member)

    def _rebound(self, branch: Member, level: float, now_s: float) -> None:
        """Tell a branch the level of its leaf."""
        share = branch.trunk_share
        if not share.weight or share.bound == level:
            return
        branch.trunk.pool.rebound(share, level)
        self._trunks[branch.trunk] = None
        self._take_side(share, now_s)

    def _take_side(self, share: Share[Member], now_s: float) -> None:
        """Let what a share stands for run at its bound, or along with the trunk."""
        member = share.owner
        if share.held:
            self._ends.drop(member)
            member.ride(member.trunk, now_s)
        else:
            member.run(max(share.bound, 0.0), now_s)
        self._foretell(member)

    def _foretell(self, odometer: Odometer) -> None:
        """Pass on when the first mark of an odometer is reached: to what it rides on, at last to all."""
        below: Odometer | None = odometer
        while below is not None and below.on is not None:
            below = below.pass_on()
        if below is None:
            return
        next_s = below.next_s()
        if next_s < inf:
            self._ends.set(below, next_s)
        else:
            self._ends.drop(below)
