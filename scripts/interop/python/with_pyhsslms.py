"""HSS key pairs and signatures that a token makes through PyKCS11, verified by pyhsslms in software.

Environment: MODULE, LABEL, PIN."""

import os
import struct

import pyhsslms
from PyKCS11 import CKA_SIGN, CKA_TOKEN, CKA_VALUE, CKA_VERIFY, CKF_RW_SESSION, CKF_SERIAL_SESSION, Mechanism, PyKCS11Lib

# PKCS#11 3.2's, which PyKCS11 does not name yet.
CKM_HSS_KEY_PAIR_GEN, CKM_HSS = 0x4032, 0x4033
CKA_HSS_LEVELS, CKA_HSS_LMS_TYPES, CKA_HSS_LMOTS_TYPES = 0x617, 0x61A, 0x61B

# LMS and LM-OTS types of each level, the top first (RFC 8554; SP 800-208): trees of height 5 with each hash function, one of height 10,
# each Winternitz parameter, levels of several kinds.
KEYS = [
    [(5, 1)],
    [(10, 8)],
    [(15, 11)],
    [(20, 16)],
    [(6, 3)],
    [(5, 2), (5, 3)],
    [(15, 10)] * 4,
]


def words(numbers):
    return b"".join(struct.pack("=Q", number) for number in numbers)


library = PyKCS11Lib()
library.load(os.environ["MODULE"])
slot = next(s for s in library.getSlotList(tokenPresent=True) if library.getTokenInfo(s).label.strip() == os.environ["LABEL"])
session = library.openSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION)
session.login(os.environ["PIN"])
for levels in KEYS:
    private = [
        (CKA_TOKEN, False),
        (CKA_SIGN, True),
        (CKA_HSS_LEVELS, words([len(levels)])),
        (CKA_HSS_LMS_TYPES, words(tree for tree, _ in levels)),
        (CKA_HSS_LMOTS_TYPES, words(one_time for _, one_time in levels)),
    ]
    public = [(CKA_TOKEN, False), (CKA_VERIFY, True)]
    public, private = session.generateKeyPair(public, private, mecha=Mechanism(CKM_HSS_KEY_PAIR_GEN, None))
    outside = pyhsslms.HssPublicKey.deserialize(bytes(session.getAttributeValue(public, [CKA_VALUE])[0]))
    # Of several levels so many that the lowest tree is used up, and the next one's root is signed.
    count = 34 if len(levels) > 1 else 3
    for number in range(count):
        message = os.urandom(1 + 7 * number)
        signature = bytes(session.sign(private, message, Mechanism(CKM_HSS, None)))
        assert outside.verify(message, signature), (levels, number)
    assert not outside.verify(message + b"x", signature), levels
    print("ok ", levels, count, "signatures of", len(signature), "bytes")
