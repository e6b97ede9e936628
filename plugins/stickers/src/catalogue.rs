//! Packs and stickers: creation, changes, listing and search.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pack::{self, ByOwner, ByTitle, Listed, Pack, Visibility};
use crate::record::{
    Found, NewPack, NewSticker, Nothing, PackChange, PackInfo, PackQuery, Packs, PageOf, Publication, Query, Retag,
    StickerInfo, Which, WhichPack, WhichStickers, Withdrawal,
};
use crate::settings::Publishers;
use crate::sticker::{self, ByPlace, Sticker, Tags, Word};
use crate::{Stickers, first, tokens, upload};

/// Most entries of a page.
const PAGE: u32 = 200;
/// Most index entries that one search reads.
const SEARCHED: usize = 1_000;
/// Most stickers that one call resolves.
const RESOLVED: usize = 100;
/// Stickers that a job changes in one transaction.
const CHUNK: usize = 50;

/// A step of adding the stickers of a pack to the search index, or removing them from it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Relist {
    pack: String,
    revision: u64,
    after: Option<Cursor>,
}

impl Stickers {
    pub(crate) fn create_pack(&self, cx: &Context, new: NewPack) -> Result<PackInfo, Error> {
        let pack = self.new_pack(cx, &new.title, &new.author, &new.licence)?;
        cx.table::<Pack>().insert(&pack)?;
        self.pack_info(cx, pack)
    }

    /// Returns a new pack without storing it.
    pub(crate) fn new_pack(&self, cx: &Context, title: &str, author: &str, licence: &str) -> Result<Pack, Error> {
        let owner = cx.caller.actor.clone();
        let most = self.settings.user_packs;
        let count = cx.table::<Pack>().by(ByOwner).scan((&*owner,)).count(most)?;
        if count >= most && !self.settings.is_admin(&owner) {
            return Err(Error::new(
                "limit_packs",
                format!("You have {most} packs, which is the limit. Delete one first."),
            ));
        }
        let id: String = cx.random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Pack {
            id,
            owner,
            title: pack::text("title", title)?,
            author: pack::text("author", author)?,
            licence: pack::text("licence", licence)?,
            created_ms: cx.now_ms(),
            ..Pack::default()
        })
    }

    pub(crate) fn update_pack(&self, cx: &Context, change: PackChange) -> Result<PackInfo, Error> {
        let mut pack = self.own(cx, &change.pack)?;
        if let Some(title) = &change.title {
            pack.title = pack::text("title", title)?;
        }
        if let Some(author) = &change.author {
            pack.author = pack::text("author", author)?;
        }
        if let Some(licence) = &change.licence {
            pack.licence = pack::text("licence", licence)?;
        }
        if let Some(cover) = change.cover {
            if !cx.table::<Sticker>().contains((&*pack.id, &*cover))? {
                return Err(sticker::unknown());
            }
            pack.cover = Some(cover);
        }
        cx.table::<Pack>().put(&pack)?;
        self.pack_info(cx, pack)
    }

    pub(crate) fn publish(&self, cx: &Context, wanted: Publication) -> Result<PackInfo, Error> {
        let visibility = Visibility::parse(&wanted.visibility)?;
        let mut pack = self.own(cx, &wanted.pack)?;
        let withdrawn = pack.withdrawn;
        self.set_visibility(cx, &mut pack, visibility, withdrawn)?;
        self.pack_info(cx, pack)
    }

    pub(crate) fn withdraw(&self, cx: &Context, wanted: Withdrawal) -> Result<PackInfo, Error> {
        self.require_admin(cx)?;
        let mut pack = self.own(cx, &wanted.pack)?;
        let visibility = pack.visibility;
        self.set_visibility(cx, &mut pack, visibility, wanted.on)?;
        self.pack_info(cx, pack)
    }

    /// Sets who may see a pack, and enqueues the update of the search index.
    pub(crate) fn set_visibility(
        &self,
        cx: &Context,
        pack: &mut Pack,
        visibility: Visibility,
        withdrawn: bool,
    ) -> Result<(), Error> {
        let is_publisher = self.settings.publishers == Publishers::Everyone || self.settings.is_admin(&cx.caller.actor);
        if visibility == Visibility::Public && pack.visibility != visibility && !is_publisher {
            return Err(Error::new("forbidden", "Only operators can make packs public here."));
        }
        if visibility != Visibility::Draft && pack.count == 0 {
            return Err(Error::new("invalid_pack", "This pack is empty. Add a sticker first."));
        }
        let before = pack.is_listed();
        pack.set_visibility(visibility, withdrawn);
        cx.table::<Pack>().put(pack)?;
        if before != pack.is_listed() {
            let relist = Relist {
                pack: pack.id.clone(),
                revision: pack.revision,
                after: None,
            };
            cx.jobs().add("relist", &relist)?;
        }
        Ok(())
    }

    /// Updates the search index for the next [`CHUNK`] stickers of a pack. Returns the next step; none after the last one.
    pub(crate) fn relist(&self, cx: &Context, step: Relist) -> Result<Option<Relist>, Error> {
        let pack = cx.table::<Pack>().get(&*step.pack)?;
        let Some(pack) = pack.filter(|pack| pack.revision == step.revision) else {
            return Ok(None);
        };
        let page = cx.table::<Sticker>().scan((&*pack.id,)).after(step.after).page(CHUNK)?;
        for sticker in &page.rows {
            sticker.list(cx, pack.is_listed())?;
        }
        Ok(page.next.map(|next| Relist {
            pack: pack.id,
            revision: step.revision,
            after: Some(next),
        }))
    }

    pub(crate) fn delete_pack(&self, cx: &Context, which: WhichPack) -> Result<Nothing, Error> {
        let pack = self.own(cx, &which.pack)?;
        cx.table::<Pack>().remove(&*pack.id)?;
        cx.jobs().add("clear", &pack.id)?;
        Ok(Nothing {})
    }

    /// Removes up to [`CHUNK`] stickers of a deleted pack. Returns true if more exist.
    pub(crate) fn clear(&self, cx: &Context, pack: &str) -> Result<bool, Error> {
        let page = cx.table::<Sticker>().scan((pack,)).page(CHUNK)?;
        for sticker in &page.rows {
            sticker::remove(cx, sticker)?;
        }
        Ok(page.next.is_some())
    }

    pub(crate) fn add_sticker(&self, cx: &Context, new: NewSticker) -> Result<StickerInfo, Error> {
        let mut pack = self.own(cx, &new.pack)?;
        let tags = Tags::parse(&new.emoji.unwrap_or_default(), &new.keywords.unwrap_or_default())?;
        let sticker = self.add_to(cx, &mut pack, &new.blob, new.sticker, tags)?;
        cx.table::<Pack>().put(&pack)?;
        Ok(self.info(cx, sticker))
    }

    /// Adds an upload to a pack; the caller has to store the pack.
    pub(crate) fn add_to(
        &self,
        cx: &Context,
        pack: &mut Pack,
        blob: &str,
        id: Option<String>,
        tags: Tags,
    ) -> Result<Sticker, Error> {
        let id = id.unwrap_or_else(|| format!("s{}", pack.next));
        sticker::check_id(&id)?;
        let (upload, picture) = upload::claim(cx, blob)?;
        let sticker = Sticker {
            pack: pack.id.clone(),
            id,
            place: 0,
            emoji: tags.emoji,
            keywords: tags.keywords,
            picture,
            bytes: upload.bytes,
            media_type: upload.media_type,
            blob: upload.blob,
            uploader: upload.uploader,
        };
        sticker::add(cx, pack, self.settings.pack_stickers, sticker)
    }

    pub(crate) fn update_sticker(&self, cx: &Context, change: Retag) -> Result<StickerInfo, Error> {
        let pack = self.own(cx, &change.pack)?;
        let tags = Tags::parse(&change.emoji, &change.keywords)?;
        let table = cx.table::<Sticker>();
        let mut sticker = table.get((&*pack.id, &*change.sticker))?.ok_or_else(sticker::unknown)?;
        sticker.list(cx, false)?;
        sticker.emoji = tags.emoji;
        sticker.keywords = tags.keywords;
        table.put(&sticker)?;
        sticker.list(cx, pack.is_listed())?;
        Ok(self.info(cx, sticker))
    }

    pub(crate) fn remove_sticker(&self, cx: &Context, which: Which) -> Result<Nothing, Error> {
        let mut pack = self.own(cx, &which.pack)?;
        let table = cx.table::<Sticker>();
        let removed = table.get((&*pack.id, &*which.sticker))?.ok_or_else(sticker::unknown)?;
        sticker::remove(cx, &removed)?;
        pack.count = pack.count.saturating_sub(1);
        if pack.cover.as_ref() == Some(&removed.id) {
            let first = table.by(ByPlace).scan((&*pack.id,)).first()?;
            pack.cover = first.map(|first| first.id);
        }
        if pack.count == 0 && pack.visibility != Visibility::Draft {
            pack.set_visibility(Visibility::Draft, pack.withdrawn);
        }
        cx.table::<Pack>().put(&pack)?;
        Ok(Nothing {})
    }

    pub(crate) fn pack(&self, cx: &Context, which: WhichPack) -> Result<PackInfo, Error> {
        if self.is_first(&which.pack) {
            return Ok(built_in_pack(cx));
        }
        let pack = self.visible(cx, &which.pack)?;
        self.pack_info(cx, pack)
    }

    pub(crate) fn stickers(&self, cx: &Context, page: PageOf) -> Result<Found, Error> {
        if self.is_first(&page.pack) {
            let stickers = first::DRAWINGS
                .iter()
                .map(|drawing| drawing_info(cx, drawing))
                .collect();
            return Ok(Found { stickers, next: None });
        }
        let pack = self.visible(cx, &page.pack)?;
        let scan = cx.table::<Sticker>().by(ByPlace).scan((&*pack.id,));
        let found = scan.after(page.after).page(limit(page.limit))?;
        Ok(Found {
            stickers: found.rows.into_iter().map(|sticker| self.info(cx, sticker)).collect(),
            next: found.next,
        })
    }

    pub(crate) fn packs(&self, cx: &Context, query: PackQuery) -> Result<Packs, Error> {
        let table = cx.table::<Pack>();
        let word = tokens::words(query.query.as_deref().unwrap_or_default())
            .into_iter()
            .next();
        let is_own = query.own.unwrap_or_default();
        let is_first_page = query.after.is_none();
        let scan = match &word {
            _ if is_own => table.by(ByOwner).scan((&*cx.caller.actor,)).descending(),
            Some(word) => table.by(ByTitle).scan(KeyPrefix(word)),
            None => table.by(Listed).all().descending(),
        };
        let found = scan.after(query.after).page(limit(query.limit))?;
        let mut packs: Vec<PackInfo> = Vec::new();
        let is_match = word.as_ref().is_none_or(|word| first::ID.starts_with(&**word));
        if self.settings.first_pack && is_first_page && !is_own && is_match {
            packs.push(built_in_pack(cx));
        }
        for pack in found.rows {
            // Two words of a title may have this prefix.
            if packs.iter().all(|known| known.pack != pack.id) {
                packs.push(self.pack_info(cx, pack)?);
            }
        }
        Ok(Packs {
            packs,
            next: found.next,
        })
    }

    pub(crate) fn search(&self, cx: &Context, query: Query) -> Result<Found, Error> {
        let mut wanted = tokens::words(&query.query);
        wanted.extend(tokens::emoji_in(&query.query));
        wanted.truncate(5);
        // The longest word has the fewest matches.
        wanted.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let Some((rarest, others)) = wanted.split_first() else {
            return Err(Error::new("invalid_query", "The query has no word and no emoji."));
        };
        let mut stickers: Vec<StickerInfo> = Vec::new();
        if self.settings.first_pack && query.after.is_none() {
            let matching = first::DRAWINGS.iter().filter(|drawing| drawing.matches(rarest, others));
            stickers.extend(matching.map(|drawing| drawing_info(cx, drawing)));
        }
        let most = limit(query.limit);
        let mut after = query.after;
        let mut searched = 0;
        while stickers.len() < most && searched < SEARCHED {
            let page = cx
                .table::<Word>()
                .scan((KeyPrefix(rarest),))
                .after(after.take())
                .page(most - stickers.len())?;
            searched += page.rows.len();
            for word in &page.rows {
                stickers.extend(self.matching(cx, word, rarest, others)?);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(Found { stickers, next: after })
    }

    /// Returns the sticker of an index entry if it matches the other words too. Only the first of its words with this prefix
    /// counts, so that each sticker is found once.
    fn matching(
        &self,
        cx: &Context,
        word: &Word,
        prefix: &str,
        others: &[String],
    ) -> Result<Option<StickerInfo>, Error> {
        let Some(sticker) = cx.table::<Sticker>().get((&*word.pack, &*word.sticker))? else {
            return Ok(None);
        };
        let words = sticker.words();
        let is_first = words.iter().find(|known| known.starts_with(prefix)) == Some(&word.word);
        let has = |other: &String| words.iter().any(|known| known.starts_with(&**other));
        if !is_first || !others.iter().all(has) {
            return Ok(None);
        }
        // A pending job may not have removed it from the index yet.
        let is_listed = cx
            .table::<Pack>()
            .get(&*word.pack)?
            .is_some_and(|pack| pack.is_listed());
        Ok(is_listed.then(|| self.info(cx, sticker)))
    }

    pub(crate) fn resolve(&self, cx: &Context, which: WhichStickers) -> Result<Found, Error> {
        if which.stickers.len() > RESOLVED {
            return Err(Error::new(
                "limit_stickers",
                format!("Resolve {RESOLVED} stickers at most per call."),
            ));
        }
        let mut stickers = Vec::new();
        for one in &which.stickers {
            stickers.extend(self.find(cx, &one.pack, &one.sticker)?);
        }
        Ok(Found { stickers, next: None })
    }

    /// Returns a sticker that the caller may see.
    pub(crate) fn find(&self, cx: &Context, pack: &str, sticker: &str) -> Result<Option<StickerInfo>, Error> {
        if self.is_first(pack) {
            return Ok(first::find(sticker).map(|drawing| drawing_info(cx, drawing)));
        }
        let Some(found) = cx.table::<Sticker>().get((pack, sticker))? else {
            return Ok(None);
        };
        let is_visible = self.visible(cx, pack).is_ok();
        Ok(is_visible.then(|| self.info(cx, found)))
    }

    /// Returns true for the id of the built-in pack, if it is enabled.
    pub(crate) fn is_first(&self, pack: &str) -> bool {
        self.settings.first_pack && pack == first::ID
    }

    pub(crate) fn require_admin(&self, cx: &Context) -> Result<(), Error> {
        if self.settings.is_admin(&cx.caller.actor) {
            return Ok(());
        }
        Err(Error::new("forbidden", "Only operators can do this."))
    }

    /// Returns a pack that the caller may change.
    pub(crate) fn own(&self, cx: &Context, id: &str) -> Result<Pack, Error> {
        pack::own(cx, id, self.settings.is_admin(&cx.caller.actor))
    }

    /// Returns a pack that the caller may see.
    fn visible(&self, cx: &Context, id: &str) -> Result<Pack, Error> {
        let actor = &cx.caller.actor;
        let pack = cx.table::<Pack>().get(id)?;
        pack.filter(|pack| pack.may_see(actor, self.settings.is_admin(actor)))
            .ok_or_else(pack::unknown)
    }

    pub(crate) fn pack_info(&self, cx: &Context, pack: Pack) -> Result<PackInfo, Error> {
        let cover = match &pack.cover {
            Some(cover) => cx.table::<Sticker>().get((&*pack.id, &**cover))?,
            None => None,
        };
        Ok(PackInfo {
            pack: pack.id,
            title: pack.title,
            author: pack.author,
            licence: pack.licence,
            owner: pack.owner,
            visibility: pack.visibility.name().to_owned(),
            withdrawn: pack.withdrawn,
            count: pack.count,
            cover: cover.as_ref().map(|cover| cover.id.clone()),
            cover_url: cover.map(|cover| blob_url(cx, &cover.blob)),
        })
    }

    fn info(&self, cx: &Context, sticker: Sticker) -> StickerInfo {
        let picture = sticker.picture;
        StickerInfo {
            url: blob_url(cx, &sticker.blob),
            pack: sticker.pack,
            sticker: sticker.id,
            emoji: sticker.emoji,
            keywords: sticker.keywords,
            format: picture.format.name().to_owned(),
            media_type: sticker.media_type,
            width: picture.width,
            height: picture.height,
            frames: picture.frames,
            duration_ms: picture.duration_ms,
            bytes: sticker.bytes,
        }
    }
}

fn limit(requested: Option<u32>) -> usize {
    requested.unwrap_or(50).clamp(1, PAGE) as usize
}

/// Returns the path prefix of the app.
fn app_path(cx: &Context) -> String {
    match &*cx.caller.app {
        "" | "default" => "/v1".to_owned(),
        app => format!("/v1/apps/{app}"),
    }
}

fn blob_url(cx: &Context, blob: &str) -> String {
    format!("{}/blobs/stickers/{blob}", app_path(cx))
}

fn drawing_url(cx: &Context, id: &str) -> String {
    format!("{}/plugins/stickers/first/{id}.json", app_path(cx))
}

pub(crate) fn built_in_pack(cx: &Context) -> PackInfo {
    PackInfo {
        pack: first::ID.to_owned(),
        title: first::TITLE.to_owned(),
        author: first::AUTHOR.to_owned(),
        licence: first::LICENCE.to_owned(),
        owner: String::new(),
        visibility: "public".to_owned(),
        withdrawn: false,
        count: u32::try_from(first::DRAWINGS.len()).unwrap_or_default(),
        cover: Some(first::DRAWINGS[0].id.to_owned()),
        cover_url: Some(drawing_url(cx, first::DRAWINGS[0].id)),
    }
}

fn drawing_info(cx: &Context, drawing: &first::Drawing) -> StickerInfo {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    StickerInfo {
        pack: first::ID.to_owned(),
        sticker: drawing.id.to_owned(),
        emoji: owned(drawing.emoji),
        keywords: owned(drawing.keywords),
        format: "lottie".to_owned(),
        media_type: "application/json".to_owned(),
        width: first::SIDE,
        height: first::SIDE,
        frames: first::FRAMES,
        duration_ms: first::DURATION_MS,
        bytes: drawing.json.len() as u64,
        url: drawing_url(cx, drawing.id),
    }
}
