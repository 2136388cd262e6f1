//! What the module sends, and what it makes of the answers, with the real service.

use freeline::sandbox::{TECHNICAL_USER_ID, line_id, specialist_id};
use serde_json::{Value, json};

use super::using;
use crate::support::{TestDatabase, World, on_both};

/// A payment with every field.
const WHOLE_PAYMENT: &str = r#"
    Оплата = FreelineКлиент.НоваяОплата("док 1/а", 1234567.5, '20260305000700');
    Оплата.Контрагент = "c1 ";
    Оплата.Менеджер = "m2";
    Оплата.Валюта = "RUB";
    Оплата.Заказ = "ЗК-1042";
    Оплата.Назначение = "Оплата ""по счёту"" 1042";
    Оплата.Приоритет = 5;
    Оплата.Задержать = "ждём договор";
    Оплата.Расхождение = "сумма больше заказа";
    Оплата.Пользователь = "{user}";
    Оплата.Автор = "{specialist}";
    Оплата.Текст = "Отгрузите сегодня.
    |Вторая строка.";
"#;

/// The fields that the service knows of something, by the constant of its source.
fn known_fields(source: &str, constant: &str) -> Vec<String> {
    let (_, behind) = source.split_once(&format!("const {constant}: &[&str] =")).expect("it");
    let (list, _) = behind.split_once("];").expect("its end");
    let mut fields: Vec<String> =
        list.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    fields.sort();
    fields
}

fn fields_of(value: &Value) -> Vec<String> {
    let mut fields: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
    fields.sort();
    fields
}

on_both!(a_payment_arrives_with_every_field_and_again_it_is_the_same);
async fn a_payment_arrives_with_every_field_and_again_it_is_the_same(database: TestDatabase) {
    let world = World::ready(database).await;
    let code = format!(
        "{WHOLE_PAYMENT}
        Результаты = Новый Массив;
        Результаты.Добавить(FreelineКлиент.ОтправитьОплату(Настройки, Оплата));
        Результаты.Добавить(FreelineКлиент.ОтправитьОплату(Настройки, Оплата));
        Оплата.Сумма = 0.01;
        Результаты.Добавить(FreelineКлиент.ОтправитьОплату(Настройки, Оплата));
        Возврат Результаты;"
    );
    let told = using(&world, &code).await;
    let payments = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/payments.rs"));
    assert_eq!(fields_of(&told.sent[0].json()), known_fields(payments, "PAYMENT"));
    assert_eq!(told.sent[2].json()["amount"], "0.01");

    let [first, again, conflict] = told.json().as_array().unwrap().as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((&first["Успех"], &first["КодСостояния"]), (&json!(true), &json!(201)), "{first}");
    assert_eq!((&again["Успех"], &again["КодСостояния"]), (&json!(true), &json!(200)));
    assert_eq!(first["Данные"]["id"], again["Данные"]["id"]);
    assert_eq!(conflict["Код"], "key_conflict");
    assert_eq!((&conflict["Повторить"], &conflict["НетСвязи"]), (&json!(false), &json!(false)));
    assert_eq!(conflict["Ключ"], "док 1/а");

    let there = &world.get("/payments?key=%D0%B4%D0%BE%D0%BA%201/%D0%B0").await["items"][0];
    let expected = json!({
        "key": "док 1/а", "counterparty": "c1", "given_manager": "m2", "amount": "1234567.50",
        "currency": "RUB", "paid_at": "2026-03-04T21:07:00Z", "order": "ЗК-1042",
        "purpose": "Оплата \"по счёту\" 1042", "priority": 5, "hold": "ждём договор",
        "mismatch": "сумма больше заказа", "user_id": TECHNICAL_USER_ID,
        "author_id": specialist_id(1).as_str(), "text": "Отгрузите сегодня.\nВторая строка.",
        "state": "held",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&there[name], value, "{name} of {there}");
    }
}

on_both!(a_batch_goes_over_one_connection_and_a_refusal_stops_nothing);
async fn a_batch_goes_over_one_connection_and_a_refusal_stops_nothing(database: TestDatabase) {
    let world = World::ready(database).await;
    let code = r#"
        Оплаты = Новый Массив;
        Для Каждого Номер Из СтрРазделить("1;2;3", ";", Ложь) Цикл
            Оплата = FreelineКлиент.НоваяОплата("n-" + Номер, ?(Номер = "2", 0, 100), '20260305140700');
            Оплата.Контрагент = "c1";
            Оплаты.Добавить(Оплата);
        КонецЦикла;
        Возврат FreelineКлиент.ОтправитьОплаты(Настройки, Оплаты);
    "#;
    let told = using(&world, code).await;
    let results = told.json().as_array().unwrap();
    let of = |name: &str| results.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("Ключ"), ["n-1", "n-2", "n-3"]);
    assert_eq!(of("КодСостояния"), [201, 422, 201]);
    assert_eq!(results[1]["Ошибки"][0]["Поле"], "/amount", "{}", results[1]);
    assert!(told.sent.iter().all(|sent| sent.connection == 1), "{:?}", told.sent);
    assert!(told.sent.iter().all(|sent| sent.timeout == 30));
    world.settle().await;
    assert_eq!(world.sandbox.message_count(), 2);
}

on_both!(a_payment_is_found_held_released_cancelled_and_retried);
async fn a_payment_is_found_held_released_cancelled_and_retried(database: TestDatabase) {
    let world = World::ready(database).await;
    let id = world.pay_with(json!({ "key": "a b", "manager": "m1", "hold": "стоп" })).await;
    world.pay("other", "m2").await;
    let code = r#"
        Найдено = FreelineКлиент.НайтиОплату(Настройки, "a b").Данные["items"];
        Ид = Найдено[0]["id"];
        Ответы = Новый Массив;
        Ответы.Добавить(FreelineКлиент.ОтпуститьОплату(Настройки, Ид, "договор подписан"));
        Ответы.Добавить(FreelineКлиент.ЗадержатьОплату(Настройки, Ид, "просили подождать"));
        Ответы.Добавить(FreelineКлиент.ПовторитьОплату(Настройки, Ид, "ещё раз"));
        Ответы.Добавить(FreelineКлиент.ОтменитьОплату(Настройки, Ид, "отозвана"));
        Ответы.Добавить(FreelineКлиент.ПолучитьОплату(Настройки, Ид));
        Ответы.Добавить(FreelineКлиент.СписокОплат(Настройки, "cancelled"));
        Возврат Ответы;
    "#;
    let told = using(&world, code).await;
    let answers = told.json();
    let state = |place: usize| &answers[place]["Данные"]["state"];
    assert_eq!((state(0), state(1)), (&json!("queued"), &json!("held")), "{answers}");
    assert_eq!(answers[2]["Код"], "wrong_state");
    assert_eq!((state(3), state(4)), (&json!("cancelled"), &json!("cancelled")));
    let timeline = answers[4]["Данные"]["timeline"].as_array().unwrap();
    let said: Vec<&str> = timeline.iter().map(|step| step["detail"].as_str().unwrap()).collect();
    assert!(said.iter().any(|said| said.contains("просили подождать")), "{said:?}");
    let listed = answers[5]["Данные"]["items"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(id)), "{}", answers[5]);
    assert_eq!(answers[5]["Данные"]["next_cursor"], Value::Null);
}

on_both!(a_directory_arrives_as_it_was_built);
async fn a_directory_arrives_as_it_was_built(database: TestDatabase) {
    let world = World::ready(database).await;
    let code = r#"
        Справочник = FreelineКлиент.НовыйСправочник();
        FreelineКлиент.ДобавитьМенеджера(Справочник, "anna", "Анна Смирнова ", "a@example.com", "{specialist}");
        FreelineКлиент.ДобавитьМенеджера(Справочник, "petr", "Пётр Петров", "p@example.com", , Ложь);
        FreelineКлиент.ДобавитьЛинию(Справочник, "{line 1}", "Смирнова 1", "anna", 2, 7);
        FreelineКлиент.ДобавитьЛинию(Справочник, "{line 2}", "Смирнова 2", "anna", , , Ложь);
        FreelineКлиент.ДобавитьКонтрагента(Справочник, "romashka", "ООО «Ромашка»", "anna", "7701234567", "{user}");
        Результат = FreelineКлиент.ЗаписатьСправочник(Настройки, Справочник);
        Если Не Результат.Успех Тогда
            Возврат Результат;
        КонецЕсли;
        Возврат FreelineКлиент.ЗаписатьКонтрагента(Настройки, "ид/2", "ООО «Волга»", "anna");
    "#;
    let told = using(&world, code).await;
    assert_eq!(told.json()["Успех"], true, "{told:?}");
    let directory = world.get("/directory").await;
    let expected = json!({
        "managers": [
            { "id": "anna", "name": "Анна Смирнова", "email": "a@example.com",
              "specialist_id": specialist_id(1).as_str(), "enabled": true },
            { "id": "petr", "name": "Пётр Петров", "email": "p@example.com",
              "specialist_id": null, "enabled": false },
        ],
        "lines": [
            { "line_id": line_id(1).as_str(), "name": "Смирнова 1", "manager": "anna",
              "capacity": 2, "position": 7, "enabled": true },
            { "line_id": line_id(2).as_str(), "name": "Смирнова 2", "manager": "anna",
              "capacity": 1, "position": 0, "enabled": false },
        ],
        "counterparties": [
            { "id": "romashka", "name": "ООО «Ромашка»", "inn": "7701234567", "manager": "anna",
              "user_id": TECHNICAL_USER_ID },
            { "id": "ид/2", "name": "ООО «Волга»", "inn": null, "manager": "anna",
              "user_id": null },
        ],
    });
    for (list, id) in [("managers", "id"), ("lines", "line_id"), ("counterparties", "id")] {
        for entry in expected[list].as_array().unwrap() {
            let found = directory[list].as_array().unwrap().iter().find(|one| one[id] == entry[id]);
            assert_eq!(found, Some(entry), "{list}");
        }
    }
}

on_both!(a_message_is_written_with_buttons_and_waited_for);
async fn a_message_is_written_with_buttons_and_waited_for(database: TestDatabase) {
    let world = World::ready(database).await;
    let code = r#"
        Линии = FreelineКлиент.ЛинииПользователя(Настройки, "{user}").Данные["items"];
        Сообщение = FreelineКлиент.НовоеСообщение("crm-17", "{user}", "Когда привезти заказ?");
        Сообщение.Линия = Линии[0]["line_id"];
        Сообщение.Автор = "{specialist}";
        Сообщение.Режим = "bot";
        Сообщение.ОбщиеНастройки = Истина;
        FreelineКлиент.ДобавитьРядКнопок(Сообщение, "Сегодня; Завтра");
        FreelineКлиент.ДобавитьРядКнопок(Сообщение, "Не нужно");
        Ответы = Новый Массив;
        Ответы.Добавить(FreelineКлиент.НаписатьСообщение(Настройки, Сообщение, 1));
        Ответы.Добавить(FreelineКлиент.ПолучитьСообщение(Настройки, Ответы[0].Данные["id"]));
        Уведомление = FreelineКлиент.НовоеСообщение("crm-18", "{user}", "Заказ готов");
        Уведомление.Линия = "{line 2}";
        Уведомление.ТолькоУведомление = Истина;
        Ответы.Добавить(FreelineКлиент.НаписатьСообщение(Настройки, Уведомление));
        Выбор = FreelineКлиент.НовоеСообщение("crm-19", "{user}", "Куда?");
        Ответы.Добавить(FreelineКлиент.НаписатьСообщение(Настройки, Выбор));
        Возврат Ответы;
    "#;
    let told = using(&world, code).await;
    let answers = told.json();
    assert_eq!(answers[0]["Успех"], true, "{answers}");
    let keyboard = json!([[{ "text": "Сегодня" }, { "text": "Завтра" }], [{ "text": "Не нужно" }]]);
    assert_eq!(answers[1]["Данные"]["keyboard"], keyboard, "{}", answers[1]);
    assert_eq!(answers[1]["Данные"]["author_id"], specialist_id(1).as_str());
    assert_eq!(answers[2]["Данные"]["notification_only"], true, "{}", answers[2]);
    assert_eq!(answers[3]["Код"], "choose_line", "{}", answers[3]);
    let lines = answers[3]["Линии"].as_array().unwrap();
    assert!(lines.len() > 1 && lines[0]["name"].is_string(), "{lines:?}");

    let written = told.sent.iter().find(|sent| sent.method == "POST").unwrap();
    assert_eq!(written.header("prefer"), Some("wait=1"));
    let messages = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/messages.rs"));
    let mut sent = fields_of(&written.json());
    sent.push("notification_only".to_owned());
    sent.sort();
    assert_eq!(sent, known_fields(messages, "MESSAGE"));
    world.settle().await;
    assert_eq!(world.sandbox.message_count(), 2);
}

on_both!(a_treatment_is_assigned_transferred_and_closed);
async fn a_treatment_is_assigned_transferred_and_closed(database: TestDatabase) {
    let world = World::ready(database).await;
    let write = json!({ "key": "a", "user_id": TECHNICAL_USER_ID, "text": "Здравствуйте",
        "line_id": line_id(1).as_str() });
    assert_eq!(world.post("/messages", &write).await.0, 202);
    world.settle().await;
    let steps = [
        r#"FreelineКлиент.НазначитьСпециалиста(Настройки, Ид, "{specialist}", "{specialist}")"#,
        r#"FreelineКлиент.ПередатьОбращение(Настройки, Ид, "{line 2}", "Просят склад")"#,
        r#"FreelineКлиент.ЗакрытьОбращение(Настройки, Ид, "{specialist}")"#,
        r#"FreelineКлиент.ЗакрытьОбращение(Настройки, Ид, "{specialist}", 1)"#,
        "FreelineКлиент.ЗакрытьОбращение(Настройки, Ид)",
    ];
    let mut results = Vec::new();
    for step in steps {
        let open = &world.get("/treatments?state=open").await["items"][0];
        let last = &world.get("/treatments?limit=1").await["items"][0]["treatment_id"];
        let id = open["treatment_id"].as_str().or(last.as_str()).expect("a treatment");
        let told = using(&world, &format!("Ид = \"{id}\";\nВозврат {step};")).await;
        results.push(told.json().clone());
        world.settle().await;
    }
    let of = |name: &str| results.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("КодСостояния"), [202, 202, 202, 200, 409], "{results:?}");
    assert_eq!(results[2]["Данные"]["id"], results[3]["Данные"]["id"], "the same close again");
    assert_eq!(results[4]["Код"], "treatment_closed");
    assert_eq!(results[1]["Данные"]["quote"], "Просят склад");
    let actions = world.get("/actions").await["items"].clone();
    let states: Vec<&Value> = actions.as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["sent", "sent", "sent"], "{actions}");
}

on_both!(changes_are_read_behind_a_cursor_that_the_caller_keeps);
async fn changes_are_read_behind_a_cursor_that_the_caller_keeps(database: TestDatabase) {
    let world = World::ready(database).await;
    let now = "Возврат FreelineКлиент.КурсорТекущегоМомента(Настройки);";
    let told = using(&world, now).await;
    assert_eq!(told.sent[0].address, "/api/v1/changes?after=now");
    world.pay("a", "m1").await;
    world.settle().await;
    let cursor = told.json()["Данные"]["next_cursor"].as_str().expect("a cursor").to_owned();
    let read = format!(
        "Первая = FreelineКлиент.ПрочитатьИзменения(Настройки, \"{cursor}\", 1);
        Вторая = FreelineКлиент.ПрочитатьИзменения(Настройки, Первая.Данные[\"next_cursor\"], 500, 50);
        Ответы = Новый Массив;
        Ответы.Добавить(Первая);
        Ответы.Добавить(Вторая);
        Ответы.Добавить(FreelineКлиент.ПрочитатьИзменения(Настройки));
        Ответы.Добавить(FreelineКлиент.ПрочитатьИзменения(Настройки, \"999999\"));
        Возврат Ответы;"
    );
    let told = using(&world, &read).await;
    assert_eq!(told.sent[1].timeout, 60, "longer than the wait");
    let answers = told.json();
    let first = &answers[0]["Данные"]["items"];
    assert_eq!((first[0]["kind"].as_str(), first[0]["key"].as_str()), (Some("payment"), Some("a")));
    let rest = answers[1]["Данные"]["items"].as_array().unwrap();
    assert!(rest.iter().any(|change| change["state"] == "dispatched"), "{rest:?}");
    assert_eq!(answers[2]["Успех"], true);
    assert_eq!(answers[3]["Код"], "cursor_gone", "{}", answers[3]);
}

on_both!(a_connection_is_checked_and_a_wrong_secret_is_told);
async fn a_connection_is_checked_and_a_wrong_secret_is_told(database: TestDatabase) {
    let world = World::ready(database).await;
    let told = using(&world, "Возврат FreelineКлиент.ПроверитьПодключение(Настройки);").await;
    assert_eq!(told.json()["Успех"], true);
    assert_eq!(told.log, []);
    let code = "Настройки.Секрет = \"not-the-right-secret\";
        Возврат FreelineКлиент.ПроверитьПодключение(Настройки);";
    let told = using(&world, code).await;
    assert_eq!(told.json()["Код"], "unauthorized");
    let id = told.json()["НомерЗапроса"].as_str().unwrap();
    let expected = format!("GET status: 401 unauthorized, запрос {id}");
    assert_eq!(told.log, [("УровеньЖурналаРегистрации.Ошибка".to_owned(), expected)]);
}
