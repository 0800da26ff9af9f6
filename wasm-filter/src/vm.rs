//! The filter in one VM: its plugins, the requests that run through them, and what Envoy tells of either.
//! Several plugins may share a VM; each has its own settings and its own memory.

use std::collections::BTreeMap;

use crate::{
    config::{self, Settings},
    form::MAX_FORM,
    host::{Buffer, ContextId, Host, Level},
    ids::ByContext,
    inbound::{Inbound, Verdict, broken},
    outbound::Outbound,
    refusal::Refusal,
};

/// Longest configuration asked for.
const MAX_CONFIGURATION: usize = 2 * 1024 * 1024;

/// How much of a body is looked at to see whether it is too long.
const MOST_LOOKED_AT: usize = MAX_FORM + 1;

/// What Envoy does with a request after a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Continue = 0,
    /// It waits, and what comes of it next is shown to the filter: after a header the body, after a part of the body
    /// the rest.
    Hold = 1,
    /// All of it waits (`FilterHeadersStatus::StopAllIterationAndWatermark`).
    ///
    /// SECURITY: 1 would not do where `allow_on_headers_stop_iteration` is set. Envoy would ask about the body next,
    /// and let the request go on, undecided, if nobody held that too.
    Wait = 4,
}

/// Everything in one VM.
pub struct Vm<H> {
    host: H,
    plugins: BTreeMap<ContextId, Plugin>,
    /// Requests, and the plugin of each.
    streams: ByContext<ContextId>,
}

enum Plugin {
    /// Envoy has not told its configuration yet.
    New,
    Inbound(Box<Inbound>),
    Outbound(Box<Outbound>),
}

impl<H: Host> Vm<H> {
    /// A VM without plugins.
    pub fn new(host: H) -> Self {
        Self {
            host,
            plugins: BTreeMap::new(),
            streams: ByContext::default(),
        }
    }

    /// Envoy, as this VM sees it.
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// A plugin (`parent` is 0), or a request of one, comes to life.
    pub fn on_create(&mut self, context: ContextId, parent: ContextId) {
        if parent == 0 {
            self.plugins.insert(context, Plugin::New);
        } else {
            self.streams.insert(context, parent);
        }
    }

    /// A request is over, with its response; or a plugin is to end. Whether it may be forgotten: a plugin that has
    /// something left to do says later that it ended.
    ///
    /// It comes once for each context, after the response is known, and last of all: so nothing else need be told of
    /// a request's end.
    pub fn on_done(&mut self, context: ContextId) -> bool {
        if let Some(plugin) = self.streams.remove(&context) {
            match self.plugins.get_mut(&plugin) {
                Some(Plugin::Outbound(outbound)) => outbound.on_end(&self.host, context),
                Some(Plugin::Inbound(inbound)) => inbound.on_end(&self.host, context),
                Some(Plugin::New) | None => {}
            }
            return true;
        }
        let may = match self.plugins.get_mut(&context) {
            Some(Plugin::Outbound(outbound)) => outbound.on_done(&self.host),
            Some(Plugin::Inbound(inbound)) => inbound.on_done(&self.host),
            Some(Plugin::New) | None => true,
        };
        if may {
            self.plugins.remove(&context);
        }
        may
    }

    /// Reads the configuration; `false` has Envoy refuse it.
    pub fn on_configure(&mut self, plugin: ContextId) -> bool {
        let text = self.host.bytes(Buffer::Configuration, MAX_CONFIGURATION);
        match config::parse(&text) {
            Ok(Settings::Inbound(settings)) => {
                self.host.tick_every(Inbound::FIRST_TICK);
                let inbound = Inbound::new(&self.host, plugin, settings, &text);
                self.plugins
                    .insert(plugin, Plugin::Inbound(Box::new(inbound)));
                true
            }
            Ok(Settings::Outbound(settings)) => {
                let outbound = Outbound::new(&self.host, plugin, settings, &text);
                self.plugins
                    .insert(plugin, Plugin::Outbound(Box::new(outbound)));
                true
            }
            Err(invalid) => {
                let text = format!("attache: the filter's configuration is refused: {invalid}");
                self.host.log(Level::Error, &text);
                false
            }
        }
    }

    /// Time passes.
    pub fn on_tick(&mut self, plugin: ContextId) {
        let ended = match self.plugins.get_mut(&plugin) {
            Some(Plugin::Inbound(inbound)) => inbound.on_tick(&self.host),
            Some(Plugin::Outbound(outbound)) => outbound.on_tick(&self.host),
            Some(Plugin::New) | None => false,
        };
        if ended {
            self.plugins.remove(&plugin);
        }
    }

    /// The header of a request is there.
    pub fn on_request(&mut self, stream: ContextId, ends: bool) -> Action {
        let plugin = self.streams.get(&stream);
        let plugin = plugin.and_then(|plugin| self.plugins.get_mut(plugin));
        let verdict = match plugin {
            Some(Plugin::Inbound(inbound)) => inbound.on_request(&self.host, stream),
            Some(Plugin::Outbound(outbound)) => outbound.on_request(&self.host, stream, ends),
            // SECURITY: a request that nobody judges does not pass.
            Some(Plugin::New) | None => Verdict::Refuse(broken()),
        };
        let action = self.carry_out(verdict);
        if action == Action::Wait && self.holds_form(stream) {
            return Action::Hold;
        }
        action
    }

    /// A part of a request's body is there; `length` bytes of it are held.
    pub fn on_body(&mut self, stream: ContextId, length: usize, ends: bool) -> Action {
        let plugin = self.streams.get(&stream);
        let plugin = plugin.and_then(|plugin| self.plugins.get_mut(plugin));
        let Some(Plugin::Outbound(outbound)) = plugin else {
            return Action::Continue;
        };
        let verdict = outbound.on_body(&self.host, stream, length, ends);
        match self.carry_out(verdict) {
            Action::Continue => Action::Continue,
            Action::Hold | Action::Wait => Action::Hold,
        }
    }

    /// Trailers are there: the body is whole.
    pub fn on_trailers(&mut self, stream: ContextId) -> Action {
        if !self.holds_form(stream) {
            return Action::Continue;
        }
        let length = self.host.bytes(Buffer::RequestBody, MOST_LOOKED_AT).len();
        self.on_body(stream, length, true)
    }

    fn holds_form(&self, stream: ContextId) -> bool {
        let plugin = self.streams.get(&stream);
        match plugin.and_then(|plugin| self.plugins.get(plugin)) {
            Some(Plugin::Outbound(outbound)) => outbound.holds_form(stream),
            Some(Plugin::New | Plugin::Inbound(_)) | None => false,
        }
    }

    /// An HTTP callout of a plugin ended, with or without an answer.
    pub fn on_http(&mut self, context: ContextId, token: u32) {
        match self.plugins.get_mut(&context) {
            Some(Plugin::Inbound(inbound)) => inbound.on_http(&self.host, token),
            Some(Plugin::New | Plugin::Outbound(_)) | None => {}
        }
    }

    /// A gRPC call of a plugin was answered, or a stream of it has a message.
    pub fn on_grpc(&mut self, context: ContextId, token: u32) {
        match self.plugins.get_mut(&context) {
            Some(Plugin::Inbound(inbound)) => inbound.on_grpc(&self.host, token),
            Some(Plugin::Outbound(outbound)) => outbound.on_grpc(&self.host, token),
            Some(Plugin::New) | None => {}
        }
    }

    /// A gRPC call failed, or a stream ended.
    pub fn on_grpc_close(&mut self, context: ContextId, token: u32, status: u32) {
        match self.plugins.get_mut(&context) {
            Some(Plugin::Inbound(inbound)) => inbound.on_grpc_close(&self.host, token, status),
            Some(Plugin::Outbound(outbound)) => outbound.on_grpc_close(&self.host, token, status),
            Some(Plugin::New) | None => {}
        }
    }

    fn carry_out(&self, verdict: Verdict) -> Action {
        match verdict {
            Verdict::Pass => Action::Continue,
            Verdict::Wait => Action::Wait,
            Verdict::Refuse(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Action {
        // An answer that Envoy does not send leaves the request where it is: it never passes.
        if refusal.answer(&self.host).is_err() {
            self.host
                .log(Level::Error, "attache: Envoy did not send a refusal");
        }
        Action::Wait
    }
}
