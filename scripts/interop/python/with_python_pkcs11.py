"""What a Python program asks of a token through python-pkcs11, checked by `cryptography` in software.

Environment: MODULE, LABEL, PIN."""

import datetime
import hashlib
import os
import threading

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import KDF, MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import decode_ec_public_key, encode_ec_public_key, encode_ecdsa_signature, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key
from pkcs11.util.x509 import decode_x509_certificate

DATA = os.urandom(5000)
IV = os.urandom(16)
# SoftHSM does not know the length of an unwrapped key, among others.
SOFTHSM = os.environ["MODULE"].endswith("libsofthsm2.so")
checks = 0


def check(what, good):
    global checks
    if not good:
        raise AssertionError(what)
    checks += 1
    print("ok ", what)


def refused(what, error, call):
    try:
        call()
    except error:
        check(what, True)
    else:
        check(what, False)


def software_rsa(public):
    return serialization.load_der_public_key(encode_rsa_public_key_info(public))


def encode_rsa_public_key_info(public):
    from asn1crypto.keys import PublicKeyInfo, RSAPublicKey

    return PublicKeyInfo.wrap(RSAPublicKey.load(encode_rsa_public_key(public)), "rsa").dump()


def aes(session):
    key = session.generate_key(KeyType.AES, 256, label="py-aes", store=True, template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False})
    check("CBC with padding", key.decrypt(key.encrypt(DATA, mechanism_param=IV), mechanism_param=IV) == DATA)
    pieces = [DATA[at : at + 1000] for at in range(0, len(DATA), 1000)]
    secret = b"".join(key.encrypt(pieces, mechanism_param=IV))
    check("in pieces the same as at once", secret == key.encrypt(DATA, mechanism_param=IV))
    check("decryption in pieces", b"".join(key.decrypt([secret], mechanism_param=IV)) == DATA)
    refused("the key's value is kept back", pkcs11.AttributeSensitive, lambda: key[Attribute.VALUE])
    check("it is found again", session.get_key(label="py-aes", object_class=ObjectClass.SECRET_KEY).key_length == 256)

    value = os.urandom(32)
    known = session.create_object({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value, Attribute.TOKEN: False})
    software = Cipher(algorithms.AES(value), modes.CBC(IV)).encryptor()
    check("CBC as in software", known.encrypt(DATA[:4992], mechanism=Mechanism.AES_CBC, mechanism_param=IV) == software.update(DATA[:4992]) + software.finalize())
    for length in (16, 24, 32):
        inner = session.create_object({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: DATA[:length],
                                       Attribute.TOKEN: False, Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})
        wrapped = known.wrap_key(inner, mechanism=Mechanism.AES_KEY_WRAP)
        check(f"key wrap of {length} bytes as in software", wrapped == keywrap.aes_key_wrap(value, DATA[:length]))
        back = known.unwrap_key(ObjectClass.SECRET_KEY, KeyType.AES, wrapped, mechanism=Mechanism.AES_KEY_WRAP,
                                template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})
        check("  unwrapped with its length", back[Attribute.VALUE] == DATA[:length] and (SOFTHSM or back[Attribute.VALUE_LEN] == length))
    mac = session.create_object({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.VALUE: value,
                                 Attribute.TOKEN: False, Attribute.SIGN: True, Attribute.VERIFY: True})
    software = hmac.HMAC(value, hashes.SHA256())
    software.update(DATA)
    tag = mac.sign(DATA, mechanism=Mechanism.SHA256_HMAC)
    check("HMAC as in software", tag == software.finalize())
    check("HMAC verifies", mac.verify(DATA, tag, mechanism=Mechanism.SHA256_HMAC))
    check("HMAC of other data does not", not mac.verify(DATA[1:], tag, mechanism=Mechanism.SHA256_HMAC))
    return known


def rsa_keys(session):
    public, private = session.generate_keypair(KeyType.RSA, 2048, label="py-rsa", id=b"\x31", store=True)
    software = software_rsa(public)
    for name, hashed in (("SHA256", hashes.SHA256()), ("SHA384", hashes.SHA384()), ("SHA512", hashes.SHA512())):
        mechanism = Mechanism[name + "_RSA_PKCS"]
        signature = private.sign(DATA, mechanism=mechanism)
        software.verify(signature, DATA, padding.PKCS1v15(), hashed)
        check(f"{name}_RSA_PKCS", public.verify(DATA, signature, mechanism=mechanism))
        pss = Mechanism[name + "_RSA_PKCS_PSS"]
        parameters = (Mechanism[name], MGF[name], hashed.digest_size)
        signature = private.sign(DATA, mechanism=pss, mechanism_param=parameters)
        software.verify(signature, DATA, padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)
        check(f"{name}_RSA_PKCS_PSS", public.verify(DATA, signature, mechanism=pss, mechanism_param=parameters))
        check("  and refuses others", not public.verify(DATA[1:], signature, mechanism=pss, mechanism_param=parameters))
    sealed = software.encrypt(b"a secret", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    check("OAEP by default", private.decrypt(sealed) == b"a secret")
    check("OAEP both ways", private.decrypt(public.encrypt(b"another")) == b"another")
    check("PKCS#1", private.decrypt(software.encrypt(b"a third", padding.PKCS1v15()), mechanism=Mechanism.RSA_PKCS) == b"a third")
    own = rsa.generate_private_key(65537, 2048)
    from pkcs11.util.rsa import decode_rsa_private_key

    der = own.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    imported = session.create_object(decode_rsa_private_key(der) | {Attribute.LABEL: "py-own", Attribute.TOKEN: True})
    own.public_key().verify(imported.sign(DATA, mechanism=Mechanism.SHA256_RSA_PKCS), DATA, padding.PKCS1v15(), hashes.SHA256())
    check("an imported RSA key signs", True)
    return private


def curves(session):
    for curve, kind, hashed in (("secp256r1", ec.SECP256R1(), "sha256"), ("secp384r1", ec.SECP384R1(), "sha384"), ("secp521r1", ec.SECP521R1(), "sha512")):
        domain = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True)
        public, private = domain.generate_keypair(label=f"py-{curve}", store=True, capabilities=None)
        software = serialization.load_der_public_key(encode_ec_public_key(public))
        check(f"{curve}: the public key is read", software.curve.name == kind.name)
        digest = hashlib.new(hashed, DATA).digest()
        signature = private.sign(digest, mechanism=Mechanism.ECDSA)
        software.verify(encode_ecdsa_signature(signature), digest, ec.ECDSA(utils.Prehashed(getattr(hashes, hashed.upper())())))
        check(f"{curve}: ECDSA", public.verify(digest, signature, mechanism=Mechanism.ECDSA))
        agree(session, domain, kind, curve)
        pem = software.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        again = session.create_object(decode_ec_public_key(pem) | {Attribute.TOKEN: False})
        check(f"{curve}: an imported public key verifies", again.verify(digest, signature, mechanism=Mechanism.ECDSA))


def agree(session, domain, kind, curve):
    public, private = domain.generate_keypair(store=False)
    other = ec.generate_private_key(kind)
    point = other.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    secret = private.derive_key(KeyType.GENERIC_SECRET, 256, mechanism_param=(KDF.NULL, None, point),
                                template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})
    expected = other.exchange(ec.ECDH(), serialization.load_der_public_key(encode_ec_public_key(public)))
    # A shorter key is the end of the shared secret: the truncation removes leading bytes.
    check(f"{curve}: ECDH", secret[Attribute.VALUE] == expected[-32:])


def certificate(session):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Interop")])
    now = datetime.datetime(2024, 1, 1)
    der = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
           .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=30)).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    session.create_object(decode_x509_certificate(der) | {Attribute.TOKEN: True, Attribute.LABEL: "py-cert"})
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE, Attribute.LABEL: "py-cert"}))
    check("the certificate is found", len(found) == 1 and found[0][Attribute.VALUE] == der)


def objects(session):
    data = session.create_object({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: "note", Attribute.VALUE: DATA, Attribute.TOKEN: True})
    check("a data object", data[Attribute.VALUE] == DATA)
    copy = data.copy({Attribute.LABEL: "copy"})
    data[Attribute.LABEL] = "renamed"
    labels = {each[Attribute.LABEL] for each in session.get_objects({Attribute.CLASS: ObjectClass.DATA})}
    check("copied and renamed", labels == {"copy", "renamed"})
    copy.destroy()
    data.destroy()
    check("destroyed", not list(session.get_objects({Attribute.CLASS: ObjectClass.DATA})))
    check("random bytes", len(session.generate_random(512)) == 64 and session.generate_random(512) != session.generate_random(512))
    check("a digest", session.digest(DATA, mechanism=Mechanism.SHA256) == hashlib.sha256(DATA).digest())
    check("a digest in pieces", session.digest((DATA[:10], DATA[10:]), mechanism=Mechanism.SHA512) == hashlib.sha512(DATA).digest())


def threads(token, pin):
    wrong = []

    def work(number):
        try:
            with token.open() as session:
                key = session.get_key(label="py-rsa", object_class=ObjectClass.PRIVATE_KEY)
                public = session.get_key(label="py-rsa", object_class=ObjectClass.PUBLIC_KEY)
                for round in range(10):
                    text = f"{number} {round}".encode()
                    assert public.verify(text, key.sign(text, mechanism=Mechanism.SHA256_RSA_PKCS), mechanism=Mechanism.SHA256_RSA_PKCS)
        except Exception as error:
            wrong.append(repr(error))

    with token.open(rw=True, user_pin=pin):
        crowd = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join()
    check(f"80 signatures by 8 threads {wrong}", not wrong)


def main():
    token = pkcs11.lib(os.environ["MODULE"]).get_token(token_label=os.environ["LABEL"])
    pin = os.environ["PIN"]
    refused("a wrong PIN", pkcs11.PinIncorrect, lambda: token.open(user_pin="000000"))
    with token.open(rw=True, user_pin=pin) as session:
        aes(session)
        rsa_keys(session)
        curves(session)
        certificate(session)
        objects(session)
        refused("a second login", pkcs11.UserAlreadyLoggedIn, lambda: token.open(user_pin=pin))
    with token.open() as session:
        hidden = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        check("no private key is seen without login", not hidden)
    # python-pkcs11 initialises without asking for locks, and SoftHSM then takes none.
    if not SOFTHSM:
        threads(token, pin)
    print(checks, "checks")


main()
