//! Mentions: who a message means, and what each member has not seen of it yet.
//!
//! A mention of everybody is one row, however many members there are.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Groups;
use crate::counter::Counter;
use crate::group::OpenGroup;
use crate::member::{ByActor, Member};
use crate::params::{Nothing, Onward, page};
use crate::settings::Settings;

/// Mentions of everybody that are kept of a group.
const KEPT_OF_ALL: usize = 100;

/// Who a message means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub(crate) actors: Vec<String>,
    pub(crate) all: bool,
}

/// Reads whom a content mentions; most contents mention nobody, and are not parsed for it.
pub(crate) fn read(content: &[u8], most: u32) -> Result<Mentions, Error> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        mentions: Vec<String>,
        #[serde(default)]
        mention_all: bool,
    }
    // With an escape in it, a name may be written in many ways.
    let may_mention = content.contains(&b'\\') || content.windows(8).any(|window| window == b"\"mention");
    if !may_mention {
        return Ok(Mentions::default());
    }
    let bad = |reason: String| Error::new("bad_mentions", reason);
    let read: Content = serde_json::from_slice(content).map_err(|error| bad(error.to_string()))?;
    if read.mentions.len() > most as usize {
        return Err(bad(format!("A message mentions {most} members at most.")));
    }
    Ok(Mentions {
        actors: crate::params::distinct(read.mentions),
        all: read.mention_all,
    })
}

/// Refuses a mention of somebody who is no member.
pub(crate) fn check(cx: &Context, group: &str, mentions: &Mentions) -> Result<(), Error> {
    for actor in &mentions.actors {
        if !crate::params::is_actor(actor) || !cx.table::<Member>().contains((group, &**actor))? {
            return Err(Error::new("bad_mentions", "Only members can be mentioned."));
        }
    }
    Ok(())
}

/// A message that means somebody.
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

/// A message that means everybody.
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

/// Notes whom a message means that is in the log. Noting it again changes nothing.
pub(crate) fn note(cx: &Context, settings: &Settings, message: &Message<'_>) -> Result<(), Error> {
    // It passed `before_send` or comes from a plugin; what can't be read means nobody.
    let Ok(mentions) = read(message.content(), u32::MAX) else {
        return Ok(());
    };
    if mentions == Mentions::default() {
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
            note_one(cx, settings, (group, actor, seq), by, message.time_ms())?;
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
        if table.scan((group,)).count(KEPT_OF_ALL + 1)? > KEPT_OF_ALL
            && let Some(oldest) = table.scan((group,)).first()?
        {
            table.remove(oldest.key())?;
        }
    }
    Ok(())
}

fn note_one(
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
    /// Whose mentions, from which number on.
    pub(crate) struct OfMentions { group: String, after: Option<u64>, limit: Option<u32> }
}
record! {
    /// A message that means one.
    pub(crate) struct MentionInfo { seq: u64, by: String, at_ms: u64, all: bool }
}
record! {
    /// Messages that mean one, in order, and behind which number there are more.
    pub(crate) struct MentionList { mentions: Vec<MentionInfo>, next: Option<u64> }
}
record! {
    /// Up to which number one has seen them.
    pub(crate) struct Read { group: String, up_to: u64 }
}
record! {
    /// How many messages of a group mean one, up to 100.
    pub(crate) struct Unread { group: String, mentions: u64 }
}
record! {
    /// Groups with messages that mean one, and where to go on.
    pub(crate) struct UnreadGroups { groups: Vec<Unread>, next: Option<Cursor> }
}

/// Lists up to `limit` mentions of a member that they have not seen, in order.
fn unread(cx: &Context, member: &Member, after: u64, limit: usize) -> Result<Vec<MentionInfo>, Error> {
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
    // Whoever came back is not told what was said to them before.
    found.retain(|(_, _, at_ms, _)| *at_ms >= member.joined_ms);
    found.sort_by_key(|(seq, ..)| *seq);
    found.dedup_by_key(|(seq, ..)| *seq);
    let info = |(seq, by, at_ms, all)| MentionInfo { seq, by, at_ms, all };
    Ok(found.into_iter().map(info).take(limit).collect())
}

impl Groups {
    pub(crate) fn mentions(&self, cx: &Context, params: OfMentions) -> Result<MentionList, Error> {
        let (_, member) = OpenGroup::find_own(cx, &params.group)?;
        let limit = page(params.limit);
        let mut mentions = unread(cx, &member, params.after.unwrap_or(0), limit + 1)?;
        let more = mentions.len() > limit;
        mentions.truncate(limit);
        let last = mentions.last().map(|mention| mention.seq);
        Ok(MentionList {
            mentions,
            next: last.filter(|_| more),
        })
    }

    pub(crate) fn unread_mentions(&self, cx: &Context, params: Onward) -> Result<UnreadGroups, Error> {
        let table = cx.table::<Member>().by(ByActor);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let found = scan.page(page(params.limit))?;
        let mut groups = Vec::new();
        for member in found.rows {
            let mentions = unread(cx, &member, 0, 100)?.len() as u64;
            if mentions > 0 {
                let group = member.group;
                groups.push(Unread { group, mentions });
            }
        }
        Ok(UnreadGroups {
            groups,
            next: found.next,
        })
    }

    pub(crate) fn clear_mentions(&self, cx: &Context, params: Read) -> Result<Nothing, Error> {
        let (group, mut member) = OpenGroup::find_own(cx, &params.group)?;
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
    fn mentions_are_read_however_they_are_written() {
        let read = |json: &str| read(json.as_bytes(), 2);
        let all = Mentions {
            all: true,
            ..Mentions::default()
        };
        assert_eq!(read(r#"{"text":"mention_all"}"#), Ok(Mentions::default()));
        assert_eq!(read(r#"{"text":"x","mention_all":true}"#), Ok(all.clone()));
        assert_eq!(read(r#"{"text":"x","\u006dention_all":true}"#), Ok(all));
        let two = read(r#"{"text":"x","mentions":["b","a","a"]}"#);
        assert_eq!(
            two.unwrap_err().code,
            "bad_mentions",
            "three are too many, whoever they are"
        );
        let two = read(r#"{"text":"x","mentions":["b","a"]}"#).unwrap();
        assert_eq!(two.actors, ["a", "b"]);
        for bad in [
            r#"{"mentions":"a"}"#,
            r#"{"mentions":[1]}"#,
            r#"{"mentions":null}"#,
            r#"{"mention_all":1}"#,
            r#"{"mention_all":false,"mention_all":true}"#,
        ] {
            assert_eq!(read(bad).unwrap_err().code, "bad_mentions", "{bad}");
        }
    }
}
