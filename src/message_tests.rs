use super::*;

fn data() -> MessageData {
    MessageData {
        number: "FL-4J7Q-2M9X".to_owned(),
        amount: Money::parse("12345.67").unwrap(),
        paid_at: Time::parse_rfc3339("2026-03-05T11:07:00Z").unwrap(),
        ..sample_payment()
    }
}

fn built_in(data: &MessageData) -> String {
    MessageTemplate::built_in().render(data).unwrap()
}

fn with(template: &str, data: &MessageData) -> String {
    MessageTemplate::parse(template).unwrap().render(data).unwrap()
}

fn problem(template: &str) -> String {
    MessageTemplate::parse(template).unwrap_err().to_string()
}

#[test]
fn the_built_in_text_tells_everything_about_the_payment() {
    assert_eq!(
        built_in(&data()),
        "Оплата получена: 12\u{a0}345,67\u{a0}₽ от ООО «Ромашка» (ИНН\u{a0}7700000000), \
         05.03.2026 14:07\u{a0}МСК, по заказу ЗК-001. Назначение: Оплата по счёту 1. \
         №\u{a0}FL-4J7Q-2M9X"
    );
}

#[test]
fn the_built_in_text_reads_well_without_the_optional_fields() {
    let bare = MessageData {
        counterparty_name: None,
        inn: None,
        order: None,
        purpose: Some("  ".to_owned()),
        ..data()
    };
    assert_eq!(
        built_in(&bare),
        "Оплата получена: 12\u{a0}345,67\u{a0}₽, 05.03.2026 14:07\u{a0}МСК. №\u{a0}FL-4J7Q-2M9X"
    );
    let inn_only =
        MessageData { counterparty_name: None, purpose: Some("Аванс!".into()), ..data() };
    assert_eq!(
        built_in(&inn_only),
        "Оплата получена: 12\u{a0}345,67\u{a0}₽ от плательщика с ИНН\u{a0}7700000000, \
         05.03.2026 14:07\u{a0}МСК, по заказу ЗК-001. Назначение: Аванс! №\u{a0}FL-4J7Q-2M9X"
    );
}

#[test]
fn a_template_without_the_number_gets_it_on_a_last_line() {
    assert_eq!(
        with("Пришло {{ amount_plain }} {{ currency }}, {{ manager_name }}\n", &data()),
        "Пришло 12345.67 RUB, Иванова Мария\n№\u{a0}FL-4J7Q-2M9X"
    );
    assert_eq!(with("{{ number }}: {{ order }}", &data()), "FL-4J7Q-2M9X: ЗК-001");
}

#[test]
fn the_payments_own_text_is_used_as_it_is_and_gets_the_number() {
    let own = |text: &str| built_in(&MessageData { text: Some(text.to_owned()), ..data() });
    assert_eq!(own("Отгрузите!\nСрочно"), "Отгрузите!\nСрочно\n№\u{a0}FL-4J7Q-2M9X");
    assert_eq!(own("FL-4J7Q-2M9X оплачен"), "FL-4J7Q-2M9X оплачен");
    assert_eq!(own("{{ amount }}"), "{{ amount }}\n№\u{a0}FL-4J7Q-2M9X");
    assert_eq!(own("a\0b\u{1b}c\r\nd"), "abc\nd\n№\u{a0}FL-4J7Q-2M9X");
    assert_eq!(own(" \n\0 "), built_in(&data()), "an empty text is no text");
}

#[test]
fn what_the_payer_wrote_is_never_read_as_a_template() {
    let sly = MessageData { purpose: Some("{{ number }} {% if %}".into()), ..data() };
    assert!(built_in(&sly).contains("Назначение: {{ number }} {% if %}."));
}

#[test]
fn a_long_text_loses_its_purpose_first_and_keeps_the_number() {
    let long = MessageData { purpose: Some("ж".repeat(10_000)), ..data() };
    let text = built_in(&long);
    // One below the bound: after the `…` the sentence needs no full stop any more.
    assert_eq!(text.chars().count(), TEXT_CHARS_MAX - 1);
    assert!(text.ends_with("жж… №\u{a0}FL-4J7Q-2M9X"), "{text}");
    assert!(text.starts_with("Оплата получена: 12\u{a0}345,67\u{a0}₽ от ООО «Ромашка»"));

    let twice = with("Оплата. {{ purpose }}{{ purpose }}", &long);
    assert!(twice.chars().count() <= TEXT_CHARS_MAX);
    assert!(twice.ends_with("FL-4J7Q-2M9X"), "{twice}");
}

#[test]
fn a_long_own_text_keeps_the_number() {
    let text = |own: String| built_in(&MessageData { text: Some(own), ..data() });
    let cut_off = text(format!("{}FL-4J7Q-2M9X", "ж".repeat(TEXT_CHARS_MAX)));
    assert_eq!(cut_off.chars().count(), TEXT_CHARS_MAX);
    assert!(cut_off.ends_with("ж…\n№\u{a0}FL-4J7Q-2M9X"));
    let exact = format!("{}FL-4J7Q-2M9X", "ж".repeat(TEXT_CHARS_MAX - 12));
    assert_eq!(text(exact.clone()), exact);
}

#[test]
fn every_field_is_bounded() {
    let long = || Some("ж".repeat(10_000));
    let huge = MessageData {
        number: "FL-4J7Q-2M9X".to_owned(),
        counterparty_name: long(),
        inn: long(),
        order: long(),
        purpose: long(),
        manager_name: "ж".repeat(10_000),
        ..data()
    };
    let text = built_in(&huge);
    assert_eq!(text.chars().count(), TEXT_CHARS_MAX - 1);
    assert!(text.ends_with("FL-4J7Q-2M9X"));
}

#[test]
fn a_faulty_template_is_refused_with_its_line_and_a_remedy() {
    for (template, sentence) in [
        (
            "a\n{{ number",
            "The message template has a syntax error in line 2: unexpected end of input, \
             expected end of variable block. Correct it; the language is Jinja.",
        ),
        (
            "{{ number }}\n{% if order %}{{ ordr }}{% endif %}",
            "The message template uses an unknown name \"ordr\" in line 2. Use one of: amount, \
             amount_plain, counterparty_name, currency, inn, manager_name, number, order, \
             paid_at, purpose.",
        ),
        (
            "{{ number }}\n\n{{ order.name }}",
            "The message template cannot be rendered, see line 3: undefined value. \
             An absent field is an empty text: test it with {% if … %}.",
        ),
        (
            " {# nothing #}\n",
            "The message template gives an empty text for a sample payment. \
             Write at least the payment's number into it: {{ number }}.",
        ),
        (
            "{% if order %}{{ number }}{% endif %}",
            "The message template gives an empty text for a sample payment. \
             Write at least the payment's number into it: {{ number }}.",
        ),
    ] {
        assert_eq!(problem(template), sentence, "{template}");
    }
}

#[test]
fn functions_filters_and_own_names_of_the_language_are_no_unknown_names() {
    let template = "{% set x = number %}{% for i in range(2) %}{{ x | lower }} {% endfor %}";
    assert_eq!(with(template, &data()), "fl-4j7q-2m9x fl-4j7q-2m9x\n№\u{a0}FL-4J7Q-2M9X");
}
