//! The bootstraps with the filter in Envoy hold what docs/filter.md explains: the filter is the first to see a request,
//! a trap comes back, and nothing moves or copies a request behind its decision.

use anyhow::{Context as _, Result};
use attache_tests::bootstrap::{Bootstrap, WITH_FILTER};
use serde_json::{Value, json};

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

fn at<'a>(settings: &'a Value, pointer: &str) -> Result<&'a Value> {
    settings
        .pointer(pointer)
        .with_context(|| format!("nothing at {pointer}"))
}

fn each(check: impl Fn(&str, &Value) -> Result<()>) -> Result<()> {
    for name in WITH_FILTER {
        let settings = Bootstrap::read(name)?.settings()?;
        check(name, &settings).with_context(|| format!("envoy/{name}"))?;
    }
    Ok(())
}

/// The names of the HTTP filters, and the first one's plugin.
fn filters(settings: &Value) -> Result<(Vec<&str>, &Value)> {
    let filters = at(settings, MANAGER)?["http_filters"].as_array();
    let filters = filters.context("no filters")?;
    let names = filters.iter().filter_map(|filter| filter["name"].as_str());
    let plugin = filters.first().context("none")?;
    Ok((names.collect(), at(plugin, "/typed_config/config")?))
}

/// Every key of every object.
fn keys<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                found.push(key);
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_filter_is_the_first_to_see_a_request_and_a_trap_comes_back() -> Result<()> {
    each(|name, settings| {
        let (names, plugin) = filters(settings)?;
        let behind: &[&str] = match name {
            "filter-outbound.yaml" => &["envoy.filters.http.header_mutation"],
            _ => &[],
        };
        let expected = [
            &["envoy.filters.http.wasm"],
            behind,
            &["envoy.filters.http.router"],
        ];
        assert_eq!(names, expected.concat());
        assert_eq!(plugin["failure_policy"], "FAIL_RELOAD");
        assert_eq!(plugin["reload_config"]["backoff"]["base_interval"], "0.1s");
        assert_eq!(plugin["allow_on_headers_stop_iteration"], true);
        assert!(plugin["fail_open"].is_null());
        let vm = &plugin["vm_config"];
        assert_eq!(
            vm["vm_id"], "attache-filter-v1",
            "plugins of others share the empty one"
        );
        assert!(vm["code"]["local"]["filename"].is_string(), "not from afar");
        Ok(())
    })
}

#[test]
fn a_request_has_one_reading_and_its_time_and_memory_are_bounded() -> Result<()> {
    each(|name, settings| {
        let manager = at(settings, MANAGER)?;
        assert_eq!(manager["normalize_path"], true);
        assert_eq!(manager["merge_slashes"], false);
        let escaped = &manager["path_with_escaped_slashes_action"];
        assert_eq!(escaped, "REJECT_REQUEST");
        let common = &manager["common_http_protocol_options"];
        assert_eq!(common["headers_with_underscores_action"], "REJECT_REQUEST");
        assert_eq!(common["max_headers_count"], 100);
        assert!(common["idle_timeout"].is_string());
        for timeout in [
            "request_headers_timeout",
            "request_timeout",
            "stream_idle_timeout",
        ] {
            assert!(manager[timeout].is_string(), "{timeout}");
        }
        assert_eq!(
            manager["http2_protocol_options"]["max_concurrent_streams"],
            100
        );
        let monitor = "/overload_manager/resource_monitors/0/typed_config";
        assert_eq!(
            at(settings, monitor)?["max_active_downstream_connections"],
            10_000
        );
        // A form that waits is held in it.
        let buffer = at(
            settings,
            "/static_resources/listeners/0/per_connection_buffer_limit_bytes",
        )?;
        let expected = if name == "filter-outbound.yaml" {
            1 << 20
        } else {
            32_768
        };
        assert_eq!(*buffer, json!(expected));
        let clusters = at(settings, "/static_resources/clusters")?.as_array();
        for cluster in clusters.context("no clusters")? {
            assert!(cluster["connect_timeout"].is_string());
            assert!(cluster["circuit_breakers"]["thresholds"][0]["max_requests"].is_u64());
        }
        assert_eq!(at(settings, "/admin/address/pipe/mode")?, 0o600);
        Ok(())
    })
}

#[test]
fn nothing_moves_or_copies_a_request_behind_the_filter() -> Result<()> {
    const FORBIDDEN: [&str; 9] = [
        "clear_route_cache",
        "internal_redirect_policy",
        "original_dst_lb_config",
        "redirect",
        "request_mirror_policies",
        // An assertion is good for once.
        "retry_policy",
        "upgrade_configs",
        "typed_per_filter_config",
        "shadow_mode",
    ];
    each(|_, settings| {
        let mut found = Vec::new();
        keys(settings, &mut found);
        for forbidden in FORBIDDEN {
            assert!(!found.contains(&forbidden), "{forbidden}");
        }
        assert!(!settings.to_string().contains("ORIGINAL_DST"));
        let hosts = at(settings, &format!("{MANAGER}/route_config/virtual_hosts"))?;
        for host in hosts.as_array().context("no hosts")? {
            for route in host["routes"].as_array().context("no routes")? {
                // No route matches on what the filter changes.
                assert_eq!(route["match"], json!({"prefix": "/"}));
            }
        }
        Ok(())
    })
}

#[test]
fn nobody_poses_as_attache_and_no_secret_is_logged() -> Result<()> {
    each(|name, settings| {
        let manager = at(settings, MANAGER)?;
        assert_eq!(manager["use_remote_address"], true);
        assert_eq!(
            manager["route_config"]["response_headers_to_remove"],
            json!(["x-attache-decision", "x-attache-code"])
        );
        let format = at(manager, "/access_log/0/typed_config/log_format/json_format")?;
        assert_eq!(format["path"], "%PATH(NQ:PATH)%");
        let printed = format.to_string();
        for leak in ["REQ(:PATH", "QUERY", "AUTHORIZATION", "EVIDENCE", "COOKIE"] {
            assert!(!printed.contains(leak), "{leak}");
        }
        let state = match name {
            "filter-outbound.yaml" => "%FILTER_STATE(wasm.attache.audit:PLAIN)%",
            _ => "%FILTER_STATE(wasm.attache.spiffe_id:PLAIN)%",
        };
        assert!(printed.contains(state), "{printed}");
        Ok(())
    })
}

#[test]
fn a_target_behind_the_filter_proves_its_name_by_tls() -> Result<()> {
    let settings = Bootstrap::read("filter-outbound.yaml")?.settings()?;
    let clusters = at(&settings, "/static_resources/clusters")?.as_array();
    let targets = clusters.context("no clusters")?.iter();
    let targets: Vec<_> = targets.filter(|it| it["name"] != "attache").collect();
    assert!(!targets.is_empty());
    for cluster in targets {
        let options = &cluster["typed_extension_protocol_options"];
        let options = &options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        assert_eq!(
            options["upstream_http_protocol_options"],
            json!({ "auto_sni": true, "auto_san_validation": true })
        );
        let tls = at(cluster, "/transport_socket/typed_config/common_tls_context")?;
        assert_eq!(
            tls["validation_context"],
            json!({ "trusted_ca": { "filename": "/etc/ssl/certs/ca-certificates.crt" } })
        );
    }
    let manager = at(&settings, MANAGER)?;
    let hosts = manager["route_config"]["virtual_hosts"].as_array();
    let nowhere = hosts.and_then(|hosts| hosts.first()).context("no hosts")?;
    assert_eq!(nowhere["domains"], json!(["*"]));
    assert_eq!(nowhere["routes"][0]["direct_response"]["status"], 404);
    Ok(())
}
