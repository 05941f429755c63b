//! The symmetric mechanisms, by the rows of the mechanism table, against published vectors; the generator across forks.

mod acvp;
#[path = "../acvp_common/mod.rs"]
mod acvp_common;
mod fork;
mod wycheproof;

use std::sync::Arc;

use cryptoki_sys::*;
use keyward::error::Code;
use keyward::mechanism::key::Key;
use keyward::mechanism::secret_key::SecretKey;
use keyward::mechanism::table::row;
use keyward::secret::SecretBytes;
use keyward::token::{Operation, Params, Size, Step, Use};

fn begin(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, key: &[u8]) -> Result<Box<dyn Operation>, Code> {
    let row = row(ty).unwrap();
    let key = Arc::new(Key::Secret(SecretKey::new(SecretBytes::copy_from(key))));
    row.does.begin.unwrap()(row, what, params, Some(&key)).map_err(|e| e.code())
}

/// One call; the size announced is held against what is written.
fn whole(ty: CK_MECHANISM_TYPE, what: Use, params: &Params, key: &[u8], input: &[u8]) -> Result<Vec<u8>, Code> {
    let mut operation = begin(ty, what, params, key)?;
    let whole = step(&mut *operation, Step::Whole, input);
    if operation.multi_part() {
        // The same once more, by the same operation and in parts.
        let mut again = Err(Code::GeneralError);
        if operation.restart(params) {
            let part = input.len() / 3 + 1;
            let parts = input.chunks(part).map(|input| step(&mut *operation, Step::Update, input));
            again = parts.collect::<Result<Vec<_>, _>>().map(|parts| parts.concat());
            again = again.and_then(|mut out| {
                out.extend(step(&mut *operation, Step::Finish, &[])?);
                Ok(out)
            });
        }
        assert_eq!(again, whole);
    }
    whole
}

fn step(operation: &mut dyn Operation, step: Step, input: &[u8]) -> Result<Vec<u8>, Code> {
    let size = operation.size(step, input.len()).map_err(|e| e.code())?;
    let mut out = vec![0; size.bound()];
    let written = match step {
        Step::Whole => operation.whole(input, &mut out),
        Step::Update => operation.update(input, &mut out),
        Step::Finish => operation.finish(&mut out),
    };
    let written = written.map_err(|e| e.code())?;
    if let Size::Exactly(exactly) = size {
        assert_eq!(written, exactly, "{step:?} of {} bytes", input.len());
    }
    out.truncate(written);
    Ok(out)
}

fn verify(ty: CK_MECHANISM_TYPE, params: &Params, key: &[u8], data: &[u8], mac: &[u8]) -> Result<(), Code> {
    begin(ty, Use::Verify, params, key)?.verify(Some(data), mac).map_err(|e| e.code())
}
