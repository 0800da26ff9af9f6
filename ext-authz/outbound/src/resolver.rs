//! Names become addresses by the system's resolver, and are checked before anything is connected to.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::address::Reach;

/// How many names are looked up at once. The system's resolver holds a thread for each, for as long as a
/// name server does not answer, and those threads also write the audit journal.
const MAX_LOOKUPS: usize = 8;

pub(crate) struct CheckedAddresses {
    reach: Arc<Reach>,
    lookups: Arc<Semaphore>,
}

impl CheckedAddresses {
    pub(crate) fn new(reach: Arc<Reach>) -> Self {
        Self {
            reach,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

impl Resolve for CheckedAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookups) = (Arc::clone(&self.reach), Arc::clone(&self.lookups));
        Box::pin(async move {
            let leave = lookups.acquire_owned().await?;
            let host = name.as_str().to_owned();
            let looking = spawn_blocking(move || {
                // Until the thread is back, whether or not anybody still waits for it.
                let _leave = leave;
                let found = (host.as_str(), 0).to_socket_addrs()?;
                Ok::<Vec<SocketAddr>, io::Error>(found.collect())
            });
            let found = looking.await??;
            let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
            reach.check_all(name.as_str(), addresses)?;
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}
