//! Which connections have one quota over there.

use crate::connector::Connector;

use super::{BY_MOMENT, HEAD, load};

/// Story 49: what counts is the host and what proves who we are, however it does.
#[test]
fn a_quota_is_counted_by_host_and_credential() {
    let ways = [
        "[auth.bearer]\ntoken = \"{secret.password}\"\n",
        "[auth.basic]\nuser = \"me\"\npassword = \"{secret.password}\"\n",
        "[auth.oauth1]\nkey = \"me\"\nsecret = \"{secret.password}\"\n",
        "[auth.hmac]\nkey = \"{secret.password}\"\nencoding = \"hex\"\ntext = \"{request.path}\"\nheaders = { a = \"{signature}\" }\n",
        "[auth.oauth2]\ngrant = \"client_credentials\"\ntoken_url = \"{settings.url}/token\"\nclient_id = \"me\"\nclient_secret = \"{secret.password}\"\n",
        "[auth.session]\nlogin = { path = \"/login\", body = { password = \"{secret.password}\" } }\ncapture = { token = \"{reply.json.token}\" }\nheaders = { a = \"{session.token}\" }\n",
    ];
    for way in ways {
        let connector = load("toy.toml", &format!("{HEAD}{way}{BY_MOMENT}"));
        let connector = connector.unwrap_or_else(|findings| panic!("{way}: {findings}"));
        let account = |url: &str, password: &str| {
            let settings = format!("url = \"{url}\"\npassword = \"{password}\"");
            let configured = connector.configure(&toml::from_str(&settings).unwrap());
            configured.unwrap().account()
        };
        let one = account("https://a.test", "x");
        assert!(one.is_some(), "{way}");
        assert_eq!(one, account("https://a.test", "x"), "{way}");
        assert_ne!(one, account("https://b.test", "x"), "{way}");
        assert_ne!(one, account("https://a.test", "y"), "{way}");
    }
    let connector = load("toy.toml", &format!("{HEAD}{BY_MOMENT}")).unwrap();
    let settings = toml::from_str("url = \"https://a.test\"").unwrap();
    assert_eq!(connector.configure(&settings).unwrap().account(), None);
}
