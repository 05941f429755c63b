//! The Brainpool curves (RFC 5639): their constants, and their groups in AWS-LC, which computes on any curve of prime order
//! with the generic, constant-time arithmetic that its built-in curves have too.

use once_cell::sync::OnceCell;

use super::aws::{Domain, Group};
use super::curve::Curve;
use crate::error::{Code, Result};

/// The group of a Brainpool curve, made at its first use and kept for the life of the process.
/// `CKR_CURVE_NOT_SUPPORTED` for another curve.
pub(super) fn group(curve: Curve) -> Result<Group> {
    let (domain, place) = match curve {
        Curve::BrainpoolP256r1 => (&P256R1, &GROUP_P256R1),
        Curve::BrainpoolP256t1 => (&P256T1, &GROUP_P256T1),
        Curve::BrainpoolP384r1 => (&P384R1, &GROUP_P384R1),
        Curve::BrainpoolP384t1 => (&P384T1, &GROUP_P384T1),
        Curve::BrainpoolP512r1 => (&P512R1, &GROUP_P512R1),
        Curve::BrainpoolP512t1 => (&P512T1, &GROUP_P512T1),
        _ => return Err(Code::CurveNotSupported.into()),
    };
    Ok(*place.get_or_try_init(|| Group::of(domain))?)
}

static GROUP_P256R1: OnceCell<Group> = OnceCell::new();
static GROUP_P256T1: OnceCell<Group> = OnceCell::new();
static GROUP_P384R1: OnceCell<Group> = OnceCell::new();
static GROUP_P384T1: OnceCell<Group> = OnceCell::new();
static GROUP_P512R1: OnceCell<Group> = OnceCell::new();
static GROUP_P512T1: OnceCell<Group> = OnceCell::new();

const P256R1: Domain = Domain {
    p: c"a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
    a: c"7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9",
    b: c"26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6",
    x: c"8bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262",
    y: c"547ef835c3dac4fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997",
    order: c"a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
};
const P256T1: Domain = Domain {
    p: c"a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
    a: c"a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5374",
    b: c"662c61c430d84ea4fe66a7733d0b76b7bf93ebc4af2f49256ae58101fee92b04",
    x: c"a3e8eb3cc1cfe7b7732213b23a656149afa142c47aafbc2b79a191562e1305f4",
    y: c"2d996c823439c56d7f7b22e14644417e69bcb6de39d027001dabe8f35b25c9be",
    order: c"a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
};
const P384R1: Domain = Domain {
    p: c"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
    a: c"7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb04a8c7dd22ce2826",
    b: c"04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc9943ab78696fa504c11",
    x: c"1d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646aaef87b2e247d4af1e",
    y: c"8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129280e4646217791811142820341263c5315",
    order: c"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
};
const P384T1: Domain = Domain {
    p: c"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
    a: c"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec50",
    b: c"7f519eada7bda81bd826dba647910f8c4b9346ed8ccdc64e4b1abd11756dce1d2074aa263b88805ced70355a33b471ee",
    x: c"18de98b02db9a306f2afcd7235f72a819b80ab12ebd653172476fecd462aabffc4ff191b946a5f54d8d0aa2f418808cc",
    y: c"25ab056962d30651a114afd2755ad336747f93475b7a1fca3b88f2b6a208ccfe469408584dc2b2912675bf5b9e582928",
    order: c"8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
};
const P512R1: Domain = Domain {
    p: c"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e6\
        2881ff2f2d82c68528aa6056583a48f3",
    a: c"7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b5\
        7f1117a72bf2c7b9e7c1ac4d77fc94ca",
    b: c"3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94cadc083e67\
        984050b75ebae5dd2809bd638016f723",
    x: c"81aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d48d50d1687b93b97d5f\
        7c6d5047406a5e688b352209bcb9f822",
    y: c"7dde385d566332ecc0eabfa9cf7822fdf209f70024a57b1aa000c55b881f8111b2dcde494a5f485e5bca4bd88a2763ae\
        d1ca2b2fa8f0540678cd1e0f3ad80892",
    order: c"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac1047\
        1db1d381085ddaddb58796829ca90069",
};
const P512T1: Domain = Domain {
    p: c"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e6\
        2881ff2f2d82c68528aa6056583a48f3",
    a: c"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e6\
        2881ff2f2d82c68528aa6056583a48f0",
    b: c"7cbbbcf9441cfab76e1890e46884eae321f70c0bcb4981527897504bec3e36a62bcdfa2304976540f6450085f2dae145\
        c22553b465763689180ea2571867423e",
    x: c"640ece5c12788717b9c1ba06cbc2a6feba85842458c56dde9db1758d39c0313d82ba51735cdb3ea499aa77a7d6943a64\
        f7a3f25fe26f06b51baa2696fa9035da",
    y: c"5b534bd595f5af0fa2c892376c84ace1bb4e3019b71634c01131159cae03cee9d9932184beef216bd71df2dadf86a627\
        306ecff96dbb8bace198b61e00f8b332",
    order: c"aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac1047\
        1db1d381085ddaddb58796829ca90069",
};
