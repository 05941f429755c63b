//! TLS up to 1.2 (PKCS#11 3.2, "TLS 1.2 Mechanisms"): master secret, key block, exporter, Finished.

mod finished;

use cryptoki_sys::*;

use super::super::digest::of_hash;
use super::super::generic::MAX_SECRET;
use super::super::plan::{Plan, Request, Wanted, fill, fill_protection};
use super::super::table::{Derivation, Does, Made, NOTHING, ParamKind, Row};
use super::{base, derivation};
use crate::crypto::kdf::TlsPrf;
use crate::error::{Code, Result};
use crate::object::Attributes;
use crate::object::build::Heritage;
use crate::secret::SecretBytes;
use crate::token::{Attribute, Params, TlsKdfParams, TlsKeyMaterialParams, TlsMasterParams, TlsRandoms, TlsSeed};

/// Length in bytes of a master secret, and of a pre-master secret with a version in it.
const SECRET_LEN: usize = 48;
/// Length in bytes of the hello messages' random values.
const RANDOM_LEN: usize = 32;

const MASTER: Does = Does { derive_all: Some(derive_master), plan: plan_master, ..NOTHING };
const KEY_BLOCK: Does = Does { derive_all: Some(derive_key_block), plan: plan_key_block, ..NOTHING };
const EXPORT: Does = Does { derive: Some(export), plan: plan_export, heritage: Heritage::bound, ..NOTHING };

pub const ROWS: &[Row] = &[
    // Implementation guidance of FIPS 140-3, D.Q: the master secret of RFC 7627 alone.
    Row {
        approved: false,
        ..row(CKM_TLS12_MASTER_KEY_DERIVE, "CKM_TLS12_MASTER_KEY_DERIVE", ParamKind::TlsMaster, MASTER)
    },
    Row {
        approved: false,
        ..any_length(CKM_TLS12_MASTER_KEY_DERIVE_DH, "CKM_TLS12_MASTER_KEY_DERIVE_DH", ParamKind::TlsMaster, MASTER)
    },
    row(
        CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE,
        "CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE",
        ParamKind::TlsExtendedMaster,
        MASTER,
    ),
    any_length(
        CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH,
        "CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH",
        ParamKind::TlsExtendedMaster,
        MASTER,
    ),
    row(CKM_TLS12_KEY_AND_MAC_DERIVE, "CKM_TLS12_KEY_AND_MAC_DERIVE", ParamKind::TlsKeyMaterial, KEY_BLOCK),
    row(CKM_TLS12_KEY_SAFE_DERIVE, "CKM_TLS12_KEY_SAFE_DERIVE", ParamKind::TlsKeyMaterial, KEY_BLOCK),
    any_length(CKM_TLS_KDF, "CKM_TLS_KDF", ParamKind::TlsKdf, EXPORT),
    any_length(CKM_TLS12_KDF, "CKM_TLS12_KDF", ParamKind::TlsKdf, EXPORT),
    mac(CKM_TLS_MAC, "CKM_TLS_MAC"),
    mac(CKM_TLS12_MAC, "CKM_TLS12_MAC"),
];

const fn any_length(ty: CK_MECHANISM_TYPE, name: &'static str, params: ParamKind, does: Does) -> Row {
    Row { keys: &[CKK_GENERIC_SECRET], does, ..derivation(ty, name, params) }
}

const fn row(ty: CK_MECHANISM_TYPE, name: &'static str, params: ParamKind, does: Does) -> Row {
    Row { size: (SECRET_LEN as CK_ULONG, SECRET_LEN as CK_ULONG), ..any_length(ty, name, params, does) }
}

const fn mac(ty: CK_MECHANISM_TYPE, name: &'static str) -> Row {
    let does = Does { begin: Some(finished::begin), ..NOTHING };
    Row { flags: CKF_SIGN | CKF_VERIFY, ..any_length(ty, name, ParamKind::TlsMac, does) }
}

/// What a master secret is for. These mechanisms, and no other, may use one.
const OF_MASTER: [CK_MECHANISM_TYPE; 6] =
    [CKM_TLS12_KEY_AND_MAC_DERIVE, CKM_TLS12_KEY_SAFE_DERIVE, CKM_TLS_KDF, CKM_TLS_MAC, CKM_TLS12_KDF, CKM_TLS12_MAC];

/// The PRF of TLS 1.2 over a hash. `CKR_MECHANISM_PARAM_INVALID`.
fn of_prf_hash(mechanism: CK_MECHANISM_TYPE) -> Result<TlsPrf> {
    of_hash(mechanism).map(TlsPrf::Hash)
}

/// The same, or with `CKM_TLS_PRF` that of TLS 1.0 and 1.1.
fn of_prf(mechanism: CK_MECHANISM_TYPE) -> Result<TlsPrf> {
    if mechanism == CKM_TLS_PRF { Ok(TlsPrf::Md5AndSha1) } else { of_prf_hash(mechanism) }
}

/// The base key's value; `CKR_KEY_SIZE_RANGE` where the row wants one of [`SECRET_LEN`] bytes.
fn secret<'a>(from: &Derivation<'a>) -> Result<&'a [u8]> {
    let secret = base(from)?;
    let (least, most) = from.row.size;
    let fits = u64::try_from(secret.len()).is_ok_and(|len| (least..=most).contains(&len));
    if fits { Ok(secret) } else { Err(Code::KeySizeRange.into()) }
}

/// `CKR_MECHANISM_PARAM_INVALID` unless each is [`RANDOM_LEN`] bytes.
fn check_randoms(randoms: &TlsRandoms) -> Result<()> {
    match (randoms.client.len(), randoms.server.len()) {
        (RANDOM_LEN, RANDOM_LEN) => Ok(()),
        _ => Err(Code::MechanismParamInvalid.because("the client's and the server's random are 32 bytes each")),
    }
}

/// For a pre-master secret that holds no version (those of Diffie-Hellman).
fn is_dh(row: &Row) -> bool {
    matches!(row.ty, CKM_TLS12_MASTER_KEY_DERIVE_DH | CKM_TLS12_EXTENDED_MASTER_KEY_DERIVE_DH)
}

fn plan_master(mut request: Request<'_>) -> Result<Plan> {
    for (ty, value) in [(CKA_VALUE_LEN, SECRET_LEN as CK_ULONG), (CKA_KEY_TYPE, CKK_GENERIC_SECRET)] {
        fill(&mut request.template, Attribute::ulong(ty, value));
    }
    // A generic secret would be made for other uses.
    for usage in [CKA_DERIVE, CKA_SIGN, CKA_VERIFY] {
        fill(&mut request.template, Attribute::bool(usage, true));
    }
    let wanted = Wanted::secret(request.template)?;
    if wanted.key_type != Some(CKK_GENERIC_SECRET) {
        return Err(Code::TemplateInconsistent.because("a master secret is a generic secret"));
    }
    Ok(Plan::one(wanted))
}

/// `CKR_MECHANISM_PARAM_INVALID`, `CKR_KEY_SIZE_RANGE`.
fn derive_master(from: &Derivation<'_>) -> Result<Made> {
    let Params::TlsMaster(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let TlsMasterParams { hash, seed, wants_version } = &**params;
    if *wants_version && is_dh(from.row) {
        return Err(Code::MechanismParamInvalid.because("no version comes with a Diffie-Hellman pre-master secret"));
    }
    let before = secret(from)?;
    let mut master = SecretBytes::zeroed(SECRET_LEN);
    let prf = of_prf_hash(*hash)?;
    match seed {
        TlsSeed::Randoms(randoms) => {
            check_randoms(randoms)?;
            prf.fill(before, b"master secret", &[&randoms.client, &randoms.server], master.expose_mut());
        }
        TlsSeed::SessionHash(hash) if hash.is_empty() => return Err(Code::MechanismParamInvalid.into()),
        TlsSeed::SessionHash(hash) => prf.fill(before, b"extended master secret", &[hash], master.expose_mut()),
    }
    let mut made = Made::from(master);
    let allowed: Vec<u8> = OF_MASTER.iter().flat_map(|ty| ty.to_ne_bytes()).collect();
    made.objects.iter_mut().for_each(|own| own.push(Attribute::bytes(CKA_ALLOWED_MECHANISMS, &allowed)));
    if *wants_version {
        made.bytes.push(before.get(..2).ok_or(Code::KeySizeRange)?.to_vec());
    }
    Ok(made)
}

/// Lengths in bytes of one side's parts of the key block.
struct Parts {
    mac: usize,
    key: usize,
    iv: usize,
}

impl Parts {
    /// `CKR_MECHANISM_PARAM_INVALID`
    fn of(row: &Row, params: &TlsKeyMaterialParams) -> Result<Parts> {
        let bytes = |bits: u64| {
            let len = usize::try_from(bits / 8).ok().filter(|len| *len <= MAX_SECRET && bits.is_multiple_of(8));
            len.ok_or_else(|| Code::MechanismParamInvalid.because("the sizes in the key block are whole bytes"))
        };
        let iv_bits = if row.ty == CKM_TLS12_KEY_SAFE_DERIVE { 0 } else { params.iv_bits };
        Ok(Parts { mac: bytes(params.mac_bits)?, key: bytes(params.key_bits)?, iv: bytes(iv_bits)? })
    }
}

fn key_material(params: &Params) -> Result<&TlsKeyMaterialParams> {
    match params {
        Params::TlsKeyMaterial(params) if !params.export => Ok(params),
        _ => Err(Code::MechanismParamInvalid.into()),
    }
}

/// Two MAC keys and two cipher keys, those of no length left out; all as protected as the master secret.
fn plan_key_block(request: Request<'_>) -> Result<Plan> {
    let Request { row, params, base, template, .. } = request;
    let parts = Parts::of(row, key_material(params)?)?;
    let opened = |said: &Attribute| {
        let inherited = matches!(said.ty, CKA_SENSITIVE | CKA_EXTRACTABLE);
        inherited && base.bool(said.ty).is_some_and(|value| *said != Attribute::bool(said.ty, value))
    };
    if template.iter().any(opened) {
        return Err(Code::TemplateInconsistent.because("the keys are as protected as the master secret"));
    }
    let mut further = Vec::new();
    if parts.mac > 0 {
        let stays = |said: &&Attribute| matches!(said.ty, CKA_TOKEN | CKA_PRIVATE | CKA_MODIFIABLE | CKA_SENSITIVE);
        let kept = template.iter().filter(stays).cloned().collect();
        further.extend([mac_key(kept, base)?, mac_key(template.iter().filter(stays).cloned().collect(), base)?]);
    }
    if parts.key > 0 {
        further.extend([cipher_key(template.clone(), base)?, cipher_key(template, base)?]);
    }
    Ok(Plan { key: None, further })
}

fn mac_key(mut template: Vec<Attribute>, base: &Attributes) -> Result<Wanted> {
    for usage in [CKA_SIGN, CKA_VERIFY] {
        fill(&mut template, Attribute::bool(usage, true));
    }
    fill_protection(&mut template, base);
    Wanted::secret(template)
}

fn cipher_key(mut template: Vec<Attribute>, base: &Attributes) -> Result<Wanted> {
    for usage in [CKA_ENCRYPT, CKA_DECRYPT, CKA_DERIVE] {
        fill(&mut template, Attribute::bool(usage, true));
    }
    fill_protection(&mut template, base);
    Wanted::secret(template)
}

/// RFC 5246, 6.3: each part of the client before that of the server. The IVs are the bytes that go back.
fn derive_key_block(from: &Derivation<'_>) -> Result<Made> {
    let params = key_material(from.params)?;
    let parts = Parts::of(from.row, params)?;
    check_randoms(&params.randoms)?;
    let TlsRandoms { client, server } = &params.randoms;
    let mut block = SecretBytes::zeroed(2 * (parts.mac + parts.key + parts.iv));
    of_prf_hash(params.hash)?.fill(secret(from)?, b"key expansion", &[server, client], block.expose_mut());
    let mut rest = block.expose().as_slice();
    let mut next = |len: usize| {
        let (part, later) = rest.split_at_checked(len).ok_or(Code::GeneralError)?;
        rest = later;
        Ok::<_, crate::error::Error>(part)
    };
    let keys = [parts.mac, parts.mac, parts.key, parts.key].into_iter().filter(|len| *len > 0);
    let keys = keys.map(|len| next(len).map(SecretBytes::copy_from)).collect::<Result<Vec<_>>>()?;
    let mut made = Made::values(keys);
    if parts.iv > 0 {
        made.bytes = vec![next(parts.iv)?.to_vec(), next(parts.iv)?.to_vec()];
    }
    Ok(made)
}

/// What the template leaves open of the protection is the base key's.
fn plan_export(mut request: Request<'_>) -> Result<Plan> {
    fill_protection(&mut request.template, request.base);
    Wanted::secret(request.template).map(Plan::one)
}

/// Exported key material (RFC 5705). `CKR_TEMPLATE_INCOMPLETE` without a length, `CKR_KEY_SIZE_RANGE`,
/// `CKR_MECHANISM_PARAM_INVALID`.
fn export(from: &Derivation<'_>) -> Result<SecretBytes> {
    let Params::TlsKdf(params) = from.params else { return Err(Code::MechanismParamInvalid.into()) };
    let TlsKdfParams { prf, label, randoms, context } = &**params;
    let length = from.length.ok_or(Code::TemplateIncomplete)?;
    if !(1..=MAX_SECRET).contains(&length) {
        return Err(Code::KeySizeRange.into());
    }
    let context_len = context.as_ref().map(|context| u16::try_from(context.len())).transpose();
    let context_len = context_len.map_err(|_| Code::MechanismParamInvalid)?.map(u16::to_be_bytes);
    let mut seed: Vec<&[u8]> = vec![&randoms.client, &randoms.server];
    if let (Some(len), Some(context)) = (&context_len, context) {
        seed.extend([&len[..], context]);
    }
    let mut out = SecretBytes::zeroed(length);
    of_prf(*prf)?.fill(base(from)?, label, &seed, out.expose_mut());
    Ok(out)
}
