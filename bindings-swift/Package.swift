// swift-tools-version: 6.0
import Foundation
import PackageDescription

// The C module below the generated code. On Linux its library is linked by its path: the
// linker takes `-l:` and a path from any folder that it searches, so enough of `../` come
// from there to the root. Neither flags that SwiftPM calls unsafe nor an installation are
// needed.
#if os(Linux)
let native = Target.systemLibrary(name: "LeaseholdCoreFFI")
let library = "\(Context.packageDirectory)/lib/libleasehold_swift.a"
let toRoot = String(repeating: "../", count: 32)
let linking = [LinkerSetting.linkedLibrary(":\(toRoot)\(library)")]
#else
let native = Target.binaryTarget(name: "LeaseholdCoreFFI", path: "lib/LeaseholdCoreFFI.xcframework")
let library = "\(Context.packageDirectory)/lib/LeaseholdCoreFFI.xcframework"
let linking: [LinkerSetting] = []
#endif

if !FileManager.default.fileExists(atPath: library) {
    fatalError("\(library) is missing: build it with `cargo xtask swift`, or take a release, which has it")
}

let package = Package(
    name: "Leasehold",
    platforms: [.macOS(.v13), .iOS(.v16), .tvOS(.v16), .watchOS(.v9)],
    products: [.library(name: "Leasehold", targets: ["Leasehold"])],
    targets: [
        native,
        // Generated, and not by us.
        .target(
            name: "LeaseholdCore",
            dependencies: ["LeaseholdCoreFFI"],
            swiftSettings: [.swiftLanguageMode(.v5)],
            linkerSettings: linking
        ),
        .target(name: "Leasehold", dependencies: ["LeaseholdCore"]),
        .testTarget(name: "LeaseholdTests", dependencies: ["Leasehold"]),
    ],
    swiftLanguageModes: [.v6]
)
