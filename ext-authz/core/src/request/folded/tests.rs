use super::*;

fn covers(prefix: &str, path: &str) -> bool {
    let prefix = PathPrefix::parse(prefix).unwrap();
    prefix.covers_folded(RequestPath::parse(path).unwrap())
}

#[test]
fn every_spelling_that_windows_takes_for_the_path_is_covered() {
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/ADMIN",
        "/Admin/x",
        "/admin.",
        "/admin...",
        "/admin%20",
        "/aDmIn.%20./x",
        "/.../admin",
        "/admin::$DATA",
        "/ADMIN:$i30:$INDEX_ALLOCATION/x",
        "/admin%20%3A%3a$DATA",
        "/%20/admin",
    ] {
        for prefix in ["/admin", "/ADMIN", "/admin."] {
            assert!(covers(prefix, path), "{prefix} {path}");
        }
    }
    for path in [
        "/administrator",
        "/",
        "/x/admin",
        "/admi",
        "/.admin",
        "/%20admin",
    ] {
        assert!(!covers("/admin", path), "{path}");
    }
    assert!(covers("/", "/anything") && covers("/", "/"));
}

#[test]
fn letters_beyond_ascii_fold_too() {
    for (prefix, path) in [
        ("/b%C3%BCcher", "/B%C3%9Ccher"),
        ("/stra%C3%9Fe", "/STRASSE"),
        ("/secret", "/%C5%BFecret"),
        ("/kelvin", "/%E2%84%AAelvin"),
    ] {
        assert!(covers(prefix, path), "{prefix} {path}");
    }
}

#[test]
fn what_is_covered_exactly_is_covered_folded() {
    for prefix in ["/", "/v1", "/V1/x.", "/a%20b", "/%C3%9C"] {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/V1/x./y",
            "/a%20b/c",
            "/%C3%9C",
            "/%c3%9c/x",
        ] {
            let (one, other) = (
                PathPrefix::parse(prefix).unwrap(),
                RequestPath::parse(path).unwrap(),
            );
            assert!(
                !one.covers(other) || one.covers_folded(other),
                "{prefix} {path}"
            );
        }
    }
    let prefix = |text| PathPrefix::parse(text).unwrap();
    assert!(prefix("/V1").encloses_folded(&prefix("/v1./x")));
    assert!(!prefix("/v1/x").encloses_folded(&prefix("/V1")));
    // What a deny itself writes behind a `:` stays.
    assert!(covers("/v1/x:cancel", "/V1/x:Cancel") && !covers("/v1/x:cancel", "/v1/x"));
    for (one, other) in [
        ("/", "/a"),
        ("/V1", "/v1/x"),
        ("/v1:a", "/v1/x"),
        ("/v1/x/y", "/v1/x"),
    ] {
        assert!(prefix(one).reaches_folded(&prefix(other)), "{one} {other}");
    }
    assert!(!prefix("/v1/y").reaches_folded(&prefix("/v1/x")));
}
