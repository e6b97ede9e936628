//! The layers of the plugin: `sign_in` and `social` import `accounts`, and neither imports the other.

use std::path::Path;

fn check(folder: &Path, forbidden: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check(&path, forbidden);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for module in forbidden {
            assert!(!source.contains(module), "{} imports {module}", path.display());
        }
    }
}

#[test]
fn imports_follow_the_layers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    check(&source.join("accounts"), &["crate::sign_in", "crate::social"]);
    check(&source.join("sign_in"), &["crate::social", "crate::account_closure"]);
    check(&source.join("social"), &["crate::sign_in", "crate::account_closure"]);
}
