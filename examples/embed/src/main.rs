//! Runs the shop on port 8081 of loopback, with its data in the folder `shop-data`.

use std::error::Error;
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (routes, server) = embed::shop(Path::new("shop-data")).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8081").await?;
    println!("the shop is on http://{}", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
    server.shut_down().await;
    Ok(())
}
