#!/usr/bin/env bash
# On a Mac: the native part for Apple platforms, and the code that is generated from it.
# Not run yet: nobody here has a Mac. The workflow swift-apple.yml runs it.
set -euo pipefail
cd "$(dirname "$0")"
target="${CARGO_TARGET_DIR:-../target}"
name=libleasehold_swift.a

libraries=(aarch64-apple-darwin x86_64-apple-darwin aarch64-apple-ios aarch64-apple-ios-sim)
rustup target add "${libraries[@]}"
for library in "${libraries[@]}"; do
  cargo build --release -p leasehold-swift --target "$library"
done
cargo run -p leasehold-swift-generate --features bindgen -- \
  "$target/aarch64-apple-darwin/release/$name" Sources

# The module comes with the binary target here, not from a folder of sources.
rm -rf lib && mkdir -p lib/mac lib/headers
mv Sources/LeaseholdCoreFFI/* lib/headers/ && rmdir Sources/LeaseholdCoreFFI
lipo -create -output "lib/mac/$name" \
  "$target/aarch64-apple-darwin/release/$name" "$target/x86_64-apple-darwin/release/$name"
xcodebuild -create-xcframework -output lib/LeaseholdCoreFFI.xcframework \
  -library "lib/mac/$name" -headers lib/headers \
  -library "$target/aarch64-apple-ios/release/$name" -headers lib/headers \
  -library "$target/aarch64-apple-ios-sim/release/$name" -headers lib/headers
