//! Mappings: compiled for the streams of each route that uses them, and their own tests run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Draft;
use crate::diagnostic::Diagnostic;
use crate::id::RouteName;
use crate::mapping::{self, Mapping};

/// Compiles the mapping of each route. What is wrong with one is said once, however many routes use it; a
/// test that fails refuses the configuration like any other mistake.
pub(super) fn compile(draft: &mut Draft<'_>) -> BTreeMap<RouteName, Arc<Mapping>> {
    let mut compiled = BTreeMap::new();
    let mut told: Vec<Diagnostic> = Vec::new();
    for (route, settings) in &draft.config.route {
        let Some(name) = &settings.mapping else {
            continue;
        };
        // A mapping that does not exist was told with its route.
        let Some(table) = draft.config.mapping.get(name) else {
            continue;
        };
        match mapping::compile(name, table, settings.from.stream, settings.to.stream) {
            Ok(mapping) => {
                let red = mapping.run_tests();
                told.extend(red.into_iter().map(|failure| failure.finding));
                compiled.insert(route.clone(), Arc::new(mapping));
            }
            Err(findings) => told.extend(findings.0),
        }
    }
    for finding in told {
        if !draft.findings.0.contains(&finding) {
            draft.findings.push(finding);
        }
    }
    compiled
}
