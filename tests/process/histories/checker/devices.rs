//! Comparison of the views of devices with the log.

use super::*;
use crate::histories::record::{Count, Device, End, Mark, Sight, Stay};

/// Upper bound of unread counts.
const UNREAD: usize = 100;

impl Checker<'_> {
    pub(super) fn check_device(&mut self, device: &Device) {
        for stay in &device.stays {
            self.check_stay(device, stay);
        }
        for (conversation, log) in &self.record.logs {
            let open = device
                .stays
                .iter()
                .filter(|stay| stay.conversation == *conversation && stay.end == End::Open);
            let (open, is_member) = (open.count(), log.members.contains(&device.actor));
            match (is_member, open) {
                (true, 0) => self.complain(Fault::Lost, format!("{} does not know of {conversation}", device.name)),
                (false, 0) | (true, 1) => {}
                (false, _) => {
                    let text = format!("{} still has {conversation}, which its owner left", device.name);
                    self.complain(Fault::Membership, text);
                }
                (true, _) => self.complain(Fault::Doubled, format!("{} has {conversation} twice", device.name)),
            }
        }
        for (conversation, counts) in &device.counts {
            let what = format!("{} in {conversation}", device.name);
            let right = self.count(&device.actor, conversation, counts.fresh.mark.read);
            self.check_count(
                &format!("{what}, asked anew,"),
                device,
                conversation,
                counts.fresh,
                right,
            );
            self.check_count(&what, device, conversation, counts.kept, right);
            if counts.kept.mark != counts.fresh.mark {
                let text = format!(
                    "{what} keeps {:?}, and the server says {:?}",
                    counts.kept.mark, counts.fresh.mark
                );
                self.complain(Fault::Watermark, text);
            }
            if let Some(others) = &counts.others {
                self.check_others(&what, device, conversation, others);
            }
        }
    }

    /// Checks the events of a stay.
    fn check_stay(&mut self, device: &Device, stay: &Stay) {
        let what = format!("{} in {}", device.name, stay.conversation);
        let Some(log) = self.record.logs.get(&stay.conversation) else {
            return self.complain(Fault::Invented, format!("{what}: the conversation does not exist"));
        };
        let mut before = stay.sights.first().map_or(0, |sight| sight.event.seq - 1);
        if device.from_the_first && before != 0 {
            self.complain(Fault::Lost, format!("{what} begins with {}", before + 1));
        }
        for sight in &stay.sights {
            let seq = sight.event.seq;
            let fault = match seq {
                seq if seq == before + 1 => None,
                seq if seq == before => Some(Fault::Doubled),
                seq if seq < before => Some(Fault::Reordered),
                _ => Some(Fault::Lost),
            };
            if let Some(fault) = fault {
                self.complain(fault, format!("{what} shows {seq} behind {before}"));
            }
            before = seq;
            self.check_sight(&what, &stay.conversation, sight);
        }
        match stay.end {
            End::Open if before != log.head => {
                let text = format!("{what} ends with {before}, and the log with {}", log.head);
                self.complain(Fault::Lost, text);
            }
            End::Left => {
                let last = stay.sights.last().map(|sight| &sight.event.content["left"]);
                let names = last.and_then(Value::as_array);
                if !names.is_some_and(|names| names.iter().any(|name| name == &device.actor)) {
                    self.complain(Fault::Lost, format!("{what} does not end with the leaving"));
                }
            }
            _ => {}
        }
        self.check_messages(&what, device, stay);
    }

    /// Compares an event with that of the log.
    fn check_sight(&mut self, what: &str, conversation: &str, sight: &Sight) {
        let event = &sight.event;
        let Some(raw) = self.raw.get(conversation).and_then(|raw| raw.get(&event.seq)) else {
            let text = format!(
                "{what} shows {} {}, which the log does not have",
                event.event_type, event.seq
            );
            return self.complain(Fault::Invented, text);
        };
        let mut is_same = raw.id == event.id
            && raw.event_type == event.event_type
            && raw.target == event.target
            && raw.sender == event.sender
            && raw.client_id == event.client_id
            && raw.time == event.time;
        let message = raw.target.unwrap_or(raw.seq);
        let is_recalled = self.is_recalled(conversation, message);
        // Events of plugins are known from the log alone, which has no recalled content.
        let is_known = self.origin(raw).is_some() || !is_recalled;
        let may_differ = !is_known || (!sight.live && self.may_say(raw, event, is_recalled));
        is_same &= raw.content == event.content || may_differ;
        if !is_same {
            self.complain(Fault::Altered, format!("{what} shows {event:?} instead of {raw:?}"));
        }
    }

    /// Returns true if an event of history may have this content: that of any later edit, or none after a recall.
    fn may_say(&self, raw: &LogEvent, event: &LogEvent, is_recalled: bool) -> bool {
        if is_recalled && event.content == json!({}) {
            return true;
        }
        let events = self.raw.get(&*raw.conversation);
        raw.is_message()
            && events.is_some_and(|events| {
                let mut edits = events
                    .values()
                    .filter(|edit| edit.event_type == "edit" && edit.target == Some(raw.seq));
                edits.any(|edit| edit.content == event.content)
            })
    }

    /// Compares the messages of a device with their folded events.
    fn check_messages(&mut self, what: &str, device: &Device, stay: &Stay) {
        if stay.end != End::Open {
            return;
        }
        let wanted = self.messages.get(&*stay.conversation).cloned().unwrap_or_default();
        let first = stay.messages.keys().next().copied().unwrap_or(u64::MAX);
        let first = if device.from_the_first { 0 } else { first };
        for (seq, wanted) in wanted.range(first..) {
            match stay.messages.get(seq) {
                Some(found) if found.is_like(wanted) => {}
                None => self.complain(Fault::Lost, format!("{what} has no message {seq}")),
                found => self.complain(
                    Fault::Folded,
                    format!("{what} has {found:?}, and by its events it is {wanted:?}"),
                ),
            }
        }
        for seq in stay.messages.keys().filter(|seq| !wanted.contains_key(*seq)) {
            self.complain(Fault::Invented, format!("{what} has a message {seq}"));
        }
    }

    /// Counts the unread messages of an actor.
    fn count(&self, actor: &str, conversation: &str, read: u64) -> usize {
        let events = self.raw.get(conversation).into_iter().flatten();
        let unread = events.filter(|(seq, event)| **seq > read && event.is_message() && event.sender != actor);
        unread.count().min(UNREAD)
    }

    fn check_count(&mut self, what: &str, device: &Device, conversation: &str, count: Count, right: usize) {
        if count.unread.min(UNREAD) != right {
            self.complain(
                Fault::Unread,
                format!("{what} says {count:?} instead of {right} unread"),
            );
        }
        let (least, most) = self.bounds(&device.actor, conversation);
        let Mark { delivered, read } = count.mark;
        let is_within =
            (least.read..=most.read).contains(&read) && (least.delivered..=most.delivered).contains(&delivered);
        if !is_within || read > delivered {
            let text = format!("{what} says {count:?}, but {least:?} was acknowledged and {most:?} requested");
            self.complain(Fault::Watermark, text);
        }
    }

    /// Returns the lower and upper bound of an actor's watermark.
    fn bounds(&self, actor: &str, conversation: &str) -> (Mark, Mark) {
        let own = self.record.marked.iter();
        let own = own.filter(|marked| marked.actor == actor && marked.conversation == conversation);
        own.fold((Mark::default(), Mark::default()), |(least, most), marked| {
            let acknowledged = marked.answer.map_or(least, |answer| least.merged(answer));
            (acknowledged, most.merged(marked.to))
        })
    }

    /// Compares the receipts of other members with the marks on their own devices.
    fn check_others(&mut self, what: &str, device: &Device, conversation: &str, others: &BTreeMap<String, Mark>) {
        let members = self
            .record
            .logs
            .get(conversation)
            .map(|log| log.members.clone())
            .unwrap_or_default();
        for member in members.iter().filter(|member| **member != device.actor) {
            let theirs = self.record.devices.iter().filter(|device| device.actor == *member);
            let Some(right) = theirs.filter_map(|device| device.counts.get(conversation)).next() else {
                continue;
            };
            let (right, found) = (right.fresh.mark, others.get(member).copied().unwrap_or_default());
            if found != right {
                let text = format!("{what} has {member} at {found:?} instead of {right:?}");
                self.complain(Fault::Watermark, text);
            }
        }
    }
}
