use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::{Arc, Barrier},
    thread,
};

use super::*;

const HEX: &str = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";
const BASE64: &str = "ABEiM0RVZneImaq7zN3u///u3cy7qpmId2ZVRDMiEQA=";

fn key(text: &str) -> SealingKey {
    SealingKey::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn hexadecimal_and_base64_give_the_same_key() {
    let sealed = key(HEX).seal(b"private", b"kid").unwrap();
    for text in [
        BASE64,
        BASE64.trim_end_matches('='),
        &format!("  {HEX}\r\n"),
    ] {
        assert_eq!(
            key(text).open(&sealed, b"kid").unwrap().as_slice(),
            b"private"
        );
    }
}

#[test]
fn texts_that_are_no_32_random_bytes_are_refused() {
    let zeros = "0".repeat(64);
    let other_digit = HEX.replace('0', "g");
    let too_long = format!("{HEX}00");
    for (text, expected) in [
        ("", InvalidSealingKey::Malformed),
        ("correct horse battery staple", InvalidSealingKey::Malformed),
        ("AAECAwQFBgcICQoLDA0ODw==", InvalidSealingKey::Malformed),
        (&other_digit, InvalidSealingKey::Malformed),
        (&too_long, InvalidSealingKey::Malformed),
        (&zeros, InvalidSealingKey::Placeholder),
    ] {
        assert_eq!(SealingKey::parse(text).err(), Some(expected), "{text}");
    }
}

#[test]
fn a_sealed_text_shows_nothing_of_what_it_holds_and_never_repeats_itself() {
    let (first, second) = (
        key(HEX).seal(b"private", b"").unwrap(),
        key(HEX).seal(b"private", b"").unwrap(),
    );
    assert_ne!(first, second);
    assert!(!first.windows(7).any(|part| part == b"private"));
}

#[test]
fn every_changed_byte_breaks_the_seal() {
    let sealed = key(HEX).seal(b"private", b"kid").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let expected = match at {
            0 => BrokenSeal::Layout,
            1..=8 => BrokenSeal::OtherKey,
            _ => BrokenSeal::Altered,
        };
        assert_eq!(
            key(HEX).open(&changed, b"kid").err(),
            Some(expected),
            "byte {at}"
        );
    }
}

#[test]
fn every_shortened_text_is_refused() {
    let sealed = key(HEX).seal(b"private", b"kid").unwrap();
    for length in 0..sealed.len() {
        assert!(
            key(HEX).open(&sealed[..length], b"kid").is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn what_was_sealed_for_one_entry_does_not_open_as_another() {
    let sealed = key(HEX).seal(b"private", b"kid-1").unwrap();
    assert_eq!(
        key(HEX).open(&sealed, b"kid-2").err(),
        Some(BrokenSeal::Altered)
    );
}

#[test]
fn another_sealing_key_is_told_apart_from_a_damaged_text() {
    let (other, _) = SealingKey::generate().unwrap();
    let sealed = key(HEX).seal(b"private", b"kid").unwrap();
    assert_eq!(
        other.open(&sealed, b"kid").err(),
        Some(BrokenSeal::OtherKey)
    );
}

#[test]
fn the_file_is_made_once_with_mode_0600_and_then_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealing.key");
    let sealed = SealingKey::load_or_create(&path)
        .unwrap()
        .seal(b"private", b"")
        .unwrap();
    assert_eq!(mode(&path), 0o600);
    let again = SealingKey::load_or_create(&path).unwrap();
    assert_eq!(again.open(&sealed, b"").unwrap().as_slice(), b"private");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "drafts stay behind"
    );
}

#[test]
fn processes_that_make_the_file_at_once_get_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = Arc::new(directory.path().join("sealing.key"));
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (path, start) = (Arc::clone(&path), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                SealingKey::load_or_create(&path)
                    .map(|key| key.name)
                    .unwrap()
            })
        })
        .collect();
    let names: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(names.iter().all(|name| *name == names[0]));
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealing.key");
    fs::write(&path, HEX).unwrap();
    for bits in [0o640, 0o604, 0o620, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let refused = SealingKey::load_or_create(&path).err().unwrap().to_string();
        assert!(
            refused.contains("chmod 600") && refused.contains(&format!("{bits:04o}")),
            "{refused}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(SealingKey::load(&path).is_ok());
}

#[test]
fn a_file_that_is_no_key_is_refused_and_neither_replaced_nor_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sealing.key");
    fs::write(&path, "correct horse").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = SealingKey::load_or_create(&path).err().unwrap().to_string();
    assert!(
        refused.contains("openssl rand -hex 32") && !refused.contains("correct"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "correct horse");
}

#[test]
fn a_missing_directory_and_a_dangling_link_are_errors_not_new_keys() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").join("sealing.key");
    let refused = SealingKey::load_or_create(&missing).err().unwrap();
    assert!(
        matches!(refused, UnusableSealingKeyFile::Unwritable { .. }),
        "{refused}"
    );
    let link = directory.path().join("link");
    symlink(directory.path().join("nowhere"), &link).unwrap();
    let refused = SealingKey::load_or_create(&link).err().unwrap();
    assert!(
        matches!(refused, UnusableSealingKeyFile::Unreadable { .. }),
        "{refused}"
    );
}
