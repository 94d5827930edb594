//! `[settings.NAME]`: what a merchant writes in the connection's table.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::scope::Compiler;
use super::text::Name;
use crate::diagnostic::{Diagnostic, Diagnostics, SourceText, did_you_mean};
use crate::expr::Type;

/// What kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// Text.
    Text,
    /// Text that is never shown; known as `secret.NAME`, and only in `[auth]`.
    Secret,
    /// An absolute http or https address; a slash at its end is dropped.
    Url,
    /// True or false.
    Bool,
    /// A whole number.
    Integer,
    /// One of `values`.
    Enum,
    /// A table from text to text, such as `{ north = "North" }`.
    Map,
}

/// One setting.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What kind of value it is.
    #[serde(rename = "type")]
    pub kind: SettingKind,
    /// The connection is refused without it.
    #[serde(default)]
    pub required: bool,
    /// The value when it is not given. Without one the setting is null.
    #[schemars(with = "Option<Json>")]
    pub default: Option<toml::Value>,
    /// For `enum`: what it may be.
    #[serde(default)]
    pub values: Vec<String>,
    /// One sentence for the merchant.
    pub doc: String,
}

/// All settings of a manifest.
pub(super) type Settings = BTreeMap<Name, Setting>;

/// Checked values of one connection. `Debug` leaves the secrets out.
#[derive(Clone, Default)]
pub struct Values {
    /// What expressions may see everywhere.
    pub settings: Json,
    /// What only `[auth]` may see.
    pub secrets: Json,
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The same settings for a connector that is no manifest, but declares them as one does.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeclaredSettings(Settings);

impl DeclaredSettings {
    /// What is wrong with the declarations themselves.
    pub fn check(&self, source: &Arc<SourceText>) -> Diagnostics {
        let mut compiler = Compiler::new(Arc::clone(source));
        check(&self.0, &mut compiler);
        compiler.findings
    }

    /// Reads a connection's table.
    ///
    /// # Errors
    /// All findings; their paths are relative to the table.
    pub fn read(&self, given: &toml::Table) -> Result<Values, Diagnostics> {
        read(&self.0, given)
    }

    /// JSON Schema of a connection's table.
    pub fn json_schema(&self) -> Json {
        json_schema(&self.0)
    }
}

/// Notes what is wrong with the declarations themselves.
pub(super) fn check(settings: &Settings, compiler: &mut Compiler) {
    for (name, setting) in settings {
        let path = format!("settings.{}", name.as_str());
        if setting.kind == SettingKind::Enum && setting.values.is_empty() {
            compiler.error(&path, name.span(), "an enum needs `values`", None);
        }
        if let Some(default) = &setting.default
            && let Err(message) = setting.read(default)
        {
            compiler.error(&path, name.span(), format!("the default {message}"), None);
        }
        if setting.kind == SettingKind::Secret && setting.default.is_some() {
            compiler.error(&path, name.span(), "a secret has no default", None);
        }
        if setting.required && setting.default.is_some() {
            let message = "a required setting has no use for a default";
            compiler.error(&path, name.span(), message, None);
        }
    }
}

/// The types of `settings` and `secret` in expressions.
pub(super) fn types(settings: &Settings) -> (Type, Type) {
    let of = |secret: bool| {
        let fields = settings
            .iter()
            .filter(|(_, setting)| (setting.kind == SettingKind::Secret) == secret)
            .map(|(name, setting)| (name.as_str(), setting.kind.expr_type()));
        Type::record(fields)
    };
    (of(false), of(true))
}

/// Reads a connection's table.
pub(super) fn read(settings: &Settings, given: &toml::Table) -> Result<Values, Diagnostics> {
    let mut findings = Diagnostics::default();
    for key in given.keys() {
        let mut known = settings.keys().map(Name::as_str);
        if !known.clone().any(|name| name == key) {
            let mut finding = Diagnostic::error(
                "X0701",
                key,
                format!("this connector has no setting `{key}`"),
            );
            finding = match did_you_mean(key, known.clone()) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!(
                    "it has {}",
                    known.by_ref().collect::<Vec<_>>().join(", ")
                )),
            };
            findings.push(finding);
        }
    }
    let (mut open, mut secrets) = (Map::new(), Map::new());
    for (name, setting) in settings {
        let name = name.as_str();
        let value = match given.get(name).or(setting.default.as_ref()) {
            None if setting.required => {
                let message = format!("`{name}` is missing");
                findings.push(Diagnostic::error("X0703", name, message).help(setting.doc.clone()));
                continue;
            }
            None => Json::Null,
            Some(value) => match setting.read(value) {
                Ok(value) => value,
                Err(message) => {
                    findings.push(
                        Diagnostic::error("X0702", name, format!("`{name}` {message}"))
                            .help(setting.doc.clone()),
                    );
                    continue;
                }
            },
        };
        let values = if setting.kind == SettingKind::Secret {
            &mut secrets
        } else {
            &mut open
        };
        values.insert(name.to_owned(), value);
    }
    findings.into_result(Values {
        settings: open.into(),
        secrets: secrets.into(),
    })
}

impl Setting {
    /// The value as expressions see it, or what is wrong with it. Never tells the value.
    fn read(&self, value: &toml::Value) -> Result<Json, String> {
        match (self.kind, value) {
            (SettingKind::Text | SettingKind::Secret, toml::Value::String(text)) => {
                Ok(text.as_str().into())
            }
            (SettingKind::Url, toml::Value::String(text)) => match url::Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                    Ok(text.trim_end_matches('/').into())
                }
                _ => Err("must be an address such as https://shop.example.com".to_owned()),
            },
            (SettingKind::Bool, toml::Value::Boolean(truth)) => Ok((*truth).into()),
            (SettingKind::Integer, toml::Value::Integer(number)) => Ok((*number).into()),
            (SettingKind::Enum, toml::Value::String(text)) if self.values.contains(text) => {
                Ok(text.as_str().into())
            }
            (SettingKind::Enum, _) => Err(format!("must be one of {}", self.values.join(", "))),
            (SettingKind::Map, toml::Value::Table(table)) => table
                .iter()
                .map(|(key, value)| {
                    let text = value.as_str().ok_or("must be a table of texts")?;
                    Ok((key.clone(), Json::from(text)))
                })
                .collect(),
            (kind, _) => Err(format!("must be {}", kind.in_words())),
        }
    }
}

impl SettingKind {
    fn in_words(self) -> &'static str {
        match self {
            Self::Text | Self::Secret | Self::Enum => "a text",
            Self::Url => "an address",
            Self::Bool => "true or false",
            Self::Integer => "a whole number",
            Self::Map => "a table of texts",
        }
    }

    fn expr_type(self) -> Type {
        match self {
            Self::Text | Self::Secret | Self::Url | Self::Enum => Type::String,
            Self::Bool => Type::Bool,
            Self::Integer => Type::Number,
            Self::Map => Type::map(Type::String),
        }
    }
}

/// JSON Schema of a connection's table.
pub(super) fn json_schema(settings: &Settings) -> Json {
    let mut properties = Map::new();
    for (name, setting) in settings {
        let mut schema = match setting.kind {
            SettingKind::Text => json!({ "type": "string" }),
            SettingKind::Secret => json!({ "type": "string", "writeOnly": true }),
            SettingKind::Url => json!({ "type": "string", "format": "uri" }),
            SettingKind::Bool => json!({ "type": "boolean" }),
            SettingKind::Integer => json!({ "type": "integer" }),
            SettingKind::Enum => json!({ "type": "string", "enum": setting.values }),
            SettingKind::Map => {
                json!({ "type": "object", "additionalProperties": { "type": "string" } })
            }
        };
        schema["description"] = setting.doc.as_str().into();
        if let Some(default) = setting
            .default
            .as_ref()
            .and_then(|it| setting.read(it).ok())
        {
            schema["default"] = default;
        }
        properties.insert(name.as_str().to_owned(), schema);
    }
    let required: Vec<&str> = settings
        .iter()
        .filter(|(_, setting)| setting.required)
        .map(|(name, _)| name.as_str())
        .collect();
    json!({
        "type": "object", "additionalProperties": false,
        "properties": properties, "required": required
    })
}
