"""A login request in the full feature phase is rejected (RFC 7143 6.3); the session stays what it is.
One behind the last request of a login is seen by the session, not by the login."""
import scene as s


def case(scene):
    peer = scene.session()
    again = peer.login_pdu({"InitiatorName": "iqn.2026-11.io.ringsan:other", "TargetName": scene.own,
                            "SessionType": "Normal"})
    scene.equal("the second is rejected", "reject 04", scene.after(peer, again))
    scene.equal("the first goes on", b"ping", bytes(peer.nop()))
    peer.logout()
    peer = scene.connect()
    request = peer.login_pdu({"InitiatorName": peer.name, "TargetName": scene.target,
                              "SessionType": "Normal"})
    peer.send(request + request)
    scene.equal("both in one send", ("login 00/00", "reject 04"), (scene.next(peer),
                                                                   scene.next(peer)))
    peer.close()
    discovery = scene.discovery()
    scene.equal("in discovery", "reject 04", scene.after(discovery, again))
    discovery.close()
