//! A shop with chat inside. Its axum service
//! - mounts the chat's WebSocket endpoint under `/chat`,
//! - calls the chat in process to tell customers about their orders,
//! - has a plugin of its own, a plain Rust value: it signs in the users of the shop, opens the conversation between a
//!   customer and the shop, and rejects messages with card numbers.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path as Param, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use courtyard::{AppId, Config, LocalSession, PluginSpec, Server};
use courtyard_plugin_sdk::native;
use courtyard_plugin_sdk::prelude::*;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The state of the shop, which its plugin shares.
#[derive(Debug, Default)]
pub struct Shop {
    /// Customers by the token of their login.
    customers: Mutex<HashMap<String, String>>,
    cards_kept_out: AtomicU64,
}

struct Desk {
    shop: Arc<Shop>,
}

record! {
    /// The other member.
    struct Customer { name: String }
}

record! {
    /// The conversation.
    struct Room { conversation: String }
}

impl Plugin for Desk {
    fn start(_configuration: &str) -> Result<Self, Error> {
        // The host gets a value of this process, and never calls this.
        Err(Error::new("no_shop", "The desk only runs as a value inside the shop."))
    }

    fn authenticate(&self, _cx: &Context, _app: &str, token: &str) -> Result<Option<Identity>, Error> {
        Ok(self.shop.customers.lock().get(token).map(|name| Identity {
            actor: name.clone(),
            credential: String::new(),
            expires_at_ms: 0,
        }))
    }

    fn before_send(&self, _cx: &Context, message: &Message<'_>) -> Verdict {
        let digits = message.content().iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits < 13 {
            return Verdict::Accept;
        }
        self.shop.cards_kept_out.fetch_add(1, Ordering::Relaxed);
        Verdict::reject("card_number", "Please don't send card numbers.")
    }
}

impl Desk {
    fn room(&self, cx: &Context, customer: Customer) -> Result<Room, Error> {
        let members = [customer.name, "shop".to_owned()];
        let room = cx.conversations().open(&members[0], "desk", &members)?;
        Ok(Room { conversation: room.id })
    }
}

register! {
    plugin: Desk,
    id: "desk",
    description: "The shop's desk.",
    capabilities: [conversations],
    hooks: [authenticate, before_send(guard) { conversations: ["desk"] }],
    methods: [room],
}

#[derive(Clone)]
struct Service {
    shop: Arc<Shop>,
    /// The session of the shop's own actor.
    chat: LocalSession,
}

/// Starts the chat on a data folder and returns it with the shop's routes.
///
/// # Errors
/// If the chat doesn't start.
pub async fn shop(data: &Path) -> Result<(Router, Server), Box<dyn StdError>> {
    let shop = Arc::new(Shop::default());
    let config = Config {
        data: data.to_owned(),
        ..Config::default()
    };
    let spec = PluginSpec {
        grants: vec!["conversations".to_owned()],
        ..PluginSpec::new("desk")
    };
    let desk = Desk { shop: shop.clone() };
    let server = Server::builder(config)
        .plugin(native::value(desk), spec)
        .start()
        .await?;
    let chat = server.session(&AppId::default_app(), "shop".parse()?, "service".parse()?)?;
    let routes = Router::new()
        .route("/login/{name}", post(login))
        .route("/orders/{name}", post(order))
        .route("/cards-kept-out", get(cards_kept_out))
        .with_state(Service { shop, chat })
        .nest_service("/chat", server.service());
    Ok((routes, server))
}

/// Signs a customer in to the shop, and thereby to the chat.
async fn login(State(service): State<Service>, Param(name): Param<String>) -> Json<Value> {
    let token = format!("{name}-{}", service.shop.customers.lock().len());
    service.shop.customers.lock().insert(token.clone(), name);
    Json(json!({ "token": token }))
}

/// Receives an order, and notifies the customer in the chat.
async fn order(
    State(service): State<Service>,
    Param(name): Param<String>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let failed = |error: courtyard::LocalError| (StatusCode::BAD_GATEWAY, error.to_string());
    let room = service
        .chat
        .call("desk.room", &json!({ "name": name }))
        .await
        .map_err(failed)?;
    let conversation = room["conversation"].as_str().unwrap_or_default();
    let text = json!({ "text": format!("Thank you, {name}, your order is on its way.") });
    let id = format!("order-{name}");
    let sent = service
        .chat
        .send(&id, conversation, "text", &text)
        .await
        .map_err(failed)?;
    Ok(Json(json!({ "conversation": conversation, "seq": sent.seq })))
}

async fn cards_kept_out(State(service): State<Service>) -> String {
    service.shop.cards_kept_out.load(Ordering::Relaxed).to_string()
}

/// Compiles the code of the guides.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/guides/client-rust.md")]
    mod client_rust {}
    #[doc = include_str!("../../../docs/guides/embedding.md")]
    mod embedding {}
}
