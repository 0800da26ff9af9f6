use std::{fs, net::IpAddr, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use attache_core::time::Timestamp;
use attache_policy::Geography as _;

use self::writer::Value;
use super::{GeographyDatabase, GeographySettings};

mod writer;

const BUILT: u64 = 1_800_000_000;
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A database by which 10.0.0.0/8 is in the country of that code.
fn database(code: &str) -> Vec<u8> {
    let country = [("iso_code", Value::Text(code))];
    let record = Value::Map(&[("country", Value::Map(&country))]);
    writer::database(10, &record, BUILT)
}

fn open(path: &Path) -> GeographyDatabase {
    GeographyDatabase::open(GeographySettings {
        database: path.to_path_buf(),
        max_age: MONTH,
    })
}

fn country(database: &GeographyDatabase, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().unwrap();
    let location = database.locate(address)?;
    Some(location.country.as_str().to_owned())
}

/// Waits for `condition`, which another task brings about.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[test]
fn an_address_is_in_the_country_of_its_network_and_for_as_long_as_the_database_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    fs::write(&path, database("DE")).unwrap();
    let database = open(&path);
    assert_eq!(country(&database, "10.1.2.3").as_deref(), Some("DE"));
    let built_at = Timestamp::from_seconds(1_800_000_000);
    let location = database.locate("10.1.2.3".parse().unwrap()).unwrap();
    assert_eq!(location.good_until, built_at.plus(MONTH));
    let state = database.state();
    assert_eq!(state.built_at, Some(built_at));
    assert_eq!(state.good_until, Some(built_at.plus(MONTH)));
    assert_eq!(state.refused, None);
}

#[test]
fn an_address_that_the_database_does_not_know_is_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    fs::write(&path, database("DE")).unwrap();
    let database = open(&path);
    assert_eq!(country(&database, "11.0.0.1"), None);
    // It is a database of IPv4.
    assert_eq!(country(&database, "2001:db8::1"), None);
}

#[test]
fn without_a_file_no_address_is_anywhere_and_the_state_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder.path().join("missing.mmdb"));
    assert_eq!(country(&database, "10.1.2.3"), None);
    let state = database.state();
    assert_eq!(state.built_at, None);
    let refused = state.refused.unwrap();
    assert!(refused.contains("missing.mmdb"), "{refused}");
}

#[test]
fn a_code_that_is_no_countrys_is_no_country() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    for code in ["de", "DEU", "", "1A"] {
        fs::write(&path, database(code)).unwrap();
        let database = open(&path);
        assert_eq!(country(&database, "10.1.2.3"), None, "{code:?}");
        let refused = database.state().refused.unwrap();
        assert!(refused.contains("Test-Country"), "{refused}");
    }
}

#[test]
fn a_database_of_something_else_is_refused_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asn.mmdb");
    let record = Value::Map(&[("autonomous_system_number", Value::Uint32(64_500))]);
    fs::write(&path, writer::database(10, &record, BUILT)).unwrap();
    let refused = open(&path).state().refused.unwrap();
    assert!(refused.contains("country.iso_code"), "{refused}");
}

#[test]
fn what_is_no_whole_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    let whole = database("DE");
    for bytes in [
        &b""[..],
        b"no database",
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
    ] {
        fs::write(&path, bytes).unwrap();
        let database = open(&path);
        assert_eq!(country(&database, "10.1.2.3"), None);
        let refused = database.state().refused.unwrap();
        assert!(refused.contains("no whole MaxMind database"), "{refused}");
    }
}

#[tokio::test]
async fn a_database_is_read_again_when_it_is_replaced_and_a_damaged_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    fs::write(&path, database("DE")).unwrap();
    let followed = Arc::new(open(&path));
    let following = tokio::spawn(Arc::clone(&followed).follow());

    let next = folder.path().join("next");
    fs::write(&next, b"half of a database").unwrap();
    fs::rename(&next, &path).unwrap();
    until(|| followed.state().refused.is_some()).await;
    assert_eq!(country(&followed, "10.1.2.3").as_deref(), Some("DE"));

    fs::write(&next, database("FR")).unwrap();
    fs::rename(&next, &path).unwrap();
    until(|| country(&followed, "10.1.2.3").as_deref() == Some("FR")).await;
    assert_eq!(followed.state().refused, None);

    // In place, as `cp` writes it.
    fs::write(&path, database("IT")).unwrap();
    until(|| country(&followed, "10.1.2.3").as_deref() == Some("IT")).await;
    following.abort();
}

#[tokio::test]
async fn a_database_in_a_volume_of_kubernetes_is_followed_through_its_links() {
    let folder = tempfile::tempdir().unwrap();
    for (version, code) in [("..1", "DE"), ("..2", "FR")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(
            folder.path().join(version).join("country.mmdb"),
            database(code),
        )
        .unwrap();
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    let path = folder.path().join("country.mmdb");
    symlink("..data/country.mmdb", &path).unwrap();
    let followed = Arc::new(open(&path));
    let following = tokio::spawn(Arc::clone(&followed).follow());
    assert_eq!(country(&followed, "10.1.2.3").as_deref(), Some("DE"));

    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(
        folder.path().join("..data_tmp"),
        folder.path().join("..data"),
    )
    .unwrap();
    until(|| country(&followed, "10.1.2.3").as_deref() == Some("FR")).await;
    following.abort();
}
