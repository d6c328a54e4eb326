"""The same initiator port logs in again: the old session ends, no other does (RFC 7143 6.3.5)."""
import sys

import initiator

url = sys.argv[1]
_, _, _, lun = initiator.split_url(url)
beside = initiator.open_url(url, name="iqn.2026-11.io.ringsan:beside")
same_name = initiator.open_url(url, isid=b"\x80\0\0\0\0\2")
old = initiator.open_url(url)
for _ in range(20):
    in_flight = [old.submit(lun, bytes.fromhex("280000000000000080") + b"\0", 65536)
                 for _ in range(4)]
    new = initiator.open_url(url)
    try:
        while True:
            old.step()
    except (initiator.Closed, ConnectionResetError):
        pass
    assert in_flight, "commands of the old session may end or not"
    assert new.write(lun, 0, b"n" * 4096).status == 0
    old = new
for session in (beside, same_name, old):
    assert session.nop() == b"ping"
    assert session.read(lun, 0, 8).data == b"n" * 4096
    session.logout()
