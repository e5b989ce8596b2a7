//! Every test that `docs/promises.md` names is there.

use std::fs;
use std::path::Path;

#[test]
fn every_promise_has_its_tests() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(here.join("../docs/promises.md")).unwrap();
    let named: Vec<(&str, &str)> =
        promises.split('`').filter_map(|word| word.rsplit_once("::")).collect();
    assert!(named.len() > 20, "only {} tests are named", named.len());
    for (module, test) in named {
        let path = module.replace("::", "/");
        let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
        let places = ["tests", "model/tests", "../core/tests/backends"];
        let all = places
            .iter()
            .flat_map(|place| files.each_ref().map(|file| here.join(place).join(file)));
        let source = all.map(fs::read_to_string).find_map(Result::ok).unwrap_or_default();
        let head = source.split_once(&format!("fn {test}(")).map(|(before, _)| before);
        let attributes = head.and_then(|head| head.rsplit_once("\n\n")).map(|(_, last)| last);
        // Those of the model, one for each rule, are written by a macro.
        let is_rule = source.contains(&format!("\n    {test}: "));
        let is_test = is_rule || attributes.is_some_and(|attributes| attributes.contains("test]"));
        assert!(is_test, "{module}::{test} is promised, and there is no such test");
    }
}
