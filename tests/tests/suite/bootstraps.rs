//! The bootstraps in `envoy/` hold every setting that docs/envoy.md explains, and Envoy starts from them.

use anyhow::{Context as _, Result};
use attache_tests::{
    authority::Authority,
    bootstrap::{ALL, Bootstrap, WITH_FILTER},
    envoy::Envoy,
};
use serde_json::{Value, json};

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// Reads `pointer` (RFC 6901), which must be there.
fn at<'a>(settings: &'a Value, pointer: &str) -> Result<&'a Value> {
    settings
        .pointer(pointer)
        .with_context(|| format!("nothing at {pointer}"))
}

fn each(check: impl Fn(&str, &Value) -> Result<()>) -> Result<()> {
    for name in ALL {
        let bootstrap = Bootstrap::read(name)?;
        check(name, &bootstrap.settings()?).with_context(|| format!("envoy/{name}"))?;
    }
    Ok(())
}

fn filters(settings: &Value) -> Result<Vec<(&str, &Value)>> {
    let filters = at(settings, MANAGER)?["http_filters"]
        .as_array()
        .context("no filters")?;
    let named = |filter: &'_ Value| filter["name"].as_str().map(str::to_owned);
    anyhow::ensure!(
        filters.iter().all(|filter| named(filter).is_some()),
        "a filter has no name"
    );
    Ok(filters
        .iter()
        .filter_map(|filter| Some((filter["name"].as_str()?, &filter["typed_config"])))
        .collect())
}

fn filter<'a>(settings: &'a Value, name: &str) -> Result<&'a Value> {
    let filters = filters(settings)?;
    let found = filters
        .into_iter()
        .find(|(candidate, _)| *candidate == name);
    found
        .map(|(_, config)| config)
        .with_context(|| format!("no filter {name}"))
}

fn targets(settings: &Value) -> Result<Vec<&Value>> {
    let clusters = at(settings, "/static_resources/clusters")?
        .as_array()
        .context("no clusters")?;
    Ok(clusters
        .iter()
        .filter(|cluster| cluster["name"] != "attache")
        .collect())
}

/// Every key of every object, wherever it stands.
fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                found.push(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn each_file_opens_with_what_it_shows() -> Result<()> {
    for name in ALL.into_iter().chain(WITH_FILTER) {
        let bootstrap = Bootstrap::read(name)?;
        assert!(bootstrap.text().starts_with("# Shows: "), "envoy/{name}");
    }
    Ok(())
}

#[test]
fn no_other_bootstrap_lies_beside_the_tested_ones() -> Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(attache_tests::workspace::root().join("envoy"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut tested = [ALL.as_slice(), &WITH_FILTER].concat();
    tested.sort_unstable();
    assert_eq!(names, tested);
    Ok(())
}

#[test]
fn a_request_has_one_reading() -> Result<()> {
    each(|_, settings| {
        let manager = at(settings, MANAGER)?;
        assert_eq!(manager["normalize_path"], true);
        assert_eq!(manager["merge_slashes"], false);
        assert_eq!(
            manager["path_with_escaped_slashes_action"],
            "REJECT_REQUEST"
        );
        let common = &manager["common_http_protocol_options"];
        assert_eq!(common["headers_with_underscores_action"], "REJECT_REQUEST");
        Ok(())
    })
}

#[test]
fn no_answer_from_attache_is_a_503_within_half_a_second() -> Result<()> {
    each(|_, settings| {
        let ext_authz = filter(settings, "envoy.filters.http.ext_authz")?;
        assert_eq!(ext_authz["failure_mode_allow"], false);
        assert_eq!(
            ext_authz["status_on_error"],
            json!({ "code": "ServiceUnavailable" })
        );
        assert_eq!(ext_authz["grpc_service"]["timeout"], "0.5s");
        assert_eq!(
            ext_authz["grpc_service"]["envoy_grpc"]["cluster_name"],
            "attache"
        );
        Ok(())
    })
}

#[test]
fn attache_sees_headers_as_they_were_sent() -> Result<()> {
    each(|_, settings| {
        let ext_authz = filter(settings, "envoy.filters.http.ext_authz")?;
        assert_eq!(ext_authz["encode_raw_headers"], true);
        assert_eq!(ext_authz["include_peer_certificate"], true);
        assert_eq!(ext_authz["include_tls_session"], true);
        Ok(())
    })
}

#[test]
fn attache_may_touch_the_injectable_and_its_own_headers_only() -> Result<()> {
    each(|name, settings| {
        let ext_authz = filter(settings, "envoy.filters.http.ext_authz")?;
        let evidence = match name {
            "egress-spiffe.yaml" => "x-forwarded-client-cert|",
            _ => "",
        };
        let touched = format!("^(authorization|{evidence}x-attache-[a-z0-9-]+)$");
        assert_eq!(
            ext_authz["decoder_header_mutation_rules"],
            json!({
                "disallow_all": true,
                "allow_expression": { "regex": touched },
                "disallow_is_error": true,
            })
        );
        Ok(())
    })
}

#[test]
fn attache_decides_before_anything_else_and_the_rest_is_a_second_fence() -> Result<()> {
    each(|_, settings| {
        let names: Vec<&str> = filters(settings)?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            names,
            [
                "envoy.filters.http.ext_authz",
                "envoy.filters.http.rbac",
                "envoy.filters.http.header_mutation",
                "envoy.filters.http.router",
            ]
        );
        let rules = &filter(settings, "envoy.filters.http.rbac")?["rules"];
        assert_eq!(rules["action"], "DENY");
        assert_eq!(
            rules.pointer("/policies/goes-around-policy/permissions"),
            Some(&json!([
                { "header": {
                    "name": ":method",
                    "string_match": { "safe_regex": { "regex": "(?i)(trace|track|connect)" } },
                } },
                { "header": { "name": "upgrade", "present_match": true } },
            ]))
        );
        let mutation = filter(settings, "envoy.filters.http.header_mutation")?;
        assert_eq!(
            mutation["mutations"]["request_mutations"],
            json!([
                { "remove_on_match": { "key_matcher": { "prefix": "x-attache-" } } },
                { "remove_on_match": { "key_matcher": { "prefix": "x-envoy-" } } },
                { "remove_on_match": { "key_matcher": { "prefix": "x-forwarded-" } } },
            ])
        );
        assert_eq!(
            mutation["mutations"]["request_trailers_mutations"],
            json!([{ "remove_on_match": { "key_matcher": { "safe_regex": { "regex": ".+" } } } }])
        );
        Ok(())
    })
}

#[test]
fn nothing_moves_or_copies_a_request_behind_a_decision() -> Result<()> {
    const FORBIDDEN: [&str; 12] = [
        "clear_route_cache",
        "clear_route_cache_headers",
        "connect_config",
        "failure_mode_allow_header_add",
        "filter_enabled",
        "internal_redirect_policy",
        "original_dst_lb_config",
        "redirect",
        "request_mirror_policies",
        "retry_policy",
        "shadow_mode",
        "upgrade_configs",
    ];
    each(|_, settings| {
        let mut found = Vec::new();
        keys(settings, &mut found);
        for forbidden in FORBIDDEN {
            assert!(!found.iter().any(|key| key == forbidden), "{forbidden}");
        }
        assert!(!settings.to_string().contains("ORIGINAL_DST"));
        Ok(())
    })
}

#[test]
fn every_route_says_where_it_leads_or_leads_nowhere() -> Result<()> {
    each(|_, settings| {
        let pointer = format!("{MANAGER}/route_config/virtual_hosts");
        for host in at(settings, &pointer)?
            .as_array()
            .context("no virtual hosts")?
        {
            if host["name"] == "nowhere" {
                let nowhere = json!([{
                    "match": { "prefix": "/" },
                    "direct_response": { "status": 404 },
                }]);
                assert_eq!(
                    (&host["domains"], &host["routes"]),
                    (&json!(["*"]), &nowhere)
                );
                continue;
            }
            let name = host["domains"][0].as_str().context("no domain")?;
            assert!(!name.contains('*'), "{name}");
            let domains = [name.to_owned(), format!("{name}:80"), format!("{name}:443")];
            assert_eq!(host["domains"], json!(domains));
            let per_route = &host["typed_per_filter_config"]["envoy.filters.http.ext_authz"];
            assert_eq!(
                per_route["check_settings"],
                json!({ "context_extensions": { "attache.target": format!("https://{name}") } })
            );
            assert!(per_route.get("disabled").is_none());
            for route in host["routes"].as_array().context("no routes")? {
                assert_eq!(route["match"], json!({ "prefix": "/" }));
                assert_eq!(route["route"]["timeout"], "60s");
                assert!(route.get("typed_per_filter_config").is_none());
            }
        }
        Ok(())
    })
}

#[test]
fn a_target_proves_its_name_by_tls() -> Result<()> {
    each(|_, settings| {
        let targets = targets(settings)?;
        assert!(!targets.is_empty());
        for cluster in targets {
            let options = cluster["typed_extension_protocol_options"]
                .get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")
                .context("no protocol options")?;
            assert_eq!(
                options["upstream_http_protocol_options"],
                json!({ "auto_sni": true, "auto_san_validation": true })
            );
            assert_eq!(
                cluster["transport_socket"]["name"],
                "envoy.transport_sockets.tls"
            );
            let common = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
            assert_eq!(
                common["validation_context"],
                json!({ "trusted_ca": { "filename": "/etc/ssl/certs/ca-certificates.crt" } })
            );
            assert_eq!(
                common["tls_params"]["tls_minimum_protocol_version"],
                "TLSv1_2"
            );
        }
        Ok(())
    })
}

#[test]
fn the_access_log_names_the_decision_and_holds_no_query() -> Result<()> {
    each(|_, settings| {
        let format = at(
            settings,
            &format!("{MANAGER}/access_log/0/typed_config/log_format/json_format"),
        )?;
        for name in ["decision_id", "outcome", "code", "policy", "workload"] {
            let value = format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{name})%");
            assert_eq!(format[name], value);
        }
        assert_eq!(format["path"], "%PATH(NQ:PATH)%");
        let printed = format.to_string();
        for leak in ["REQ(:PATH", "QUERY", "AUTHORIZATION", "EVIDENCE", "COOKIE"] {
            assert!(!printed.contains(leak), "{leak}");
        }
        Ok(())
    })
}

#[test]
fn time_connections_and_memory_are_bounded() -> Result<()> {
    each(|_, settings| {
        let manager = at(settings, MANAGER)?;
        for name in [
            "request_headers_timeout",
            "request_timeout",
            "stream_idle_timeout",
        ] {
            assert!(manager[name].is_string(), "{name}");
        }
        assert!(manager["common_http_protocol_options"]["idle_timeout"].is_string());
        assert_eq!(
            manager["common_http_protocol_options"]["max_headers_count"],
            100
        );
        assert_eq!(
            manager["http2_protocol_options"]["max_concurrent_streams"],
            100
        );
        let listener = at(settings, "/static_resources/listeners/0")?;
        assert_eq!(listener["per_connection_buffer_limit_bytes"], 32768);
        let monitor = at(
            settings,
            "/overload_manager/resource_monitors/0/typed_config",
        )?;
        assert_eq!(monitor["max_active_downstream_connections"], 10000);
        for cluster in at(settings, "/static_resources/clusters")?
            .as_array()
            .context("none")?
        {
            assert!(cluster["connect_timeout"].is_string());
            assert!(cluster["circuit_breakers"]["thresholds"][0]["max_requests"].is_u64());
        }
        Ok(())
    })
}

#[test]
fn callers_cannot_pose_as_the_proxy_and_targets_cannot_pose_as_attache() -> Result<()> {
    each(|_, settings| {
        let manager = at(settings, MANAGER)?;
        assert_eq!(manager["use_remote_address"], true);
        let routes = &manager["route_config"];
        assert_eq!(
            routes["response_headers_to_remove"],
            json!(["x-attache-decision", "x-attache-code"])
        );
        Ok(())
    })
}

#[test]
fn admin_and_applications_listen_on_this_machine_only() -> Result<()> {
    each(|_, settings| {
        let admin = at(settings, "/admin/address/pipe")?;
        assert_eq!(admin["mode"], 0o600);
        let listeners = at(settings, "/static_resources/listeners")?
            .as_array()
            .context("none")?;
        assert_eq!(listeners.len(), 1);
        assert_eq!(
            at(
                settings,
                "/static_resources/listeners/0/address/socket_address/address"
            )?,
            "127.0.0.1"
        );
        Ok(())
    })
}

#[test]
fn attache_on_another_machine_is_reached_by_mutual_tls_and_by_name() -> Result<()> {
    let settings = Bootstrap::read("egress-mtls.yaml")?.settings()?;
    let tls = at(
        &settings,
        "/static_resources/clusters/0/transport_socket/typed_config",
    )?;
    let common = &tls["common_tls_context"];
    assert_eq!(
        common["tls_params"]["tls_minimum_protocol_version"],
        "TLSv1_3"
    );
    assert!(common["tls_certificates"][0]["private_key"]["filename"].is_string());
    assert_eq!(
        common["validation_context"]["match_typed_subject_alt_names"],
        json!([{ "san_type": "URI", "matcher": { "exact": "spiffe://cluster.local/attache/edge" } }])
    );
    Ok(())
}

#[test]
fn envoy_starts_from_each_file_as_it_stands() -> Result<()> {
    for name in ["egress-gateway.yaml", "sidecar.yaml"] {
        Envoy::validate(&Bootstrap::read(name)?)?;
    }
    // This one names certificates that only an installation has.
    let directory = tempfile::tempdir()?;
    let authority = Authority::new("test")?;
    let roots = directory.path().join("ca.crt");
    authority.write(&roots)?;
    let identity = authority
        .issue(&["spiffe://cluster.local/envoy"])?
        .write(directory.path(), "envoy")?;
    let anywhere = "127.0.0.1:1".parse()?;
    Envoy::validate(&Bootstrap::egress_mtls(
        anywhere, &identity, &roots, anywhere,
    )?)?;
    let (socket, bundle) = (directory.path().join("socket"), ("cluster.local", &*roots));
    Envoy::validate(&Bootstrap::egress_spiffe(
        &socket,
        &roots,
        [anywhere; 2],
        bundle,
        &identity,
    )?)
}

#[test]
fn workloads_are_verified_against_the_bundle_of_their_trust_domain() -> Result<()> {
    let settings = Bootstrap::read("egress-spiffe.yaml")?.settings()?;
    let chain = "/static_resources/listeners/0/filter_chains/0";
    let tls = at(&settings, &format!("{chain}/transport_socket/typed_config"))?;
    assert_eq!(tls["require_client_certificate"], true);
    assert_eq!(tls["disable_stateless_session_resumption"], true);
    assert_eq!(tls["disable_stateful_session_resumption"], true);
    let validation = &tls["common_tls_context"]["validation_context"];
    assert!(validation["trust_chain_verification"].is_null());
    let validator = &validation["custom_validator_config"];
    assert_eq!(validator["name"], "envoy.tls.cert_validator.spiffe");
    let domains = &validator["typed_config"]["trust_domains"];
    assert_eq!(domains.as_array().map(Vec::len), Some(1));
    // Envoy's own word stands to the right of what a client sent.
    let manager = at(&settings, MANAGER)?;
    assert_eq!(manager["forward_client_cert_details"], "APPEND_FORWARD");
    assert_eq!(manager["set_current_client_cert_details"]["uri"], true);
    Ok(())
}
