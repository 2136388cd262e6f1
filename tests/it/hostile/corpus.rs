//! Bodies that broke something once: kept as files, replayed first.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What a body is for; also the beginning of its file's name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Event,
    Rest,
    Directory,
    Answer,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Event => "event-",
            Self::Rest => "rest-",
            Self::Directory => "directory-",
            Self::Answer => "answer-",
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hostile/corpus")
}

/// The bodies of one kind, with the names of their files, in the order of the names.
pub(super) fn read(kind: Kind) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder()).expect("the folder corpus") {
        let path = file.expect("its entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with(kind.prefix()) {
            found.push((name, std::fs::read(path).expect("its bytes")));
        }
    }
    found.sort();
    found
}

/// Keeps a body that broke something; answers where.
pub(super) fn keep(kind: Kind, body: &[u8]) -> String {
    let mut name = kind.prefix().to_owned();
    for byte in &Sha256::digest(body)[..6] {
        write!(name, "{byte:02x}").expect("a text grows");
    }
    let path = folder().join(name);
    std::fs::write(&path, body).expect("a file in the folder corpus");
    path.display().to_string()
}

/// A time after which a target is fed no more.
pub(super) fn deadline() -> std::time::Instant {
    std::time::Instant::now() + super::duration()
}
