//! Every test that crosses crates, a file for each behaviour; one program, for each would link all of Attaché again.

#![cfg(test)]

mod access_checks;
mod after_a_crash;
mod audit_events;
mod bootstraps;
mod credentials;
mod drills;
mod edge_modes;
mod effects;
mod envoy_as_configured;
mod explaining;
mod filter_both_ways;
mod filter_inbound;
mod filter_outbound;
mod filter_vectors;
mod filter_with_attache;
mod full_disk;
mod fuzz_corpus;
mod hostile_requests;
mod issued_tokens;
mod kept_answers;
mod key_rotation;
mod keys_away;
mod mesh_manifests;
mod metrics;
mod monitoring;
mod one_reading;
mod operating;
mod permitted_calls;
mod policy_changes;
mod published_signatures;
mod refused_calls;
mod reported_accesses;
mod sidecar;
mod soak;
mod source_address;
mod starting_set;
mod strangers;
mod svids_of_others;
mod tokens_of_others;
mod traces;
mod under_load;
mod vectors;
mod workload_certificates;
mod workspace;
