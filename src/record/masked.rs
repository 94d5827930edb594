//! Records as a desk may show them: personal data masked, everything that decides kept.

use serde_json::Value;

/// Fields of customers and addresses that name or reach a person, wherever they stand.
const PERSONAL: [&str; 14] = [
    "name",
    "company",
    "line1",
    "line2",
    "line3",
    "email",
    "phone",
    "tax_id",
    "notes",
    "city",
    "postal_code",
    "tax_ids",
    "gift",
    "pickup_point_id",
];
/// Objects in which the fields above are personal; an item's `name` is not.
const PEOPLE: [&str; 5] = ["customer", "ship_to", "bill_to", "addresses", "notes"];

/// A record's JSON form with personal data replaced by its length.
pub fn masked(record: &Value) -> Value {
    mask(record, false)
}

fn mask(json: &Value, person: bool) -> Value {
    match json {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let person = person || PEOPLE.contains(&name.as_str());
                let hide = person && PERSONAL.contains(&name.as_str());
                (
                    name.clone(),
                    if hide {
                        hidden(value)
                    } else {
                        mask(value, person)
                    },
                )
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| mask(item, person)).collect(),
        other => other.clone(),
    }
}

fn hidden(value: &Value) -> Value {
    match value {
        Value::String(text) => format!("[{} characters]", text.chars().count()).into(),
        Value::Null => Value::Null,
        _ => "[hidden]".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Story 55: personal data in a quarantine view.
    #[test]
    fn people_are_hidden_and_goods_are_not() {
        let record = json!({
            "customer": {"name": "Ann", "email": null},
            "ship_to": {"line1": "1 Main St", "country": "DE"},
            "lines": [{"sku": "A", "title": "Blue mug"}],
            "notes": "ring twice",
        });
        let expect = json!({
            "customer": {"name": "[3 characters]", "email": null},
            "ship_to": {"line1": "[9 characters]", "country": "DE"},
            "lines": [{"sku": "A", "title": "Blue mug"}],
            "notes": "[10 characters]",
        });
        assert_eq!(masked(&record), expect);
    }
}
