//! What a policy says of a key.

use super::{Class, Match, Policy, fits};

/// What a policy looks at in a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The logical key's.
    pub label: String,
    /// `private-key`.
    pub class: String,
    /// `RSA`.
    pub key_type: String,
    /// `CKA_ID` in hexadecimal.
    pub id: String,
    /// Where it is known.
    pub bits: Option<u64>,
    /// The class that the key asks for by name.
    pub tag: Option<String>,
    pub extractable: bool,
    /// A private or secret key whose value could be read.
    pub insensitive: bool,
    /// Out of [`super::USES`].
    pub uses: Vec<&'static str>,
    /// The values of those that some class asks for, by the names that the policy gives them.
    pub attributes: Vec<(String, String)>,
}

impl Facts {
    /// Bits of security, as SP 800-57 Part 1, table 2, counts them; `None` where that cannot be told.
    pub fn strength(&self) -> Option<u64> {
        match (self.key_type.as_str(), self.bits) {
            ("DES", _) => Some(56),
            ("DES2", _) => Some(80),
            ("DES3", _) => Some(112),
            ("CHACHA20", _) => Some(256),
            ("RSA" | "DSA" | "DH" | "X9_42_DH", bits) => {
                const STEPS: [(u64, u64); 5] = [(15360, 256), (7680, 192), (3072, 128), (2048, 112), (1024, 80)];
                let bits = bits?;
                Some(STEPS.iter().find(|(least, _)| bits >= *least).map_or(0, |(_, strength)| *strength))
            }
            ("EC" | "EC_EDWARDS" | "EC_MONTGOMERY", bits) => Some(bits?.div_ceil(2).min(256)),
            _ if matches!(self.class.as_str(), "secret-key" | "otp-key") => Some(self.bits?.min(256)),
            _ => None,
        }
    }
}

/// How a key breaks a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// A single value is at fault (`CKR_ATTRIBUTE_VALUE_INVALID`); else what the attributes say together.
    pub value: bool,
    pub why: String,
}

fn named(list: &[String], name: &str) -> bool {
    list.iter().any(|one| one.eq_ignore_ascii_case(name))
}

impl Match {
    fn holds(&self, facts: &Facts) -> bool {
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        let lists = [&self.label, &self.class, &self.key_type, &self.id];
        let said = self.all || !self.attributes.is_empty() || lists.iter().any(|list| !list.is_empty());
        let fits_one = |patterns: &[String], value: &str| patterns.iter().any(|pattern| fits(pattern, value));
        said && any(&self.label, &|pattern| fits(pattern, &facts.label))
            && any(&self.class, &|class| *class == facts.class)
            && any(&self.key_type, &|ty| ty.eq_ignore_ascii_case(&facts.key_type))
            && any(&self.id, &|pattern| fits(&pattern.to_ascii_lowercase(), &facts.id))
            && self.attributes.iter().all(|(name, patterns)| {
                facts.attributes.iter().any(|(of, value)| of == name && fits_one(patterns, value))
            })
    }
}

impl Policy {
    /// The class that governs such a key. A pattern goes before the name that a key asks for: no key chooses its way out
    /// of the class that was meant for it.
    pub fn class_of(&self, facts: &Facts) -> Option<&Class> {
        let by_match = self.classes.iter().find(|class| class.matches.holds(facts));
        by_match.or_else(|| self.classes.iter().find(|class| Some(&class.name) == facts.tag.as_ref()))
    }

    /// May such a key be made?
    pub fn judge(&self, facts: &Facts) -> Result<(), Breach> {
        if let Some(tag) = &facts.tag
            && !self.classes.iter().any(|class| class.name == *tag)
        {
            return Err(Breach { value: true, why: format!("the policy has no class {tag:?}") });
        }
        self.protect(facts)?;
        self.class_of(facts).map_or(Ok(()), |class| class.judge(facts))
    }

    /// May the one key wrap the other? What cannot be told is no strength of the one, and the greatest of the other.
    pub fn wraps(&self, wrapping: &Facts, key: &Facts) -> Result<(), Breach> {
        let (has, needs) = (wrapping.strength().unwrap_or(0), key.strength().unwrap_or(256));
        if !self.protection.wrap_by_as_strong || has >= needs {
            return Ok(());
        }
        let why = format!("a key of {needs} bits of security is not wrapped by one of {has}");
        Err(Breach { value: true, why })
    }

    fn protect(&self, facts: &Facts) -> Result<(), Breach> {
        let both = |one, other| facts.uses.contains(&one) && facts.uses.contains(&other);
        let breach = |one: &str, other: &str| {
            let why = format!("one key that may both {one} and {other} lets keys be read or slipped in");
            Err(Breach { value: false, why })
        };
        if both("wrap", "decrypt") && !self.protection.allow_wrap_and_decrypt {
            return breach("wrap", "decrypt");
        }
        if both("unwrap", "encrypt") && !self.protection.allow_unwrap_and_encrypt {
            return breach("unwrap", "encrypt");
        }
        Ok(())
    }
}

impl Class {
    fn judge(&self, facts: &Facts) -> Result<(), Breach> {
        let breach = |value: bool, why: String| Err(Breach { value, why: format!("class {}: {why}", self.name) });
        let ty = &facts.key_type;
        if let Some(types) = &self.key_types
            && !named(types, ty)
        {
            return breach(true, format!("{ty} keys are not allowed, only {}", types.join(", ")));
        }
        let least = self.min_bits.iter().find(|(of, _)| of.eq_ignore_ascii_case(ty));
        if let (Some((_, least)), Some(bits)) = (least, facts.bits)
            && bits < *least
        {
            return breach(true, format!("{ty} keys have at least {least} bits, this one {bits}"));
        }
        if facts.extractable && self.extractable == Some(false) {
            return breach(true, "the keys are not extractable".to_owned());
        }
        if facts.insensitive && self.insensitive == Some(false) {
            return breach(true, "the keys are sensitive".to_owned());
        }
        if let Some(uses) = &self.uses
            && let Some(other) = facts.uses.iter().find(|usage| !named(uses, usage))
        {
            return breach(false, format!("the keys do not {other}, only {}", uses.join(", ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = "version = 1\nname = 'x'\n[[class]]\nname = 'tls'\nmatch = { label = ['tls-*'] }\nkey_types = ['EC', 'RSA']\n\
                    min_bits = { RSA = 3072 }\nuses = ['sign', 'verify']\nextractable = false\n[[class]]\nname = 'lax'\n";
        Policy::parse(text).unwrap()
    }

    fn key(label: &str, key_type: &str, bits: u64) -> Facts {
        Facts {
            label: label.into(),
            class: "private-key".into(),
            key_type: key_type.into(),
            bits: Some(bits),
            uses: vec!["sign"],
            ..Facts::default()
        }
    }

    #[test]
    fn a_class_judges_what_its_pattern_claims_and_a_tag_is_no_way_out() {
        let policy = policy();
        assert_eq!(policy.judge(&key("tls-a", "rsa", 3072)), Ok(()));
        assert_eq!(policy.judge(&key("other", "AES", 128)), Ok(()), "not governed");
        let weak = key("tls-a", "RSA", 2048);
        assert!(policy.judge(&weak).unwrap_err().value);
        assert!(policy.judge(&Facts { tag: Some("lax".into()), ..weak.clone() }).is_err());
        let tagged = Facts { tag: Some("tls".into()), ..key("other", "RSA", 2048) };
        assert!(policy.judge(&tagged).is_err(), "a tag puts a key into a class");
        assert!(policy.judge(&Facts { tag: Some("none".into()), ..weak }).unwrap_err().why.contains("no class"));
        assert!(policy.judge(&key("tls-a", "AES", 256)).unwrap_err().value);
        assert!(policy.judge(&Facts { extractable: true, ..key("tls-a", "EC", 256) }).is_err());
        let breach = policy.judge(&Facts { uses: vec!["decrypt"], ..key("tls-a", "EC", 256) }).unwrap_err();
        assert!(!breach.value && breach.why.contains("do not decrypt"));
    }

    #[test]
    fn a_key_is_wrapped_by_one_that_is_as_strong() {
        let mut policy = policy();
        let secret = |key_type: &str, bits| Facts { class: "secret-key".into(), ..key("k", key_type, bits) };
        let (aes128, aes256) = (secret("AES", 128), secret("AES", 256));
        assert_eq!(policy.wraps(&aes128, &aes256), Ok(()), "unless it is asked for");
        policy.protection.wrap_by_as_strong = true;
        for (wrapping, key, may) in [
            (&aes128, &aes256, false),
            (&aes256, &aes128, true),
            (&aes256, &secret("GENERIC_SECRET", 512), true),
            (&aes128, &key("k", "EC", 256), true),
            (&aes128, &key("k", "EC_EDWARDS", 255), true),
            (&aes128, &key("k", "EC", 384), false),
            (&key("k", "RSA", 2048), &aes128, false),
            (&key("k", "RSA", 3072), &aes128, true),
            (&secret("DES3", 0), &key("k", "RSA", 2048), true),
            (&aes128, &key("k", "ML_KEM", 768), false),
            (&aes256, &key("k", "ML_KEM", 768), true),
            (&Facts { bits: None, ..aes256.clone() }, &secret("DES", 0), false),
        ] {
            assert_eq!(policy.wraps(wrapping, key).is_ok(), may, "{wrapping:?} {key:?}");
        }
    }

    #[test]
    fn the_protection_against_attacks_by_the_api_holds_for_every_key() {
        let both = Facts { uses: vec!["wrap", "decrypt"], ..key("any", "AES", 256) };
        assert!(!policy().judge(&both).unwrap_err().value);
        let mut lax = policy();
        lax.protection.allow_wrap_and_decrypt = true;
        assert_eq!(lax.judge(&both), Ok(()));
        assert!(lax.judge(&Facts { uses: vec!["unwrap", "encrypt"], ..both }).is_err());
    }
}
