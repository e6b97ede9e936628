//! E-mail addresses and phone numbers that people sign in with.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::Nothing;
use crate::sign_in::code::{self, CodeSent, Redeemed};
use crate::sign_in::identity;

/// How a code gets to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Medium {
    Email,
    Phone,
}

/// An address of a form in which it is the same however it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) medium: Medium,
    pub(crate) text: String,
}

impl Address {
    /// Reads `ann@example.com` or `+41 44 123 45 67`.
    ///
    /// # Errors
    /// `bad_address`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let found = if text.starts_with('+') {
            phone(text)
        } else {
            email(text)
        };
        found.ok_or_else(|| {
            let sentence = "An address is an e-mail address, or a phone number that begins with + and the country.";
            Error::new("bad_address", sentence)
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

/// Whose address it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Owned {
    address: String,
    pub(crate) actor: String,
    since_ms: u64,
}

table! {
    Owned in "addresses", key (address: String);

    /// Addresses of somebody.
    pub(crate) many ByActor in "actor", key (actor: String);
}

record! {
    /// An e-mail address or a phone number.
    pub(crate) struct WhichAddress { pub(crate) address: String }
}
record! {
    /// A code, and the address that it was sent to.
    pub(crate) struct Proof { address: String, code: String }
}
record! {
    /// Whether the code was right, and how many more may be tried.
    pub(crate) struct Proved { done: bool, attempts_left: u32 }
}
record! {
    /// An address that the caller signs in with.
    pub(crate) struct OwnAddress { address: String, since_ms: u64 }
}
record! {
    /// The addresses that the caller signs in with.
    pub(crate) struct OwnAddresses { addresses: Vec<OwnAddress> }
}

/// Returns the actor whose address it is.
pub(crate) fn owner(cx: &Context, address: &Address) -> Result<Option<String>, Error> {
    let owned = cx.table::<Owned>().get(address.text.as_str())?;
    Ok(owned.map(|owned| owned.actor))
}

/// Gives somebody an address.
///
/// # Errors
/// `address_taken`.
pub(crate) fn give(cx: &Context, address: &Address, actor: &str) -> Result<(), Error> {
    let owned = Owned {
        address: address.text.clone(),
        actor: actor.to_owned(),
        since_ms: cx.now_ms(),
    };
    match cx.table::<Owned>().insert(&owned) {
        Err(TableError::Exists { .. }) => Err(Error::new("address_taken", "Somebody else signs in with this address.")),
        done => Ok(done?),
    }
}

pub(crate) fn count(cx: &Context, actor: &str) -> Result<usize, Error> {
    Ok(cx.table::<Owned>().by(ByActor).scan(actor).count(usize::MAX)?)
}

/// Takes all addresses from somebody.
pub(crate) fn forget(cx: &Context, actor: &str) -> Result<(), Error> {
    let table = cx.table::<Owned>();
    for owned in table.by(ByActor).scan(actor) {
        table.remove(owned?.address)?;
    }
    Ok(())
}

/// Refuses to take the last way to sign in from somebody.
pub(crate) fn check_ways(cx: &Context, actor: &str) -> Result<(), Error> {
    let account = account::of_actor(cx, actor)?;
    let has_password = account.is_some_and(|account| account.password.is_some());
    if has_password || count(cx, actor)? + identity::count(cx, actor)? > 1 {
        Ok(())
    } else {
        Err(Error::new(
            "last_way",
            "It is your only way to sign in; set a password first.",
        ))
    }
}

impl Users {
    pub(crate) fn addresses(&self, cx: &Context, _params: Nothing) -> Result<OwnAddresses, Error> {
        let mut addresses = Vec::new();
        for owned in cx.table::<Owned>().by(ByActor).scan(cx.caller.actor.as_str()) {
            let owned = owned?;
            addresses.push(OwnAddress {
                address: owned.address,
                since_ms: owned.since_ms,
            });
        }
        Ok(OwnAddresses { addresses })
    }

    pub(crate) fn add_address(&self, cx: &Context, params: WhichAddress) -> Result<CodeSent, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if owner(cx, &address)?.as_deref() == Some(actor) {
            return Err(Error::new("already_yours", "You sign in with this address."));
        }
        if count(cx, actor)? >= self.settings.codes.addresses {
            return Err(Error::new(
                "too_many_addresses",
                "You have as many addresses as you can have.",
            ));
        }
        let codes = &self.settings.codes;
        code::pace(cx, &address.text, codes.of_address())?;
        code::pace(cx, actor, codes.of_account())?;
        // Also if it is another's: who does not own it is not to learn that.
        let code = codes.issue(cx, actor, &address)?;
        codes.deliver(cx, &address, &code, true)
    }

    pub(crate) fn confirm_address(&self, cx: &Context, params: Proof) -> Result<Proved, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if let Redeemed::Wrong { attempts_left } = code::redeem(cx, actor, &address, &params.code)? {
            return Ok(Proved {
                done: false,
                attempts_left,
            });
        }
        if count(cx, actor)? >= self.settings.codes.addresses {
            return Err(Error::new(
                "too_many_addresses",
                "You have as many addresses as you can have.",
            ));
        }
        give(cx, &address, actor)?;
        Ok(Proved {
            done: true,
            attempts_left: 0,
        })
    }

    pub(crate) fn remove_address(&self, cx: &Context, params: WhichAddress) -> Result<Nothing, Error> {
        let address = Address::parse(&params.address)?;
        let actor = cx.caller.actor.as_str();
        if owner(cx, &address)?.as_deref() != Some(actor) {
            return Err(Error::new("unknown_address", "You don't sign in with this address."));
        }
        check_ways(cx, actor)?;
        cx.table::<Owned>().remove(address.text)?;
        Ok(Nothing {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_same_however_they_are_written() {
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
