//! Notices as each channel takes them: a line of a log, a mail, a chat message, JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Cause, Notice, Severity, Standing, Step};

/// One line for people: `URGENT north.orders is silent …`.
pub fn line(notice: &Notice) -> String {
    let word = match (notice.step, notice.severity) {
        (Step::Cleared, _) => "OVER",
        (Step::Raised, Severity::Urgent) => "URGENT",
        (Step::Raised, Severity::Warning) => "WARNING",
        (Step::Repeated, Severity::Urgent) => "STILL URGENT",
        (Step::Repeated, Severity::Warning) => "STILL",
    };
    let Notice {
        cause, since, at, ..
    } = notice;
    match notice.step {
        Step::Cleared => format!("{word} {cause} (from {since:.0} to {at:.0})"),
        Step::Raised | Step::Repeated => {
            format!("{word} {} [{cause}, since {since:.0}]", notice.text)
        }
    }
}

/// All of it as JSON: for the command hook and for webhooks of one's own.
pub fn json(name: &str, notices: &[Notice]) -> Value {
    json!({ "source": "crossdock", "name": name, "notices": notices })
}

/// The body that Slack takes at an incoming webhook, and Mattermost, Rocket.Chat and others with it.
pub fn slack(name: &str, notices: &[Notice]) -> Value {
    let mut text = format!("*{}*", escaped(name));
    for notice in notices {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n{}", escaped(&line(notice)));
    }
    json!({ "text": text })
}

/// What was told and is not over, as `crossdock alert list` and `status` show it.
pub fn list(present: &[(Cause, Standing)]) -> Value {
    let rows = present.iter().map(|(cause, standing)| {
        json!({
            "cause": cause,
            "severity": standing.severity,
            "since": standing.since,
            "text": standing.text,
            "acknowledged": standing.acknowledged,
            "well_since": standing.well_since,
        })
    });
    rows.collect()
}

/// What Slack takes for its own marks.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The subject of a mail: one line, whatever is in it.
pub fn subject(name: &str, notices: &[Notice]) -> String {
    let text = match notices {
        [only] => {
            let word = match only.step {
                Step::Raised => only.severity.name(),
                Step::Repeated => "still",
                Step::Cleared => "over",
            };
            format!("[{name}] {word}: {}", only.cause)
        }
        several => {
            let urgent = several.iter().filter(|notice| {
                notice.severity == Severity::Urgent && notice.step != Step::Cleared
            });
            let urgent = urgent.count();
            format!("[{name}] {} alerts, {urgent} urgent", several.len())
        }
    };
    text.replace(['\r', '\n'], " ")
}

/// The text of a mail.
pub fn mail(notices: &[Notice]) -> String {
    let mut text = String::new();
    for notice in notices {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}\n", line(notice));
    }
    text.push_str(
        "`crossdock alert list` shows what is wrong now; `crossdock alert ack CAUSE` stops the repeating.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Kind;

    fn notice(step: Step) -> Notice {
        Notice {
            step,
            cause: Cause::new(Kind::Paused, "erp"),
            severity: Severity::Urgent,
            text: "erp is paused: <401> & more".to_owned(),
            since: "2026-11-22T10:00:00Z".parse().unwrap(),
            at: "2026-11-22T11:00:00Z".parse().unwrap(),
            more: 0,
        }
    }

    #[test]
    fn every_channel_has_its_form() {
        let (raised, over) = (notice(Step::Raised), notice(Step::Cleared));
        assert_eq!(
            line(&raised),
            "URGENT erp is paused: <401> & more [paused:erp, since 2026-11-22T10:00:00Z]"
        );
        assert_eq!(
            line(&over),
            "OVER paused:erp (from 2026-11-22T10:00:00Z to 2026-11-22T11:00:00Z)"
        );
        assert_eq!(
            subject("shop", std::slice::from_ref(&raised)),
            "[shop] urgent: paused:erp"
        );
        let both = [raised, over];
        assert_eq!(subject("a\nb", &both), "[a b] 2 alerts, 1 urgent");
        let slack = slack("shop", &both);
        let text = slack["text"].as_str().unwrap();
        assert!(
            text.starts_with("*shop*\nURGENT erp is paused: &lt;401&gt; &amp; more ["),
            "{text}"
        );
        assert_eq!(slack.as_object().unwrap().len(), 1);
        let json = json("shop", &both);
        assert_eq!(json["notices"][0]["cause"], "paused:erp");
        assert_eq!(json["notices"][1]["step"], "cleared");
        assert!(json["notices"][0].get("more").is_none());
        assert!(mail(&both).contains("crossdock alert ack"));
    }
}
