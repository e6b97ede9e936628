//! Mentions: the members that a message mentions, and the mentions that each member has not cleared.
//!
//! A mention of everybody is one row for any number of members.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::GroupContext;
use crate::member::{ByActor, Member};
use crate::params::{Nothing, OwnPage, page_size};
use crate::settings::Settings;

/// Maximum number of stored mentions of everybody per group; the oldest ones are deleted.
const MAX_OF_ALL: usize = 100;

/// The mentions in the content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContentMentions {
    pub(crate) actors: Vec<String>,
    pub(crate) all: bool,
}

/// Returns the mentions in a content. A content without the word `mention` isn't parsed, which is the common case.
pub(crate) fn parse(content: &[u8], most: u32) -> Result<ContentMentions, Error> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        mentions: Vec<String>,
        #[serde(default)]
        mention_all: bool,
    }
    // An escape may hide the name of a member of the JSON object.
    let may_mention = content.contains(&b'\\') || content.windows(8).any(|window| window == b"\"mention");
    if !may_mention {
        return Ok(ContentMentions::default());
    }
    let invalid = |reason: String| Error::new(error::INVALID_MENTIONS, reason);
    let parsed: Content = serde_json::from_slice(content).map_err(|error| invalid(error.to_string()))?;
    if parsed.mentions.len() > most as usize {
        return Err(invalid(format!(
            "Too many mentions: a message can mention {most} members."
        )));
    }
    Ok(ContentMentions {
        actors: crate::params::distinct(parsed.mentions),
        all: parsed.mention_all,
    })
}

/// Rejects a mention of a person who isn't a member.
pub(crate) fn check(cx: &Context, group: &str, mentions: &ContentMentions) -> Result<(), Error> {
    for actor in &mentions.actors {
        if !crate::params::is_actor(actor) || !cx.table::<Member>().contains((group, &**actor))? {
            return Err(Error::new(error::INVALID_MENTIONS, "Only members can be mentioned."));
        }
    }
    Ok(())
}

/// A mention of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mention {
    pub(crate) group: String,
    pub(crate) actor: String,
    pub(crate) seq: u64,
    pub(crate) by: String,
    pub(crate) at_ms: u64,
}

table! {
    Mention in "mentions", key (group: String, actor: String, seq: u64);
}

/// A mention of all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MentionOfAll {
    pub(crate) group: String,
    pub(crate) seq: u64,
    pub(crate) by: String,
    pub(crate) at_ms: u64,
}

table! {
    MentionOfAll in "mentions_of_all", key (group: String, seq: u64);
}

/// Stores the mentions of a logged message. Repeating it changes nothing.
pub(crate) fn record(cx: &Context, settings: &Settings, message: &Message<'_>) -> Result<(), Error> {
    // Only plugins can send a content that doesn't parse; it mentions nobody.
    let Ok(mentions) = parse(message.content(), u32::MAX) else {
        return Ok(());
    };
    if mentions == ContentMentions::default() {
        return Ok(());
    }
    let (group, by) = (message.conversation(), message.sender());
    let seq = match message.edits() {
        0 => message.seq(),
        edited => edited,
    };
    for actor in mentions.actors.iter().filter(|actor| **actor != by) {
        let Some(member) = cx.table::<Member>().get((group, &**actor))? else {
            continue;
        };
        if seq > member.mentions_read {
            record_one(cx, settings, (group, actor, seq), by, message.time_ms())?;
        }
    }
    if mentions.all {
        let table = cx.table::<MentionOfAll>();
        table.put(&MentionOfAll {
            group: group.to_owned(),
            seq,
            by: by.to_owned(),
            at_ms: message.time_ms(),
        })?;
        if table.scan((group,)).count(MAX_OF_ALL + 1)? > MAX_OF_ALL
            && let Some(oldest) = table.scan((group,)).first()?
        {
            table.remove(oldest.key())?;
        }
    }
    Ok(())
}

fn record_one(
    cx: &Context,
    settings: &Settings,
    (group, actor, seq): (&str, &str, u64),
    by: &str,
    at_ms: u64,
) -> Result<(), Error> {
    let table = cx.table::<Mention>();
    let old = table.put(&Mention {
        group: group.to_owned(),
        actor: actor.to_owned(),
        seq,
        by: by.to_owned(),
        at_ms,
    })?;
    let counter = Counter::Mentions(group, actor);
    if old.is_none() && counter.add(cx, 1)? > u64::from(settings.unread_mentions) {
        if let Some(oldest) = table.scan((group, actor)).first()? {
            table.remove(oldest.key())?;
        }
        counter.subtract(cx, 1)?;
    }
    Ok(())
}

record! {
    /// Parameters of `mentions`: the group, and the sequence number behind which to start.
    pub(crate) struct MentionQuery { group: String, after: Option<u64>, limit: Option<u32> }
}
record! {
    /// A message that mentions the caller.
    pub(crate) struct MentionInfo { seq: u64, by: String, at_ms: u64, all: bool }
}
record! {
    /// A page of mentions in order. `next` is the sequence number behind which there are more.
    pub(crate) struct MentionPage { mentions: Vec<MentionInfo>, next: Option<u64> }
}
record! {
    /// Parameters of `clear_mentions`: the last sequence number to clear.
    pub(crate) struct ClearMentionsParams { group: String, up_to: u64 }
}
record! {
    /// The number of uncleared mentions of the caller in a group, up to 100.
    pub(crate) struct UnreadCount { group: String, mentions: u64 }
}
record! {
    /// A page of groups with uncleared mentions.
    pub(crate) struct UnreadPage { groups: Vec<UnreadCount>, next: Option<Cursor> }
}

/// Returns up to `limit` uncleared mentions of a member, in order, behind the number `after`.
fn list_unread(cx: &Context, member: &Member, after: u64, limit: usize) -> Result<Vec<MentionInfo>, Error> {
    let after = after.max(member.mentions_read);
    let Some(first) = after.checked_add(1) else {
        return Ok(Vec::new());
    };
    let (group, actor) = (&*member.group, &*member.actor);
    let (own_table, all_table) = (cx.table::<Mention>(), cx.table::<MentionOfAll>());
    let own = own_table.range((group, actor, first)..=(group, actor, u64::MAX));
    let of_all = all_table.range((group, first)..=(group, u64::MAX));
    let mut found = Vec::new();
    for mention in own.page(limit)?.rows {
        found.push((mention.seq, mention.by, mention.at_ms, false));
    }
    for mention in of_all
        .page(limit)?
        .rows
        .into_iter()
        .filter(|mention| mention.by != actor)
    {
        found.push((mention.seq, mention.by, mention.at_ms, true));
    }
    // Skip mentions from before the member joined, also of a former membership.
    found.retain(|(_, _, at_ms, _)| *at_ms >= member.joined_ms);
    found.sort_by_key(|(seq, ..)| *seq);
    found.dedup_by_key(|(seq, ..)| *seq);
    let info = |(seq, by, at_ms, all)| MentionInfo { seq, by, at_ms, all };
    Ok(found.into_iter().map(info).take(limit).collect())
}

impl Groups {
    pub(crate) fn mentions(&self, cx: &Context, params: MentionQuery) -> Result<MentionPage, Error> {
        let (_, member) = GroupContext::find_own(cx, &params.group)?;
        let limit = page_size(params.limit);
        let mut mentions = list_unread(cx, &member, params.after.unwrap_or(0), limit + 1)?;
        let more = mentions.len() > limit;
        mentions.truncate(limit);
        let last = mentions.last().map(|mention| mention.seq);
        Ok(MentionPage {
            mentions,
            next: last.filter(|_| more),
        })
    }

    pub(crate) fn unread_mentions(&self, cx: &Context, params: OwnPage) -> Result<UnreadPage, Error> {
        let table = cx.table::<Member>().by(ByActor);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let found = scan.page(page_size(params.limit))?;
        let mut groups = Vec::new();
        for member in found.rows {
            let mentions = list_unread(cx, &member, 0, 100)?.len() as u64;
            if mentions > 0 {
                let group = member.group;
                groups.push(UnreadCount { group, mentions });
            }
        }
        Ok(UnreadPage {
            groups,
            next: found.next,
        })
    }

    pub(crate) fn clear_mentions(&self, cx: &Context, params: ClearMentionsParams) -> Result<Nothing, Error> {
        let (group, mut member) = GroupContext::find_own(cx, &params.group)?;
        member.mentions_read = member.mentions_read.max(params.up_to);
        let (table, own) = (cx.table::<Mention>(), &*cx.caller.actor);
        let seen = table.range((&*group.id, own, 0)..=(&*group.id, own, params.up_to));
        let mut removed = 0;
        for mention in seen {
            table.remove(mention?.key())?;
            removed += 1;
        }
        Counter::Mentions(&group.id, own).subtract(cx, removed)?;
        cx.table::<Member>().put(&member)?;
        Ok(Nothing {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_parsed_in_any_spelling() {
        let parse = |json: &str| parse(json.as_bytes(), 2);
        let all = ContentMentions {
            all: true,
            ..ContentMentions::default()
        };
        assert_eq!(parse(r#"{"text":"mention_all"}"#), Ok(ContentMentions::default()));
        assert_eq!(parse(r#"{"text":"x","mention_all":true}"#), Ok(all.clone()));
        assert_eq!(parse(r#"{"text":"x","\u006dention_all":true}"#), Ok(all));
        let two = parse(r#"{"text":"x","mentions":["b","a","a"]}"#);
        assert_eq!(two.unwrap_err().code, "invalid_mentions", "repeated mentions count");
        let two = parse(r#"{"text":"x","mentions":["b","a"]}"#).unwrap();
        assert_eq!(two.actors, ["a", "b"]);
        for bad in [
            r#"{"mentions":"a"}"#,
            r#"{"mentions":[1]}"#,
            r#"{"mentions":null}"#,
            r#"{"mention_all":1}"#,
            r#"{"mention_all":false,"mention_all":true}"#,
        ] {
            assert_eq!(parse(bad).unwrap_err().code, "invalid_mentions", "{bad}");
        }
    }
}
