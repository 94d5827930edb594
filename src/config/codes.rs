//! Every code that a finding about configuration can carry, with its one-line title.
//!
//! A code is stable: it is never reused for something else. `X01` is about reading the file, `X02`
//! about placeholders, `X03` about single settings, `X04` about how settings fit together, `X05` about
//! mappings.

/// One kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// What a finding carries: `X0401`.
    pub code: &'static str,
    /// What it means, in one line.
    pub title: &'static str,
}

/// See [`CODES`] for what each one means.
pub const UNREADABLE: &str = "X0101";
/// See [`CODES`].
pub const TOO_LARGE: &str = "X0102";
/// See [`CODES`].
pub const NOT_UTF8: &str = "X0103";
/// See [`CODES`].
pub const NOT_TOML: &str = "X0104";
/// See [`CODES`].
pub const TWICE: &str = "X0105";
/// See [`CODES`].
pub const NO_FILES: &str = "X0106";
/// See [`CODES`].
pub const NO_VERSION: &str = "X0107";
/// See [`CODES`].
pub const OTHER_VERSION: &str = "X0108";

/// See [`CODES`].
pub const BAD_PLACEHOLDER: &str = "X0201";
/// See [`CODES`].
pub const NO_VARIABLE: &str = "X0202";
/// See [`CODES`].
pub const NO_FILE: &str = "X0203";
/// See [`CODES`].
pub const NO_CREDENTIAL: &str = "X0204";
/// See [`CODES`].
pub const INLINE_SECRET: &str = "X0205";

/// See [`CODES`].
pub const UNKNOWN_KEY: &str = "X0301";
/// See [`CODES`].
pub const WRONG_TYPE: &str = "X0302";
/// See [`CODES`].
pub const MISSING: &str = "X0303";
/// See [`CODES`].
pub const UNKNOWN_CHOICE: &str = "X0304";
/// See [`CODES`].
pub const OUT_OF_RANGE: &str = "X0305";
/// See [`CODES`].
pub const BAD_VALUE: &str = "X0306";
/// See [`CODES`].
pub const BAD_NAME: &str = "X0307";
/// See [`CODES`].
pub const CONTRADICTION: &str = "X0308";
/// See [`CODES`].
pub const EXPOSED: &str = "X0309";
/// See [`CODES`].
pub const FORGETFUL: &str = "X0310";

/// See [`CODES`].
pub const UNKNOWN_CONNECTOR: &str = "X0401";
/// See [`CODES`].
pub const UNKNOWN_CONNECTION: &str = "X0402";
/// See [`CODES`].
pub const NO_SUCH_STREAM: &str = "X0403";
/// See [`CODES`].
pub const NOT_READABLE: &str = "X0404";
/// See [`CODES`].
pub const NOT_WRITABLE: &str = "X0405";
/// See [`CODES`].
pub const NO_START: &str = "X0406";
/// See [`CODES`].
pub const START_WITHOUT_EFFECT: &str = "X0407";
/// See [`CODES`].
pub const UNKNOWN_MAPPING: &str = "X0408";
/// See [`CODES`].
pub const STREAMS_DIFFER: &str = "X0409";
/// See [`CODES`].
pub const CYCLE: &str = "X0410";
/// See [`CODES`].
pub const TWO_WRITERS: &str = "X0411";
/// See [`CODES`].
pub const UNKNOWN_POOL: &str = "X0412";
/// See [`CODES`].
pub const PUBLISH_TO_MEMBER: &str = "X0413";
/// See [`CODES`].
pub const NOT_STOCK: &str = "X0414";
/// See [`CODES`].
pub const NO_FULFILMENT: &str = "X0415";
/// See [`CODES`].
pub const BURST_BELOW_COST: &str = "X0416";
/// See [`CODES`].
pub const UNUSED: &str = "X0417";
/// See [`CODES`].
pub const SALES_NOT_RESERVED: &str = "X0418";
/// See [`CODES`].
pub const ALWAYS_STALE: &str = "X0419";
/// See [`CODES`].
pub const OVERLAP_TOO_SHORT: &str = "X0420";
/// See [`CODES`].
pub const OWNER_WITHOUT_PART: &str = "X0421";

/// See [`CODES`].
pub const SOLD_FROM_TWO_POOLS: &str = "X0422";
/// See [`CODES`].
pub const STOCK_WITHOUT_POOL: &str = "X0423";
/// See [`CODES`].
pub const NO_CONNECTOR: &str = "X0424";
/// A setting of a stream has no effect.
pub const WITHOUT_EFFECT: &str = "X0425";
/// See [`CODES`].
pub const NO_WEBHOOKS: &str = "X0426";

/// See [`CODES`].
pub const BAD_EXPRESSION: &str = "X0501";
/// See [`CODES`].
pub const NO_SUCH_FIELD: &str = "X0502";
/// See [`CODES`].
pub const BAD_RULE: &str = "X0503";
/// See [`CODES`].
pub const TYPES_DIFFER: &str = "X0504";
/// See [`CODES`].
pub const NO_SUCH_TABLE: &str = "X0505";
/// See [`CODES`].
pub const BAD_TEST: &str = "X0506";
/// See [`CODES`].
pub const TEST_FAILED: &str = "X0507";

const fn code(code: &'static str, title: &'static str) -> Code {
    Code { code, title }
}

/// All of them, in order.
pub const CODES: &[Code] = &[
    code(UNREADABLE, "a configuration file cannot be read"),
    code(TOO_LARGE, "a configuration file is too large"),
    code(NOT_UTF8, "a configuration file is not UTF-8"),
    code(NOT_TOML, "a configuration file is not valid TOML"),
    code(TWICE, "the same thing is configured twice"),
    code(NO_FILES, "a configuration folder holds no *.toml"),
    code(NO_VERSION, "the version of the format is missing"),
    code(
        OTHER_VERSION,
        "the format's version is another one than this program reads",
    ),
    code(BAD_PLACEHOLDER, "a placeholder cannot be understood"),
    code(NO_VARIABLE, "an environment variable is not set"),
    code(NO_FILE, "a file that a setting names cannot be read"),
    code(NO_CREDENTIAL, "a credential cannot be read"),
    code(INLINE_SECRET, "a secret stands in the file itself"),
    code(UNKNOWN_KEY, "no such section or setting"),
    code(WRONG_TYPE, "a setting is of the wrong type"),
    code(MISSING, "a setting is missing"),
    code(UNKNOWN_CHOICE, "a setting has none of the possible values"),
    code(
        OUT_OF_RANGE,
        "a number is too small or too large, or a list too short",
    ),
    code(BAD_VALUE, "a value cannot be understood"),
    code(BAD_NAME, "a name uses characters that names cannot have"),
    code(CONTRADICTION, "two settings contradict each other"),
    code(EXPOSED, "the server listens to more than this machine"),
    code(FORGETFUL, "the store forgets everything at exit"),
    code(UNKNOWN_CONNECTOR, "there is no such connector"),
    code(UNKNOWN_CONNECTION, "there is no such connection"),
    code(NO_SUCH_STREAM, "the connector does not have this stream"),
    code(NOT_READABLE, "the stream cannot be read"),
    code(NOT_WRITABLE, "the stream cannot be written"),
    code(NO_START, "a route of events does not say from when on"),
    code(START_WITHOUT_EFFECT, "start_from has no effect here"),
    code(UNKNOWN_MAPPING, "there is no such mapping"),
    code(
        STREAMS_DIFFER,
        "a route turns one stream into another without a mapping",
    ),
    code(CYCLE, "routes form a cycle"),
    code(TWO_WRITERS, "two rules write the same stream"),
    code(UNKNOWN_POOL, "there is no such pool"),
    code(
        PUBLISH_TO_MEMBER,
        "a pool is published to one of its own members",
    ),
    code(NOT_STOCK, "a stream of stock is needed here"),
    code(
        NO_FULFILMENT,
        "nobody knows whose shipments fulfil the pool",
    ),
    code(
        BURST_BELOW_COST,
        "the burst is below the cost of one request",
    ),
    code(UNUSED, "nothing uses this"),
    code(
        SALES_NOT_RESERVED,
        "what a channel sells is not taken off the pool",
    ),
    code(
        ALWAYS_STALE,
        "a limit on age is below the time between two reads",
    ),
    code(
        OVERLAP_TOO_SHORT,
        "the overlap is shorter than the settle lag",
    ),
    code(
        OWNER_WITHOUT_PART,
        "the owner of a stream has no part in its routes",
    ),
    code(
        SOLD_FROM_TWO_POOLS,
        "the same stock is in two pools, or twice in one",
    ),
    code(STOCK_WITHOUT_POOL, "a channel is told stock past its pool"),
    code(NO_CONNECTOR, "a folder of connectors holds none"),
    code(WITHOUT_EFFECT, "a setting of a stream has no effect"),
    code(NO_WEBHOOKS, "webhooks could never arrive"),
    code(BAD_EXPRESSION, "an expression of a mapping is wrong"),
    code(NO_SUCH_FIELD, "records of this stream have no such field"),
    code(BAD_RULE, "a rule of a mapping makes no sense"),
    code(
        TYPES_DIFFER,
        "a rule makes another kind of value than its field holds",
    ),
    code(NO_SUCH_TABLE, "the mapping has no such table"),
    code(BAD_TEST, "a test of a mapping says too little or too much"),
    code(TEST_FAILED, "a test of a mapping fails"),
];

/// What a code means; `None` when it is none of ours.
pub fn title(code: &str) -> Option<&'static str> {
    CODES
        .iter()
        .find(|known| known.code == code)
        .map(|known| known.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
