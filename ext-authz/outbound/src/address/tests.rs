use super::*;

fn allowed(reach: &Reach, address: &str) -> bool {
    reach.allows(address.parse().expect("an address"))
}

#[test]
fn addresses_of_this_machine_of_metadata_services_and_of_nobody_are_refused() {
    for address in [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
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
        assert!(!allowed(&Reach::default(), address), "{address}");
    }
}

#[test]
fn public_and_private_addresses_are_allowed() {
    for address in [
        "140.82.112.21",
        "10.96.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fd00::1",
        "2606:50c0::1",
        "64:ff9b::8c52:7015",
        "2002:8c52:7015::1",
        "fd20:ce::1",
    ] {
        assert!(allowed(&Reach::default(), address), "{address}");
    }
}

#[test]
fn what_the_operator_lists_is_allowed_and_nothing_else() {
    let listed = ["169.254.169.254/32", "127.0.0.0/30"];
    let networks = listed.map(|net| net.parse().expect("a network"));
    let reach = Reach::with(networks.into());
    for address in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "127.0.0.1",
        "64:ff9b::7f00:1",
    ] {
        assert!(allowed(&reach, address), "{address}");
    }
    for address in ["169.254.169.253", "127.0.0.4", "::1"] {
        assert!(!allowed(&reach, address), "{address}");
    }
    let loopback = Reach::default().and_loopback();
    assert!(allowed(&loopback, "127.9.9.9") && allowed(&loopback, "::1"));
    assert!(!allowed(&loopback, "169.254.169.254"));
}

#[test]
fn no_list_makes_an_address_of_nobody_one_to_call() {
    let networks = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
    let reach = Reach::with(networks.into());
    for address in [
        "0.0.0.0",
        "::",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ] {
        assert!(!allowed(&reach, address), "{address}");
    }
    assert!(allowed(&reach, "169.254.169.254"));
}

#[test]
fn a_name_with_one_forbidden_address_is_refused_as_a_whole() {
    let check = |texts: &[&str]| {
        let addresses = texts.iter().map(|text| text.parse().expect("an address"));
        Reach::default().check_all("a.example", addresses.collect::<Vec<_>>())
    };
    assert!(check(&["10.0.0.1", "fd00::1"]).is_ok());
    let refused = check(&["10.0.0.1", "169.254.169.254"]).expect_err("refused");
    let refused = refused.to_string();
    assert!(
        refused.contains("a.example is 169.254.169.254"),
        "{refused}"
    );
    assert!(refused.contains("outbound.allow_networks"), "{refused}");
}

#[test]
fn a_url_with_a_forbidden_address_is_refused_however_it_is_spelled() {
    let check = |url: &str| Reach::default().check(&Url::parse(url).expect("a URL"));
    for url in [
        "https://169.254.169.254/keys",
        "https://[fe80::1]/",
        "https://0/",
        "https://2852039166/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
    ] {
        assert!(check(url).is_err(), "{url}");
    }
    for url in ["https://10.0.0.1/keys", "https://issuer.example/keys"] {
        assert!(check(url).is_ok(), "{url}");
    }
}
