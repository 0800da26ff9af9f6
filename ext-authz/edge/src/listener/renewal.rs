//! The files of a TLS listener, followed: what they hold is shown to, and asked of, the next peer that connects.
//! Files that are of no use leave what was good in force. Connections that are open stay open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{info, warn};

use super::tls::{Files, UnusableTls};
use crate::{
    settings::TlsBind,
    watch::{Folders, Watch},
};

/// A listener's certificate, key and authorities as they change.
#[derive(Clone)]
pub(super) struct Renewal {
    listener: String,
    bind: TlsBind,
    in_force: Arc<ArcSwap<ServerConfig>>,
    /// What was read last, and why it is not in force.
    read: [Vec<u8>; 3],
    refused: Option<String>,
}

impl Renewal {
    /// Reads the files for the first time.
    pub(super) async fn start(listener: &str, bind: &TlsBind) -> Result<Self, UnusableTls> {
        let (listener, bind) = (listener.to_owned(), bind.clone());
        // Reading files takes as long as the disk takes.
        let read = spawn_blocking(move || {
            let files = Files::read(&bind)?;
            let config = files.server_config(&bind)?;
            Ok(Self {
                listener,
                in_force: Arc::new(ArcSwap::from_pointee(config)),
                read: files.digest(),
                refused: None,
                bind,
            })
        });
        read.await?
    }

    /// What the next peer meets.
    pub(super) fn in_force(&self) -> Arc<ArcSwap<ServerConfig>> {
        Arc::clone(&self.in_force)
    }

    /// Follows the files for as long as it is polled, and looks at once when `look` changes.
    pub(super) async fn follow(mut self, mut look: watch::Receiver<()>) {
        let mut watch = Watch::new();
        let mut asked_for = true;
        loop {
            let (mut own, mut following) = (self.clone(), watch);
            let looked = spawn_blocking(move || {
                following.follow(own.folders());
                own.look();
                (own, following)
            });
            watch = match looked.await {
                Ok((own, following)) => {
                    self = own;
                    following
                }
                Err(error) => {
                    warn!(listener = self.listener, %error, "the certificate could not be looked at");
                    Watch::new()
                }
            };
            tokio::select! {
                () = watch.settled() => {}
                changed = look.changed(), if asked_for => asked_for = changed.is_ok(),
            }
        }
    }

    fn folders(&self) -> Folders {
        let mut folders = Folders::default();
        for file in [&self.bind.certificate, &self.bind.key, &self.bind.client_ca] {
            folders.add_file(file);
        }
        folders
    }

    /// Reads the files, and puts what changed in force if it is good.
    pub(super) fn look(&mut self) {
        let listener = &self.listener;
        let judged = Files::read(&self.bind).and_then(|files| {
            let read = files.digest();
            if read == self.read {
                return Ok(None);
            }
            let config = files.server_config(&self.bind);
            // A pair that is not whole yet is looked at again when the other half comes.
            config.map(|config| Some((config, read)))
        });
        match judged {
            Ok(renewed) => {
                if let Some((config, read)) = renewed {
                    self.in_force.store(Arc::new(config));
                    self.read = read;
                    info!(listener, "the listener's renewed certificate is in force");
                }
                self.refused = None;
            }
            Err(refused) => {
                let told = refused.to_string();
                if self.refused.as_ref() != Some(&told) {
                    warn!(listener, %refused, "the listener's certificate cannot be renewed; the last good one stays in force");
                }
                self.refused = Some(told);
            }
        }
    }
}
