//! Every input that fuzzing found worth keeping, as an ordinary test: no fuzzer is needed to see that an old finding
//! stays away.

use std::path::Path;

#[test]
fn json_rpc() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/corpus/json_rpc");
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("the folder can be listed").path();
        println!("{}", path.display());
        control::api::rpc::fuzz(&std::fs::read(&path).expect("an input can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} has no inputs", folder.display());
}
