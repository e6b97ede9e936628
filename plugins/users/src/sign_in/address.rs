//! E-mail addresses and phone numbers that people sign in with.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::Nothing;
use crate::error;
use crate::sign_in::code::{self, CodeSent, Redemption};
use crate::sign_in::identity;

/// How a code is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Medium {
    Email,
    Phone,
}

/// A normalised address: lower case, without spaces and punctuation of phone numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) medium: Medium,
    pub(crate) text: String,
}

impl Address {
    /// Parses `ann@example.com` or `+41 44 123 45 67`.
    ///
    /// # Errors
    /// `invalid_address`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let found = if text.starts_with('+') {
            phone(text)
        } else {
            email(text)
        };
        found.ok_or_else(|| {
            let sentence = "Not an e-mail address, nor a phone number with + and the country code.";
            Error::new(error::INVALID_ADDRESS, sentence)
        })
    }
}

fn phone(text: &str) -> Option<Address> {
    let digits: String = text[1..]
        .chars()
        .filter(|char| !matches!(char, ' ' | '-' | '(' | ')' | '.'))
        .collect();
    // E.164.
    let fits = (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    fits.then(|| Address {
        medium: Medium::Phone,
        text: format!("+{digits}"),
    })
}

fn email(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-=?^_`{|}~.".contains(&byte);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.bytes().all(is_local)
        && !(local.starts_with('.') || local.ends_with('.') || local.contains(".."))
        && domain.contains('.')
        && domain.split('.').all(is_label);
    fits.then(|| Address {
        medium: Medium::Email,
        text: text.to_ascii_lowercase(),
    })
}

/// An address and the account that signs in with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AddressOwner {
    address: String,
    pub(crate) actor: String,
    since_ms: u64,
}

table! {
    AddressOwner in "addresses", key (address: String);

    /// Addresses by account.
    pub(crate) many AddressesByActor in "actor", key (actor: String);
}

record! {
    /// One e-mail address or phone number.
    pub(crate) struct AddressParams { pub(crate) address: String }
}
record! {
    /// Parameters of `confirm_address`.
    pub(crate) struct ConfirmAddressParams { address: String, code: String }
}
record! {
    /// Result of `confirm_address`: `done` is true if the code was right.
    pub(crate) struct ConfirmAddressResult { done: bool, attempts_left: u32 }
}
record! {
    /// An address that the caller signs in with.
    pub(crate) struct AddressInfo { address: String, since_ms: u64 }
}
record! {
    /// The addresses that the caller signs in with.
    pub(crate) struct AddressList { addresses: Vec<AddressInfo> }
}

/// Returns the actor who owns an address.
pub(crate) fn owner(cx: &Context, address: &Address) -> Result<Option<String>, Error> {
    let owned = cx.table::<AddressOwner>().get(address.text.as_str())?;
    Ok(owned.map(|owned| owned.actor))
}

/// Assigns an address to an account.
///
/// # Errors
/// `conflict_address`.
pub(crate) fn assign(cx: &Context, address: &Address, actor: &str) -> Result<(), Error> {
    let owned = AddressOwner {
        address: address.text.clone(),
        actor: actor.to_owned(),
        since_ms: cx.now_ms(),
    };
    match cx.table::<AddressOwner>().insert(&owned) {
        Err(TableError::Exists { .. }) => Err(Error::new(
            error::CONFLICT_ADDRESS,
            "Another account uses this address.",
        )),
        done => Ok(done?),
    }
}

/// Returns the number of addresses of an account.
pub(crate) fn count(cx: &Context, actor: &str) -> Result<usize, Error> {
    Ok(cx
        .table::<AddressOwner>()
        .by(AddressesByActor)
        .scan(actor)
        .count(usize::MAX)?)
}

/// Removes all addresses of an account.
pub(crate) fn delete_all(cx: &Context, actor: &str) -> Result<(), Error> {
    let table = cx.table::<AddressOwner>();
    for owned in table.by(AddressesByActor).scan(actor) {
        table.remove(owned?.address)?;
    }
    Ok(())
}

/// Rejects the removal of an address or identity that is the only way to sign in.
pub(crate) fn check_not_last_sign_in(cx: &Context, actor: &str) -> Result<(), Error> {
    let account = account::find_by_actor(cx, actor)?;
    let has_password = account.is_some_and(|account| account.password.is_some());
    if has_password || count(cx, actor)? + identity::count(cx, actor)? > 1 {
        Ok(())
    } else {
        Err(Error::new(
            error::CONFLICT,
            "This is your only way to sign in. Set a password first.",
        ))
    }
}

impl Users {
    pub(crate) fn addresses(&self, cx: &Context, _params: Nothing) -> Result<AddressList, Error> {
        let mut addresses = Vec::new();
        for owned in cx
            .table::<AddressOwner>()
            .by(AddressesByActor)
            .scan(cx.caller.actor.as_str())
        {
            let owned = owned?;
            addresses.push(AddressInfo {
                address: owned.address,
                since_ms: owned.since_ms,
            });
        }
        Ok(AddressList { addresses })
    }

    pub(crate) fn add_address(&self, cx: &Context, params: AddressParams) -> Result<CodeSent, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if owner(cx, &address)?.as_deref() == Some(actor) {
            return Err(Error::new(error::CONFLICT, "This address is already yours."));
        }
        if count(cx, actor)? >= self.settings.codes.addresses {
            return Err(Error::new(
                error::LIMIT_ADDRESSES,
                "Your account has reached the limit of addresses. Remove one first.",
            ));
        }
        let codes = &self.settings.codes;
        code::record_send(cx, &address.text, codes.address_rate())?;
        code::record_send(cx, actor, codes.account_rate())?;
        // Also if another account owns it: only the owner of an address may learn that.
        let code = codes.issue(cx, actor, &address)?;
        codes.deliver(cx, &address, &code, true)
    }

    pub(crate) fn confirm_address(
        &self,
        cx: &Context,
        params: ConfirmAddressParams,
    ) -> Result<ConfirmAddressResult, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if let Redemption::Wrong { attempts_left } = code::redeem(cx, actor, &address, &params.code)? {
            return Ok(ConfirmAddressResult {
                done: false,
                attempts_left,
            });
        }
        if count(cx, actor)? >= self.settings.codes.addresses {
            return Err(Error::new(
                error::LIMIT_ADDRESSES,
                "Your account has reached the limit of addresses. Remove one first.",
            ));
        }
        assign(cx, &address, actor)?;
        Ok(ConfirmAddressResult {
            done: true,
            attempts_left: 0,
        })
    }

    pub(crate) fn remove_address(&self, cx: &Context, params: AddressParams) -> Result<Nothing, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if owner(cx, &address)?.as_deref() != Some(actor) {
            return Err(Error::new(
                error::UNKNOWN_ADDRESS,
                "Your account doesn't have this address.",
            ));
        }
        check_not_last_sign_in(cx, actor)?;
        cx.table::<AddressOwner>().remove(address.text)?;
        Ok(Nothing {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        let parsed = |text: &str| Address::parse(text).ok().map(|address| (address.medium, address.text));
        for (text, wanted) in [
            (
                "Ann.B+chat@Example.COM ",
                Some((Medium::Email, "ann.b+chat@example.com")),
            ),
            ("+41 (44) 123-45.67", Some((Medium::Phone, "+41441234567"))),
            ("ann", None),
            ("ann@localhost", None),
            ("a b@example.com", None),
            ("ann@exam ple.com", None),
            ("ann@-example.com", None),
            (".ann@example.com", None),
            ("a..b@example.com", None),
            ("a/b@example.com", None),
            ("ann@example.com\r\nBcc: bob@example.com", None),
            ("<ann@example.com>", None),
            ("+123", None),
            ("+0441234567", None),
            ("+1234567890123456", None),
            ("0441234567", None),
        ] {
            let wanted = wanted.map(|(medium, text)| (medium, text.to_owned()));
            assert_eq!(parsed(text), wanted, "{text:?}");
        }
    }
}
