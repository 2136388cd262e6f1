//! What the module does when there is no answer, or one that is not the service's.

use serde_json::{Value, json};

use super::super::bsl::{self, House, Wire};
use super::{SOURCE, alone};
use crate::support::TOKEN;

const PAY: &str = r#"
    Оплата = FreelineКлиент.НоваяОплата("n-1", 100, '20260305140700');
    Возврат FreelineКлиент.ОтправитьОплату(Настройки, Оплата);
"#;
const TAKEN: Result<(u16, &str), &str> = Ok((201, r#"{"id":"01a2","state":"queued"}"#));
const LOST: Result<(u16, &str), &str> = Err("Couldn't connect to server");

#[test]
fn what_does_no_harm_twice_is_sent_again_when_no_answer_came() {
    let told = alone(&[LOST, TAKEN], PAY);
    assert_eq!(told.json()["Успех"], true);
    assert_eq!(told.sent.len(), 2);
    assert_eq!(told.sent[0].body, told.sent[1].body);
    let code = "Возврат FreelineКлиент.ОтменитьОплату(Настройки, \"01a2\", \"отозвана\");";
    assert_eq!(alone(&[LOST, TAKEN], code).json()["Успех"], true);
    let code = "Настройки.Попыток = 3;\nВозврат FreelineКлиент.ПроверитьПодключение(Настройки);";
    assert_eq!(alone(&[LOST, LOST, TAKEN], code).json()["Успех"], true);
}

#[test]
fn what_could_do_harm_twice_is_sent_once() {
    for call in [
        "ПовторитьОплату(Настройки, \"01a2\", \"ещё раз\")",
        "НазначитьСпециалиста(Настройки, \"01a2\")",
    ] {
        let told = alone(&[LOST], &format!("Возврат FreelineКлиент.{call};"));
        assert_eq!((&told.json()["НетСвязи"], told.sent.len()), (&json!(true), 1), "{call}");
    }
}

#[test]
fn without_a_connection_a_batch_ends_and_every_payment_may_be_sent_again() {
    let code = r#"
        Оплаты = Новый Массив;
        Для Каждого Номер Из СтрРазделить("1;2;3", ";", Ложь) Цикл
            Оплаты.Добавить(FreelineКлиент.НоваяОплата("n-" + Номер, 100, '20260305140700'));
        КонецЦикла;
        Возврат FreelineКлиент.ОтправитьОплаты(Настройки, Оплаты);
    "#;
    let told = alone(&[TAKEN, LOST, LOST], code);
    let results = told.json().as_array().unwrap();
    let of = |name: &str| results.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("Успех"), [true, false, false]);
    assert_eq!(of("НетСвязи"), [false, true, true]);
    assert_eq!(of("Повторить"), [false, true, true]);
    assert_eq!(of("Ключ"), ["n-1", "n-2", "n-3"]);
    let expected = "POST payments: 0 network, Couldn't connect to server".to_owned();
    assert_eq!(told.log, [("УровеньЖурналаРегистрации.Предупреждение".to_owned(), expected)]);
}

#[test]
fn an_answer_of_somebody_else_is_no_success_and_no_refusal() {
    let page = "<html>Вход в сеть</html>";
    let cases: [(u16, &str, bool, bool); 6] = [
        (200, page, false, false),
        (200, "[]", false, false),
        (301, "", false, false),
        (404, page, false, false),
        (429, page, false, true),
        (504, page, true, true),
    ];
    for (status, body, is_lost, may_be_sent_again) in cases {
        let told = alone(&[Ok((status, body)), Ok((status, body))], PAY);
        let result = told.json();
        assert_eq!(result["Код"], "unexpected_answer", "{status}: {result}");
        assert_eq!(result["Успех"], false);
        assert_eq!(result["НетСвязи"], is_lost, "{status}");
        assert_eq!(result["Повторить"], may_be_sent_again, "{status}");
        assert_eq!(told.sent.len(), if is_lost { 2 } else { 1 }, "{status}");
    }
}

#[test]
fn a_refusal_says_whether_the_same_may_be_asked_again() {
    let cases = [
        (409, "key_conflict", false),
        (409, "being_sent", true),
        (409, "action_under_way", true),
        (408, "request_timeout", true),
        (410, "cursor_gone", false),
        (422, "validation_failed", false),
        (500, "internal", true),
        (502, "platform_unavailable", true),
        (503, "unavailable", true),
        (503, "too_many_waiting", true),
        (418, "of_a_later_version", false),
    ];
    for (status, code, may_be_sent_again) in cases {
        let body = json!({ "code": code, "detail": "слова", "request_id": "r1" }).to_string();
        let told = alone(&[Ok((status, &body))], PAY);
        let result = told.json();
        assert_eq!((&result["Код"], &result["Подробности"]), (&json!(code), &json!("слова")));
        assert_eq!(result["Повторить"], may_be_sent_again, "{code}");
        assert_eq!(result["НетСвязи"], false, "{code}");
        assert!(!result["Сообщение"].as_str().unwrap().is_empty());
        assert_eq!(told.sent.len(), 1, "{code}: it was answered");
    }
}

#[test]
fn neither_secret_nor_words_nor_amounts_get_into_the_log() {
    let refusal = json!({ "code": "validation_failed", "detail": "Иванов", "request_id": "r1",
        "errors": [{ "pointer": "/purpose", "message": "Иванов" }] });
    let code = r#"
        Оплата = FreelineКлиент.НоваяОплата("ключ-оплаты", 777.77, '20260305140700');
        Оплата.Назначение = "Иванов";
        FreelineКлиент.ОтправитьОплату(Настройки, Оплата);
        Возврат FreelineКлиент.НайтиОплату(Настройки, "ключ-оплаты");
    "#;
    let told = alone(&[Ok((422, &refusal.to_string())), LOST, LOST], code);
    assert_eq!(told.log.len(), 2);
    assert!(told.log[0].1.ends_with("422 validation_failed, запрос r1, /purpose"));
    let log = format!("{:?}", told.log);
    for secret in [TOKEN, "Иванов", "777", "ключ-оплаты", "Bearer"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn a_connection_is_encrypted_and_the_certificate_checked() {
    let told = alone(&[TAKEN], PAY);
    let [sent] = told.sent.as_slice() else { panic!("{told:?}") };
    assert!(sent.is_secure);
    assert_eq!((sent.server.as_str(), sent.port), ("freeline.example.com", 443));
    assert_eq!(sent.address, "/api/v1/payments");
    assert_eq!(sent.header("Authorization"), Some(&*format!("Bearer {TOKEN}")));
    assert_eq!(sent.header("Content-Type"), Some("application/json; charset=utf-8"));
    assert_eq!(sent.header("Prefer"), None);
}

#[test]
fn an_address_may_have_a_port_and_a_path() {
    let cases = [
        ("http://10.0.0.5:8080", "10.0.0.5", 8080, "/api/v1/status", false),
        (
            "HTTPS://erp.example.com/freeline/",
            "erp.example.com",
            443,
            "/freeline/api/v1/status",
            true,
        ),
        (" http://localhost/ ", "localhost", 80, "/api/v1/status", false),
    ];
    for (given, server, port, address, is_secure) in cases {
        let code = format!(
            "Настройки.Адрес = \"{given}\";
            Возврат FreelineКлиент.ПроверитьПодключение(Настройки);"
        );
        let told = alone(&[Ok((200, "{}"))], &code);
        let sent = &told.sent[0];
        assert_eq!((sent.server.as_str(), sent.port), (server, port));
        assert_eq!((sent.address.as_str(), sent.is_secure), (address, is_secure));
    }
    let code =
        "Настройки.Адрес = \"erp\";\nВозврат FreelineКлиент.ПроверитьПодключение(Настройки);";
    let raised = alone(&[], code).result.unwrap_err();
    assert!(raised.contains("https://"), "{raised}");
}

#[test]
fn a_mistake_of_the_caller_is_an_exception_before_anything_is_sent() {
    let told = alone(&[], "Возврат FreelineКлиент.ПолучитьОплату(Настройки, \" \");");
    assert!(told.result.unwrap_err().contains("не указан идентификатор"));
    let house = House {
        wire: Wire::script(&[]),
        address: "https://freeline.example.com".to_owned(),
        secret: TOKEN.to_owned(),
        in_transaction: true,
        stored_secret: None,
    };
    assert!(bsl::run(SOURCE, PAY, house).result.unwrap_err().contains("внутри транзакции"));
}

#[test]
fn ids_are_encoded_in_addresses() {
    let code = r#"
        FreelineКлиент.ПолучитьОплату(Настройки, "../a?b=1 ");
        FreelineКлиент.СписокОплат(Настройки, "held", "a+b/=");
        Возврат FreelineКлиент.ПрочитатьИзменения(Настройки, "17", 1000, 20);
    "#;
    let told = alone(&[TAKEN, TAKEN, TAKEN], code);
    let addresses: Vec<&str> = told.sent.iter().map(|sent| sent.address.as_str()).collect();
    assert_eq!(
        addresses,
        [
            "/api/v1/payments/..%2Fa%3Fb%3D1",
            "/api/v1/payments?state=held&limit=500&cursor=a%2Bb%2F%3D",
            "/api/v1/changes?after=17&limit=1000&wait=20",
        ]
    );
}

#[test]
fn times_of_answers_become_times_of_the_session_or_of_the_zone_in_the_settings() {
    let code = r#"
        Даты = Новый Массив;
        Даты.Добавить(FreelineКлиент.ДатаИзОтвета(Настройки, "2026-03-05T21:07:00.055915Z"));
        Настройки.ЧасовойПояс = "Asia/Yekaterinburg";
        Даты.Добавить(FreelineКлиент.ДатаИзОтвета(Настройки, "2026-03-05T21:07:00Z"));
        Тексты = Новый Массив;
        Для Каждого Дата_ Из Даты Цикл
            Тексты.Добавить(Формат(Дата_, "ДФ=yyyy-MM-dd") + " " + Формат(Дата_, "ДФ=HH:mm:ss"));
        КонецЦикла;
        Тексты.Добавить(Формат(FreelineКлиент.ДатаИзОтвета(Настройки, Неопределено), "ДФ=HH:mm:ss"));
        Возврат Тексты;
    "#;
    let expected = json!(["2026-03-06 00:07:00", "2026-03-06 02:07:00", ""]);
    assert_eq!(alone(&[], code).json(), &expected);
}

#[test]
fn the_secret_comes_from_the_storage_of_the_standard_library_where_there_is_one() {
    let stored = |secret: Option<&str>| {
        let house = House {
            wire: Wire::script(&[]),
            address: "https://freeline.example.com".to_owned(),
            secret: TOKEN.to_owned(),
            in_transaction: false,
            stored_secret: secret.map(ToOwned::to_owned),
        };
        bsl::run(SOURCE, "Возврат FreelineКлиент.СекретИзХранилища();", house).json().clone()
    };
    assert_eq!(stored(None), Value::from(""));
    assert_eq!(stored(Some("")), Value::from(""));
    assert_eq!(stored(Some("a-secret-of-the-storage")), Value::from("a-secret-of-the-storage"));
}
