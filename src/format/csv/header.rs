//! The names of the columns, and how a mapping finds one.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::diagnostic::did_you_mean;

/// Which column a setting means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// The one in this place, from 1.
    Place(usize),
    /// The one with this name, in whatever language.
    Named(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "`{name}`"),
            Self::Place(place) => write!(f, "number {place}"),
        }
    }
}

/// A column cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoColumn {
    /// There is none of that name.
    Missing {
        /// What was looked for.
        column: Column,
        /// The names that are there.
        present: Vec<String>,
    },
    /// Several have that name.
    Twice {
        /// What was looked for.
        column: Column,
        /// Where they are, from 1.
        places: Vec<usize>,
    },
}

impl fmt::Display for NoColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { column, present } => {
                write!(f, "the column {column} is missing")?;
                if let Column::Named(name) = column
                    && let Some(close) = did_you_mean(name, present.iter().map(String::as_str))
                {
                    return write!(f, "; did you mean `{close}`?");
                }
                let listed: Vec<_> = present.iter().take(20).map(|n| format!("`{n}`")).collect();
                write!(f, "; there are {}", listed.join(", "))
            }
            Self::Twice { column, places } => write!(
                f,
                "the column {column} is there {} times (columns {places:?}); give the right one by \
                 its number",
                places.len()
            ),
        }
    }
}

impl std::error::Error for NoColumn {}

/// The first row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    line: u64,
    names: Vec<String>,
    /// The names as they are compared.
    folded: Vec<String>,
}

impl Header {
    pub(super) fn new<'a>(line: u64, names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        let folded = names.iter().map(|name| fold(name)).collect();
        Self {
            line,
            names,
            folded,
        }
    }

    /// Of a file whose first row is data: columns have places only.
    pub(super) fn without_names() -> Self {
        Self::new(0, std::iter::empty())
    }

    /// The physical line it stands on; 0 when there is none.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many columns it names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the file has no header.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// As written, trimmed.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What to call the column at `index` (from 0) in a message.
    pub fn name_of(&self, index: usize) -> String {
        match self.names.get(index) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("column {}", index + 1),
        }
    }

    pub(super) fn ends_empty(&self) -> bool {
        self.names.last().is_some_and(String::is_empty)
    }

    /// Where (from 0) a column is. Names are compared without regard to case, width of characters and
    /// kind of spaces.
    ///
    /// Names that nobody asks for may be empty or repeated.
    ///
    /// # Errors
    /// When it is not there, or more than once.
    pub fn find(&self, column: &Column) -> Result<usize, NoColumn> {
        let missing = || NoColumn::Missing {
            column: column.clone(),
            present: self.names.clone(),
        };
        match column {
            Column::Place(place) => {
                let known = self.names.is_empty() || *place <= self.names.len();
                place.checked_sub(1).filter(|_| known).ok_or_else(missing)
            }
            Column::Named(name) => {
                let wanted = fold(name);
                let mut places = (0..self.folded.len()).filter(|n| self.folded[*n] == wanted);
                match (places.next(), places.next()) {
                    (None, _) => Err(missing()),
                    (Some(only), None) => Ok(only),
                    (Some(first), Some(second)) => Err(NoColumn::Twice {
                        column: column.clone(),
                        places: [first, second]
                            .into_iter()
                            .chain(places)
                            .map(|n| n + 1)
                            .collect(),
                    }),
                }
            }
        }
    }
}

/// A text as names are compared: compatibility forms joined (full-width letters, hard spaces), lower
/// case, single spaces, nothing invisible.
pub(crate) fn fold(text: &str) -> String {
    let visible = text
        .chars()
        .filter(|c| !matches!(c, '\u{FEFF}' | '\u{200B}' | '\u{200E}' | '\u{200F}'));
    let lower: String = visible.nfkc().flat_map(char::to_lowercase).collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}
