//! The company of the demo: three managers with eight lines, and customers who pay.

use serde_json::{Value, json};

use crate::demo::Stage;
use crate::sandbox::{line_id, specialist_id, user_id};

/// Lines of the sandbox.
pub(super) const LINES: u16 = 8;
/// Client users of the sandbox: the first is the one that payments are sent for.
pub(super) const USERS: u16 = 4;

/// Managers, and how many lines each has.
const MANAGERS: [(&str, &str, u16); 3] =
    [("anna", "Анна Смирнова", 3), ("boris", "Борис Кузнецов", 3), ("vera", "Вера Павлова", 2)];

/// Customers: key, name, INN, main manager.
pub(super) const COUNTERPARTIES: [(&str, &str, &str, &str); 6] = [
    ("romashka", "ООО «Ромашка»", "7701234567", "anna"),
    ("stroymir", "АО «СтройМир»", "7812345678", "anna"),
    ("volga", "ООО «Волга-Снаб»", "6312345670", "boris"),
    ("ural", "ПАО «УралДеталь»", "6612345671", "boris"),
    ("ivanov", "ИП Иванов А. С.", "500123456789", "vera"),
    ("sever", "ООО «Север»", "2912345672", "vera"),
];

/// Name of a line of the sandbox as the demo prints it.
pub(super) fn line_name(number: u16) -> String {
    let mut first = 1;
    for (_, name, count) in MANAGERS {
        if number < first + count {
            return format!("{name} {}", number - first + 1);
        }
        first += count;
    }
    format!("{number}")
}

/// Hands the directory over, as the ERP would.
pub(super) async fn give_directory(stage: &Stage) -> anyhow::Result<()> {
    let directory = directory();
    stage.call(reqwest::Method::PUT, "/api/v1/directory", &directory).await?;
    stage.ledger.say("the directory is in: 3 managers, 8 lines, 6 counterparties");
    Ok(())
}

fn directory() -> Value {
    let mut number = 0;
    let mut lines = Vec::new();
    for (id, _, count) in MANAGERS {
        for position in 0..count {
            number += 1;
            lines.push(json!({
                "line_id": line_id(number).as_str(),
                "name": line_name(number),
                "manager": id,
                "position": position,
            }));
        }
    }
    let managers = MANAGERS.iter().zip(1_u16..).map(|((id, name, _), number)| {
        json!({
            "id": id,
            "name": name,
            "email": format!("{id}@example.org"),
            "specialist_id": specialist_id(number).as_str(),
        })
    });
    let counterparties = COUNTERPARTIES.iter().map(|(id, name, inn, manager)| {
        json!({ "id": id, "name": name, "inn": inn, "manager": manager })
    });
    json!({
        "managers": managers.collect::<Vec<_>>(),
        "lines": lines,
        "counterparties": counterparties.collect::<Vec<_>>(),
    })
}

/// The number of a line of the sandbox.
pub(super) fn line_number(line: &crate::core::id::LineId) -> Option<u16> {
    (1..=LINES).find(|number| line_id(*number) == *line)
}

/// A user who writes on their own.
pub(super) fn other_user(index: u16) -> crate::core::id::UserId {
    user_id(2 + index % (USERS - 1))
}
