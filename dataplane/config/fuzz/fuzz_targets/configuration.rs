//! No text and no variables panic, secrets stay hidden, and what is valid is valid when it is printed.
//!
//! Input: a file, a zero byte, and then variables, `NAME=VALUE` a line.
#![no_main]

use std::collections::HashMap;

use veneur_config::{Proxy, Role, Secrets, Server, read, redacted_json, unknown_variables, yaml};

fn check<T: Role + PartialEq + std::fmt::Debug>(text: &str, variables: &HashMap<&str, &str>) {
    let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    unknown_variables::<T>(variables.keys().copied());
    match read::<T>("input", text, &variable) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(parsed) => {
            redacted_json(&parsed.config);
            let printed = yaml(&parsed.config, Secrets::Shown);
            let again = read::<T>("printed", &printed, &|_| None).expect("what is valid is valid when it is printed");
            assert_eq!(again.config, parsed.config);
        }
    }
}

libfuzzer_sys::fuzz_target!(|input: &str| {
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    let variables = variables.lines().filter_map(|line| line.split_once('=')).collect();
    check::<Server>(text, &variables);
    check::<Proxy>(text, &variables);
});
