use super::*;

fn allowed(address: &str) -> bool {
    is_allowed(address.parse().expect("an address"))
}

#[test]
fn addresses_of_metadata_services_and_of_nobody_are_refused() {
    for address in [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "febf::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::a9fe:a9fe",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "64:ff9b:1::1",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "::0.0.0.2",
        "168.63.129.16",
    ] {
        assert!(!allowed(address), "{address}");
    }
}

#[test]
fn public_private_and_loopback_addresses_are_allowed() {
    for address in [
        "140.82.112.21",
        "10.96.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "::1",
        "fd00::1",
        "2606:50c0::1",
        "64:ff9b::8c52:7015",
        "2002:8c52:7015::1",
        "fd20:ce::1",
    ] {
        assert!(allowed(address), "{address}");
    }
}

#[test]
fn a_name_with_one_forbidden_address_is_refused_as_a_whole() {
    let addresses = |texts: &[&str]| {
        let parse = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 0);
        texts.iter().map(parse).collect::<Vec<_>>()
    };
    assert!(checked("a.example", addresses(&["10.0.0.1", "::1"])).is_ok());
    let refused = checked("a.example", addresses(&["10.0.0.1", "169.254.169.254"]));
    let refused = refused.expect_err("refused").to_string();
    assert!(
        refused.contains("a.example is 169.254.169.254"),
        "{refused}"
    );
}

#[test]
fn a_url_with_a_forbidden_address_is_refused() {
    let check = |url: &str| check(&Url::parse(url).expect("a URL"));
    for url in [
        "https://169.254.169.254/keys",
        "https://[fe80::1]/",
        "https://0/",
        "https://2852039166/",
    ] {
        assert!(check(url).is_err(), "{url}");
    }
    for url in ["https://10.0.0.1/keys", "https://issuer.example/keys"] {
        assert!(check(url).is_ok(), "{url}");
    }
}
