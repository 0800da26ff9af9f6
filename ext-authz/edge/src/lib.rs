//! The data plane: one module for each port that a workload or Envoy talks to, the audit journal, and
//! [`pipeline`], the file to read first.

pub mod access;
pub mod admin;
pub mod admission;
pub mod answer;
pub mod clock;
pub mod exchange;
pub mod explain;
pub mod ext_authz;
pub mod geography;
pub mod health;
pub mod journal;
pub mod keeping;
pub mod listener;
pub mod live;
pub mod metrics;
pub mod peer;
pub mod pipeline;
pub mod providers;
pub mod question;
pub mod readiness;
pub mod recording;
pub mod refusal;
pub mod reload;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod sweeping;
pub mod tokens;
pub mod traces;
pub mod xfcc;

mod deadline;
mod entrance;
mod evidence;
mod last_good;
mod own_svid;
mod pem;
mod source;
mod stages;
mod stamp;
mod threads;
mod to_its_end;
mod trail;
mod wanted;
mod watch;
