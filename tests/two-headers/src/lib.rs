//! What any wasm filter costs that looks at a request at all: it reads two headers and lets the request go on.

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Reader { read: 0 }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Reader {
    /// Bytes, so that the reading is not optimised away.
    read: usize,
}

impl Context for Reader {}

impl HttpContext for Reader {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        for name in [":authority", ":path"] {
            let value = self.get_http_request_header_bytes(name);
            self.read += value.map_or(0, |value| value.len());
        }
        if self.read == 0 {
            Action::Pause
        } else {
            Action::Continue
        }
    }
}
