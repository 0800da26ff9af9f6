//! What the tests of this module share.

use attache_core::event::Event;

/// An event of a kept answer.
pub(super) fn event() -> Event {
    serde_json::from_value(serde_json::json!({
        "event_id": "evt_01hx9k2z3m4n5p6q7r8s9t0v1w",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "workload_svid": "spiffe://cluster.local/ns/prod/sa/payment",
        "workload_type": "kubernetes-pod",
        "target_service": "api.example.com",
        "policy_matched": "allow:payment:api:read",
        "token_issued": true,
        "token_id": "tok_prod_8a3f2c1e",
        "ttl_seconds": 900,
        "request_method": "GET",
        "request_path": "/v1/x",
        "outcome": "permitted",
        "latency_ms": 1.5,
        "code": null,
        "policy": "payment-to-api",
        "trust_provider": "cluster",
        "credential_provider": "api-token",
        "audience": "https://api.example.com",
        "attribute": null,
        "expected": null,
        "actual": null,
        "mode": "enforce",
        "would_be_outcome": null,
        "policy_revision": "9f2c",
        "edge": "edge-1",
        "listener": "sidecar",
        "source_address": null,
        "count": 1,
        "record": "lease",
    }))
    .unwrap()
}
