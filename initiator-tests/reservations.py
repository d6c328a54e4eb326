#!/usr/bin/env python3
"""Persistent reservations of a running target, seen by four hosts at once.

  fence URL1 URL2                 PREEMPT AND ABORT: nothing of the loser lands behind its answer
  mix URL1 URL2 SECONDS           random commands, RESERVE and RELEASE among them, lost connections;
                                  histories judged
  kill URL1 URL2 PID FILE         the same, ended by kill -9 of the daemon, whose state must be one
                                  that the history allows. Says "killed" and waits for a new daemon
                                  on the same ports. Then the state goes to FILE.
  same URL1 URL2 FILE             the state is that of FILE
  rebooted URL1 URL2 FILE         it is what is left of FILE after a loss of power
  reboot STATE-FILE               a file of reservations as if written before the host's last start

URL1 and URL2 are the LUN by two target ports, 1 and 2. SEED in the environment repeats a run.
"""
import json
import os
import random
import select
import signal
import struct
import sys
import threading
import time

import cases
import pr_model
from initiator import Closed, Initiator, ProtocolError, split_url
from pr_model import (CONFLICT, GOOD, LOST, MOVE, PREEMPT_AND_ABORT, REGISTER, TYPES, Event, Judge,
                      Out, State)

PORTS = (1, 2)
ISID = "800000000001"
COMMANDS_A_ROUND = 9
ANSWER_SECONDS = 30
TASK_ABORTED = 0x40
BLOCKS_EACH = 8


def port_name(number):
    return f"iqn.2026-11.io.ringsan:host-{number},i,0x{ISID}"


# Two hosts on the first target port and one on both.
NEXUSES = ((port_name(0), 1), (port_name(1), 1), (port_name(2), 1), (port_name(2), 2))


# --- bytes ----------------------------------------------------------------------------------------

def transport_id(name):
    text = name.encode() + b"\0"
    text = text.ljust(max(20, len(text) + -len(text) % 4), b"\0")
    return struct.pack(">BBH", 0x45, 0, len(text)) + text


def parameter_list(out):
    keys = struct.pack(">QQ", out.key, out.action_key)
    if out.action == MOVE:
        name = transport_id(out.to[0])
        flags = 2 * out.unregister + out.aptpl
        return keys + struct.pack(">BBHI", 0, flags, out.to[1], len(name)) + name
    flags = out.aptpl + 4 * out.all_ports + 8 * (out.names is not None)
    data = keys + struct.pack(">4xB3x", flags)
    if out.names is not None:
        names = b"".join(transport_id(name) for name in out.names)
        data += struct.pack(">I", len(names)) + names
    return data


def parse_full_status(data):
    generation, length = struct.unpack(">II", data[:8])
    at, keys, holders = 8, [], {}
    while at < 8 + length:
        key, holds, kind, port, more = struct.unpack(">Q4xBB4xHI", data[at:at + 24])
        name = data[at + 28:at + 24 + more].rstrip(b"\0").decode()
        keys.append(((name, port), key))
        if holds & 1:
            holders[(name, port)] = kind
        at += 24 + more
    kind = next(iter(holders.values()), 0)
    holder = next(iter(holders)) if kind and kind < pr_model.WE_AR else None
    return State(generation, kind, holder, tuple(sorted(keys)))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# --- a host -----------------------------------------------------------------------------------------

class Host:
    """One nexus: a session, a thread, and what it has seen."""

    def __init__(self, world, number, url):
        self.world, self.number, self.nexus = world, number, NEXUSES[number]
        self.host, self.port, self.target, self.lun = split_url(url)
        self.random = random.Random(f"{world.seed} {number}")
        self.events, self.session = [], None
        self.stamp, self.stamps = world.first_stamp, {}
        self.error, self.may_reserve, self.lost_at = None, False, 0

    def hang_up(self):
        """Of a daemon that was killed all sessions ended then, whenever that is noticed."""
        self.lost_at = self.lost_at or self.world.killed or time.monotonic_ns()
        self.session.close()

    def is_connected(self):
        return self.session.socket.fileno() >= 0

    def note_loss(self, answered):
        """What the old session reserved has ended with it, by the time that the new one is there."""
        if self.may_reserve:
            loss = Event(self.nexus, "loss", None, self.lost_at)
            loss.answered, loss.result = answered, GOOD
            for event in self.events:
                event.loss = event.loss or loss
            self.events.append(loss)
        self.may_reserve, self.lost_at = False, 0

    def log_in(self):
        """Until it works: the daemon may be on its way down or up."""
        deadline = time.monotonic() + 60
        event = Event(self.nexus, "login", None, time.monotonic_ns())
        while True:
            try:
                self.session = Initiator(self.host, self.port, self.nexus[0].split(",")[0])
                self.session.login(self.target)
                break
            except (OSError, Closed):
                if self.world.over or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        event.answered, event.result = time.monotonic_ns(), GOOD
        self.note_loss(event.answered)
        self.events.append(event)

    def wait(self, task, preempts):
        """True: it has ended. False: a PREEMPT AND ABORT may have ended it, and then no answer comes
        (TAS = 0): one that ended since, or one that nobody waits for any more."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not task.done:
            if time.monotonic() > deadline:
                raise ProtocolError("no answer")
            if select.select([self.session.socket], [], [], 0.1)[0]:
                self.session.step()
            elif self.world.preempts != preempts or self.world.preempt_lost:
                return False
        return True

    def command(self, kind, request, cdb, data_in=0, data_out=b""):
        event = Event(self.nexus, kind, request, time.monotonic_ns())
        self.events.append(event)
        cut = kind != "ready" and self.random.random() < self.world.cuts
        preempts = self.world.preempts
        try:
            task = self.session.submit(self.lun, cdb, data_in, data_out, len(data_out))
            if cut:
                time.sleep(self.random.choice((0, 0, 0.0005, 0.002)))
            elif self.wait(task, preempts):
                if task.status == TASK_ABORTED:  # TAS = 1; it may have taken effect.
                    return event, task
                event.answered = time.monotonic_ns()
                event.result = self.result(task)
                return event, task
        except (Closed, OSError) as why:
            if isinstance(why, TimeoutError):
                raise
        self.hang_up()
        if self.world.killed:
            raise Closed()
        if request is not None and request.action == PREEMPT_AND_ABORT:
            self.world.preempt_lost = True
        self.log_in()
        return event, None

    @staticmethod
    def result(task):
        return {0: GOOD, 0x18: CONFLICT, 2: task.sense_code}.get(task.status, f"status {task.status}")

    # -- commands --

    def out(self, out):
        data = parameter_list(out)
        event, _ = self.command("out", out, struct.pack(">BBBxxIx", 0x5F, out.action, out.type,
                                                        len(data)), 0, data)
        if out.action == PREEMPT_AND_ABORT and event.result == GOOD:
            with self.world.lock:
                self.world.preempts += 1
        return event

    def reserve(self):
        self.may_reserve = True
        return self.command("reserve", None, self.random.choice((b"\x16", b"\x56")).ljust(6, b"\0"))[0]

    def release(self):
        event, _ = self.command("release", None, self.random.choice((b"\x17", b"\x57")).ljust(6, b"\0"))
        self.may_reserve = self.may_reserve and event.result not in (GOOD, CONFLICT)
        return event

    def read_state(self):
        event, task = self.command("in", None, struct.pack(">BB5xHx", 0x5E, 3, 8192), 8192)
        if event.result == GOOD:
            event.found = parse_full_status(bytes(task.data))
            self.world.guess = event.found
        return event

    def write(self):
        self.stamp += 1
        data = struct.pack(">Q", self.stamp) * 64
        event, _ = self.command("write", None, struct.pack(">BBQIBB", 0x8A, 0,
                                                           self.number * BLOCKS_EACH, 1, 0, 0),
                                0, data)
        self.stamps[self.stamp] = event
        return event

    def read(self, number):
        event, task = self.command("read", None, struct.pack(">BBQIBB", 0x88, 0,
                                                             number * BLOCKS_EACH, 1, 0, 0), 512)
        if event.result == GOOD:
            event.found = (number, struct.unpack(">Q", bytes(task.data[:8]))[0])
        return event

    def settle(self):
        """No attention is pending any more; the next one is of what comes."""
        while self.command("ready", None, bytes(6))[0].result != GOOD:
            pass

    # -- at random --

    def some_key(self, guess, own):
        dice = self.random.randrange(8)
        if dice == 0:
            return 0
        if dice < 3 and guess.keys:
            return self.random.choice(guess.keys)[1]
        if dice < 4:
            return self.random.randrange(1, 5)
        return own

    def some_out(self):
        dice, guess = self.random, self.world.guess
        keys = dict(guess.keys)
        own = keys.get(self.nexus, 0)
        action = dice.choice((0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7))
        kind = dice.choice(TYPES) if dice.random() < 0.9 else dice.randrange(16)
        if guess.type and dice.random() < 0.6:
            kind = guess.type
        if action in (0, 6):
            wanted = dice.randrange(1, 5) if dice.random() < 0.8 else 0
            names = None
            if dice.random() < 0.15 and action == REGISTER:
                names = tuple(port_name(n) for n in dice.sample(range(4), dice.randrange(1, 3)))
            return Out(self.nexus, action, own if dice.random() < 0.9 else 3, wanted, 0,
                       dice.random() < 0.2, names, aptpl=dice.random() < 0.5)
        to = (port_name(dice.randrange(4)), dice.choice((1, 1, 2, 2, 3)))
        other = dice.choice(list(keys.values()) or [0])
        return Out(self.nexus, action, own if dice.random() < 0.9 else self.some_key(guess, own),
                   other if dice.random() < 0.6 else self.some_key(guess, own), kind,
                   to=to if action == MOVE else None, unregister=dice.random() < 0.5,
                   aptpl=dice.random() < 0.5)

    def act(self):
        dice = self.random.random()
        if dice < 0.35:
            self.out(self.some_out())
        elif dice < 0.43:
            self.reserve()
        elif dice < 0.50:
            self.release()
        elif dice < 0.62:
            self.read_state()
        elif dice < 0.85:
            self.write()
        else:
            self.read(self.random.randrange(len(NEXUSES)))

    def run(self):
        try:
            for _ in range(COMMANDS_A_ROUND):
                self.act()
        except Closed:
            pass
        except Exception as why:  # pylint: disable=broad-except
            self.error = why


# --- all of them ------------------------------------------------------------------------------------

def describe(start, events):
    """A history for a reader; names cut short."""
    lines = [f"from {start}", *map(repr, sorted(events, key=lambda e: e.sent))]
    return "\n".join(lines).replace("iqn.2026-11.io.ringsan:", "").replace(",i,0x" + ISID, "")


class World:
    def __init__(self, urls, cuts=0.04):
        self.seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
        self.cuts, self.killed, self.over = cuts, 0, False
        self.guess, self.lock, self.preempts = State(), threading.Lock(), 0
        self.preempt_lost = False
        self.first_stamp = time.monotonic_ns()  # Higher than those of earlier runs.
        self.counts = {"commands": 0, "changes": 0, "lost": 0, "conflicts": 0, "attentions": 0,
                       "reserves": 0}
        self.hosts = [Host(self, i, urls[nexus[1] - 1]) for i, nexus in enumerate(NEXUSES)]
        for host in self.hosts:
            host.log_in()

    def clear(self):
        """Nobody is registered any more: RESERVE has its turn."""
        host = self.hosts[0]
        host.settle()
        host.out(Out(host.nexus, pr_model.IGNORE, 0, 1))
        host.out(Out(host.nexus, pr_model.CLEAR, 1))

    def state(self):
        """What everybody agrees on while nobody does anything."""
        cuts, self.cuts = self.cuts, 0
        if cuts > 0 and self.hosts[0].random.random() < 0.4:
            self.clear()
        for host in self.hosts:
            host.settle()
            host.events.clear()
        found = self.hosts[0].read_state().found
        self.hosts[0].events.clear()
        self.cuts = cuts
        return found

    def round(self, at_random_moment=None):
        """One history, from a known state to one that is read; "" or what is wrong."""
        start = self.state()
        threads = [threading.Thread(target=host.run) for host in self.hosts]
        for thread in threads:
            thread.start()
        if at_random_moment:
            at_random_moment()
        for thread in threads:
            thread.join()
        return self.judge(start)

    def judge(self, start):
        events = [event for host in self.hosts for event in host.events]
        for host in self.hosts:
            if host.error:
                return f"host {host.number}: {host.error!r}\n{describe(start, events)}"
        cuts, self.cuts = self.cuts, 0
        for host in self.hosts:
            if self.killed and host.is_connected():
                host.hang_up()
        self.killed, self.preempt_lost = 0, False
        for host in self.hosts:
            if not host.is_connected():
                host.log_in()
        for host in self.hosts:
            while host.may_reserve:
                host.release()
        while self.hosts[0].read_state().result != GOOD:
            pass
        self.cuts = cuts
        events = [event for host in self.hosts for event in host.events]
        try:
            steps = Judge(start, events, PORTS).explain()
        except RuntimeError as why:
            steps, start = None, f"{why}, from {start}"
        if steps is None:
            return f"no order explains this\n{describe(start, events)}"
        self.count(events, steps)
        return self.check_data(events)

    def count(self, events, steps):
        self.counts["commands"] += len(events)
        self.counts["changes"] += len(steps)
        self.counts["reserves"] += sum(s.event.kind == "reserve" for s in steps)
        self.counts["lost"] += sum(e.result == LOST for e in events)
        self.counts["conflicts"] += sum(e.result == CONFLICT for e in events)
        self.counts["attentions"] += sum(e.result in pr_model.ATTENTIONS for e in events)

    def check_data(self, events):
        """A block has one writer: what is read is its last write that was answered, or a later one
        that did not fail."""
        for event in events:
            if event.kind != "read" or event.result != GOOD:
                continue
            number, stamp = event.found
            stamps = self.hosts[number].stamps
            least = max((s for s, w in stamps.items()
                         if w.result == GOOD and w.answered < event.sent), default=0)
            good = stamp <= self.first_stamp or stamp in stamps and (
                stamps[stamp].result in (GOOD, LOST) and stamps[stamp].sent < event.answered)
            if stamp < least or not good:
                return f"read {stamp} of host {number}, at least {least}: {stamps.get(stamp)}"
        return ""

    def close(self):
        for host in self.hosts:
            host.session.close()


# --- what is asked for ------------------------------------------------------------------------------

def mix(url_1, url_2, seconds):
    pr_model.selftest(cases.equal)
    world = World((url_1, url_2))
    end = time.monotonic() + float(seconds)
    rounds, wrong = 0, ""
    for host in world.hosts:
        host.settle()
        while host.write().result != GOOD and rounds == 0 and world.guess.type == 0:
            host.settle()
    while not wrong and (rounds == 0 or time.monotonic() < end):
        wrong = world.round()
        rounds += 1
    world.close()
    print(f"rounds {rounds} {world.counts} SEED={world.seed}")
    cases.check("four hosts, random commands, lost connections: one order explains it", not wrong,
                f"SEED={world.seed} round {rounds}: {wrong}")


def kill(url_1, url_2, pid, path):
    world = World((url_1, url_2))

    def strike():
        time.sleep(world.hosts[0].random.random() * 0.03)
        world.killed = time.monotonic_ns()
        os.kill(int(pid), signal.SIGKILL)
        print("killed", flush=True)

    wrong = world.round(strike)
    cases.check("what kill -9 leaves is explained by what was sent and answered", not wrong,
                f"SEED={world.seed}: {wrong}")
    save(world, path)
    world.close()


def persists(host):
    """PTPL_A: the last valid APTPL bit."""
    task = host.session.command(host.lun, struct.pack(">BB5xHx", 0x5E, 2, 8), 8)
    return bool(task.data[3] & 1)


def save(world, path):
    with open(path, "w", encoding="ascii") as file:
        json.dump([world.state(), persists(world.hosts[0])], file)


def load(path):
    with open(path, encoding="ascii") as file:
        (generation, kind, holder, keys, _), aptpl = json.load(file)
    return State(generation, kind, tuple(holder) if holder else None,
                 tuple((tuple(nexus), key) for nexus, key in keys)), aptpl


def same(url_1, url_2, path):
    world = World((url_1, url_2), cuts=0)
    cases.equal("a restart changes nothing", load(path), (world.state(), persists(world.hosts[0])))
    world.close()


def rebooted(url_1, url_2, path):
    world = World((url_1, url_2), cuts=0)
    state, aptpl = load(path)
    wanted = state._replace(generation=0) if aptpl else State()
    cases.equal(f"a loss of power, APTPL = {int(aptpl)}", wanted, world.state())
    world.close()


def reboot(path):
    with open(path, "rb") as file:
        body = file.read().split(b"crc ")[0]
    at = body.index(b"\nboot ") + 6
    body = body[:at] + (b"1" if body[at:at + 1] == b"0" else b"0") + body[at + 1:]
    with open(path, "wb") as file:
        file.write(body + b"crc %08x\n" % crc32c(body))


# Commands that wait for data, of up to two blocks at the loser's place, which none of them may change.
def waiting_commands(lba):
    ones = b"\xff" * 512
    return (
        ("WRITE(16)", struct.pack(">BBQIBB", 0x8A, 0, lba, 1, 0, 0), ones),
        ("WRITE AND VERIFY(16)", struct.pack(">BBQIBB", 0x8E, 0, lba, 1, 0, 0), ones),
        ("WRITE SAME(16)", struct.pack(">BBQIBB", 0x93, 0, lba, 2, 0, 0), ones),
        ("UNMAP", struct.pack(">BB5xHx", 0x42, 0, 24),
         struct.pack(">HH4xQI4x", 22, 16, lba, 8)),
        ("COMPARE AND WRITE", struct.pack(">BBQ3xBBB", 0x89, 0, lba, 1, 0, 0), b"\x5a" * 512 + ones),
        ("ORWRITE(16)", struct.pack(">BBQIBB", 0x8B, 0, lba, 1, 0, 0), ones))


def register(host, key):
    host.settle()
    return host.out(Out(host.nexus, pr_model.IGNORE, 0, key)).result


def fence_once(world, times):
    """The loser has commands waiting for data and writes on the way to the image."""
    winner, loser = world.hosts[0], world.hosts[3]
    lba = loser.number * BLOCKS_EACH
    session = loser.session
    good = register(loser, 2) == GOOD and register(winner, 1) == GOOD
    winner.settle()
    kind = (pr_model.WE_RO, pr_model.EA_RO)[times % 2]
    # The loser holds it and loses it all.
    good = good and loser.out(Out(loser.nexus, pr_model.RESERVE, 2, 0, kind)).result == GOOD
    good = good and loser.session.write(loser.lun, lba, b"\x5a" * 4096).status == 0
    session.hold_r2ts = True
    waiting = [(name, session.submit(loser.lun, cdb, 0, data))
               for name, cdb, data in waiting_commands(lba)]
    while len(session.held_r2ts) < len(waiting):
        session.step()
    for i in range(8):
        data = bytes([i]) * 512
        session.submit(loser.lun, struct.pack(">BBQIBB", 0x8A, 0, lba + 7, 1, 0, 0), 0, data, 512)
    good = good and winner.out(
        Out(winner.nexus, PREEMPT_AND_ABORT, 1, 2, kind)).result == GOOD
    before = bytes(winner.session.read(winner.lun, lba, 8).data)
    session.release_r2ts()
    session.hold_r2ts = False
    session.nop()
    after = bytes(winner.session.read(winner.lun, lba, 8).data)
    good = good and winner.out(Out(winner.nexus, pr_model.CLEAR, 1)).result == GOOD
    answered = [f"{name}: {task}" for name, task in waiting
                if task.done and task.status != TASK_ABORTED]
    if not good:
        return "the reservation was not moved"
    if before != after or before[:3584] != b"\x5a" * 3584:
        return "something was written"
    return f"not aborted: {answered}" if answered else ""


def fence(url_1, url_2):
    world = World((url_1, url_2), cuts=0)
    wrong = ""
    for times in range(int(os.environ.get("FENCES", "4"))):
        wrong = wrong or fence_once(world, times)
    cases.check("nothing of a loser lands behind the answer to PREEMPT AND ABORT", not wrong, wrong)
    world.close()


if __name__ == "__main__":
    try:
        {f.__name__: f for f in (fence, mix, kill, same, rebooted, reboot)}[sys.argv[1]](
            *sys.argv[2:])
    except (ProtocolError, OSError, Closed) as error:
        cases.check(" ".join(sys.argv[1:2]), False, repr(error))
    cases.end()
