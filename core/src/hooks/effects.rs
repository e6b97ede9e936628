//! What plugins left to be done: messages that join the transaction, then sessions that end and signals that go out.

use super::{Call, Effects, Observers};
use crate::bus::Notice;
use crate::log::{Body, Draft};
use crate::store::{Append, Appended};
use crate::wire::AppId;
use crate::wire::reply::{self, MessageView};

/// What is left to be done after a commit.
#[derive(Debug)]
pub struct Sealed {
    app: AppId,
    effects: Effects,
    /// The sender's id of each message, in order.
    client_ids: Vec<String>,
    noted: bool,
}

impl Sealed {
    /// Returns how many messages it appends to the transaction.
    #[must_use]
    pub fn appends(&self) -> usize {
        self.effects.appends.len()
    }
}

impl Observers {
    /// Puts what plugins append into the transaction of their call.
    #[must_use]
    pub fn seal(&self, call: Call) -> (Draft, Sealed) {
        let Call {
            app,
            mut draft,
            effects,
            ..
        } = call;
        let (mut client_ids, mut noted) = (Vec::new(), false);
        for message in &effects.appends {
            let client_id = ulid::Ulid::from_parts(crate::clock::now_ms(), rand::random()).to_string();
            let parts = [message.kind.as_bytes(), &message.content, &[]];
            let body = Body {
                sender: message.sender.as_str(),
                receiver: message.receiver(),
                client_id: &client_id,
                kind: &message.kind,
                content: &message.content,
            };
            let append = Append {
                log: message.log.clone(),
                body: body.encode_head(),
                tail: message.content.clone(),
                dedup: Some(self.log().dedup(&app, &message.sender, &client_id, parts)),
            };
            noted |= self.note(&mut draft, &append, &message.conversation_kind, &message.kind);
            draft.append(append);
            client_ids.push(client_id);
        }
        let sealed = Sealed {
            app,
            effects,
            client_ids,
            noted,
        };
        (draft, sealed)
    }

    /// Does what is left after the commit. `appended` is where the messages went that the call's plugins appended.
    pub fn settle(&self, sealed: Sealed, appended: &[Appended]) {
        let Sealed {
            app,
            effects,
            client_ids,
            noted,
        } = sealed;
        for ((message, client_id), appended) in effects.appends.into_iter().zip(client_ids).zip(appended) {
            let frame = reply::event(&MessageView {
                id: appended.id,
                conversation: appended.log.conversation,
                seq: appended.seq,
                time_ms: appended.time_ms,
                sender: message.sender.as_str(),
                receiver: message.receiver(),
                client_id: &client_id,
                kind: &message.kind,
                content: &message.content,
            });
            self.publish(&app, message.members.clone(), false, frame);
        }
        for signal in effects.signals {
            self.publish(&app, signal.actors, true, signal.frame);
        }
        for end in effects.ends {
            self.router().end(&app, &end.actor, end.credential.as_deref());
        }
        if noted {
            self.wake();
        }
        if effects.timers {
            self.timers().notify_one();
        }
    }

    fn publish(
        &self,
        app: &AppId,
        actors: std::sync::Arc<[crate::wire::ActorId]>,
        ephemeral: bool,
        frame: bytes::Bytes,
    ) {
        self.bus().publish(Notice {
            app: app.clone(),
            actors,
            except: None,
            ephemeral,
            frame,
        });
    }
}
