//! Has the linker leave the functions of Node to Node.

fn main() {
    napi_build::setup();
}
