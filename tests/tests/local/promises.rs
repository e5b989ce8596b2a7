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
        let file = format!("tests/{}.rs", module.replace("::", "/"));
        let files = [here.join(&file), here.join("model").join(&file)];
        let source = files.iter().find_map(|file| fs::read_to_string(file).ok());
        let source = source.unwrap_or_default();
        let head = source.split_once(&format!("\nfn {test}(")).map(|(before, _)| before);
        let attributes = head.and_then(|head| head.rsplit_once("\n\n")).map(|(_, last)| last);
        let is_test = attributes.is_some_and(|attributes| attributes.contains("#[test]"));
        assert!(is_test, "{module}::{test} is promised, and there is no such test");
    }
}
