//! Members by a name, asked of this machine's own resolver.

use std::{sync::Arc, time::Duration};

use veneur_forward::{
    Account,
    discovery::{Tally, dns},
    lane::Limits,
    router::Router,
};

#[tokio::test]
async fn the_addresses_of_a_name_become_members_and_a_name_without_any_becomes_an_error() {
    let limits = Limits { max_bytes: 1024, max_age: Duration::from_secs(1) };
    let router = || Arc::new(Router::new("proxy", Duration::from_secs(10), limits, Arc::new(Account::default())));
    let (known, unknown, refresh) = (router(), router(), Duration::from_millis(5));
    let (found, lost) = (Tally::default(), Tally::default());
    let met = async {
        while found.view().answers < 2 || lost.view().errors < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = dns::follow("localhost:8128", refresh, &known, &found) => {}
        // By RFC 6761 nobody has such a name.
        () = dns::follow("globals.invalid:8128", refresh, &unknown, &lost) => {}
        () = met => {}
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("{:?} {:?}", found.view(), lost.view()),
    }
    let members: Vec<String> = known.view().members.into_iter().map(|member| member.address).collect();
    assert_eq!(members, ["127.0.0.1:8128"]);
    assert!(unknown.view().members.is_empty() && lost.view().failing && !found.view().failing);
}
