//! Parameters in queries.

use super::with_parameters;

#[test]
fn a_parameter_takes_the_place_of_all_of_its_name() {
    let key = [("key".to_owned(), "a%20b".to_owned())];
    for (target, expected) in [
        ("/x", "/x?key=a%20b"),
        ("/x?", "/x?key=a%20b"),
        ("/x?a=1&b", "/x?a=1&b&key=a%20b"),
        ("/x?key=mine&a=1&key", "/x?a=1&key=a%20b"),
        ("/x?k%65y=mine&K=2", "/x?K=2&key=a%20b"),
        ("/x?a=?key=1", "/x?a=?key=1&key=a%20b"),
        ("/x?%=1&%4=2", "/x?%=1&%4=2&key=a%20b"),
    ] {
        assert_eq!(with_parameters(target, &key, &[]), expected);
    }
}

#[test]
fn what_the_edge_names_is_removed_as_it_is_spelled() {
    let removed = ["K%45Y".to_owned(), "key[]".to_owned()];
    for (target, expected) in [
        ("/x?K%45Y=mine&a=1&key[]", "/x?a=1"),
        ("/x?key[]=1", "/x"),
        ("/x?a=K%45Y", "/x?a=K%45Y"),
    ] {
        assert_eq!(with_parameters(target, &[], &removed), expected);
    }
}
