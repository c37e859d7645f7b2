//! The original's `tls`, read as `forward_tls`.

use veneur_config::{ForwardTls, Server, Weight, parse, read, unknown_variables};

#[test]
fn tls_between_tiers_is_read_as_the_original_meant_it() {
    let tls = "tls: {ca_file: /ca.pem, cert_file: /cert.pem, key_file: /key.pem, server_name: global}";
    let expected = ForwardTls {
        ca_file: "/ca.pem".into(),
        cert_file: "/cert.pem".into(),
        key_file: "/key.pem".into(),
        server_name: "global".into(),
        ..Default::default()
    };
    for text in [tls.to_owned(), format!("{tls}\nforward_tls:")] {
        let parsed = parse::<Server>("f", &text).expect(&text);
        assert_eq!((&parsed.config.forward_tls, parsed.unknown.len()), (&expected, 0));
        let said: Vec<String> = parsed.notes.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 4);
        assert!(said.contains(&"tls.ca_file: read as forward_tls.ca_file".to_owned()), "{said:?}");
    }

    let environment = [
        ("VENEUR_TLS_CAFILE", "/ca.pem"),
        ("VENEUR_TLS_CERTFILE", "/cert.pem"),
        ("VENEUR_TLS_KEYFILE", "/key.pem"),
        ("VENEUR_TLS_SERVERNAME", "global"),
    ];
    let variables =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    for text in ["", "tls: {ca_file: /of-the-file.pem}"] {
        let parsed = read::<Server>("f", text, &variables).expect("variables say it too");
        assert_eq!(parsed.config.forward_tls, expected);
        assert_eq!(unknown_variables::<Server>(environment.map(|(name, _)| name)), []);
    }

    // Ours wins in one file, and that is told.
    let parsed = parse::<Server>("f", "{forward_tls: {ca_file: /ours.pem}, tls: {ca_file: /ca.pem}}").expect("valid");
    assert_eq!(parsed.config.forward_tls.ca_file, "/ours.pem");
    let told: Vec<(&str, Weight)> = parsed.notes.iter().map(|note| (note.key.as_str(), note.weight)).collect();
    assert_eq!(told, [("tls.ca_file", Weight::Warning)]);
}
