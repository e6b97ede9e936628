//! A user's shelf: favourites, recently sent stickers, and kept packs.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pack::Pack;
use crate::record::{Found, Keep, Mark, Nothing, Packs, Page};
use crate::{Stickers, catalogue, pack, sticker};

/// A favourite sticker of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Favourite {
    actor: String,
    pack: String,
    sticker: String,
    at_ms: u64,
}

table! {
    Favourite in "favourites", key (actor: String, pack: String, sticker: String);

    /// Favourites of a user by the time at which they were added.
    many ByTime in "time", key (actor: String, at_ms: u64);
}

/// A reference to a sticker in a message, or in the list of recently sent stickers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) pack: String,
    pub(crate) sticker: String,
}

impl Stickers {
    pub(crate) fn favourite(&self, cx: &Context, mark: Mark) -> Result<Nothing, Error> {
        let table = cx.table::<Favourite>();
        let actor = &*cx.caller.actor;
        let key = (actor, &*mark.pack, &*mark.sticker);
        if !mark.on {
            table.remove(key)?;
            return Ok(Nothing {});
        }
        if table.contains(key)? {
            return Ok(Nothing {});
        }
        let most = self.settings.favourites;
        if table.scan((actor,)).count(most)? >= most {
            return Err(Error::new(
                "limit_favourites",
                format!("You have {most} favourites, which is the limit. Remove one first."),
            ));
        }
        self.find(cx, &mark.pack, &mark.sticker)?.ok_or_else(sticker::unknown)?;
        table.insert(&Favourite {
            actor: actor.to_owned(),
            pack: mark.pack,
            sticker: mark.sticker,
            at_ms: cx.now_ms(),
        })?;
        Ok(Nothing {})
    }

    /// Lists the favourites that still exist, newest first.
    pub(crate) fn favourites(&self, cx: &Context, page: Page) -> Result<Found, Error> {
        let scan = cx
            .table::<Favourite>()
            .by(ByTime)
            .scan((&*cx.caller.actor,))
            .descending();
        let found = scan
            .after(page.after)
            .page(page.limit.unwrap_or(50).clamp(1, 200) as usize)?;
        let mut stickers = Vec::new();
        for favourite in &found.rows {
            stickers.extend(self.find(cx, &favourite.pack, &favourite.sticker)?);
        }
        Ok(Found {
            stickers,
            next: found.next,
        })
    }

    /// Puts a sticker at the front of the sender's recently sent ones.
    pub(crate) fn remember_sent(&self, cx: &Context, actor: &str, sent: Reference) -> Result<(), Error> {
        let key = recent_key(actor);
        let mut recent: Vec<Reference> = cx.kv().get_json(&key)?.unwrap_or_default();
        recent.retain(|known| *known != sent);
        recent.insert(0, sent);
        recent.truncate(self.settings.recent);
        Ok(cx.kv().set_json(&key, &recent)?)
    }

    /// Lists the stickers that the caller sent last and that still exist, newest first.
    pub(crate) fn recent(&self, cx: &Context, _nothing: Nothing) -> Result<Found, Error> {
        let recent: Vec<Reference> = cx.kv().get_json(recent_key(&cx.caller.actor))?.unwrap_or_default();
        let mut stickers = Vec::new();
        for one in recent.iter().take(self.settings.recent) {
            stickers.extend(self.find(cx, &one.pack, &one.sticker)?);
        }
        Ok(Found { stickers, next: None })
    }

    pub(crate) fn forget_recent(&self, cx: &Context, _nothing: Nothing) -> Result<Nothing, Error> {
        cx.kv().delete(recent_key(&cx.caller.actor))?;
        Ok(Nothing {})
    }

    pub(crate) fn keep_pack(&self, cx: &Context, keep: Keep) -> Result<Nothing, Error> {
        let key = shelf_key(&cx.caller.actor);
        let mut kept: Vec<String> = cx.kv().get_json(&key)?.unwrap_or_default();
        kept.retain(|known| *known != keep.pack);
        if keep.on {
            let pack = cx.table::<Pack>().get(&*keep.pack)?;
            let may_use = pack.is_some_and(|pack| pack.may_use(&cx.caller.actor));
            if !may_use && !self.is_first(&keep.pack) {
                return Err(pack::unknown());
            }
            if kept.len() >= self.settings.kept_packs {
                let sentence = format!(
                    "You keep {} packs, which is the limit. Remove one first.",
                    self.settings.kept_packs
                );
                return Err(Error::new("limit_packs", sentence));
            }
            kept.insert(0, keep.pack);
        }
        cx.kv().set_json(&key, &kept)?;
        Ok(Nothing {})
    }

    /// Lists the kept packs that the caller may still use, newest first.
    pub(crate) fn kept_packs(&self, cx: &Context, _nothing: Nothing) -> Result<Packs, Error> {
        let kept: Vec<String> = cx.kv().get_json(shelf_key(&cx.caller.actor))?.unwrap_or_default();
        let mut packs = Vec::new();
        for id in &kept {
            if self.is_first(id) {
                packs.push(catalogue::built_in_pack(cx));
            } else if let Some(pack) = cx.table::<Pack>().get(&**id)?
                && pack.may_use(&cx.caller.actor)
            {
                packs.push(self.pack_info(cx, pack)?);
            }
        }
        Ok(Packs { packs, next: None })
    }
}

fn recent_key(actor: &str) -> String {
    format!("recent/{actor}")
}

fn shelf_key(actor: &str) -> String {
    format!("shelf/{actor}")
}
