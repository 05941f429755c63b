// What a Node program asks of a token through pkcs11js, checked by Node's own crypto. Environment: MODULE, LABEL, PIN.
const assert = require('assert');
const crypto = require('crypto');
const pkcs11js = require('pkcs11js');

const data = crypto.randomBytes(3000);
let checks = 0;
function check(what, good) {
    assert(good, what);
    checks++;
    console.log('ok ', what);
}
function refused(what, code, call) {
    try {
        call();
    } catch (error) {
        return check(`${what}: ${error.message}`, error.code === code);
    }
    check(what, false);
}

const token = new pkcs11js.PKCS11();
token.load(process.env.MODULE);
token.C_Initialize();
const slot = token.C_GetSlotList(true).find((each) => token.C_GetTokenInfo(each).label.trim() === process.env.LABEL);
check('every mechanism has its information', token.C_GetMechanismList(slot).map((each) => token.C_GetMechanismInfo(slot, each)).length > 20);
const session = token.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
refused('a wrong PIN', pkcs11js.CKR_PIN_INCORRECT, () => token.C_Login(session, pkcs11js.CKU_USER, '000000'));
token.C_Login(session, pkcs11js.CKU_USER, process.env.PIN);

const mechanism = (name, parameter) => ({ mechanism: pkcs11js[name], parameter });
function sign(key, name, parameter, input, length) {
    token.C_SignInit(session, mechanism(name, parameter), key);
    return token.C_Sign(session, input, Buffer.alloc(length));
}
function attribute(object, type) {
    return token.C_GetAttributeValue(session, object, [{ type }])[0].value;
}

function rsa() {
    const keys = token.C_GenerateKeyPair(session, mechanism('CKM_RSA_PKCS_KEY_PAIR_GEN'), [
        { type: pkcs11js.CKA_TOKEN, value: true }, { type: pkcs11js.CKA_LABEL, value: 'js-rsa' }, { type: pkcs11js.CKA_ID, value: Buffer.from([0x51]) },
        { type: pkcs11js.CKA_MODULUS_BITS, value: 2048 }, { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
        { type: pkcs11js.CKA_VERIFY, value: true },
    ], [
        { type: pkcs11js.CKA_TOKEN, value: true }, { type: pkcs11js.CKA_LABEL, value: 'js-rsa' }, { type: pkcs11js.CKA_ID, value: Buffer.from([0x51]) },
        { type: pkcs11js.CKA_SIGN, value: true }, { type: pkcs11js.CKA_DECRYPT, value: true },
    ]);
    const url = (value) => value.toString('base64url');
    const software = crypto.createPublicKey({ format: 'jwk', key: {
        kty: 'RSA', n: url(attribute(keys.publicKey, pkcs11js.CKA_MODULUS)), e: url(attribute(keys.publicKey, pkcs11js.CKA_PUBLIC_EXPONENT)) } });
    for (const hash of ['SHA256', 'SHA384', 'SHA512']) {
        check(`${hash}_RSA_PKCS`, crypto.verify(hash, data, software, sign(keys.privateKey, `CKM_${hash}_RSA_PKCS`, null, data, 512)));
        const length = Number(hash.slice(3)) / 8;
        const parameter = { type: pkcs11js.CK_PARAMS_RSA_PSS, hashAlg: pkcs11js[`CKM_${hash}`], mgf: pkcs11js[`CKG_MGF1_${hash}`], saltLen: length };
        check(`${hash}_RSA_PKCS_PSS`, crypto.verify(hash, data, { key: software, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: length },
            sign(keys.privateKey, `CKM_${hash}_RSA_PKCS_PSS`, parameter, data, 512)));
    }
    const sealed = crypto.publicEncrypt({ key: software, oaepHash: 'sha1' }, Buffer.from('a secret'));
    token.C_DecryptInit(session, mechanism('CKM_RSA_PKCS_OAEP', { type: pkcs11js.CK_PARAMS_RSA_OAEP, hashAlg: pkcs11js.CKM_SHA_1, mgf: pkcs11js.CKG_MGF1_SHA1, source: 1, sourceData: null }), keys.privateKey);
    check('OAEP', token.C_Decrypt(session, sealed, Buffer.alloc(512)).toString() === 'a secret');
    refused('a sensitive value', pkcs11js.CKR_ATTRIBUTE_SENSITIVE, () => attribute(keys.privateKey, pkcs11js.CKA_PRIVATE_EXPONENT));
}

function curve() {
    const keys = token.C_GenerateKeyPair(session, mechanism('CKM_EC_KEY_PAIR_GEN'), [
        { type: pkcs11js.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }, { type: pkcs11js.CKA_VERIFY, value: true },
    ], [{ type: pkcs11js.CKA_SIGN, value: true }, { type: pkcs11js.CKA_DERIVE, value: true }]);
    const point = attribute(keys.publicKey, pkcs11js.CKA_EC_POINT).subarray(2);
    const software = crypto.createPublicKey({ format: 'jwk', key: {
        kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') } });
    const digest = crypto.createHash('sha256').update(data).digest();
    const signature = sign(keys.privateKey, 'CKM_ECDSA', null, digest, 64);
    check('ECDSA', crypto.verify('sha256', data, { key: software, dsaEncoding: 'ieee-p1363' }, signature));
    const other = crypto.createECDH('prime256v1');
    other.generateKeys();
    const secret = token.C_DeriveKey(session, mechanism('CKM_ECDH1_DERIVE', { type: pkcs11js.CK_PARAMS_EC_DH, kdf: 1, publicData: other.getPublicKey() }), keys.privateKey, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY }, { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_GENERIC_SECRET },
        { type: pkcs11js.CKA_VALUE_LEN, value: 32 }, { type: pkcs11js.CKA_SENSITIVE, value: false }, { type: pkcs11js.CKA_EXTRACTABLE, value: true },
    ]);
    check('ECDH', attribute(secret, pkcs11js.CKA_VALUE).equals(other.computeSecret(point)));
}

function aes() {
    const value = crypto.randomBytes(32), iv = crypto.randomBytes(12), aad = Buffer.from('header');
    const key = token.C_CreateObject(session, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY }, { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
        { type: pkcs11js.CKA_VALUE, value }, { type: pkcs11js.CKA_ENCRYPT, value: true }, { type: pkcs11js.CKA_DECRYPT, value: true },
    ]);
    // The layout of the 2.40 headers, with ulIvBits.
    token.C_EncryptInit(session, mechanism('CKM_AES_GCM', { type: pkcs11js.CK_PARAMS_AES_GCM_v240, iv, aad, ivBits: 96, tagBits: 128 }), key);
    const sealed = token.C_Encrypt(session, data, Buffer.alloc(4000));
    const opener = crypto.createDecipheriv('aes-256-gcm', value, iv).setAAD(aad).setAuthTag(sealed.subarray(-16));
    check('GCM as in software', Buffer.concat([opener.update(sealed.subarray(0, -16)), opener.final()]).equals(data));
    token.C_DecryptInit(session, mechanism('CKM_AES_CBC_PAD', Buffer.alloc(16)), key);
    const cipher = crypto.createCipheriv('aes-256-cbc', value, Buffer.alloc(16));
    check('CBC of software', token.C_Decrypt(session, Buffer.concat([cipher.update(data), cipher.final()]), Buffer.alloc(4000)).equals(data));
}

async function promises() {
    token.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }, { type: pkcs11js.CKA_LABEL, value: 'js-rsa' }]);
    const [key] = token.C_FindObjects(session, 10);
    token.C_FindObjectsFinal(session);
    const sessions = [1, 2, 3, 4].map(() => token.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION));
    const signatures = await Promise.all(sessions.map((each) => {
        token.C_SignInit(each, mechanism('CKM_SHA256_RSA_PKCS'), key);
        return token.C_SignAsync(each, data, Buffer.alloc(512));
    }));
    check('four signatures at once', signatures.every((each) => each.equals(signatures[0])));
}

async function main() {
    rsa();
    curve();
    aes();
    await promises();
    check('random bytes', !token.C_GenerateRandom(session, Buffer.alloc(32)).equals(Buffer.alloc(32)));
    token.C_DigestInit(session, mechanism('CKM_SHA256'));
    check('a digest', token.C_Digest(session, data, Buffer.alloc(32)).equals(crypto.createHash('sha256').update(data).digest()));
    token.C_Logout(session);
    token.C_CloseSession(session);
    token.C_Finalize();
    token.close();
    console.log(`${checks} checks`);
}
main().catch((error) => { console.error(error); process.exit(1); });
