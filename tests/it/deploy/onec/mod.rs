//! `deploy/1c`: the module for 1C, run by [`bsl`](super::bsl), sends what it sends to the real
//! service; and its guide.

mod guide;
mod stories;
mod trouble;

use freeline::sandbox::{TECHNICAL_USER_ID, line_id, specialist_id};

use super::bsl::{self, House, Outcome, Wire};
use crate::support::{TOKEN, World};

/// The module as it is installed.
const SOURCE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/1c/freeline_client.bsl"));

/// Runs code of somebody who uses the module against the service.
async fn using(world: &World, code: &str) -> Outcome {
    let house = House {
        wire: Wire::real(),
        address: world.base.clone(),
        secret: TOKEN.to_owned(),
        in_transaction: false,
        stored_secret: None,
    };
    let code = with_ids(code);
    tokio::task::spawn_blocking(move || bsl::run(SOURCE, &code, house)).await.expect("it runs")
}

/// Runs code of somebody who uses the module, with the answers that it is to get.
fn alone(answers: &[Result<(u16, &str), &str>], code: &str) -> Outcome {
    let house = House {
        wire: Wire::script(answers),
        address: "https://freeline.example.com".to_owned(),
        secret: TOKEN.to_owned(),
        in_transaction: false,
        stored_secret: None,
    };
    bsl::run(SOURCE, &with_ids(code), house)
}

/// Puts the sandbox's ids in place of their names.
fn with_ids(code: &str) -> String {
    code.replace("{user}", TECHNICAL_USER_ID)
        .replace("{line 1}", line_id(1).as_str())
        .replace("{line 2}", line_id(2).as_str())
        .replace("{specialist}", specialist_id(1).as_str())
}
