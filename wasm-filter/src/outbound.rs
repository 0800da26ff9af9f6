//! The way out: a request gets the answer that is kept for it, credential included, or waits for the edge, once
//! for all that ask alike. What could carry a credential is removed from every request first.

use core::{cell::Cell, time::Duration};
use std::rc::Rc;

use attache_core::{decision::Fault, time::Timestamp};

use self::{
    answers::Answers,
    assertions::Forms,
    confirming::Confirming,
    epochs::Epochs,
    flights::{Flights, Waiter},
    kept::{Does, Kept, Passing},
    ring::Ring,
    seen::{Purpose, Seen, principal},
    shared::Shared,
    watch::Watch,
};
use crate::{
    config::{self, Accesses, CallerFrom, Elsewhere},
    host::{Attribute, ContextId, Host, Level, Map},
    inbound::{Verdict, broken},
    metrics::{Count, Metrics},
    refusal::Refusal,
};

mod answers;
mod asking;
mod assertions;
mod confirming;
mod epochs;
mod flights;
mod kept;
mod meanwhile;
mod placing;
mod ring;
mod seen;
mod shared;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use self::{flights::Shown, seen::Plan};

/// How long an answer serves after the state that it was given under.
const GRACE: Duration = Duration::from_secs(1);
/// What the access log may print of the answer: the filter state `wasm.attache.audit`.
const AUDIT_STATE: &str = "attache.audit";
/// Told when a plugin begins whose accesses are not recorded.
const NOT_RECORDED: &str = "attache: `audit.accesses` is `leases-alone`: requests that are answered from memory will \
                            not be in the audit log";

/// A plugin on the way out.
pub(crate) struct Outbound {
    /// The plugin's own context: calls are made from it, so that they outlive the requests that wait.
    plugin: ContextId,
    /// The context that Envoy acts for now.
    running: Cell<ContextId>,
    plan: Rc<Plan>,
    answers: Answers,
    flights: Flights,
    forms: Forms,
    watch: Watch,
    confirming: Vec<Confirming>,
    /// Whether an answer was kept that must be confirmed.
    unconfirmed: bool,
    ring: Ring,
    metrics: Metrics,
    /// When a plugin that was asked to end ends, whatever waits.
    ends_at: Option<Timestamp>,
    /// Whether requests come here: the VM of the main thread sees none, and asks for nothing.
    serves: bool,
}

/// What the edge wants to see of a request before it answers.
enum Needs {
    Details,
    Assertion,
}

impl Outbound {
    /// Until the first request there is nothing to do.
    const TICK: Duration = Duration::from_millis(100);
    /// While another VM asks for what requests wait for here.
    const QUICK_TICK: Duration = Duration::from_millis(10);

    /// How long a plugin that is asked to end tries to report what is left.
    const FAREWELL: Duration = Duration::from_secs(10);

    /// `text` is the configuration as it is written: plugins of one share their answers.
    pub(crate) fn new<H: Host>(
        host: &H,
        plugin: ContextId,
        settings: config::Outbound,
        text: &[u8],
    ) -> Self {
        Self::with(host, plugin, Plan::new(settings), text)
    }

    /// The same by any plan.
    #[inline(never)]
    pub(crate) fn with<H: Host>(host: &H, plugin: ContextId, plan: Plan, text: &[u8]) -> Self {
        let settings = &plan.settings;
        if settings.audit.accesses == Accesses::LeasesAlone {
            host.log(Level::Warn, NOT_RECORDED);
        }
        let shared = Shared::open(host, text);
        let epochs = Epochs::begin(host, shared.name());
        let answers = Answers::new(settings.memory, shared);
        let ring = Ring::new(settings.audit, epochs);
        Self {
            plugin,
            running: Cell::new(plugin),
            answers,
            metrics: Metrics::define(host, plan.way()),
            plan: Rc::new(plan),
            flights: Flights::default(),
            forms: Forms::default(),
            watch: Watch::default(),
            confirming: Vec::new(),
            unconfirmed: false,
            ring,
            ends_at: None,
            serves: false,
        }
    }

    /// Judges the request that runs.
    #[inline(never)]
    pub(crate) fn on_request<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        ends: bool,
    ) -> Verdict {
        self.running.set(stream);
        let began_at = host.micros();
        self.serve(host);
        let verdict = self.judge(host, stream, began_at, ends);
        if matches!(verdict, Err(_) | Ok(Verdict::Refuse(_))) {
            self.forms.forget(stream);
        }
        verdict.unwrap_or_else(|refusal| {
            self.metrics.refused(host, refusal.code());
            Verdict::Refuse(refusal)
        })
    }

    /// A request comes here, so that everything is looked after from now on.
    fn serve<H: Host>(&mut self, host: &H) {
        if !self.serves {
            self.serves = true;
            self.as_plugin(host, || host.tick_every(Self::QUICK_TICK));
        }
    }

    /// Asks whether somebody who proved who it is may make the request that runs, of the service behind the proxy.
    #[inline(never)]
    pub(crate) fn admit<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        shown: Shown,
    ) -> Result<Verdict, Refusal> {
        self.running.set(stream);
        self.serve(host);
        let began_at = host.micros();
        let waiter = Waiter {
            stream,
            target: Some(0),
            serialised: host
                .headers(Map::RequestHeaders)
                .map_err(|_failure| broken())?,
            principal: String::new(),
            shown: Some(shown),
            began_at,
            rounds: 0,
        };
        let judged = self.decide(host, waiter, true);
        judged.map_err(|refusal| self.refused(host, refusal))
    }

    /// Counts a refusal, and says it as the caller of this plugin is told.
    fn refused<H: Host>(&self, host: &H, refusal: Refusal) -> Refusal {
        self.metrics.refused(host, refusal.code());
        match &self.plan.purpose {
            Purpose::Attach => refusal,
            Purpose::Judge { .. } => refusal.of_caller(),
        }
    }

    /// Whether the body of a request that waits comes here, too.
    pub(crate) fn holds_form(&self, stream: ContextId) -> bool {
        self.forms.holds(stream)
    }

    fn judge<H: Host>(
        &mut self,
        host: &H,
        stream: ContextId,
        began_at: i64,
        ends: bool,
    ) -> Result<Verdict, Refusal> {
        let waiter = Waiter {
            stream,
            target: self.target(host),
            serialised: host
                .headers(Map::RequestHeaders)
                .map_err(|_failure| broken())?,
            principal: principal(host, &self.plan.settings.caller),
            shown: None,
            began_at,
            rounds: 0,
        };
        self.decide(host, waiter, ends)
    }

    /// Gives the request that runs the answer that is kept for it, or has it wait. `ends`: it has no body.
    fn decide<H: Host>(
        &mut self,
        host: &H,
        waiter: Waiter,
        ends: bool,
    ) -> Result<Verdict, Refusal> {
        let plan = Rc::clone(&self.plan);
        let seen = Seen::read(&plan, &waiter).ok_or_else(broken)?;
        if waiter.target.is_none() && plan.settings.elsewhere == Elsewhere::Pass {
            self.metrics.count(Count::Elsewhere);
            placing::strip(host, &seen).ok_or_else(broken)?;
            return Ok(Verdict::Pass);
        }
        let now = Timestamp::from_millis(waiter.began_at.div_euclid(1000));
        let revision = self.watch.revision();
        let kept = self.answers.find(host, &plan, &seen, revision, now);
        let kept = match kept.as_deref().map(|kept| &kept.does) {
            Some(Does::NeedsDetails) => Err(Some(Needs::Details)),
            Some(Does::NeedsAssertion) => Err(Some(Needs::Assertion)),
            Some(Does::Pass(_) | Does::Refuse(_)) => kept.ok_or(None),
            None => Err(None),
        };
        let needs = match kept {
            Ok(kept) => {
                self.metrics.count(Count::Hit);
                self.give(host, &waiter, &seen, &kept)?;
                drop(seen);
                host.give_back(waiter.serialised);
                return Ok(Verdict::Pass);
            }
            Err(needs) => needs,
        };
        if let Purpose::Attach = plan.purpose {
            placing::strip(host, &seen).ok_or_else(broken)?;
            self.forms.begin(waiter.stream, seen.headers(), ends);
        }
        drop(seen);
        match needs {
            Some(Needs::Details) => self.ask_alone(host, waiter),
            Some(Needs::Assertion) => self.expect_form(host, waiter),
            None => {
                self.metrics.count(Count::Miss);
                self.ask(host, waiter, now)
            }
        }
    }

    /// The target that the route's cluster is bound to.
    fn target<H: Host>(&self, host: &H) -> Option<usize> {
        let cluster = host.property(Attribute::CLUSTER)?;
        let mut targets = self.plan.settings.targets.iter();
        let target = targets.position(|target| target.cluster.as_bytes() == cluster);
        host.give_back(cluster);
        target
    }

    /// Does to the request that runs what a kept answer says, once its access has room among those to report.
    fn give<H: Host>(
        &mut self,
        host: &H,
        waiter: &Waiter,
        seen: &Seen<'_>,
        kept: &Rc<Kept>,
    ) -> Result<(), Refusal> {
        kept.mark_used();
        let request = (seen.method(), seen.path());
        let recorded = self.ring.begin(host, waiter, &kept.lease, request);
        match &kept.does {
            Does::Refuse(refusal) => Err(refusal.clone()),
            Does::NeedsDetails | Does::NeedsAssertion => Err(asking::edge_unavailable()),
            Does::Pass(_) if !recorded => {
                self.metrics.count(Count::Lost);
                Err(Refusal::fault(Fault::AuditUnavailable))
            }
            Does::Pass(passing) => {
                host.set_state(AUDIT_STATE, &kept.audit)
                    .map_err(|_failure| broken())?;
                self.let_pass(host, waiter, seen, passing)
            }
        }
    }

    /// Changes the request that runs, which may go on.
    fn let_pass<H: Host>(
        &self,
        host: &H,
        waiter: &Waiter,
        seen: &Seen<'_>,
        passing: &Passing,
    ) -> Result<(), Refusal> {
        let passed = match (&self.plan.purpose, &waiter.shown) {
            (Purpose::Attach, _) => placing::place(host, seen, passing),
            (Purpose::Judge { admission, .. }, Some(shown)) => {
                admission.admit(host, seen.headers(), &shown.caller)
            }
            (Purpose::Judge { .. }, None) => None,
        };
        passed.ok_or_else(broken)
    }

    /// Time passes. Whether the plugin ended.
    pub(crate) fn on_tick<H: Host>(&mut self, host: &H) -> bool {
        self.running.set(self.plugin);
        if !self.serves {
            return false;
        }
        let now = host.now();
        let plan = Rc::clone(&self.plan);
        let edge = plan.settings.edge.as_str();
        self.watch.tick(host, edge, now);
        self.tick_elsewhere(host, now);
        self.tick_forms(host, now);
        let _ = host.act_as(self.plugin);
        self.running.set(self.plugin);
        self.tick_ahead(host, now);
        if self.unconfirmed {
            self.confirm(host, now);
        }
        self.sweep(now);
        self.ring.tick(host, edge, now);
        self.metrics.ring(host, self.ring.bytes());
        self.metrics.flush(host);
        host.tick_every(self.pace());
        self.end_if_done(host, now)
    }

    /// A gRPC call was answered, or a stream has a message.
    #[inline(never)]
    pub(crate) fn on_grpc<H: Host>(&mut self, host: &H, token: u32) {
        self.running.set(self.plugin);
        let now = host.now();
        if self.watch.is(token) {
            if self.watch.on_message(host, now) {
                self.on_revision(host, now);
            }
            return;
        }
        let taken = self.on_answer(host, token, now)
            || self.on_assertion(host, token)
            || self.ring.on_grpc(host, token, now)
            || self.on_confirmed(host, token, now);
        if taken {
            // A full report is followed by the next at once.
            let _ = host.act_as(self.plugin);
            let plan = Rc::clone(&self.plan);
            self.ring.go_on(host, &plan.settings.edge, now);
        }
    }

    /// A gRPC call failed, or a stream ended.
    pub(crate) fn on_grpc_close<H: Host>(&mut self, host: &H, token: u32, status: u32) {
        self.running.set(self.plugin);
        let now = host.now();
        if self.watch.is(token) {
            self.watch.on_close();
            return;
        }
        let _ = self.on_no_answer(host, token)
            || self.on_no_assertion(host, token)
            || self.on_no_acknowledgement(host, token, status, now)
            || self.on_unconfirmed(token);
    }

    /// A report was not taken; `false` if the token is of none.
    fn on_no_acknowledgement<H: Host>(
        &mut self,
        host: &H,
        token: u32,
        status: u32,
        now: Timestamp,
    ) -> bool {
        let Some(lost) = self.ring.on_failure(host, token, status, now) else {
            return false;
        };
        let _ = host.act_as(self.plugin);
        self.ring.send(host, &self.plan.settings.edge, now);
        if lost > 0 {
            let text = format!(
                "attache: {lost} accesses are lost: the edge refuses them for good, with gRPC status {status}"
            );
            host.log(Level::Error, &text);
            (0..lost).for_each(|_| self.metrics.count(Count::Lost));
        }
        true
    }

    /// A request is over, with its response's status.
    pub(crate) fn on_end<H: Host>(&mut self, host: &H, stream: ContextId) {
        let source = matches!(self.plan.settings.caller, CallerFrom::Request { .. });
        self.ring.end(host, stream, source);
        self.flights.forget(stream);
        self.forms.forget(stream);
    }

    /// Envoy asks the plugin to end: it does when everything is reported, or after a while.
    pub(crate) fn on_done<H: Host>(&mut self, host: &H) -> bool {
        if self.ring.is_empty() {
            return true;
        }
        self.ends_at = Some(host.now().plus(Self::FAREWELL));
        false
    }

    fn end_if_done<H: Host>(&mut self, host: &H, now: Timestamp) -> bool {
        let ends = self.ends_at;
        let ended = ends.is_some_and(|at| self.ring.is_empty() || now >= at);
        if ended {
            self.ends_at = None;
            host.finish();
        }
        ended
    }
}
