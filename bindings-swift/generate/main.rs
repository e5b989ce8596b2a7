//! Writes the Swift code that calls the native part, and the C module below it, into
//! the package: `leasehold-swift-generate LIBRARY SOURCES`.

use uniffi_bindgen::bindings::{SwiftBindingsOptions, generate_swift_bindings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, sources] = &arguments[..] else {
        return Err("usage: leasehold-swift-generate LIBRARY SOURCES".into());
    };
    let options = |folder: &str| SwiftBindingsOptions {
        source: library.into(),
        out_dir: format!("{sources}/{folder}").into(),
        ..SwiftBindingsOptions::default()
    };
    generate_swift_bindings(SwiftBindingsOptions {
        generate_swift_sources: true,
        ..options("LeaseholdCore")
    })?;
    Ok(generate_swift_bindings(SwiftBindingsOptions {
        generate_headers: true,
        generate_modulemap: true,
        module_name: Some("LeaseholdCoreFFI".to_owned()),
        modulemap_filename: Some("module.modulemap".to_owned()),
        ..options("LeaseholdCoreFFI")
    })?)
}
