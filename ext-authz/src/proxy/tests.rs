use super::*;

#[test]
fn a_proxy_that_is_named_and_not_wanted_is_told() {
    let named = |wanted: &'static str| {
        move |name: &str| (name == wanted).then(|| OsString::from("http://proxy.example:3128"))
    };
    for variable in VARIABLES {
        assert_eq!(unused(Proxy::None, named(variable)), Some(variable));
        assert_eq!(unused(Proxy::Environment, named(variable)), None);
    }
    assert_eq!(unused(Proxy::None, named("NO_PROXY")), None);
    assert_eq!(unused(Proxy::None, |_| Some(OsString::new())), None);
}
