// What a Node program asks of a token through graphene-pk11, checked by Node's own crypto. Environment: MODULE, LABEL, PIN.
const assert = require('assert');
const crypto = require('crypto');
const graphene = require('graphene-pk11');

const data = crypto.randomBytes(100_000);
let checks = 0;
function check(what, good) {
    assert(good, what);
    checks++;
    console.log('ok ', what);
}

const module_ = graphene.Module.load(process.env.MODULE, 'token');
module_.initialize();
const slots = module_.getSlots(true);
const slot = Array.from({ length: slots.length }, (_, at) => slots.items(at)).find((each) => each.getToken().label.trim() === process.env.LABEL);
const session = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION);
session.login(process.env.PIN);

const secret = session.generateKey(graphene.KeyGenMechanism.AES, { keyType: graphene.KeyType.AES, valueLen: 32, token: false, encrypt: true, decrypt: true });
const algorithm = { name: 'AES_CBC_PAD', params: crypto.randomBytes(16) };
const cipher = session.createCipher(algorithm, secret);
let sealed = cipher.update(data.subarray(0, 1001));
sealed = Buffer.concat([sealed, cipher.update(data.subarray(1001)), cipher.final()]);
const decipher = session.createDecipher(algorithm, secret);
check('AES-CBC in pieces', Buffer.concat([decipher.update(sealed), decipher.final()]).equals(data));

const ec = session.generateKeyPair(graphene.KeyGenMechanism.EC,
    { keyType: graphene.KeyType.EC, token: true, label: 'graphene', id: Buffer.from([0x61]), verify: true, paramsECDSA: graphene.NamedCurve.getByName('secp256r1').value },
    { token: true, label: 'graphene', id: Buffer.from([0x61]), sign: true });
const digest = crypto.createHash('sha256').update(data).digest();
const signature = session.createSign('ECDSA', ec.privateKey).once(digest);
check('ECDSA', session.createVerify('ECDSA', ec.publicKey).once(digest, signature));
check('ECDSA of other data', !session.createVerify('ECDSA', ec.publicKey).once(crypto.randomBytes(32), signature));

const rsa = session.generateKeyPair(graphene.KeyGenMechanism.RSA,
    { keyType: graphene.KeyType.RSA, modulusBits: 2048, publicExponent: Buffer.from([1, 0, 1]), token: false, verify: true },
    { token: false, sign: true });
const signer = session.createSign('SHA256_RSA_PKCS', rsa.privateKey);
for (let at = 0; at < data.length; at += 7001) signer.update(data.subarray(at, at + 7001));
const { modulus, publicExponent } = rsa.publicKey.getAttribute({ modulus: null, publicExponent: null });
const software = crypto.createPublicKey({ format: 'jwk', key: { kty: 'RSA', n: modulus.toString('base64url'), e: publicExponent.toString('base64url') } });
check('RSA in pieces', crypto.verify('sha256', data, software, signer.final()));

const hash = session.createDigest('sha512');
hash.update(data);
check('a digest', hash.final().equals(crypto.createHash('sha512').update(data).digest()));

const found = [];
session.find({ label: 'graphene' }, (object) => { found.push(object.class); });
check('both halves are found during a search', found.includes(graphene.ObjectClass.PRIVATE_KEY) && found.includes(graphene.ObjectClass.PUBLIC_KEY));
check('both are destroyed', session.destroy({ label: 'graphene' }) === 2);

const names = [];
const mechanisms = slot.getMechanisms();
for (let at = 0; at < mechanisms.length; at++) names.push(mechanisms.items(at).name, mechanisms.items(at).flags);
check('every mechanism has its information', names.length > 40);
session.logout();
session.close();
module_.finalize();
console.log(`${checks} checks`);
