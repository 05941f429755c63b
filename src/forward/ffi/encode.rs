//! An owned [`Params`] to the `CK_*_PARAMS` that a module reads: the mirror of `abi/params.rs`. Payloads are pointed to, not
//! copied. What the module writes back is read from here after the call.

use std::marker::PhantomData;
use std::ptr::null_mut;

use cryptoki_sys::*;

use super::template::Template;
use crate::mechanism::table::{self, ParamKind};
use crate::token::*;

/// A C structure on the stack, of at most 128 bytes.
struct Block {
    words: [u64; 16],
    len: usize,
}

impl Block {
    fn of<T: Copy>(value: T) -> Block {
        const { assert!(size_of::<T>() <= 128 && align_of::<T>() <= 8) };
        let mut words = [0u64; 16];
        // SAFETY: large enough and aligned, as asserted.
        unsafe { words.as_mut_ptr().cast::<T>().write(value) };
        Block { words, len: size_of::<T>() }
    }
}

/// What stands behind a structure's pointers, where it is not the parameter itself. The heap keeps its place when this is
/// moved.
#[derive(Default)]
struct Behind {
    oaep: Vec<CK_RSA_PKCS_OAEP_PARAMS>,
    blocks: Vec<Block>,
    fields: Vec<CK_PRF_DATA_PARAM>,
    derived: Vec<CK_DERIVED_KEY>,
    templates: Vec<Template>,
    /// Written by the module.
    handles: Vec<CK_OBJECT_HANDLE>,
    material: Vec<CK_SSL3_KEY_MAT_OUT>,
    version: Vec<CK_VERSION>,
    bytes: Vec<Vec<u8>>,
}

/// A mechanism as C reads it, while the [`Mechanism`] lives.
pub(super) struct Encoded<'a> {
    ty: CK_MECHANISM_TYPE,
    form: Form,
    behind: Behind,
    wants: (bool, bool),
    of: PhantomData<&'a Mechanism>,
}

enum Form {
    Nothing,
    Bare(*mut u8, CK_ULONG),
    Block(Block),
}

fn ptr(bytes: &[u8]) -> *mut u8 {
    // Some modules take a pointer that is not NULL for bytes that are there.
    if bytes.is_empty() { null_mut() } else { bytes.as_ptr().cast_mut() }
}

fn len<T>(elements: &[T]) -> CK_ULONG {
    elements.len() as CK_ULONG
}

fn flag(value: bool) -> CK_BBOOL {
    if value { CK_TRUE } else { CK_FALSE }
}

fn oaep(params: &OaepParams) -> CK_RSA_PKCS_OAEP_PARAMS {
    CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: params.hash,
        mgf: params.mgf,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: ptr(&params.label).cast(),
        ulSourceDataLen: len(&params.label),
    }
}

fn randoms(randoms: &TlsRandoms) -> CK_SSL3_RANDOM_DATA {
    CK_SSL3_RANDOM_DATA {
        pClientRandom: ptr(&randoms.client),
        ulClientRandomLen: len(&randoms.client),
        pServerRandom: ptr(&randoms.server),
        ulServerRandomLen: len(&randoms.server),
    }
}

impl<'a> Encoded<'a> {
    /// `short_gcm`: the module knows `CK_GCM_PARAMS` as it was before `ulIvBits`.
    pub(super) fn new(mechanism: &'a Mechanism, short_gcm: bool) -> Encoded<'a> {
        let kind = table::row(mechanism.ty).map(|row| row.params).ok();
        let mut behind = Behind::default();
        let form = form(kind, &mechanism.params, short_gcm, &mut behind);
        let wants = match &mechanism.params {
            Params::TlsKeyMaterial(params) => (params.mac_bits > 0, params.key_bits > 0),
            _ => (false, false),
        };
        Encoded { ty: mechanism.ty, form, behind, wants, of: PhantomData }
    }

    pub(super) fn mechanism(&mut self) -> CK_MECHANISM {
        let (parameter, length) = match &mut self.form {
            Form::Nothing => (null_mut(), 0),
            Form::Bare(ptr, len) => (ptr.cast(), *len),
            Form::Block(block) => (block.words.as_mut_ptr().cast(), block.len as CK_ULONG),
        };
        CK_MECHANISM { mechanism: self.ty, pParameter: parameter, ulParameterLen: length }
    }

    /// Whether `C_DeriveKey` gives a key beside what is in the parameters.
    pub(super) fn beside_key(&self) -> bool {
        self.behind.material.is_empty()
    }

    /// The further keys, and the bytes, that a derivation has put into the parameters.
    pub(super) fn derived(self) -> (Vec<u64>, Vec<Vec<u8>>) {
        let Behind { handles, material, version, bytes, .. } = self.behind;
        let mut further = handles;
        for material in &material {
            let (macs, keys) = self.wants;
            further.extend([material.hClientMacSecret, material.hServerMacSecret].into_iter().filter(|_| macs));
            further.extend([material.hClientKey, material.hServerKey].into_iter().filter(|_| keys));
        }
        let version = version.into_iter().map(|version| vec![version.major, version.minor]);
        (further, bytes.into_iter().chain(version).collect())
    }
}

fn form(kind: Option<ParamKind>, params: &Params, short_gcm: bool, behind: &mut Behind) -> Form {
    match params {
        Params::None => Form::Nothing,
        Params::Iv(bytes) | Params::Opaque(bytes) => Form::Bare(ptr(bytes), len(bytes)),
        Params::Data(bytes) if kind == Some(ParamKind::Integer) => Form::Bare(ptr(bytes), len(bytes)),
        _ => Form::Block(block(kind, params, short_gcm, behind)),
    }
}

fn block(kind: Option<ParamKind>, params: &Params, short_gcm: bool, behind: &mut Behind) -> Block {
    match params {
        Params::Ctr { counter_bits, block } => {
            Block::of(CK_AES_CTR_PARAMS { ulCounterBits: *counter_bits, cb: *block })
        }
        Params::Gcm { iv, aad, tag_bits } => gcm(iv, aad, *tag_bits, short_gcm),
        Params::Ccm { data_len, nonce, aad, mac_len } => Block::of(CK_CCM_PARAMS {
            ulDataLen: *data_len,
            pNonce: ptr(nonce),
            ulNonceLen: len(nonce),
            pAAD: ptr(aad),
            ulAADLen: len(aad),
            ulMACLen: *mac_len,
        }),
        Params::Salsa { block, nonce } => salsa(kind, *block, nonce, behind),
        Params::SalsaAead { nonce, aad } => Block::of(CK_SALSA20_CHACHA20_POLY1305_PARAMS {
            pNonce: ptr(nonce),
            ulNonceLen: len(nonce) * 8,
            pAAD: ptr(aad),
            ulAADLen: len(aad),
        }),
        Params::MacLength(number) | Params::Number(number) => Block::of(*number),
        Params::Object(object) => Block::of(object.0),
        Params::Pss(PssParams { hash, mgf, salt_len }) => {
            Block::of(CK_RSA_PKCS_PSS_PARAMS { hashAlg: *hash, mgf: *mgf, sLen: *salt_len })
        }
        Params::Oaep(params) => Block::of(oaep(params)),
        Params::Ecdh { kdf, shared, public } => Block::of(CK_ECDH1_DERIVE_PARAMS {
            kdf: *kdf,
            ulSharedDataLen: len(shared),
            pSharedData: ptr(shared),
            ulPublicDataLen: len(public),
            pPublicData: ptr(public),
        }),
        Params::Eddsa { prehash, context } => Block::of(CK_EDDSA_PARAMS {
            phFlag: flag(*prehash),
            ulContextDataLen: len(context),
            pContextData: ptr(context),
        }),
        Params::SignContext { hedge, context, hash: None } => Block::of(CK_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: *hedge,
            pContext: ptr(context),
            ulContextLen: len(context),
        }),
        Params::SignContext { hedge, context, hash: Some(hash) } => Block::of(CK_HASH_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: *hedge,
            pContext: ptr(context),
            ulContextLen: len(context),
            hash: *hash,
        }),
        Params::RsaAesWrap { aes_bits, oaep: params } => {
            behind.oaep.push(oaep(params));
            let inner = behind.oaep.as_mut_ptr();
            Block::of(CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: *aes_bits, pOAEPParams: inner })
        }
        Params::EcdhAesWrap { aes_bits, kdf, shared } => Block::of(CK_ECDH_AES_KEY_WRAP_PARAMS {
            ulAESKeyBits: *aes_bits,
            kdf: *kdf,
            ulSharedDataLen: len(shared),
            pSharedData: ptr(shared),
        }),
        Params::Data(data) => Block::of(CK_KEY_DERIVATION_STRING_DATA { pData: ptr(data), ulLen: len(data) }),
        Params::CbcData { iv, data } => cbc_data(iv, data),
        _ => derivation(kind, params, behind),
    }
}

fn gcm(iv: &[u8], aad: &[u8], tag_bits: u64, short: bool) -> Block {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Short(*mut u8, CK_ULONG, *mut u8, CK_ULONG, CK_ULONG);
    if short {
        return Block::of(Short(ptr(iv), len(iv), ptr(aad), len(aad), tag_bits));
    }
    Block::of(CK_GCM_PARAMS {
        pIv: ptr(iv),
        ulIvLen: len(iv),
        ulIvBits: len(iv) * 8,
        pAAD: ptr(aad),
        ulAADLen: len(aad),
        ulTagBits: tag_bits,
    })
}

fn salsa(kind: Option<ParamKind>, number: u64, nonce: &[u8], behind: &mut Behind) -> Block {
    // The counter's bytes are in the ciphers' own order, the lowest first.
    behind.bytes.push(number.to_le_bytes().to_vec());
    let counter = behind.bytes.last_mut().map_or(null_mut(), Vec::as_mut_ptr);
    let (nonce_ptr, nonce_bits) = (ptr(nonce), len(nonce) * 8);
    if kind == Some(ParamKind::Salsa20) {
        return Block::of(CK_SALSA20_PARAMS { pBlockCounter: counter, pNonce: nonce_ptr, ulNonceBits: nonce_bits });
    }
    Block::of(CK_CHACHA20_PARAMS {
        pBlockCounter: counter,
        blockCounterBits: if nonce.len() == 12 { 32 } else { 64 },
        pNonce: nonce_ptr,
        ulNonceBits: nonce_bits,
    })
}

fn cbc_data(iv: &[u8], data: &[u8]) -> Block {
    if let Ok(iv) = <[u8; 8]>::try_from(iv) {
        return Block::of(CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv, pData: ptr(data), length: len(data) });
    }
    let iv = <[u8; 16]>::try_from(iv).unwrap_or_default();
    Block::of(CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv, pData: ptr(data), length: len(data) })
}

fn derivation(kind: Option<ParamKind>, params: &Params, behind: &mut Behind) -> Block {
    match params {
        Params::Hkdf(params) => hkdf(params),
        Params::Pbkdf2(params) => Block::of(CK_PKCS5_PBKD2_PARAMS2 {
            saltSource: CKZ_SALT_SPECIFIED,
            pSaltSourceData: ptr(&params.salt).cast(),
            ulSaltSourceDataLen: len(&params.salt),
            iterations: params.iterations,
            prf: params.prf,
            pPrfData: null_mut(),
            ulPrfDataLen: 0,
            pPassword: ptr(&params.password.0),
            ulPasswordLen: len(&params.password.0),
        }),
        Params::Kbkdf(params) => kbkdf(kind, params, behind),
        Params::TlsMaster(params) => tls_master(params, behind),
        Params::TlsKeyMaterial(params) => key_material(params, behind),
        Params::TlsKdf(params) => Block::of(CK_TLS_KDF_PARAMS {
            prfMechanism: params.prf,
            pLabel: ptr(&params.label),
            ulLabelLength: len(&params.label),
            RandomInfo: randoms(&params.randoms),
            // An empty context is not the same as none.
            pContextData: params.context.as_ref().map_or(null_mut(), |context| context.as_ptr().cast_mut()),
            ulContextDataLength: params.context.as_ref().map_or(0, |context| len(context)),
        }),
        Params::TlsMac(TlsMacParams { prf, length, sender }) => {
            Block::of(CK_TLS_MAC_PARAMS { prfHashMechanism: *prf, ulMacLength: *length, ulServerOrClient: *sender })
        }
        Params::IkePrf(params) => Block::of(CK_IKE_PRF_DERIVE_PARAMS {
            prfMechanism: params.prf,
            bDataAsKey: flag(params.data_as_key),
            bRekey: flag(params.new_key.is_some()),
            pNi: ptr(&params.initiator),
            ulNiLen: len(&params.initiator),
            pNr: ptr(&params.responder),
            ulNrLen: len(&params.responder),
            hNewKey: params.new_key.map_or(CK_INVALID_HANDLE, |key| key.0),
        }),
        Params::Ike1Prf(params) => Block::of(CK_IKE1_PRF_DERIVE_PARAMS {
            prfMechanism: params.prf,
            bHasPrevKey: flag(params.previous.is_some()),
            hKeygxy: params.shared.0,
            hPrevKey: params.previous.map_or(CK_INVALID_HANDLE, |key| key.0),
            pCKYi: ptr(&params.initiator),
            ulCKYiLen: len(&params.initiator),
            pCKYr: ptr(&params.responder),
            ulCKYrLen: len(&params.responder),
            keyNumber: params.number,
        }),
        Params::IkeExpand(params) if kind == Some(ParamKind::Ike1Extended) => {
            Block::of(CK_IKE1_EXTENDED_DERIVE_PARAMS {
                prfMechanism: params.prf,
                bHasKeygxy: flag(params.key.is_some()),
                hKeygxy: params.key.map_or(CK_INVALID_HANDLE, |key| key.0),
                pExtraData: ptr(&params.data),
                ulExtraDataLen: len(&params.data),
            })
        }
        Params::IkeExpand(params) => Block::of(CK_IKE2_PRF_PLUS_DERIVE_PARAMS {
            prfMechanism: params.prf,
            bHasSeedKey: flag(params.key.is_some()),
            hSeedKey: params.key.map_or(CK_INVALID_HANDLE, |key| key.0),
            pSeedData: ptr(&params.data),
            ulSeedDataLen: len(&params.data),
        }),
        Params::Message { message, aad } => wrap_message(kind, message, aad, behind),
        // The other parameters are not those of a derivation.
        _ => Block { words: [0; 16], len: 0 },
    }
}

fn hkdf(params: &HkdfParams) -> Block {
    let (ty, salt, key) = match &params.salt {
        HkdfSalt::None => (CKF_HKDF_SALT_NULL, &[][..], CK_INVALID_HANDLE),
        HkdfSalt::Data(salt) => (CKF_HKDF_SALT_DATA, &salt[..], CK_INVALID_HANDLE),
        HkdfSalt::Key(key) => (CKF_HKDF_SALT_KEY, &[][..], key.0),
    };
    Block::of(CK_HKDF_PARAMS {
        bExtract: flag(params.extract),
        bExpand: flag(params.expand),
        prfHashMechanism: params.hash,
        ulSaltType: ty,
        pSalt: ptr(salt),
        ulSaltLen: len(salt),
        hSaltKey: key,
        pInfo: ptr(&params.info),
        ulInfoLen: len(&params.info),
    })
}

fn kbkdf(kind: Option<ParamKind>, params: &KbkdfParams, behind: &mut Behind) -> Block {
    // All blocks are there before the first pointer into them is taken.
    behind.blocks = params.fields.iter().map(kbkdf_value).collect();
    for (field, block) in params.fields.iter().zip(&mut behind.blocks) {
        let (value, length) = match field {
            KbkdfField::Bytes(bytes) => (ptr(bytes).cast(), len(bytes)),
            _ if block.len == 0 => (null_mut(), 0),
            _ => (block.words.as_mut_ptr().cast(), block.len as CK_ULONG),
        };
        behind.fields.push(CK_PRF_DATA_PARAM { type_: kbkdf_type(field), pValue: value, ulValueLen: length });
    }
    behind.handles = vec![CK_INVALID_HANDLE; params.further.len()];
    behind.templates = params.further.iter().map(|template| Template::new(template)).collect();
    for (template, handle) in behind.templates.iter_mut().zip(&mut behind.handles) {
        let (entries, count) = template.raw();
        behind.derived.push(CK_DERIVED_KEY {
            pTemplate: entries,
            ulAttributeCount: count,
            phKey: std::ptr::from_mut(handle),
        });
    }
    let (fields, field_count) = (behind.fields.as_mut_ptr(), len(&behind.fields));
    let further = if behind.derived.is_empty() { null_mut() } else { behind.derived.as_mut_ptr() };
    if kind == Some(ParamKind::FeedbackKbkdf) {
        return Block::of(CK_SP800_108_FEEDBACK_KDF_PARAMS {
            prfType: params.prf,
            ulNumberOfDataParams: field_count,
            pDataParams: fields,
            ulIVLen: len(&params.iv),
            pIV: ptr(&params.iv),
            ulAdditionalDerivedKeys: len(&behind.derived),
            pAdditionalDerivedKeys: further,
        });
    }
    Block::of(CK_SP800_108_KDF_PARAMS {
        prfType: params.prf,
        ulNumberOfDataParams: field_count,
        pDataParams: fields,
        ulAdditionalDerivedKeys: len(&behind.derived),
        pAdditionalDerivedKeys: further,
    })
}

fn kbkdf_type(field: &KbkdfField) -> CK_PRF_DATA_TYPE {
    match field {
        KbkdfField::Iteration(_) => CK_SP800_108_ITERATION_VARIABLE,
        KbkdfField::Counter(_) => CK_SP800_108_COUNTER,
        KbkdfField::Length { .. } => CK_SP800_108_DKM_LENGTH,
        KbkdfField::Bytes(_) => CK_SP800_108_BYTE_ARRAY,
        KbkdfField::Key(_) => CK_SP800_108_KEY_HANDLE,
    }
}

fn kbkdf_value(field: &KbkdfField) -> Block {
    let number = |format: &NumberFormat| {
        Block::of(CK_SP800_108_COUNTER_FORMAT { bLittleEndian: flag(format.little_endian), ulWidthInBits: format.bits })
    };
    match field {
        KbkdfField::Iteration(None) | KbkdfField::Bytes(_) => Block { words: [0; 16], len: 0 },
        KbkdfField::Iteration(Some(format)) | KbkdfField::Counter(format) => number(format),
        KbkdfField::Length { of_segments, format } => Block::of(CK_SP800_108_DKM_LENGTH_FORMAT {
            dkmLengthMethod: match of_segments {
                true => CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS,
                false => CK_SP800_108_DKM_LENGTH_SUM_OF_KEYS,
            },
            bLittleEndian: flag(format.little_endian),
            ulWidthInBits: format.bits,
        }),
        KbkdfField::Key(key) => Block::of(key.0),
    }
}

fn tls_master(params: &TlsMasterParams, behind: &mut Behind) -> Block {
    if params.wants_version {
        behind.version.push(CK_VERSION { major: 0, minor: 0 });
    }
    let version = if params.wants_version { behind.version.as_mut_ptr() } else { null_mut() };
    match &params.seed {
        TlsSeed::Randoms(seed) => Block::of(CK_TLS12_MASTER_KEY_DERIVE_PARAMS {
            RandomInfo: randoms(seed),
            pVersion: version,
            prfHashMechanism: params.hash,
        }),
        TlsSeed::SessionHash(hash) => Block::of(CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS {
            prfHashMechanism: params.hash,
            pSessionHash: ptr(hash),
            ulSessionHashLen: len(hash),
            pVersion: version,
        }),
    }
}

fn key_material(params: &TlsKeyMaterialParams, behind: &mut Behind) -> Block {
    let iv_len = usize::try_from(params.iv_bits / 8).unwrap_or(0).min(1 << 16);
    behind.bytes = vec![vec![0; iv_len]; if iv_len > 0 { 2 } else { 0 }];
    let mut ivs = behind.bytes.iter_mut().map(Vec::as_mut_ptr);
    let (client, server) = (ivs.next().unwrap_or(null_mut()), ivs.next().unwrap_or(null_mut()));
    behind.material.push(CK_SSL3_KEY_MAT_OUT { pIVClient: client, pIVServer: server, ..Default::default() });
    Block::of(CK_TLS12_KEY_MAT_PARAMS {
        ulMacSizeInBits: params.mac_bits,
        ulKeySizeInBits: params.key_bits,
        ulIVSizeInBits: params.iv_bits,
        bIsExport: flag(params.export),
        RandomInfo: randoms(&params.randoms),
        pReturnedKeyMaterial: behind.material.as_mut_ptr(),
        prfHashMechanism: params.hash,
    })
}

/// `CK_GCM_WRAP_PARAMS` and its kin, for `C_WrapKey`; as an `*Init`'s parameter the same bytes mean a message's.
fn wrap_message(kind: Option<ParamKind>, message: &MessageParams, _aad: &[u8], behind: &mut Behind) -> Block {
    let mut encoded = EncodedMessage::new(kind, message);
    let block = std::mem::replace(&mut encoded.block, Block { words: [0; 16], len: 0 });
    behind.bytes.push(encoded.iv);
    behind.bytes.push(encoded.tag);
    block
}

/// A message's parameters, with places that the module may write to.
pub(super) struct EncodedMessage {
    block: Block,
    iv: Vec<u8>,
    tag: Vec<u8>,
}

impl EncodedMessage {
    pub(super) fn of(ty: CK_MECHANISM_TYPE, message: &MessageParams) -> EncodedMessage {
        EncodedMessage::new(table::row(ty).map(|row| row.params).ok(), message)
    }

    fn new(kind: Option<ParamKind>, message: &MessageParams) -> EncodedMessage {
        let mut iv = message.iv.to_vec();
        let mut tag = message.tag.to_vec();
        tag.resize(message.tag_len, 0);
        let generator = match message.generator {
            Generator::Given => CKG_NO_GENERATE,
            Generator::Any => CKG_GENERATE,
            Generator::Counter => CKG_GENERATE_COUNTER,
            Generator::Random => CKG_GENERATE_RANDOM,
            Generator::CounterXor => CKG_GENERATE_COUNTER_XOR,
        };
        let block = match kind {
            Some(ParamKind::Ccm) => Block::of(CK_CCM_MESSAGE_PARAMS {
                ulDataLen: message.data_len.unwrap_or(0),
                pNonce: iv.as_mut_ptr(),
                ulNonceLen: len(&iv),
                ulNonceFixedBits: message.fixed_bits,
                nonceGenerator: generator,
                pMAC: tag.as_mut_ptr(),
                ulMACLen: len(&tag),
            }),
            Some(ParamKind::SalsaAead) => Block::of(CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS {
                pNonce: iv.as_mut_ptr(),
                ulNonceLen: len(&iv) * 8,
                pTag: tag.as_mut_ptr(),
            }),
            _ => Block::of(CK_GCM_MESSAGE_PARAMS {
                pIv: iv.as_mut_ptr(),
                ulIvLen: len(&iv),
                ulIvFixedBits: message.fixed_bits,
                ivGenerator: generator,
                pTag: tag.as_mut_ptr(),
                ulTagBits: len(&tag) * 8,
            }),
        };
        EncodedMessage { block, iv, tag }
    }

    pub(super) fn raw(&mut self) -> (*mut std::ffi::c_void, CK_ULONG) {
        (self.block.words.as_mut_ptr().cast(), self.block.len as CK_ULONG)
    }

    /// The parameters as the module has left them.
    pub(super) fn after(self, before: &MessageParams) -> MessageParams {
        MessageParams { iv: Bytes::from_vec(self.iv), tag: Bytes::from_vec(self.tag), ..before.clone() }
    }
}
