"""Every task management function code (RFC 7143 11.5, 7144) at each iSCSIProtocolLevel, on LUNs that are
there and that are not; what it does to a task that waits for data; nothing of that task afterwards."""
import itertools

import initiator
import scene as s

COMPLETE, NO_TASK, NO_LUN, NO_REASSIGN, NOT_SUPPORTED, SUCCEEDED = 0, 1, 2, 4, 5, 7

# Response by code, for a LUN that is there, one that is not; the others are not supported.
LEVEL_1 = {1: (NO_TASK, NO_TASK), 2: (COMPLETE, NO_LUN), 4: (COMPLETE, NO_LUN),
           5: (COMPLETE, NO_LUN), 6: (COMPLETE, COMPLETE), 8: (NO_REASSIGN, NO_REASSIGN)}
LEVEL_2 = {**LEVEL_1, 9: (COMPLETE, COMPLETE), 10: (COMPLETE, NO_LUN), 11: (COMPLETE, COMPLETE),
           12: (None, NO_LUN)}
COLD_RESET = 7


def codes(scene, level, table):
    peer = scene.session({"iSCSIProtocolLevel": str(level)}, scene.own)
    found, wanted = {}, {}
    for code, (which, lun) in itertools.product(range(128), enumerate((scene.lun, 200))):
        if code == COLD_RESET:
            continue
        answer = table.get(code, (NOT_SUPPORTED, NOT_SUPPORTED))[which]
        # Whether there is an event to tell of depends on what came before.
        if answer is None:
            continue
        wanted[code, lun] = f"function {answer:02x}"
        peer.send(s.function(peer, code, lun))
        found[code, lun] = scene.next(peer)
    scene.equal(f"level {level}: (code, LUN)", {}, {
        key: (wanted[key], found[key]) for key in wanted if wanted[key] != found[key]})
    peer.close()


def on_a_waiting_write(scene):
    """The function is answered though data are due; they are dropped, and the command unanswered."""
    found = {}
    for code in (1, 2, 4, 5, 6, 11):
        peer = scene.session({"iSCSIProtocolLevel": "2"}, scene.own)
        lun = scene.lun
        peer.write(lun, 0, b"0" * 512)
        task, tag, _ = s.start_write(peer, lun, 0, b"1" * 512)
        message = s.function(peer, code, lun, referenced=task.tag, ref_cmd_sn=peer.cmd_sn - 1)
        peer.send(message + s.data_out(peer, task.tag, tag, 0, b"1" * 512))
        found[code] = [scene.next(peer), scene.until_ping(peer)]
        peer.clear_unit_attention(lun)
        if bytes(peer.read(lun, 0, 1).data) != b"0" * 512:
            found[code] += ["the data were written"]
        peer.logout()
    scene.equal("a write that waits for data", dict.fromkeys(found, ["function 00", "ignored"]), found)


def questions(scene):
    peer = scene.session({"iSCSIProtocolLevel": "2"}, scene.own)
    lun = scene.lun
    task, tag, piece = s.start_write(peer, lun, 0, b"Q" * 512)
    answers = (peer.task_management(9, lun, task), peer.task_management(9, lun + 1, task),
               peer.task_management(10, lun), peer.task_management(1, lun + 1, task))
    scene.equal("QUERY TASK, the same with another LUN, QUERY TASK SET, ABORT TASK with another LUN",
                (SUCCEEDED, COMPLETE, SUCCEEDED, NO_TASK), answers)
    peer.send_data_out(task, bytes(8), tag, piece)
    scene.equal("the task is unharmed", 0, peer.wait(task).status)
    scene.equal("and then it is gone", (COMPLETE, COMPLETE, NO_TASK), (
        peer.task_management(9, lun, task), peer.task_management(10, lun),
        peer.task_management(1, lun, task)))
    peer.logout()


def event(scene):
    """QUERY ASYNCHRONOUS EVENT: what is pending stands in bytes 8 to 10 of the answer, and stays pending."""
    peer = scene.session({"iSCSIProtocolLevel": "2"}, scene.own)
    lun = scene.lun
    peer.task_management(5, lun)
    answers = []
    for _ in range(2):
        peer.send(s.function(peer, 12, lun))
        header, _ = peer.receive_pdu()
        peer.take_status_numbers(header, True)
        answers.append((header[2], header[8:16].hex()))
    scene.equal("an event that is pending", [(SUCCEEDED, "0629030000000000")] * 2, answers)
    peer.clear_unit_attention(lun)
    peer.send(s.function(peer, 12, lun))
    header, _ = peer.receive_pdu()
    peer.take_status_numbers(header, True)
    scene.equal("and none", (COMPLETE, bytes(8)), (header[2], header[8:16]))
    peer.logout()


def cold_reset(scene):
    peer, other = scene.session(target=scene.own), scene.session(target=scene.own)
    s.start_write(other, scene.lun, 0, b"C" * 512)
    peer.send(s.function(peer, COLD_RESET))
    scene.equal("TARGET COLD RESET: answered, then every session of the target ends",
                ("function 00", True, True),
                (scene.next(peer), scene.closed(peer), scene.closed(other)))


def storm(scene):
    peer = scene.session(target=scene.own)
    count = 400
    peer.send(b"".join(s.function(peer, (1, 2, 4, 5, 6)[number % 5], tag=number)
                       for number in range(count)))
    found = {scene.next(peer) for _ in range(count)}
    scene.check("a storm: each is answered", found <= {"function 00", "function 01", "function ff"},
                found)
    scene.equal("once", "ignored", scene.until_ping(peer))
    peer.close()


def case(scene):
    codes(scene, 1, LEVEL_1)
    codes(scene, 2, LEVEL_2)
    on_a_waiting_write(scene)
    questions(scene)
    event(scene)
    storm(scene)
    cold_reset(scene)
