"""What a Python program asks of a token through PyKCS11, checked by `cryptography` in software.

Environment: MODULE, LABEL, PIN."""

import hashlib
import os

import PyKCS11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from PyKCS11 import *  # noqa: F403: its constants

DATA = os.urandom(3000)
checks = 0


def check(what, good):
    global checks
    if not good:
        raise AssertionError(what)
    checks += 1
    print("ok ", what)


def refused(what, code, call):
    try:
        call()
    except PyKCS11.PyKCS11Error as error:
        check(f"{what}: {error}", error.value == code)
    else:
        check(what, False)


def rsa_keys(session):
    common = [(CKA_TOKEN, CK_TRUE), (CKA_ID, b"\x41"), (CKA_LABEL, "k-rsa")]
    public, private = session.generateKeyPair(
        common + [(CKA_MODULUS_BITS, 2048), (CKA_PUBLIC_EXPONENT, (1, 0, 1)), (CKA_VERIFY, CK_TRUE), (CKA_ENCRYPT, CK_TRUE)],
        common + [(CKA_PRIVATE, CK_TRUE), (CKA_SIGN, CK_TRUE), (CKA_DECRYPT, CK_TRUE)])
    modulus, exponent = (int.from_bytes(bytes(value)) for value in session.getAttributeValue(public, [CKA_MODULUS, CKA_PUBLIC_EXPONENT]))
    software = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    signature = bytes(session.sign(private, DATA, Mechanism(CKM_SHA256_RSA_PKCS, None)))
    software.verify(signature, DATA, padding.PKCS1v15(), hashes.SHA256())
    check("SHA256_RSA_PKCS", session.verify(public, DATA, signature, Mechanism(CKM_SHA256_RSA_PKCS, None)))
    pss = RSA_PSS_Mechanism(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32)
    signature = bytes(session.sign(private, DATA, pss))
    software.verify(signature, DATA, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    check("SHA256_RSA_PKCS_PSS", session.verify(public, DATA, signature, pss))
    oaep = RSAOAEPMechanism(CKM_SHA_1, CKG_MGF1_SHA1)
    check("OAEP", bytes(session.decrypt(private, session.encrypt(public, b"a secret", oaep), oaep)) == b"a secret")
    sealed = software.encrypt(b"from outside", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    check("OAEP of software", bytes(session.decrypt(private, sealed, oaep)) == b"from outside")
    attributes = session.getAttributeValue(private, [CKA_LABEL, CKA_PRIVATE_EXPONENT, 0xCF534301, CKA_ID])
    check("the others of the batch are read", attributes[0] == "k-rsa" and attributes[1] is None and attributes[2] is None and bytes(attributes[3]) == b"\x41")
    everything = session.getAttributeValue(private, list(PyKCS11.CKA[each] for each in PyKCS11.CKA if isinstance(each, str) and each.startswith("CKA_")))
    check("every attribute that PyKCS11 knows can be asked for", len(everything) > 50)
    return public, private



def curve_keys(session):
    p256 = bytes.fromhex("06082a8648ce3d030107")
    common = [(CKA_TOKEN, CK_FALSE), (CKA_LABEL, "k-ec")]
    public, private = session.generateKeyPair(common + [(CKA_EC_PARAMS, p256)], common + [(CKA_SENSITIVE, CK_TRUE)], MechanismECGENERATEKEYPAIR)
    point = bytes(session.getAttributeValue(public, [CKA_EC_POINT])[0])
    check("the point is a DER octet string", point[:3] == b"\x04\x41\x04" and len(point) == 67)
    software = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[2:])
    digest = hashlib.sha256(DATA).digest()
    signature = bytes(session.sign(private, digest, Mechanism(CKM_ECDSA, None)))
    pair = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    software.verify(pair, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    check("ECDSA", session.verify(public, digest, signature, Mechanism(CKM_ECDSA, None)))
    check("ECDSA of other data", not session.verify(public, hashlib.sha256(b"").digest(), signature, Mechanism(CKM_ECDSA, None)))


def secret_keys(session):
    value = os.urandom(32)
    key = session.createObject([(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_TOKEN, CK_FALSE), (CKA_VALUE, value),
                                (CKA_ENCRYPT, CK_TRUE), (CKA_DECRYPT, CK_TRUE)])
    nonce = os.urandom(12)
    gcm = AES_GCM_Mechanism(nonce, b"header", 128)
    sealed = bytes(session.encrypt(key, DATA, gcm))
    check("GCM as in software", sealed == AESGCM(value).encrypt(nonce, DATA, b"header"))
    check("GCM decrypts", bytes(session.decrypt(key, sealed, gcm)) == DATA)
    broken = sealed[:-1] + bytes([sealed[-1] ^ 1])
    try:
        session.decrypt(key, broken, gcm)
        check("an altered ciphertext", False)
    except PyKCS11.PyKCS11Error as error:
        check(f"an altered ciphertext: {error}", True)
    made = session.generateKey([(CKA_CLASS, CKO_SECRET_KEY), (CKA_TOKEN, CK_FALSE), (CKA_VALUE_LEN, 32), (CKA_ENCRYPT, CK_TRUE), (CKA_DECRYPT, CK_TRUE),
                                (CKA_SENSITIVE, CK_FALSE), (CKA_EXTRACTABLE, CK_TRUE), (CKA_LABEL, "k-aes")])
    check("a generated key's value", len(session.getAttributeValue(made, [CKA_VALUE])[0]) == 32)
    ctr = AES_CTR_Mechanism(128, bytes(16))
    check("CTR", bytes(session.decrypt(made, session.encrypt(made, DATA, ctr), ctr)) == DATA)


def sessions(library, slot, pin):
    refused("a wrong PIN", CKR_PIN_INCORRECT, lambda: library.openSession(slot, CKF_SERIAL_SESSION).login("000000"))
    session = library.openSession(slot, CKF_SERIAL_SESSION)
    session.login(pin)
    refused("a second login", CKR_USER_ALREADY_LOGGED_IN, lambda: session.login(pin))
    refused("creating in a read-only session", CKR_SESSION_READ_ONLY,
            lambda: session.createObject([(CKA_CLASS, CKO_DATA), (CKA_TOKEN, CK_TRUE), (CKA_VALUE, b"x")]))
    session.logout()
    if not os.environ["MODULE"].endswith("libsofthsm2.so"):  # it answers OK
        refused("logging out twice", CKR_USER_NOT_LOGGED_IN, session.logout)
    session.closeSession()


def main():
    library = PyKCS11.PyKCS11Lib()
    library.load(os.environ["MODULE"])
    label, pin = os.environ["LABEL"], os.environ["PIN"]
    slot = next(each for each in library.getSlotList(tokenPresent=True) if library.getTokenInfo(each).label.strip() == label)
    # The last entry is PyKCS11's own, whatever the module lists (1.5.20).
    for mechanism in library.getMechanismList(slot)[:-1]:
        library.getMechanismInfo(slot, mechanism)
    check("every mechanism has its information", True)
    sessions(library, slot, pin)
    session = library.openSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION)
    session.login(pin)
    rsa_keys(session)
    curve_keys(session)
    secret_keys(session)
    check("random bytes", bytes(session.generateRandom(32)) != bytes(session.generateRandom(32)))
    check("a digest", bytes(session.digest(DATA, Mechanism(CKM_SHA256, None))) == hashlib.sha256(DATA).digest())
    for found in session.findObjects([(CKA_LABEL, "k-rsa")]):
        session.destroyObject(found)
    check("destroyed", not session.findObjects([(CKA_LABEL, "k-rsa")]))
    session.logout()
    session.closeSession()
    library.unload()
    library.load(os.environ["MODULE"])
    check("loaded once more", slot in library.getSlotList())
    print(checks, "checks")


main()
