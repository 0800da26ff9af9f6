use super::{CLUSTER, ask, compiled, pod, refused};

fn client(namespace: Option<&str>, account: &str) -> String {
    let namespace = namespace
        .map(|name| format!("namespace: {name}, "))
        .unwrap_or_default();
    format!(
        "---\napiVersion: attache.dev/v1\nkind: ClientWorkload\nmetadata: {{{namespace}name: web}}\nspec: {{match: [{{k8s.serviceAccount: {account}}}]}}\n"
    )
}

fn policy(namespace: Option<&str>, client: &str) -> String {
    let namespace = namespace
        .map(|name| format!("namespace: {name}, "))
        .unwrap_or_default();
    format!(
        "---\napiVersion: attache.dev/v1\nkind: ServerWorkload\nmetadata: {{name: api}}\nspec: {{host: api.test}}\n---\napiVersion: attache.dev/v1\nkind: AccessPolicy\nmetadata: {{{namespace}name: web-to-api}}\nspec: {{client: {client}, server: api, trustProviders: [cluster], actions: [all], effect: allow}}\n"
    )
}

/// The service account of the client that the policy means.
fn meant(documents: &[String]) -> String {
    let set = compiled(&format!("{CLUSTER}{}", documents.concat()));
    let means = |account: &&str| {
        ask(&set, &pod("any", account), "GET https://api.test/").starts_with("allow:web:api:all")
    };
    let meant: Vec<_> = ["global", "shop", "bank"]
        .into_iter()
        .filter(means)
        .collect();
    meant.join(" and ")
}

#[test]
fn a_reference_means_the_nearest_document_of_its_name() {
    let (global, shop, bank) = (
        client(None, "global"),
        client(Some("shop"), "shop"),
        client(Some("bank"), "bank"),
    );
    let all = || vec![global.clone(), shop.clone(), bank.clone()];
    for (clients, from, reference, expected) in [
        (all(), Some("shop"), "web", "shop"),
        (all(), Some("elsewhere"), "web", "global"),
        (all(), None, "web", "global"),
        (all(), None, "bank/web", "bank"),
        (all(), Some("shop"), "bank/web", "bank"),
        (vec![shop.clone()], None, "web", "shop"),
    ] {
        let mut documents = clients;
        documents.push(policy(from, reference));
        assert_eq!(meant(&documents), expected, "{reference} from {from:?}");
    }
}

#[test]
fn a_namespaced_document_does_not_see_another_namespace() {
    let text = format!(
        "{CLUSTER}{}{}",
        client(Some("bank"), "bank"),
        policy(Some("shop"), "web")
    );
    let problems = refused(&text).to_string();
    let expected = "AccessPolicy shop/web-to-api: spec.client: no ClientWorkload named \"web\"; \
        did you mean \"bank/web\"?";
    assert!(problems.ends_with(expected), "{problems}");
}

#[test]
fn a_global_document_must_say_which_of_several_it_means() {
    let clients = [client(Some("bank"), "bank"), client(Some("shop"), "shop")].concat();
    let problems = refused(&format!("{CLUSTER}{clients}{}", policy(None, "web"))).to_string();
    let expected = "spec.client: \"web\" is the name of 2 ClientWorkload documents; \
        write one of bank/web, shop/web";
    assert!(problems.ends_with(expected), "{problems}");
}
