//! The groups of the Brainpool curves: AWS-LC computes on any curve of prime order with the generic, constant-time
//! arithmetic that its built-in curves have too.

use once_cell::sync::OnceCell;

use super::ec::Group;
use super::{Refused, Result};
use crate::crypto::brainpool::{P256R1, P256T1, P384R1, P384T1, P512R1, P512T1};
use crate::crypto::curve::Curve;

/// The group of a Brainpool curve, made at its first use and kept for the life of the process. Refused for another curve.
pub(super) fn group(curve: Curve) -> Result<Group> {
    let (domain, place) = match curve {
        Curve::BrainpoolP256r1 => (&P256R1, &GROUP_P256R1),
        Curve::BrainpoolP256t1 => (&P256T1, &GROUP_P256T1),
        Curve::BrainpoolP384r1 => (&P384R1, &GROUP_P384R1),
        Curve::BrainpoolP384t1 => (&P384T1, &GROUP_P384T1),
        Curve::BrainpoolP512r1 => (&P512R1, &GROUP_P512R1),
        Curve::BrainpoolP512t1 => (&P512T1, &GROUP_P512T1),
        _ => return Err(Refused),
    };
    place.get_or_try_init(|| Group::of_domain(domain)).copied()
}

static GROUP_P256R1: OnceCell<Group> = OnceCell::new();
static GROUP_P256T1: OnceCell<Group> = OnceCell::new();
static GROUP_P384R1: OnceCell<Group> = OnceCell::new();
static GROUP_P384T1: OnceCell<Group> = OnceCell::new();
static GROUP_P512R1: OnceCell<Group> = OnceCell::new();
static GROUP_P512T1: OnceCell<Group> = OnceCell::new();
