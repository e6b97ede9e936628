//! Comparison of the log with the requests.

use super::*;

/// Event types that a mute forbids.
const SPEECH: [&str; 3] = ["message", "edit", "reaction"];

impl Checker<'_> {
    /// Checks that every acknowledged request is in the log, in the order of its device.
    pub(super) fn check_asked(&mut self) {
        let mut last: HashMap<(&str, &str), u64> = HashMap::new();
        for asked in &self.record.asked {
            let Outcome::Acked { seq, event } = &asked.outcome else {
                continue;
            };
            let found = self.raw.get(&*asked.conversation).and_then(|raw| raw.get(seq));
            let is_it = |found: &LogEvent| found.sender == asked.actor && found.client_id == asked.id;
            let what = format!(
                "{} {} of {} as {seq} in {}",
                asked.id,
                asked.deed.event_type(),
                asked.device,
                asked.conversation
            );
            match found {
                Some(found) if is_it(found) && found.id == *event => {}
                found => {
                    let elsewhere = self.record.logs.get(&asked.conversation);
                    let elsewhere = elsewhere.and_then(|log| log.events.iter().find(|event| is_it(event)));
                    let (fault, place) = match elsewhere {
                        Some(event) => (
                            Fault::Reordered,
                            format!("it is {} with the id {}", event.seq, event.id),
                        ),
                        None => (
                            Fault::Lost,
                            format!("there is {:?}", found.map(|found| &found.client_id)),
                        ),
                    };
                    self.complain(fault, format!("{what} was acknowledged, but {place}"));
                    continue;
                }
            }
            if asked.deed.target().is_none() && !asked.put_off {
                let before = last.insert((&asked.device, &asked.conversation), *seq);
                if before.is_some_and(|before| before > *seq) {
                    self.complain(
                        Fault::Reordered,
                        format!("{what} stands before what the device sent earlier"),
                    );
                }
            }
        }
    }

    /// Checks the numbers, ids and contents of a log, and that each event was requested.
    pub(super) fn check_log(&mut self, conversation: &str, log: &Log) {
        let (mut ids, mut client_ids) = (BTreeSet::new(), BTreeSet::new());
        let mut next = 1;
        for event in &log.events {
            let what = format!(
                "{} {} of {} in {conversation}",
                event.event_type, event.seq, event.sender
            );
            if event.seq != next {
                let fault = if event.seq < next { Fault::Reordered } else { Fault::Gap };
                self.complain(fault, format!("{what} stands where {next} is to stand"));
            }
            next = event.seq + 1;
            if !ids.insert(&event.id) || !client_ids.insert((&event.sender, &event.client_id)) {
                self.complain(Fault::Doubled, format!("{what} exists twice"));
            }
            match self.origin(event) {
                Some(asked) => self.check_origin(&what, conversation, event, asked),
                None if self.is_of_a_plugin(conversation, event) => {}
                None => self.complain(
                    Fault::Invented,
                    format!("{what} was never requested: {}", event.content),
                ),
            }
            self.check_fold(&what, conversation, event);
        }
        if next != log.head + 1 {
            self.complain(
                Fault::Gap,
                format!("{conversation} ends with {} instead of {}", next - 1, log.head),
            );
        }
    }

    /// Compares an event with its request.
    fn check_origin(&mut self, what: &str, conversation: &str, event: &LogEvent, asked: &RequestRecord) {
        if let (Outcome::Refused { code }, 1) = (&asked.outcome, asked.tries) {
            self.complain(Fault::Invented, format!("{what} was refused: {code}"));
        }
        let deed = &asked.deed;
        let is_same = asked.conversation == conversation
            && deed.event_type() == event.event_type
            && deed.target() == event.target
            && !matches!(deed, crate::histories::record::WriteRequest::Send { kind, .. } if *kind != event.kind);
        // The current content is compared with the folded events elsewhere.
        let mut contents = vec![deed.content()];
        if event.event_type == "edit"
            && event
                .target
                .is_some_and(|target| self.is_recalled(conversation, target))
        {
            contents = vec![json!({})];
        }
        if !is_same || (!event.is_message() && !contents.contains(&event.content)) {
            self.complain(
                Fault::Altered,
                format!("{what} differs from its request: {} and {asked:?}", event.content),
            );
        }
    }

    /// Returns true for an event that a plugin writes for a method call.
    fn is_of_a_plugin(&self, conversation: &str, event: &LogEvent) -> bool {
        match &*event.event_type {
            "members" => true,
            "message" => event.kind == "custom:group",
            "recall" => self.record.called.iter().any(|called| {
                let taken_back = matches!(&called.call, Call::TakeBack { target } if event.target == Some(*target));
                taken_back && called.conversation == conversation && called.actor == event.sender
            }),
            _ => false,
        }
    }

    /// Compares a message with its folded events.
    fn check_fold(&mut self, what: &str, conversation: &str, event: &LogEvent) {
        if !event.is_message() {
            return;
        }
        let wanted = self
            .messages
            .get(conversation)
            .and_then(|messages| messages.get(&event.seq));
        let mut found = Message::of(event);
        // Annotations of plugins are known from history alone.
        if self.origin(event).is_none() && !found.recalled {
            found.content = wanted.map(|wanted| wanted.content.clone()).unwrap_or_default();
        }
        if !wanted.is_some_and(|wanted| wanted.is_like(&found)) {
            let text = format!("{what} is {found:?} in history, and by its events {wanted:?}");
            self.complain(Fault::Folded, text);
        }
    }

    /// Follows the members, and checks that only allowed actors wrote.
    pub(super) fn check_members(&mut self, conversation: &str, log: &Log) {
        let mut members = log.founders.clone();
        let mut muted = BTreeSet::new();
        let (mut joins, mut leaves) = (BTreeMap::new(), BTreeMap::new());
        for event in &log.events {
            let what = format!(
                "{} {} of {} in {conversation}",
                event.event_type, event.seq, event.sender
            );
            if self.origin(event).is_some() && !members.contains(&event.sender) {
                self.complain(Fault::Membership, format!("{what} is of somebody who was no member"));
            }
            let is_undone = event.event_type == "reaction" && event.content["on"] == false;
            if muted.contains(&event.sender)
                && self.origin(event).is_some()
                && SPEECH.contains(&&*event.event_type)
                && !is_undone
            {
                self.complain(Fault::Membership, format!("{what} is of somebody who was muted"));
            }
            if event.event_type == "members" {
                for actor in actors(&event.content["joined"]) {
                    *joins.entry(actor.clone()).or_insert(0) += 1;
                    if !members.insert(actor) {
                        self.complain(Fault::Membership, format!("{what} lets in who was a member"));
                    }
                }
                for actor in actors(&event.content["left"]) {
                    *leaves.entry(actor.clone()).or_insert(0) += 1;
                    if !members.remove(&actor) {
                        self.complain(Fault::Membership, format!("{what} lets go who was no member"));
                    }
                }
            }
            if event.content["event"] == "muted" {
                let actor = event.content["actor"].as_str().unwrap_or_default().to_owned();
                match event.content["until_ms"] == 0 {
                    true => muted.remove(&actor),
                    false => muted.insert(actor),
                };
            }
        }
        if members != log.members {
            let text = format!("{conversation} has {:?}, and by its events {members:?}", log.members);
            self.complain(Fault::Membership, text);
        }
        self.check_calls(conversation, "join", &joins);
        self.check_calls(conversation, "leave", &leaves);
    }

    /// Compares the number of joins and leaves with the requests.
    fn check_calls(&mut self, conversation: &str, what: &str, found: &BTreeMap<String, u32>) {
        use crate::histories::record::Answer;
        let mut wanted: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for called in self
            .record
            .called
            .iter()
            .filter(|called| called.conversation == conversation)
        {
            let whom = match (&called.call, what) {
                (Call::Join, "join") | (Call::Leave, "leave") => &called.actor,
                (Call::Remove { whom }, "leave") => whom,
                _ => continue,
            };
            let (done, open) = wanted.entry(whom).or_default();
            match called.answer {
                Answer::Done => *done += 1,
                Answer::Open => *open += 1,
                Answer::Refused => {}
            }
        }
        let everybody: BTreeSet<&str> = wanted
            .keys()
            .copied()
            .chain(found.keys().map(|actor| &**actor))
            .collect();
        for actor in everybody {
            let (done, open) = wanted.get(actor).copied().unwrap_or_default();
            let count = found.get(actor).copied().unwrap_or_default();
            let fault = match count {
                count if count < done => Fault::Lost,
                count if count > done + open => Fault::Invented,
                _ => continue,
            };
            let text = format!("{what} of {actor} in {conversation}: {count} in the log, {done} done and {open} open");
            self.complain(fault, text);
        }
    }
}

fn actors(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
