"""The daemon is killed in the middle of what operators do (operators.py), again and again; see kills.sh.

usage: kills.py FOLDER RINGSAN SEED BYTES KILLS LOAD ARGUMENT...

Which moment a kill is to meet is chosen by what was met least, and what it has met is counted by what was found: a
request that got no answer, a job that was shown in a state, a record that was left. LOAD is images/load.

Lines on standard input, each answered by one line that begins with the word behind it; "FAULT ..." instead is the end:

    begin       begun       the daemon runs
    kill PID    killed      operate, and kill it
    look        looked      at what it left: it has ended
    again       compared    it has been started again
    end         ended       jobs are let go, and all is looked at
"""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from operators import (BYTES, FOLDER, IS_LONG, JOBS, KILLS, LOOKS_MAX, PATIENCE_S, RINGSAN, SOCKET, STATE, SWITCHES,
                       SWITCH, Dead, Refused, accuse, ask, backing, begin_job, children, count, cut_names, dice,
                       disks, facts, figures, give_up, hurry, is_spoiled, is_there, layers, load, make_snapshot, met,
                       moment_of, moments, refusals, slow, tidy, took, wrong)

# --- the moment of a kill ---------------------------------------------------------------------------

# Of jobs: asked for, seen to run, seen to end.
WANTS = [*SWITCHES, *(f"{kind} {phase}" for kind in JOBS for phase in ("asked for", "running", "finishing"))]


def running_at_length(disk, kind, now):
    """There may be little to do, and it may have been done."""
    for _ in range(5):
        begin_job(disk, kind, BYTES // 16)
        while job := disk.job_now():
            if job["state"] == "running" and job["moved_bytes"] > 0:
                return now()
            time.sleep(0.002)
        make_snapshot([disk])
        time.sleep(0.05)
    return now()


def seen_to_end(disk, kind, now):
    begin_job(disk, kind, 0)
    while (job := disk.job_now()) and job["state"] != "finishing":
        pass
    now()


def meet(disk, want, now):
    """Have it come to that, and say so."""
    hurry(disk)
    tidy(disk)
    kind, _, phase = want.partition(" ")
    if want in SWITCH:
        SWITCH[want](disk, now)
    elif phase == "asked for":
        begin_job(disk, kind, slow(), now)
    elif phase == "running":
        running_at_length(disk, kind, now)
    else:
        seen_to_end(disk, kind, now)


def step(disk, is_busy):
    """One of what operators do when nobody wants anything."""
    job = disk.job_now()
    if job and (is_busy or dice.random() < 0.5):
        time.sleep(0.03)
    elif job:
        hurry(disk)
    elif is_busy or dice.random() < 0.5:
        tidy(disk)
        begin_job(disk, dice.choice(JOBS), slow())
    else:
        tidy(disk)
        SWITCH[dice.choice(SWITCHES)](disk, lambda: None)


def operate(disk, is_busy, wants, now, over):
    """Until the daemon is gone; `is_busy`: with jobs that take their time."""
    while not over.is_set():
        try:
            with disk.lock:
                if wants:
                    meet(disk, wants.pop(), now)
                else:
                    step(disk, is_busy)
        except Refused as refused:
            count(refusals, re.sub(r"[a-z]*@?[sk]?[0-9]*\.qcow2", "FILE", str(refused)))
            now()
        except Dead:
            return
        time.sleep(dice.uniform(0, 0.01))


def choose_want():
    """The one that was met least."""
    least = min(met[want] for want in WANTS)
    return dice.choice([want for want in WANTS if met[want] == least])


def wait_for_a_job():
    """For a while: jobs come and go."""
    deadline = time.monotonic() + 1
    while not ask("jobs")["jobs"] and time.monotonic() < deadline:
        time.sleep(0.01)


def kill(pid):
    """Operate until it has come to what is wanted, and a moment longer. The jobs that were shown last."""
    want, over, moment = choose_want(), threading.Event(), threading.Event()
    wanted_of, busy, either = dice.sample(disks, 3)
    time.sleep(dice.uniform(0, 0.1))
    threads = [threading.Thread(target=operate, args=arguments) for arguments in (
        (busy, True, [], int, over), (either, dice.random() < 0.5, [], int, over),
        (wanted_of, False, [want], moment.set, over))]
    threads[0].start()
    threads[1].start()
    wait_for_a_job()
    threads[2].start()
    moment.wait(PATIENCE_S)
    jobs = ask("jobs")["jobs"]
    # It has come to that, or is about to, and takes about so long.
    longest = {"running": 0.03, "finishing": 0.005}.get(want.partition(" ")[2], 1.5 * took.get(want, 0.02))
    time.sleep(dice.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    over.set()
    for thread in threads:
        thread.join()
    if not load.broken.wait(PATIENCE_S):
        accuse("the load has not heard of the kill")
    load.broken.clear()
    figures["kills"] += 1
    return jobs


def recorded():
    """Images of jobs that a daemon is to resume."""
    found = {}
    for name in os.listdir(STATE):
        if name.startswith("job-") and "." not in name:
            with open(f"{STATE}/{name}", encoding="utf-8") as file:
                found[re.search("^path (.*)$", file.read(), re.M)[1]] = name
    return found


def note_jobs(jobs):
    """What this kill has met: by the last look before it, and by the records after it."""
    states = {job["image"]: job["state"] for job in jobs}
    figures["jobs met going down"] += sum(job["kind"] == "remove" and job["what"] == job["layer"] for job in jobs)
    records = recorded()
    for disk in disks:
        if disk.job and disk.path in records:
            met[f"{disk.job} {states.get(disk.path, 'starting')}"] += 1
            figures["jobs met"] += 1
        elif disk.job and disk.path in states:
            met[f"{disk.job} {states[disk.path]}"] += 1
            met[f"{disk.job} just ended"] += 1
        if disk.job and disk.path not in records:
            disk.judge("it left no record")
        elif disk.job and disk.canceled:
            accuse(f"{disk.name}: {disk.job} was canceled, and would be resumed")
    figures["kills with a job"] += any(disk.path in records or disk.path in states for disk in disks)


# --- what is left -----------------------------------------------------------------------------------

seen = {}  # File: inode and change of what was looked at last.


def has_changed(name):
    stat = os.stat(f"{FOLDER}/{name}")
    now = (stat.st_ino, stat.st_mtime_ns, stat.st_size, backing(name))
    return seen.get(name) != now and not seen.update({name: now})


def check_consistent(name):
    """Clusters may be leaked (status 3), nothing worse. The last I/O of a process keeps the lock, and may end after it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(["qemu-img", "check", "-q", f"{FOLDER}/{name}"], capture_output=True, text=True)
        if "lock" not in done.stderr or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    figures["images checked"] += 1
    figures["images with leaks"] += done.returncode == 3
    if done.returncode not in (0, 3):
        accuse(f"qemu-img check {name}: {done.stdout[-300:]}{done.stderr[-300:]}")


def look(name):
    """What a snapshot, or a clone of one, holds."""
    source = backing(name) if name.startswith("copy-") else name
    if is_spoiled(source):
        return None
    moment = moment_of(source)
    number = next(disk.number for disk in disks if source.startswith(f"{disk.name}@"))
    done = subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", f"{FOLDER}/{name}",
                           f"{FOLDER}/content"], capture_output=True, text=True)
    if done.returncode != 0:
        return accuse(f"{name} cannot be read: {done.stderr}")
    load.tell(f"check {moment} {number} {FOLDER}/content", "checked")
    figures["looks at snapshots"] += 1
    return None


def look_at_files():
    for disk in disks:
        check_consistent(disk.active)
    changed = [name for name in layers() if has_changed(name)]
    for name in dice.sample(changed, min(len(changed), LOOKS_MAX)):
        check_consistent(name)
        look(name)


def look_at_facts():
    for name, is_so in facts.items():
        if is_there(name) != is_so:
            accuse(f"{name} {'is not there' if is_so else 'is there'}, and was answered to be{'' if is_so else ' gone'}")
    for disk in disks:
        for name in disk.chain():
            if not is_there(name):
                accuse(f"the chain of {disk.name} has no {name}: {disk.chain()}")


def look_at_catalogue():
    """As ringsan reads it, and as the headers say. Who counts as a child is not said where one was being made."""
    done = subprocess.run([RINGSAN, "image", "list", "--json", "--socket", SOCKET, FOLDER],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return accuse(f"ringsan image list: {done.stderr}")
    listed = {image["filename"]: image for image in json.loads(done.stdout)}
    needed, is_cut = children(), cut_names()
    for name in [disk.active for disk in disks] + layers():
        image = listed.get(name, {})
        if image.get("backing-filename", "") != backing(name) or ("problem" in image) > is_spoiled(name):
            accuse(f"{name} is listed as {image}, and based on {backing(name)}")
        if image.get("children") != needed[name] and not is_cut:
            accuse(f"{name} is listed as {image}, and has {needed[name]} children")
    return None


def forget():
    """Clones, and what load knows of snapshots that have gone."""
    for name in layers():
        if name.startswith("copy-"):
            os.unlink(f"{FOLDER}/{name}")
            facts.pop(name, None)
    numbers = {disk.number: disk.name for disk in disks}
    for name, number in sorted(moments):
        file = f"{numbers[number]}@{name}.qcow2"
        if not is_there(file):
            load.tell(f"forget {name} {number}", "forgotten")
            moments.discard((name, number))
            facts.pop(file, None)


def until(question, complaint):
    """A daemon's start is at work beside its answers."""
    deadline = time.monotonic() + PATIENCE_S
    while question():
        if time.monotonic() > deadline:
            return accuse(f"{complaint}: {question()}")
        time.sleep(0.01)
    return None


def is_not_resumed(disk):
    """A record, and no job."""
    return not disk.job_now() and disk.path in recorded()


def go_on():
    """It has been started again."""
    records = recorded()
    answer = load.tell("again", "compared")
    for part in answer.split()[1:]:
        figures[part.split("=")[0]] += int(part.split("=")[1])
    until(cut_names, "what was cut short is not removed")
    for disk in disks:
        if disk.path in records:
            # Whether or not the request was answered.
            disk.is_begun = True
            met[f"resumed {disk.job}"] += 1
            figures["jobs resumed"] += 1
        until(lambda it=disk: is_not_resumed(it), f"the job of {disk.name} is not resumed")
    sizes = {lun["lun"]: lun["size_bytes"] for lun in ask("luns")["luns"]}
    for disk in disks:
        if not disk.sizes[0] <= sizes[disk.number] <= disk.sizes[1]:
            accuse(f"{disk.name} has {sizes[disk.number]} bytes, and should have {disk.sizes}")
        disk.sizes = (sizes[disk.number], sizes[disk.number])


def look_at_log():
    with open(f"{FOLDER}/a/ringsand.log", encoding="utf-8", errors="replace") as file:
        for line in file:
            if re.search("job: .* has failed|cannot be resumed|no record of a job|no LUN has that image|offline", line):
                accuse(line.strip())


# --- the end ------------------------------------------------------------------------------------------


def judge_mix():
    """A run that met little has shown little. Short ones are no more than a glance."""
    floors = {"kills with a job": KILLS // 2}
    if IS_LONG:
        floors = {"kills with a job": KILLS * 8 // 10, "jobs resumed": KILLS // 2, "looks at snapshots": KILLS,
                  "jobs met going down": KILLS // 25}
        floors.update((want, KILLS // 100) for want in WANTS)
    for what, floor in floors.items():
        if figures[what] + met[what] < floor:
            accuse(f"only {figures[what] + met[what]} {what}, and {floor} were to be")


def report():
    """What was done, and what was met."""
    yield ", ".join(f"{number} {what}" for what, number in sorted(figures.items()))
    for kind in (*JOBS, "unlink"):
        phases = [f"{number} {what.removeprefix(kind + ' ')}" for what, number in sorted(met.items())
                  if re.match(f"{kind} [a-z]", what)]
        yield f"met {kind}: {', '.join(phases)}; {met['resumed ' + kind]} resumed"
    yield "met " + ", ".join(f"{kind}: {met[kind]}" for kind in SWITCHES)
    for what, number in refusals.items():
        yield f"{number} {what}"


def end():
    for disk in disks:
        hurry(disk)
    for name in layers():
        look(name)
    look_at_log()
    judge_mix()
    operations = load.tell("stop", "ended")
    load.process.wait()
    for line in report():
        print("figure", line)
    return operations


def serve():
    jobs = []
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "begin":
            load.start(sys.argv[6:])
            answer = "begun"
        elif word == "kill":
            jobs = kill(int(rest[0]))
            answer = "killed"
        elif word == "look":
            note_jobs(jobs)
            look_at_facts()
            look_at_catalogue()
            look_at_files()
            forget()
            answer = "looked"
        elif word == "again":
            go_on()
            answer = "compared"
        else:
            answer = end()
        if wrong:
            answer = "FAULT " + " | ".join(wrong)
        print(answer, flush=True)
        if wrong:
            # The load is not to outlive it.
            load.process.kill()
            return 1
        if word == "end":
            return 0
    return 0


threading.excepthook = lambda failure: (sys.__excepthook__(*failure[:3]), give_up(f"{failure.exc_value!r}"))
sys.exit(serve())
