"""What SPC-4 5.13 says of persistent reservations and SPC-2 5.5 of RESERVE and RELEASE, as a value, and
whether a history agrees with it.

Written from the standard's text and nothing else: the judge of reservations.py. A nexus is a pair of
initiator port name and target port. A history is a list of events of several nexuses, each with the
times at which its command was sent and its answer came. What RESERVE reserved ends with the session, so
the loss of one is an event, too: from the end of the connection to the next login.

PERSISTENT RESERVE IN and OUT, RESERVE and RELEASE must agree with one order of all of them in which each stands between its
sending and its answer; where the answer was lost it stands anywhere later, or nowhere. Other commands
do not join that order: SPC-4 5.13.11.2.4.3 lets a command that meets a PERSISTENT RESERVE OUT under way
see the reservation before it or after it, each nexus for itself. So each nexus has a view, which moves
along the order, never back, and has to have moved when the answer is there.
"""
from typing import NamedTuple

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = 1, 3, 5, 6, 7, 8
TYPES = (WE, EA, WE_RO, EA_RO, WE_AR, EA_AR)
NEVER = float("inf")

GOOD, CONFLICT, LOST = "good", "conflict", "lost"
BAD_CDB, BAD_LIST, BAD_RELEASE = "05/24/00", "05/26/00", "05/26/04"
POWER_ON = "06/29/00"
PREEMPTED_RESERVATION, PREEMPTED_REGISTRATION, RELEASED = "06/2a/03", "06/2a/05", "06/2a/04"
ATTENTIONS = (POWER_ON, PREEMPTED_RESERVATION, PREEMPTED_REGISTRATION, RELEASED)
# Kinds of events that stand in the one order.
ORDERED = ("in", "out", "reserve", "release", "loss")


class State(NamedTuple):
    generation: int = 0
    type: int = 0
    holder: tuple = None
    keys: tuple = ()  # Sorted pairs of nexus and key.
    reserved: tuple = None  # Who holds RESERVE(6) or (10).

    def holds(self, nexus):
        registered = nexus in dict(self.keys)
        return self.type != 0 and registered and (self.type in (WE_AR, EA_AR)
                                                  or self.holder == nexus)

    def shuts_out(self, nexus):
        """RESERVE of another."""
        return self.reserved not in (None, nexus)

    def includes(self, nexus):
        """SPC-4 5.13.3: RESERVE and RELEASE of such a nexus succeed, and do nothing."""
        return self.holds(nexus) or (self.type not in (0, WE, EA) and nexus in dict(self.keys))

    def allows(self, nexus, write):
        if self.shuts_out(nexus):
            return False
        if self.type == 0 or (not write and self.type in (WE, WE_RO, WE_AR)):
            return True
        if self.type in (WE, EA):
            return self.holder == nexus
        return nexus in dict(self.keys)


class Out(NamedTuple):
    """A PERSISTENT RESERVE OUT."""
    nexus: tuple
    action: int
    key: int = 0
    action_key: int = 0
    type: int = 0
    all_ports: bool = False
    names: tuple = None  # SPEC_I_PT
    to: tuple = None     # REGISTER AND MOVE
    unregister: bool = False
    aptpl: bool = False


class Change:
    """One command at work on a state."""

    def __init__(self, state, out, ports):
        self.out, self.ports, self.old = out, ports, state
        self.keys = dict(state.keys)
        self.type, self.holder = state.type, state.holder
        self.counts = False
        self.told = {}

    def tell(self, attention):
        for nexus in self.keys:
            if nexus != self.out.nexus:
                self.told.setdefault(nexus, set()).add(attention)

    def free(self):
        self.type, self.holder = 0, None

    def remove(self, nexus):
        """A registration goes, and what needs it; True if a reservation went with it."""
        del self.keys[nexus]
        ends = self.type != 0 and (self.holder == nexus if self.type not in (WE_AR, EA_AR)
                                   else not self.keys)
        if ends:
            self.free()
        return ends

    def register_one(self, nexus):
        out = self.out
        if nexus not in self.keys:
            if out.action == REGISTER and nexus == out.nexus and out.key != 0:
                return CONFLICT
            if out.action_key:
                self.keys[nexus] = out.action_key
                self.counts = True
            return GOOD
        if out.action == REGISTER and out.key != self.keys[nexus]:
            return CONFLICT
        self.counts = True
        if out.action_key:
            self.keys[nexus] = out.action_key
            return GOOD
        shared = self.type in (WE_RO, EA_RO)
        if self.remove(nexus) and shared:
            self.tell(RELEASED)
        return GOOD

    def register(self):
        out = self.out
        name, port = out.nexus
        own_ports = [port] + [p for p in self.ports if p != port] if out.all_ports else [port]
        for each in own_ports[:1]:
            if self.register_one((name, each)) != GOOD:
                return CONFLICT
        if out.names is not None and out.nexus in dict(self.old.keys):
            return BAD_LIST
        for each in own_ports[1:]:
            if self.register_one((name, each)) != GOOD:
                return CONFLICT
        if out.names is not None and self.counts:
            for other in out.names:
                for each in own_ports:
                    if other != name and (other, each) in self.keys:
                        return BAD_LIST
                    if other != name:
                        self.keys[(other, each)] = out.action_key
        return GOOD

    def reserve(self):
        if self.out.type not in TYPES:
            return BAD_CDB
        if self.type == 0:
            self.take()
            return GOOD
        same = self.old.holds(self.out.nexus) and self.type == self.out.type
        return GOOD if same else CONFLICT

    def take(self):
        self.type = self.out.type
        self.holder = None if self.type in (WE_AR, EA_AR) else self.out.nexus

    def release(self):
        if not self.old.holds(self.out.nexus):
            return GOOD
        if self.out.type != self.type:
            return BAD_RELEASE
        if self.type in (WE_RO, EA_RO, WE_AR, EA_AR):
            self.tell(RELEASED)
        self.free()
        return GOOD

    def clear(self):
        self.tell(PREEMPTED_RESERVATION)
        self.keys = {}
        self.free()
        self.counts = True
        return GOOD

    def preempt(self):
        out = self.out
        everybody = self.type in (WE_AR, EA_AR)
        if out.action_key == 0 and not everybody:
            return BAD_LIST
        replaces = out.action_key == 0 if everybody else (
            self.type != 0 and self.keys[self.holder] == out.action_key)
        if replaces and out.type not in TYPES:
            return BAD_CDB
        named = [n for n, key in self.keys.items() if out.action_key in (0, key)]
        if not named:
            return CONFLICT
        for nexus in named:
            if nexus != out.nexus:
                self.told.setdefault(nexus, set()).add(PREEMPTED_REGISTRATION)
            if nexus != out.nexus or not replaces:
                self.remove(nexus)
        if replaces:
            if out.type != self.old.type:
                self.tell(RELEASED)
            self.take()
        self.counts = True
        return GOOD

    def move(self):
        out = self.out
        if self.type == 0:
            return BAD_CDB
        if self.holder != out.nexus:
            return CONFLICT
        if out.action_key == 0 or out.to[0] == out.nexus[0] or out.to[1] not in self.ports:
            return BAD_LIST
        self.keys[out.to] = out.action_key
        self.holder = out.to
        if out.unregister:
            self.remove(out.nexus)
        self.counts = True
        return GOOD

    def run(self):
        out = self.out
        if out.action in (REGISTER, IGNORE):
            return self.register()
        if self.keys.get(out.nexus) != out.key:
            return CONFLICT
        return {RESERVE: self.reserve, RELEASE: self.release, CLEAR: self.clear,
                PREEMPT: self.preempt, PREEMPT_AND_ABORT: self.preempt, MOVE: self.move}[out.action]()

    def state(self):
        return State((self.old.generation + self.counts) & 0xFFFFFFFF, self.type, self.holder,
                     tuple(sorted(self.keys.items())))


def apply(state, out, ports):
    """(result, next state, attentions by nexus)"""
    change = Change(state, out, ports)
    result = change.run()
    if result != GOOD:
        return result, state, {}
    return result, change.state(), change.told


def judge_reserve(state, event):
    """RESERVE and RELEASE: (result, next state)"""
    if state.keys:
        return GOOD if state.includes(event.nexus) else CONFLICT, state
    if event.kind == "reserve" and not state.shuts_out(event.nexus):
        return GOOD, state._replace(reserved=event.nexus)
    if event.kind == "reserve":
        return CONFLICT, state
    return GOOD, end_session(state, event.nexus)


def end_session(state, nexus):
    return state._replace(reserved=None) if state.reserved == nexus else state


def outcome(state, event, ports):
    """What an event of the one order makes of a state; as apply."""
    if event.kind == "loss":
        return GOOD, end_session(state, event.nexus), {}
    if event.kind in ("reserve", "release"):
        return *judge_reserve(state, event), {}
    if state.reserved is not None:
        return CONFLICT, state, {}
    return apply(state, event.request, ports)


class Event:
    """One command of a nexus. kind: "out", "in" (request: None, result: GOOD, found: what it read),
    "reserve", "release", "read", "write", "ready", "login"; or the "loss" of its session."""

    def __init__(self, nexus, kind, request=None, sent=0):
        self.nexus, self.kind, self.request, self.sent = nexus, kind, request, sent
        self.answered, self.result, self.found = NEVER, LOST, None
        self.loss = None  # The loss of the session that it came through.

    def is_ordered(self):
        """It takes part in the one order of all nexuses."""
        return self.kind in ORDERED and self.result not in ATTENTIONS and (
            self.kind != "in" or self.result != LOST)

    def __repr__(self):
        return (f"{self.sent}..{self.answered} {self.nexus} {self.kind} {self.request or ''} "
                f"-> {self.result} {self.found if self.kind == 'in' else ''}")


class Step(NamedTuple):
    """A change in the order that was found."""
    event: Event
    state: State
    told: dict


class Judge:
    """Looks for an order that explains a history. looks_max bounds the search."""

    def __init__(self, start, events, ports, looks_max=30000):
        self.start, self.events, self.ports = start, events, ports
        self.ordered = sorted((e for e in events if e.is_ordered()), key=lambda e: e.sent)
        self.left = looks_max
        self.dead = set()
        self.by_nexus = {}
        for event in sorted((e for e in events if e.kind != "loss"), key=lambda e: e.sent):
            self.by_nexus.setdefault(event.nexus, []).append(event)

    def explain(self):
        """The changes of an order that explains everything; None: there is none. Raises where the
        bound is reached."""
        return self.search(self.start)

    def may_be_next(self, index, placed):
        event = self.ordered[index]
        return not placed >> index & 1 and not any(
            not placed >> i & 1 and other.answered < event.sent
            for i, other in enumerate(self.ordered))

    def is_too_late(self, event, placed):
        """What its session sent can reserve nothing when that is gone."""
        return event.kind == "reserve" and event.loss in self.ordered and (
            placed >> self.ordered.index(event.loss) & 1 == 1)

    def place_the_still(self, state, placed):
        """What can change nothing, and agrees with this state, stands here: it hinders no other. Not a
        command that ended well and would change nothing here: elsewhere it may."""
        again = True
        while again:
            again = False
            for i, event in enumerate(self.ordered):
                if not self.may_be_next(i, placed):
                    continue
                if event.kind == "in" and event.result == GOOD:
                    agrees = event.found == state
                elif event.kind == "in":
                    agrees = event.result == CONFLICT and state.reserved is not None
                else:
                    agrees = event.result not in (GOOD, LOST) and event.result == outcome(
                        state, event, self.ports)[0]
                if agrees:
                    placed |= 1 << i
                    again = True
        return placed

    def candidates(self, state, placed):
        for i, event in enumerate(self.ordered):
            if event.kind == "in" or not self.may_be_next(i, placed) or self.is_too_late(event, placed):
                continue
            result, after, told = outcome(state, event, self.ports)
            if event.result == result == GOOD or (event.result == LOST and after != state):
                yield placed | 1 << i, Step(event, after, told)

    def is_complete(self, placed):
        return all(placed >> i & 1 or e.result == LOST for i, e in enumerate(self.ordered))

    def search(self, start):
        """Depth first, with a stack of its own."""
        first = self.place_the_still(start, 0)
        stack = [(start, first, [], self.candidates(start, first))]
        if self.is_complete(first) and self.views_agree([]):
            return []
        while stack:
            state, placed, steps, nexts = stack[-1]
            placed_next, step = next(nexts, (None, None))
            if step is None:
                stack.pop()
                continue
            placed_next = self.place_the_still(step.state, placed_next)
            self.left -= 1
            if self.left == 0:
                raise RuntimeError("too many orders to look at")
            sequence = steps if step.state == state else steps + [step]
            if (placed_next, tuple(s.event for s in sequence)) in self.dead:
                continue
            self.dead.add((placed_next, tuple(s.event for s in sequence)))
            if self.is_complete(placed_next) and self.views_agree(sequence):
                return sequence
            stack.append((step.state, placed_next, sequence,
                          self.candidates(step.state, placed_next)))
        return None

    # -- what each nexus saw --

    def views_agree(self, steps):
        return all(self.view_agrees(nexus, steps) for nexus in self.by_nexus)

    def view_agrees(self, nexus, steps):
        views = {(0, frozenset())}
        for event in self.by_nexus[nexus]:
            low = max((k + 1 for k, s in enumerate(steps) if s.event.answered < event.sent),
                      default=0)
            high = max((k + 1 for k, s in enumerate(steps) if s.event.sent < event.answered),
                       default=0)
            if event.kind == "login":
                views = {(k, frozenset([POWER_ON])) for k in range(low, high + 1)}
                continue
            moved = self.move_views(nexus, views, steps, (low, high))
            views = moved if event.result == LOST else {
                (k, after) for k, pending in moved
                for after in self.meet(event, steps[k - 1].state if k else self.start, pending)}
            if not views:
                return False
        return True

    @staticmethod
    def move_views(nexus, views, steps, bounds):
        low, high = bounds
        reached = set()
        work = list(views)
        while work:
            k, pending = work.pop()
            if (k, pending) in reached or k > high:
                continue
            reached.add((k, pending))
            if k < len(steps):
                more = pending | steps[k].told.get(nexus, set())
                work.append((k + 1, frozenset(more)))
        return {(k, pending) for k, pending in reached if low <= k}

    @staticmethod
    def meet(event, state, pending):
        """The pending attentions after the command, if its result can be."""
        if POWER_ON in pending:
            return [frozenset()] if event.result == POWER_ON else []
        if event.kind in ("read", "write") and not state.allows(event.nexus, event.kind == "write"):
            return [pending] if event.result == CONFLICT else []
        if event.kind in ("in", "out", "ready") and state.shuts_out(event.nexus):
            return [pending] if event.result == CONFLICT else []
        for attention in ATTENTIONS:
            if attention in pending:
                return [pending - {attention}] if event.result == attention else []
        if event.kind in ORDERED or event.result == GOOD:
            return [pending] if event.result not in ATTENTIONS else []
        return []


# -- does the judge judge? --

def history(*rows):
    """Rows: nexus, kind, request, sent, answered, result[, found]"""
    events = []
    for nexus, kind, request, sent, answered, result, *found in rows:
        event = Event(nexus, kind, request, sent)
        event.answered, event.result = answered, result
        event.found = found[0] if found else None
        events.append(event)
    return events


def selftest(report):
    """Histories that are right, and planted ones that must be refused."""
    a, b = ("a", 1), ("b", 1)
    held = State(3, WE, a, ((a, 1), (b, 2)))
    taken = State(4, WE, b, ((b, 2),))
    preempt = Out(b, PREEMPT, 2, 1, WE)
    for name, explains, events in (
            ("a write after the fence", False,
             history((b, "out", preempt, 0, 10, GOOD), (a, "write", None, 11, 12, GOOD))),
            ("a conflict after the fence", True,
             history((b, "out", preempt, 0, 10, GOOD), (a, "write", None, 11, 12, CONFLICT))),
            ("a write during it", True,
             history((b, "out", preempt, 0, 10, GOOD), (a, "write", None, 9, 12, GOOD))),
            ("a write behind a conflict", False,
             history((b, "out", preempt, 0, 10, GOOD), (a, "write", None, 2, 3, CONFLICT),
                     (a, "write", None, 4, 5, GOOD))),
            ("a lost answer that took effect", True,
             history((b, "out", preempt, 0, NEVER, LOST), (a, "in", None, 1, 2, GOOD, held),
                     (b, "in", None, 3, 4, GOOD, taken))),
            ("and was taken back", False,
             history((b, "out", preempt, 0, NEVER, LOST), (b, "in", None, 1, 2, GOOD, taken),
                     (b, "in", None, 3, 4, GOOD, held))),
            ("an attention", True,
             history((b, "out", preempt, 0, 10, GOOD), (a, "read", None, 11, 12,
                                                        PREEMPTED_REGISTRATION),
                     (a, "read", None, 13, 14, GOOD))),
            ("an attention that is missing", False,
             history((b, "out", preempt, 0, 10, GOOD), (a, "read", None, 11, 12, GOOD))),
            ("an attention told twice", False,
             history((b, "out", preempt, 0, 10, GOOD),
                     (a, "read", None, 11, 12, PREEMPTED_REGISTRATION),
                     (a, "read", None, 13, 14, PREEMPTED_REGISTRATION))),
            ("a generation that does not count", False,
             history((b, "out", preempt, 0, 10, GOOD),
                     (b, "in", None, 11, 12, GOOD, taken._replace(generation=3)))),
            ("a command that may have come too early to change anything", True,
             history((b, "out", Out(b, IGNORE, 0, 0), 0, 20, GOOD),
                     (a, "out", Out(a, REGISTER, 1, 3), 0, 10, GOOD),
                     (a, "in", None, 21, 22, GOOD, State(5, WE, a, ((a, 3),))))),
            ("two that both preempt", False,
             history((b, "out", preempt, 0, 10, GOOD),
                     (a, "out", Out(a, PREEMPT, 1, 2, WE), 0, 10, GOOD)))):
        found = Judge(held, events, (1, 2)).explain() is not None
        report(f"the judge: {name}", explains, found)
    selftest_reserve(report, a, b)


def selftest_reserve(report, a, b):
    def of(nexus, kind, sent, answered, result=GOOD, request=None):
        return nexus, kind, request, sent, answered, result

    register = Out(b, REGISTER, 0, 2)
    for name, explains, rows in (
            ("a write beside RESERVE of another", False,
             (of(a, "reserve", 0, 1), of(b, "write", 2, 3))),
            ("one behind RELEASE", True,
             (of(a, "reserve", 0, 1), of(a, "release", 2, 3), of(b, "write", 4, 5))),
            ("RELEASE of another, which frees nothing", False,
             (of(a, "reserve", 0, 1), of(b, "release", 2, 3), of(b, "write", 4, 5))),
            ("RESERVE twice", False, (of(a, "reserve", 0, 1), of(b, "reserve", 0, 1))),
            ("RESERVE that conflicts with nothing", False, (of(a, "reserve", 0, 1, CONFLICT),)),
            ("REGISTER beside RESERVE", False,
             (of(a, "reserve", 0, 1), of(b, "out", 2, 3, GOOD, register))),
            ("RESERVE beside a registration", False,
             (of(b, "out", 0, 1, GOOD, register), of(a, "reserve", 2, 3))),
            ("RESERVE that ends with its session", True,
             (of(a, "reserve", 0, 1), of(a, "loss", 2, 5), of(b, "write", 4, 5))),
            ("and no earlier", False,
             (of(a, "reserve", 0, 1), of(a, "loss", 4, 5), of(b, "write", 2, 3))),
            ("and no later", False,
             (of(a, "reserve", 0, 1), of(a, "loss", 2, 3), of(b, "write", 4, 5, CONFLICT)))):
        found = Judge(State(), history(*rows), (1, 2)).explain() is not None
        report(f"the judge: {name}", explains, found)


if __name__ == "__main__":
    import cases
    selftest(cases.equal)
    cases.end()
