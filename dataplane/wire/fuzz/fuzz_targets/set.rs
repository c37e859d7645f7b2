//! No payload of a set panics its decoder, sparse or dense, and what is accepted keeps its registers when it is written anew.
#![no_main]

use veneur_wire::{
    Item, decode, encode_partial,
    metricpb::{Metric, SetValue, Type, metric::Value},
};

libfuzzer_sys::fuzz_target!(|payload: &[u8]| {
    let set = |payload: Vec<u8>| Metric {
        name: "a".to_owned(),
        r#type: Type::Set.into(),
        value: Some(Value::Set(SetValue { hyper_log_log: payload })),
        ..Metric::default()
    };
    let Ok(Item::Partial(partial)) = decode(&set(payload.to_vec())) else { return };
    let Ok(Item::Partial(back)) = decode(&encode_partial(partial.clone())) else { panic!("ours is refused") };
    assert!(format!("{:?}", partial.value) == format!("{:?}", back.value), "registers changed");
});
