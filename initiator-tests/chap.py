"""CHAP for initiator.py: logins with authentication, one-way and mutual, by each algorithm (RFC 7143
12.1.3; the IANA numbers 5 to 8)."""
import hashlib
import os

import initiator

ALGORITHMS = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}


def response(algorithm, identifier, secret, challenge):
    """RFC 1994 4.1: the hash of identifier, secret and challenge."""
    return hashlib.new(ALGORITHMS[algorithm],
                       bytes([identifier]) + secret.encode() + challenge).digest()


def binary(text):
    return bytes.fromhex(text[2:])


class Peer(initiator.Initiator):
    """An initiator that authenticates itself and, where `own` is given, asks the target to."""

    def exchange(self, keys, transit=False):
        """One request of the security stage; the keys of its answer."""
        message = bytearray(self.login_pdu(keys, stage=0, next_stage=1))
        if not transit:
            message[1] = 0
        self.send(bytes(message))
        header, data = self.receive_pdu()
        status = int.from_bytes(header[36:38], "big")
        if status:
            raise initiator.Refused(status)
        self.exp_stat_sn = int.from_bytes(header[24:28], "big") + 1
        return dict(pair.decode().split("=", 1) for pair in data.split(b"\0") if pair)

    def authenticate(self, target, user, algorithms, own=None):
        """The security stage. user and own: (name, secret). The algorithm that was chosen."""
        names = {"InitiatorName": self.name, "TargetName": target, "SessionType": "Normal"}
        answer = self.exchange(dict(names, AuthMethod="CHAP,None"))
        assert answer["AuthMethod"] == "CHAP", answer
        answer = self.exchange({"CHAP_A": algorithms})
        chosen = answer["CHAP_A"]
        keys = {"CHAP_N": user[0], "CHAP_R": "0x" + response(
            chosen, int(answer["CHAP_I"]), user[1], binary(answer["CHAP_C"])).hex()}
        challenge = os.urandom(32)
        if own:
            keys.update(CHAP_I="77", CHAP_C="0x" + challenge.hex())
        answer = self.exchange(keys, transit=True)
        if own:
            assert answer["CHAP_N"] == own[0], answer
            assert binary(answer["CHAP_R"]) == response(chosen, 77, own[1], challenge), "CHAP_R"
        return chosen
