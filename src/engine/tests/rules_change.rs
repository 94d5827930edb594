//! A reload with other rules: what was computed by the old ones is computed anew.

use super::stock::told;
use super::*;

fn with_buffer(buffer: i64) -> Arc<Rules> {
    let mut rules = rules(Mode::Apply);
    for publish in &mut rules.publishes {
        publish.rule.buffer = rust_decimal::Decimal::from(buffer);
    }
    Arc::new(rules)
}

#[test]
fn another_buffer_is_told_though_no_number_moves() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 7)]);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    assert_eq!(told(&mut bench, "B"), "7/7");
    bench.engine.reload(with_buffer(2)).unwrap();
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "3/3");
    assert_eq!(told(&mut bench, "B"), "5/5");
    assert!(!bench.engine.derive_stock().unwrap(), "once");
}

/// A rule comes and goes before anybody looked: what was computed by it meanwhile is computed anew.
#[test]
fn a_rule_that_came_and_went_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "5/5");
    bench.engine.reload(with_buffer(2)).unwrap();
    bench.accept("erp", Stream::Stock, vec![level("A", 6)]);
    assert_eq!(told(&mut bench, "A"), "4/4");
    bench.engine.reload(with_buffer(0)).unwrap();
    while bench.engine.derive_stock().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "6/6");
}
