//! What a plan does not read of a delivery is not made for it, and everything that it reads is.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Toy;
use super::writing::{deliver, delivery};
use crate::connector::{Outcome, StepLog};
use crate::record::{Record, Stream};

/// Reads a field in each place where one can be read, and each in one place only.
const EVERYWHERE: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.write.create]
confirm = { remote_id = "{delivery.key}", number = "{steps.one}" }
[[stream.stock.write.create.step]]
name = "one"
repeatable = true
when = "delivery.record.location == 'back'"
check = [{ when = "delivery.record.reserved == '9'", code = "nine", message = "never {delivery.reference}" }]
capture = { let = { told = "{delivery.record.available}" }, value = "{told}" }
[stream.stock.write.create.step.request]
path = "/one/{urlencode(delivery.record.sku)}"
headers = { from = "{delivery.origin}" }
fault = [{ when = "delivery.record.backordered == '7'", class = "reject", code = "seven" }]
body = { when = "delivery.record.is_estimated", value = { n = "{delivery.record.on_hand}" } }
[[stream.stock.write.create.step]]
name = "two"
foreach = { in = "[delivery.record.incoming]", as = "it", step = [
  { name = "three", repeatable = true, request = { path = "/two", body = "{it}" } },
] }
"#;

#[tokio::test]
async fn a_plan_sees_all_that_it_reads_wherever_that_is() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&requests);
    let toy = Toy::new(move |path, body| {
        let heard = (path.to_owned(), body.clone());
        noted.lock().unwrap().push(heard);
        Ok((200, json!({})))
    });
    let connection = toy.open(EVERYWHERE);
    let told = |more: (&str, &str)| {
        let mut record = json!({
            "sku": "A/1", "location": "back", "on_hand": "3", "reserved": "1", "available": "2",
            "incoming": "5", "backordered": "0", "is_estimated": true
        });
        record[more.0] = more.1.into();
        let mut one = delivery();
        one.record = Record::from_json(Stream::Stock, record).unwrap();
        one
    };
    let done = deliver(&connection, &told(("incoming", "5")), &StepLog::default()).await;
    let Outcome::Delivered(confirmation) = done else {
        panic!("{done:?}");
    };
    assert_eq!(confirmation.remote_id.unwrap().as_str(), "ann");
    assert_eq!(confirmation.number.as_deref(), Some("2"));
    let requests = requests.lock().unwrap().clone();
    let expected = [
        ("/one/A%2F1".to_owned(), json!({ "n": "3" })),
        ("/two".to_owned(), json!("5")),
    ];
    assert_eq!(requests, expected);
    for (more, code) in [(("reserved", "9"), "nine"), (("backordered", "7"), "seven")] {
        let done = deliver(&connection, &told(more), &StepLog::default()).await;
        assert!(
            matches!(&done, Outcome::Failed(fault) if fault.code == code),
            "{done:?}"
        );
    }
}
